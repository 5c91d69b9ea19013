"""Run by test_contrastive.py in a process with 8 host devices: prints JSON rows.

"parity": how far value and parameter gradients of pmap, shard_map, and an explicit mesh
are from one unmapped device's. "refused": the error of an explicit mesh that is not
set. "compiled": bytes that the compiled program holds and receives on a
device, beside what tests/benchmarks/contrastive.py says of them.
"""

import json
import math
import re
import runpy
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from kdjax.losses import nt_xent

AXIS = "devices"
MODEL = runpy.run_path(str(Path(__file__).parents[1] / "benchmarks" / "contrastive.py"))
SIZES = [  # examples of a device, dim, chunk
    (1024, 128, 64),
    (256, 16, None),
    (100, 32, 30),
]
BYTES = {"f32": 4, "s32": 4}
COLLECTIVES = "all-gather|collective-permute|reduce-scatter|all-to-all|all-reduce"


def gradient_step(weights, x1, x2, **options):
    """(loss, its gradient in the weights of a linear encoder), the same everywhere."""

    def loss(weights):
        return nt_xent(x1 @ weights, x2 @ weights, **options)

    value, gradient = jax.value_and_grad(loss)(weights)
    if "axis_name" in options:
        gradient = jax.lax.pmean(gradient, options["axis_name"])
    return value, gradient


def make_mesh(devices, kind):
    return jax.make_mesh((devices,), (AXIS,), (kind,), devices=jax.devices()[:devices])


def shard_map(function, devices, in_specs, out_specs):
    mapped = jax.shard_map(
        function,
        mesh=make_mesh(devices, AxisType.Auto),
        in_specs=in_specs,
        out_specs=out_specs,
        check_vma=False,
    )
    return jax.jit(mapped)


def by_pmap(step, devices, weights, *views):
    mapped = jax.pmap(
        step,
        axis_name=AXIS,
        in_axes=(None, 0, 0),
        out_axes=None,
        devices=jax.devices()[:devices],
    )
    return mapped(weights, *(x.reshape(devices, -1, x.shape[1]) for x in views))


def by_shard_map(step, devices, weights, *views):
    whole, part = PartitionSpec(), PartitionSpec(AXIS)
    mapped = shard_map(step, devices, (whole, part, part), whole)
    return mapped(weights, *views)


def by_checked_shard_map(step, devices, weights, *views):
    """As users write it, with every default: an explicit mesh, and its checks."""
    mesh, part = jax.make_mesh((devices,), (AXIS,)), PartitionSpec(AXIS)
    with jax.set_mesh(mesh):
        mapped = jax.shard_map(
            step, in_specs=(PartitionSpec(), part, part), out_specs=PartitionSpec()
        )
        return jax.jit(mapped)(weights, *(jax.device_put(x, part) for x in views))


def by_explicit_mesh(step, devices, weights, *views):
    """The whole batch in one program, that the types of the arrays divide."""
    with jax.set_mesh(make_mesh(devices, AxisType.Explicit)):
        views = [jax.device_put(x, PartitionSpec(AXIS)) for x in views]
        options = {k: v for k, v in step.keywords.items() if k == "chunk_size"}
        return jax.jit(partial(step.func, **options))(weights, *views)


def refused():
    sharding = NamedSharding(make_mesh(8, AxisType.Explicit), PartitionSpec(AXIS))
    views = jax.device_put(jnp.ones((32, 5)), sharding)
    try:
        nt_xent(views, views)
    except Exception as error:
        return {"kind": "refused", "error": repr(error)}


def parity():
    rng = np.random.default_rng(0)
    views = rng.normal(size=(2, 32, 6)).astype(np.float32)
    weights = rng.normal(size=(6, 5)).astype(np.float32)
    value, gradient = jax.jit(gradient_step)(weights, *views)
    ways = {
        by_pmap: ((False, 3), (True, None)),  # ring, chunk
        by_shard_map: ((False, None), (True, 3)),
        by_checked_shard_map: ((False, 3), (True, None)),
        by_explicit_mesh: ((False, None), (False, 3)),
    }
    for mapper, choices in ways.items():
        for devices in (1, 2, 4, 8):
            for ring, chunk in choices:
                options = {"axis_name": AXIS, "ring": ring, "chunk_size": chunk}
                step = partial(gradient_step, **options)
                found = jax.device_get(mapper(step, devices, weights, *views))
                error = np.abs(found[1] - gradient).max() / np.abs(gradient).max()
                yield {
                    "kind": "parity",
                    "mapper": mapper.__name__,
                    "devices": devices,
                    "ring": ring,
                    "chunk": chunk,
                    "value": float(abs(found[0] - value) / value),
                    "gradient": float(error),
                }


def compiled(devices, ring, local, dim, chunk):
    """What the compiled program holds and receives, and what the model says."""
    examples = devices * local

    def step(z1, z2):
        loss = partial(nt_xent, axis_name=AXIS, chunk_size=chunk, ring=ring)
        return jax.value_and_grad(loss, argnums=(0, 1))(z1, z2)

    part = PartitionSpec(AXIS)
    views = [jax.ShapeDtypeStruct((examples, dim), jnp.float32)] * 2
    mapped = shard_map(step, devices, (part, part), (PartitionSpec(), part))
    program = mapped.lower(*views).compile()
    sizes = program.memory_analysis()
    moved = collectives(program.as_text())
    turns = {"all-gather": (devices - 1) / devices, "collective-permute": devices - 1}
    size = {"ring": ring, "chunk": chunk}
    return {
        "kind": "compiled",
        "devices": devices,
        "local": local,
        "dim": dim,
        **size,
        "held": sizes.argument_size_in_bytes
        + sizes.output_size_in_bytes
        + sizes.temp_size_in_bytes,
        "modelled_held": MODEL["memory"](examples, dim, devices, **size),
        "received": sum(moved.get(name, 0) * count for name, count in turns.items()),
        "modelled_received": MODEL["received"](examples, dim, devices, **size),
        "collectives": moved,
    }


def collectives(text):
    """{name: bytes of the results of all such instructions in the program's text}."""
    found = {}
    for shapes, name in re.findall(rf" = (.+?) ({COLLECTIVES})\(", text):
        for kind, shape in re.findall(r"(\w+)\[([\d,]*)\]", shapes):
            count = math.prod(int(side) for side in shape.split(",") if side)
            found[name] = found.get(name, 0) + BYTES[kind] * count
    return found


def main():
    for row in parity():
        print(json.dumps(row))
    print(json.dumps(refused()))
    for local, dim, chunk in SIZES:
        for devices in (1, 2, 4, 8):
            for ring in (False, True) if devices > 1 else (False,):
                print(json.dumps(compiled(devices, ring, local, dim, chunk)))


if __name__ == "__main__":
    main()
