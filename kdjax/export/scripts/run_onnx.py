"""Runs the ONNX file beside this script on raw examples; it needs no kdjax.

    python run_onnx.py EXAMPLES [FILE]

EXAMPLES: .npz with an array "x", .npy, or .csv with a row for each example, its numbers
in the order of the shape in export.json. A line of numbers is printed for each; before
them, of a classifier, the likeliest class. It needs numpy and onnxruntime.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime

HERE = Path(__file__).resolve().parent
ABOUT = json.loads((HERE / "export.json").read_text(encoding="utf-8"))


def read(path: str) -> np.ndarray:
    if path.endswith(".csv"):
        x = np.loadtxt(path, delimiter=",")
    else:
        x = np.load(path)["x"] if path.endswith(".npz") else np.load(path)
    return x.reshape(-1, 1, *ABOUT["input"]["shape"]).astype(np.float32)


def main(examples: str, file: str = "model.onnx") -> None:
    session = onnxruntime.InferenceSession(HERE / file)
    for x in read(examples):
        (y,) = session.run(None, {"x": x})
        words = [f"{value:.6g}" for value in np.ravel(y)]
        if ABOUT["output"]["name"] == "probabilities":
            words.insert(0, ABOUT["classes"][int(np.argmax(y))])
        print(",".join(words))


if __name__ == "__main__":
    main(*sys.argv[1:3])
