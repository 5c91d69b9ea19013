"""The formats by name: how each is written, quantised, and run by its own runtime."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kdjax.export import npz, onnx, stablehlo, tflite
from kdjax.export.graph import Graph

Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]
# (float file, int8 file, raw training examples, a share of `rare`) -> what it says
Quantise = Callable[[Path, Path, NDArray[np.float32], float], dict[str, Any]]


class Format(NamedTuple):
    """One format.

    file: the artefact's name, `model_int8` in the place of `model` where quantised.
    tools: the modules that it needs. The functions' docstrings say the rest.
    run: None where nothing but an array's reader is needed. rare: the shares of values
    that int8's ranges may leave out, of which one is chosen.
    """

    file: str
    tools: Sequence[str]
    write: Callable[[Graph, Path], dict[str, Any]]
    run: Callable[[Path], Run] | None
    quantise: Quantise | None = None
    rare: Sequence[float] = ()


FORMATS = {
    "npz": Format("model.npz", (), npz.write, None),
    "stablehlo": Format(
        "model.stablehlo", stablehlo.TOOLS, stablehlo.write, stablehlo.run
    ),
    "onnx": Format(
        *("model.onnx", onnx.TOOLS, onnx.write, onnx.run),
        *(onnx.quantise, onnx.RARE),
    ),
    "tflite": Format(
        *("model.tflite", tflite.TOOLS, tflite.write, tflite.run),
        *(tflite.quantise, tflite.RARE),
    ),
}
