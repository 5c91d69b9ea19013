"""Lists what model.npz holds: a network's arrays, and the record they were trained by.

    python run_npz.py [FILE]

Nothing is computed: the file is for a runtime of one's own, which takes the layers from
the record's settings, and scales raw examples by its preprocessing. It needs numpy.
"""

import json
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent


def main(file: str = "model.npz") -> None:
    stored = np.load(HERE / file)  # allow_pickle is False
    record = json.loads(str(stored["record"]))
    print(record["task"], json.dumps(record["settings"].get("config.model")))
    print("preprocessing", ", ".join(step["name"] for step in record["preprocessing"]))
    for name in stored.files:
        if name != "record":
            print(name, stored[name].shape, stored[name].dtype)


if __name__ == "__main__":
    main(*sys.argv[1:2])
