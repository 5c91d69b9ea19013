"""StableHLO, as JAX serialises it: any device that JAX has, any batch size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import export
from numpy.typing import NDArray

from kdjax.errors import InputError
from kdjax.export.failing import because
from kdjax.export.graph import Graph

TOOLS = ("flatbuffers",)
PLATFORMS = ("cpu", "cuda", "tpu")
PROMISE = "JAX reads it for six months after the release of JAX that wrote it"


def write(graph: Graph, path: Path) -> dict[str, Any]:
    """`jax.export`'s file; {"batch", "platforms", "readable", "version"}."""
    batch: Any = export.symbolic_shape("batch")[0]
    try:
        exported = traced(graph, batch, PLATFORMS)
    except Exception as error:  # a network that needs to know its batch
        batch, reason = 1, because(error)
        try:
            exported = traced(graph, batch, PLATFORMS)
        except Exception as again:
            raise InputError(f"stablehlo: not to be had: {because(again)}") from again
        batch = f"1 ({reason})"
    path.write_bytes(exported.serialize())
    return {
        "batch": batch if isinstance(batch, str) else "any",
        "platforms": list(PLATFORMS),
        "readable": PROMISE,
        "version": f"jax {jax.__version__}",
    }


def traced(graph: Graph, batch: Any, platforms: tuple[str, ...]) -> export.Exported:
    """The graph for `batch` examples, a number or a symbol, on these platforms."""
    shape = jax.ShapeDtypeStruct((batch, *graph.shape), np.float32)
    return export.export(jax.jit(graph.function), platforms=platforms)(shape)


def run(path: Path) -> Any:
    """raw examples -> outputs, compiled for this machine from the file alone."""
    exported = export.deserialize(bytearray(path.read_bytes()))
    call = jax.jit(exported.call)

    def outputs(x: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(call(x))

    return outputs
