"""TFLite by litert-converter, and in int8 for microcontrollers."""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdjax.errors import InputError
from kdjax.export import stablehlo
from kdjax.export.failing import because
from kdjax.export.graph import INPUT, Graph
from kdjax.export.tools import need, version
from kdjax.stages.predictor import EXACT

TOOLS = ("litert_converter", "ai_edge_litert", "ai_edge_quantizer", "ethosu.vela")
SIGNATURE = "serving_default"
RARE = (0.0, 0.01, 0.05)  # shares of the examples outside of a tensor's range
Ranges = dict[str, NDArray[Any]]
# Operations that stay float32, by their outputs: the last has the name of the output.
KEPT = f"{EXACT}|{SIGNATURE}_scores"


def write(graph: Graph, path: Path) -> dict[str, Any]:
    """A .tflite file of one example, "x" [1, *shape]: {"batch", "version"}.

    InputError that names what the converter does not know.
    """
    need("litert_converter", what="tflite")
    api = need("litert_converter.converter_api_ext", what="tflite")
    ir = need("litert_converter.mlir.ir", what="tflite")
    passes = need("litert_converter.mlir.passmanager", what="tflite")
    try:
        module = stablehlo.traced(graph, 1, ("cpu",)).mlir_module()
        context = ir.Context()
        api.prepare_mlir_context(context)
        with context, ir.Location.unknown():
            parsed = ir.Module.parse(module)
            operation = parsed.operation
            api.set_signature(operation, SIGNATURE, [INPUT], [graph.output])
            manager, config = passes.PassManager(), api.ConvertToTFLConfig()
            api.run_convert_to_tfl_passes(parsed, manager, config)
            if "tfl.while" in str(operation):
                raise ValueError("it writes no loops, such as one over time steps")
            content = api.export_flatbuffer_to_bytes(operation)
        _interpreter(content)
    except Exception as error:
        raise InputError(
            f"tflite: not to be had by litert-converter: {because(error)}"
        ) from error
    path.write_bytes(content)
    return {
        "batch": "1",
        "version": version("litert-converter"),
    }


def _interpreter(content: bytes) -> Any:
    module = need("ai_edge_litert.interpreter", what="tflite")
    interpreter = module.Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    return interpreter


def run(path: Path) -> Any:
    """raw examples -> outputs, one by one, by LiteRT's interpreter on one thread.

    Of an int8 file the input is quantised and the output put back, as its own scales
    and zero points say.
    """
    interpreter = _interpreter(path.read_bytes())
    (given,), (made,) = (
        interpreter.get_input_details(),
        interpreter.get_output_details(),
    )

    def outputs(x: NDArray[np.float32]) -> NDArray[np.float32]:
        rows = []
        for example in _quantised(x, given):
            interpreter.set_tensor(given["index"], example[None])
            interpreter.invoke()
            rows.append(interpreter.get_tensor(made["index"])[0])
        return _put_back(np.stack(rows), made)

    return outputs


def _quantised(x: NDArray[np.float32], tensor: dict[str, Any]) -> NDArray[Any]:
    scale, zero = tensor["quantization"]
    if not scale:
        return x
    limits = np.iinfo(tensor["dtype"])
    q = np.clip(np.rint(x / scale) + zero, limits.min, limits.max)
    return q.astype(tensor["dtype"])


def _put_back(q: NDArray[Any], tensor: dict[str, Any]) -> NDArray[np.float32]:
    scale, zero = tensor["quantization"]
    y = (q.astype(np.float32) - zero) * scale if scale else q
    return np.asarray(y, np.float32)


def quantise(
    path: Path, into: Path, x: NDArray[np.float32], rare: float
) -> dict[str, Any]:
    """An int8 .tflite file, calibrated on raw training examples.

    A tensor's range is what all but the share `rare` of them keep to, on either side.

    float32 stay its input and output, the preprocessing and what makes a score of a
    reconstruction: a raw example in int8 would have one scale for all its channels.
    {"kept", "tensors"}: that in words, and where the network inside begins and ends in
    int8, {"what", "scale", "zero_point"}, for who feeds it int8 as it is.
    """
    part = {
        name: need(f"ai_edge_quantizer.{name}", what="tflite in int8")
        for name in ("calibrator", "quantizer", "recipe_manager")
    }
    recipe = part["recipe_manager"].RecipeManager()
    recipe.add_static_config(".*", "*", activation_num_bits=8, weight_num_bits=8)
    for scope, operation in ((KEPT, "*"), (".*", "INPUT"), (".*", "OUTPUT")):
        recipe.add_quantization_config(scope, operation, algorithm_key="no_quantize")
    examples = {SIGNATURE: [{INPUT: example[None]} for example in x]}
    try:
        with _quiet():
            seen = part["calibrator"].Calibrator(
                path.read_bytes(),
                num_threads=1,
                mode=part[
                    "calibrator"
                ].CalibrationMode.CALIBRATION_PRESERVE_ALL_TENSORS,
                qsv_update_func=_both,
            )
            seen.calibrate(examples, recipe)
            ranges = {k: _range(v, rare) for k, v in seen.get_model_qsvs().items()}
            wanted = recipe.get_quantization_recipe()
            made = part["quantizer"].Quantizer(str(path), wanted)
            content = bytes(made.quantize(ranges).quantized_model)
        interpreter = _interpreter(content)
    except Exception as error:
        raise InputError(f"tflite: not to be had in int8: {because(error)}") from error
    into.write_bytes(content)
    kept = "input and output, preprocessing and scores stay float32"
    return {"kept": kept, "tensors": _ends(interpreter)}


def _both(one: Ranges, other: Ranges) -> Ranges:
    """The least and the largest value of a tensor in more examples, side by side."""
    return {k: np.append(one[k], other[k]) for k in other} if one else other


def _range(seen: Ranges, rare: float) -> Ranges:
    """The range of a tensor from its least and largest in each example, [n]."""
    least, most = (np.asarray(seen[k], np.float32) for k in ("min", "max"))
    low, high = np.quantile(least, rare), np.quantile(most, 1 - rare)
    return {"min": np.asarray(low, np.float32), "max": np.asarray(high, np.float32)}


def _ends(interpreter: Any) -> list[dict[str, Any]]:
    """The int8 tensors that the network inside begins and ends with, by their names."""
    (given,) = interpreter.get_input_details()
    found = []
    for tensor in interpreter.get_tensor_details():
        scale, zero = tensor["quantization"]
        name, shape = tensor["name"], tensor["shape_signature"]
        first = name.endswith("_quantized") and [*shape] == [*given["shape_signature"]]
        last = re.fullmatch(rf"{SIGNATURE}_\w+_output", name)
        if tensor["dtype"] == np.int8 and (first or last):
            what = "the network's input, scaled" if first else "its output"
            found.append({"what": what, "scale": float(scale), "zero_point": int(zero)})
    return found


@contextlib.contextmanager
def _quiet() -> Any:
    """Without the quantizer's progress bar, and LiteRT's warning of its debug mode."""
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        yield
