"""Running one device's step on every device: pmap, and shard_map behind the same names.

A step is written for one device: it sees its part of the batch, the whole state, and
the axis `AXIS` for collectives. This is the only file that knows how it is mapped.

Gradients: `pmean` the loss inside the differentiated function and `pmean` the gradients
(`psum` would be too large by the number of devices, which Adam hides).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from kdjax.checks import integer
from kdjax.errors import lookup

AXIS = "devices"

Tree = Any


class Parallel(NamedTuple):
    """How to run on `devices` devices; `name` is "pmap" or "shard_map".

    replicate: tree of arrays -> the same tree, whole on every device.
    shard: {name: [batch, ...]} on the host -> the form that a compiled function takes.
    compile: function(state, constants, batch) of one device's part -> compiled function
      of replicated state and constants and a sharded batch. Its results must be equal
      on all devices (pmean, psum or all_gather them) and come back once. `donate` gives
      the state's buffers to the result.
    """

    devices: int
    replicate: Callable[[Tree], Tree]
    shard: Callable[[dict[str, np.ndarray]], Tree]
    compile: Callable[..., Callable[[Tree, Tree, Tree], Tree]]
    name: str = ""


def make(name: str, *, devices: int | None = None) -> Parallel:
    """`Parallel` by name: "pmap" or "shard_map", over the first `devices` devices."""
    mapper = lookup(
        name, {"pmap": _pmap, "shard_map": _shard_map}, where="config.parallel"
    )
    present = jax.devices()
    if devices is not None:
        integer(devices, low=1, high=len(present), where="config.devices")
    mesh = Mesh(np.array(present[:devices]), (AXIS,), axis_types=(AxisType.Auto,))
    everywhere = NamedSharding(mesh, PartitionSpec())
    compile_, shard = mapper(mesh)
    return Parallel(
        devices=mesh.size,
        # A copy: device_put may alias a host array, and a donated alias is corrupted.
        replicate=partial(jax.device_put, device=everywhere, may_alias=False),
        shard=shard,
        compile=compile_,
        name=name,
    )


def _pmap(mesh: Mesh) -> tuple[Callable[..., Any], Callable[..., Any]]:
    def compile_(function: Callable[..., Tree], *, donate: bool = False) -> Any:
        return jax.pmap(
            function,
            axis_name=AXIS,
            in_axes=(None, None, 0),
            out_axes=None,
            devices=list(mesh.devices),
            donate_argnums=(0,) if donate else (),
        )

    def shard(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {k: v.reshape(mesh.size, -1, *v.shape[1:]) for k, v in batch.items()}

    return compile_, shard


def _shard_map(mesh: Mesh) -> tuple[Callable[..., Any], Callable[..., Any]]:
    whole, part = PartitionSpec(), PartitionSpec(AXIS)

    def compile_(function: Callable[..., Tree], *, donate: bool = False) -> Any:
        mapped = jax.shard_map(
            function,
            mesh=mesh,
            in_specs=(whole, whole, part),
            out_specs=whole,
            check_vma=False,  # results are equal by the step's own collectives
        )
        return jax.jit(mapped, donate_argnums=(0,) if donate else ())

    def shard(batch: dict[str, np.ndarray]) -> Tree:
        return jax.device_put(batch, NamedSharding(mesh, part))

    return compile_, shard


def to_host(tree: Tree) -> Tree:
    """Replicated arrays -> NumPy copies (never views: the originals may be donated)."""
    return jax.tree.map(lambda leaf: np.array(leaf, copy=True), jax.device_get(tree))
