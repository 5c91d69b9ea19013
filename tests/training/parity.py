"""Run by test_parallel.py in a process with 8 host devices: prints how far apart.

For each mapper and number of devices: three training steps with batch norm and
augmentation and one ragged evaluation, against the same on one unmapped device.
"""

import json
import sys

import jax
import jax.numpy as jnp
import numpy as np

from kdjax.tasks import distill
from kdjax.training import loop, parallel
from kdjax.training.checkpoint import model_of

STEPS = 3


def make_task():
    return distill.make(
        data={"name": "synthetic_wearable", "samples": 32, "windows": 8},
        model={"name": "wide_resnet", "depth": 10, "width": 1},
        training=loop.Training(epochs=1, batch_size=16),
        optimizer={
            "name": "sgd",
            "weight_decay": 1e-4,
            "schedule": {"name": "constant", "value": 0.05},
        },
        losses={"cross_entropy": {"weight": 1.0}},
        augment={"name": "mix2"},
        seed=0,
    )


def plain(function, *, donate=False):
    """One device, without pmap or shard_map: the axis is a vmap of size one."""
    mapped = jax.vmap(
        function, in_axes=(None, None, 0), out_axes=None, axis_name=parallel.AXIS
    )
    return jax.jit(mapped)


def train(task, compile_, shard, replicate):
    """(model after STEPS, sums of the validation split in ragged batches of 24)."""
    constants = replicate((task.constants(), jax.random.key(1)))
    state = replicate(jax.jit(task.init)(jax.random.key(0)))
    devices = parallel.Parallel(1, replicate, shard, compile_)
    step = loop.compiled_step(task, devices)
    batches = list(task.data["train"].batches(16, epoch=1))[:STEPS]
    for batch in batches:
        state, metrics = step(state, constants, shard(batch))
    training = loop.Training(epochs=1, batch_size=16, eval_batch_size=24)
    scores = loop.compiled_scores(task, training, devices, constants)
    figures = scores(model_of(state), "validation")
    return parallel.to_host(model_of(state)), figures, float(metrics["loss"])


def main():
    task = make_task()
    assert task.data["validation"].size % 24, "the evaluation must be ragged"
    expected = train(
        task,
        plain,
        lambda batch: {k: jnp.asarray(v)[None] for k, v in batch.items()},
        lambda tree: jax.tree.map(jnp.array, tree),
    )
    for name in ("pmap", "shard_map"):
        for count in (1, 2, 8):
            devices = parallel.make(name, devices=count)
            found = train(task, devices.compile, devices.shard, devices.replicate)
            difference = jax.tree.map(
                lambda a, b: float(np.max(np.abs(a - b))), expected[0], found[0]
            )
            row = {
                "mapper": name,
                "devices": count,
                "parameters": max(jax.tree.leaves(difference)),
                "loss": abs(expected[2] - found[2]),
                "eval_loss": abs(expected[1]["loss"] - found[1]["loss"]),
                "confusion": expected[1]["confusion"] == found[1]["confusion"],
                "examples": found[1]["examples"] == task.data["validation"].size,
            }
            print(json.dumps(row))


if __name__ == "__main__":
    sys.exit(main())
