"""Running one device's step on every device: pmap, and shard_map behind the same names.

A step is written for one device: it sees its part of the batch, the whole state, and
the axis `AXIS` for collectives. This is the only file that knows how it is mapped.

Of several processes each has devices of its own, and shards its own part of a batch.

Gradients: `pmean` the loss inside the differentiated function and `pmean` the gradients
(`psum` would be too large by the number of devices, which Adam hides).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from kdjax.checks import integer
from kdjax.errors import InputError, lookup
from kdjax.training import processes

AXIS = "devices"
CHUNK = 2**26  # bytes sent from one process to the others at once

Tree = Any


class Parallel(NamedTuple):
    """How to run on `devices` devices; `name` is "pmap" or "shard_map".

    replicate: tree of arrays -> the same tree, whole on every device. Of several
      processes, process 0's tree: those of the others give structure and shapes.
    shard: {name: [batch, ...]} on the host, this process's part of the batch -> the
      form that a compiled function takes.
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

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as what makes it, for another process has devices of its own."""
        return partial(make, devices=self.devices), (self.name,)


def of_config(config: Mapping[str, Any]) -> Parallel:
    """`make` of the fields `parallel` and `devices` of an experiment's config."""
    return make(config.get("parallel", "pmap"), devices=config.get("devices"))


def make(name: str, *, devices: int | None = None) -> Parallel:
    """`Parallel` by name: "pmap" or "shard_map", over the first `devices` devices."""
    mapper = lookup(
        name, {"pmap": _pmap, "shard_map": _shard_map}, where="config.parallel"
    )
    present = _present()
    if devices is not None:
        fewest = 1 if processes.count() == 1 else len(present)
        integer(devices, low=fewest, high=len(present), where="config.devices")
    mesh = _mesh(present[:devices])
    # what pmap takes and gives is of this process's devices alone
    whole = mesh if name == "shard_map" else _mesh(mesh.local_devices)
    compile_, shard = mapper(mesh)
    return Parallel(
        devices=mesh.size,
        replicate=partial(_replicate, NamedSharding(whole, PartitionSpec())),
        shard=shard,
        compile=compile_,
        name=name,
    )


def _present() -> list[jax.Device]:
    """The devices of all processes, in the order of the parts of a batch."""
    present = sorted(jax.devices(), key=lambda device: device.process_index)
    if len(present) != processes.count() * jax.local_device_count():
        raise InputError(
            f"expected as many devices on every process, found {len(present)} on "
            f"{processes.count()} and {jax.local_device_count()} here"
        )
    return present


def _mesh(devices: Sequence[jax.Device]) -> Mesh:
    return Mesh(np.array(devices), (AXIS,), axis_types=(AxisType.Auto,))


def _replicate(whole: NamedSharding, tree: Tree) -> Tree:
    if processes.count() > 1:
        tree = _of_first(tree)
    # A copy: device_put may alias a host array, and a donated alias is corrupted.
    if whole.is_fully_addressable:
        return jax.device_put(tree, whole, may_alias=False)

    def place(leaf: Any) -> jax.Array:
        if is_key(leaf):
            data = place(jax.random.key_data(leaf))
            return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
        array = np.asarray(leaf)
        copies = [
            jax.device_put(array, device, may_alias=False)
            for device in whole.mesh.local_devices
        ]
        return jax.make_array_from_single_device_arrays(array.shape, whole, copies)

    return jax.tree.map(place, tree)


def is_key(leaf: Any) -> bool:
    """Whether an array holds typed random keys."""
    return isinstance(leaf, jax.Array) and jnp.issubdtype(
        leaf.dtype, jax.dtypes.prng_key
    )


def _of_first(tree: Tree) -> Tree:
    """Process 0's arrays; they are sent only if another process has others."""
    leaves, structure = jax.tree.flatten(tree)
    keys = [is_key(leaf) for leaf in leaves]
    arrays = [
        np.asarray(jax.random.key_data(leaf) if key else leaf, order="C")
        for leaf, key in zip(leaves, keys, strict=True)
    ]
    sha = hashlib.sha256()
    for array in arrays:
        sha.update(f"{array.shape}{array.dtype}".encode())
        sha.update(array.reshape(-1).view(np.uint8).data)
    if len(set(processes.all_say(sha.hexdigest()))) == 1:
        return tree
    sent = [_sent(array) for array in arrays]
    return jax.tree.unflatten(
        structure,
        [
            jax.random.wrap_key_data(jnp.asarray(array), impl=jax.random.key_impl(leaf))
            if key
            else array
            for array, leaf, key in zip(sent, leaves, keys, strict=True)
        ],
    )


def _sent(array: np.ndarray) -> np.ndarray:
    """Process 0's array, byte for byte, a chunk at a time."""
    data = np.frombuffer(array.tobytes(), np.uint8)
    parts = [
        multihost_utils.broadcast_one_to_all(data[start : start + CHUNK])
        for start in range(0, data.size, CHUNK)
    ]
    joined = np.concatenate([np.asarray(p) for p in parts]) if parts else data
    return joined.view(array.dtype).reshape(array.shape)


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
        own = len(mesh.local_devices)
        return {k: v.reshape(own, -1, *v.shape[1:]) for k, v in batch.items()}

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
        sharding = NamedSharding(mesh, part)
        if sharding.is_fully_addressable:
            return jax.device_put(batch, sharding)
        return jax.tree.map(
            partial(jax.make_array_from_process_local_data, sharding), batch
        )

    return compile_, shard


def to_host(tree: Tree) -> Tree:
    """Replicated arrays -> NumPy copies (never views: the originals may be donated)."""
    return jax.tree.map(lambda leaf: np.array(leaf, copy=True), jax.device_get(tree))


def gather(part: np.ndarray) -> np.ndarray:
    """All processes' parts of an array, [n, ...] each, one after another."""
    if processes.count() == 1:
        return part
    return np.asarray(multihost_utils.process_allgather(part, tiled=True))
