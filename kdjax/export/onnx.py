"""ONNX by jax2onnx, for onnxruntime and whatever else reads it."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdjax.errors import InputError
from kdjax.export.failing import because
from kdjax.export.graph import INPUT, Graph
from kdjax.export.tools import need, version

TOOLS = ("jax2onnx", "onnx", "onnxruntime")
BATCH = "batch"
OPSET = 18
# What is quantised: products, which are all of the time; what is between them stays
# float32, and so do a raw example and its preprocessing.
RARE = (0.0, 1e-4, 1e-3)  # shares of an activation's values outside of its range
PRODUCTS = ["Conv", "ConvTranspose", "Gemm", "MatMul"]


def write(graph: Graph, path: Path) -> dict[str, Any]:
    """An .onnx file of one input, "x", and one output, the predictor's kind.

    {"batch", "opset", "version"}. InputError that names what jax2onnx does not know.
    """
    model, batch = _converted(graph)
    path.write_bytes(model.SerializeToString())
    opsets = {each.domain: each.version for each in model.opset_import}
    return {"batch": batch, "opset": opsets[""], "version": version("jax2onnx")}


def _converted(graph: Graph) -> tuple[Any, str]:
    """(ModelProto, its batch in words): any, where it converts so."""
    to_onnx = need("jax2onnx", what="onnx").to_onnx
    names = {"input_names": [INPUT], "output_names": [graph.output]}
    reasons: list[str] = []
    for batch in (BATCH, 1):
        try:
            with _quiet():
                shape = (batch, *graph.shape)
                model = to_onnx(graph.function, inputs=[shape], opset=OPSET, **names)
            _session(model.SerializeToString())  # what onnxruntime refuses is no file
        except Exception as error:  # of any kind, as what it converts
            reasons.append(because(error))
            continue
        return model, "any" if batch == BATCH else f"1 ({reasons[0]})"
    raise InputError(f"onnx: not to be had by jax2onnx: {reasons[-1]}")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what jax2onnx prints of its own progress."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield


def _session(model: bytes) -> Any:
    runtime = need("onnxruntime", what="onnx")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def run(path: Path) -> Any:
    """raw examples -> outputs, by onnxruntime on one thread of the CPU.

    One by one where the file takes no other batch.
    """
    session = _session(path.read_bytes())
    alone = session.get_inputs()[0].shape[0] == 1

    def outputs(x: NDArray[np.float32]) -> NDArray[np.float32]:
        parts = np.split(x, len(x)) if alone else [x]
        return np.concatenate([session.run(None, {INPUT: part})[0] for part in parts])

    return outputs


def quantise(
    path: Path, into: Path, x: NDArray[np.float32], rare: float
) -> dict[str, Any]:
    """An .onnx file with int8 products (QDQ), calibrated on raw training examples.

    Symmetric weights, a scale for each output channel; activations within what all but
    the share `rare` of their values keep to. Input and output stay float32.
    """
    quantization = need("onnxruntime.quantization", what="onnx in int8")
    need("onnxruntime", what="onnx").set_default_logger_severity(3)

    class Examples(quantization.CalibrationDataReader):  # type: ignore[name-defined]
        def __init__(self) -> None:
            self._rest = iter(x)

        def get_next(self) -> dict[str, Any] | None:
            example = next(self._rest, None)
            return None if example is None else {INPUT: example[None]}

    ready = into.with_name(f"{into.name}.ready")
    try:
        with _quiet():
            # its symbolic shapes fail on some networks, and are not needed
            quantization.quant_pre_process(
                str(path), str(ready), skip_symbolic_shape=True
            )
            _without_empty_biases(ready)
            quantization.quantize_static(
                str(ready),
                str(into),
                Examples(),
                per_channel=True,
                op_types_to_quantize=PRODUCTS,
                calibrate_method=quantization.CalibrationMethod.Percentile,
                extra_options={"CalibPercentile": 100 * (1 - rare)},
                weight_type=quantization.QuantType.QInt8,
            )
    except Exception as error:
        raise InputError(f"onnx: not to be had in int8: {because(error)}") from error
    finally:
        ready.unlink(missing_ok=True)
    made = need("onnx", what="onnx").load(str(into))
    if all(node.op_type != "QuantizeLinear" for node in made.graph.node):
        raise InputError(
            "onnx: not to be had in int8: all of its products are in loops"
        )
    return {"kept": f"{', '.join(PRODUCTS)} by int8 (QDQ), all else float32"}


def _without_empty_biases(path: Path) -> None:
    """Leaves out the scalar 0 that jax2onnx adds to products without a bias.

    quantize_static takes every bias for a vector.
    """
    onnx = need("onnx", what="onnx")
    model = onnx.load(str(path))
    scalars = {
        each.name
        for each in model.graph.initializer
        if not each.dims and not onnx.numpy_helper.to_array(each).any()
    }
    for node in model.graph.node:
        if node.op_type == "Gemm" and node.input[-1] in scalars:
            del node.input[-1]
    onnx.save(model, str(path))
