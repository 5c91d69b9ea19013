"""Small tasks of every system, and how far apart they are on one device and several.

Run by test_parallel.py in a process with 8 host devices.

For each task, mapper and number of devices: some training steps with batch norm and
augmentation and one ragged evaluation, against the same on one unmapped device.
"""

import json
import sys
from collections.abc import Callable
from itertools import islice
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kdjax.plan import merge
from kdjax.tasks.anomaly import autoencoder, beatgan
from kdjax.tasks.cognitive import task as cognitive
from kdjax.tasks.contrastive import simclr
from kdjax.tasks.distillation import distill
from kdjax.training import parallel, programs
from kdjax.training.checkpoint import model_of
from kdjax.training.task import Training


def changed(base, model):
    """A `model` section with these fields changed; of another name, they are all."""
    return merge({"model": base}, {"model": model})["model"]


def make_distill(**model):
    return distill.make(
        data={"name": "synthetic_wearable", "samples": 32, "windows": 8},
        model=changed({"name": "wide_resnet", "depth": 10, "width": 1}, model),
        training=Training(epochs=1, batch_size=16),
        optimizer={
            "name": "sgd",
            "weight_decay": 1e-4,
            "schedule": {"name": "constant", "value": 0.05},
        },
        losses={"cross_entropy": {"weight": 1.0}},
        augment={"name": "mix2"},
        seed=0,
    )


CONVNET = {
    "name": "convnet",
    "widths": (8, 16),
    "windows": (3, 3),
    "strides": (1, 2),
    "projection": {"hidden": (16, 16), "outputs": 8},
}


def make_simclr(contrast=None, **model):
    """Batch norm over all devices, LARS; on real digits."""
    return simclr.make(
        data={"name": "digits"},
        model=changed(CONVNET, model),
        training=Training(epochs=1, batch_size=32, select="loss"),
        optimizer={
            "name": "lars",
            "schedule": {
                "name": "cosine",
                "value": 0.3,
                "scaling": "linear",
                "warmup": 0.1,
            },
        },
        augment={"name": "simclr_image", "min_area": 0.5, "blur": 0.0},
        contrast={"temperature": 0.5} | (contrast or {}),
        seed=0,
    )


BEATGAN = {"name": "beatgan", "latent": 3, "width": 2}


def make_beatgan(**model):
    """All the terms; SGD, since Adam would hide a wrong scale."""
    return beatgan.make(
        data={"name": "synthetic_ecg", "patients": 8, "beats": 21, "abnormal": 0.2},
        model=BEATGAN
        | {
            "self_teacher": {"width": 2},
            "projection": {"hidden": (4,), "outputs": 4},
        }
        | model,
        training=Training(epochs=1, batch_size=16, select="loss"),
        optimizer={"name": "sgd", "schedule": {"name": "constant", "value": 0.05}},
        losses={
            "self_distillation": {"beta": 1.0},
            "contrastive": {"augment": {"name": "scaling"}, "temperature": 0.5},
        },
        seed=0,
    )


def make_autoencoder(**model):
    return autoencoder.make(
        data={"name": "synthetic_ecg", "patients": 8, "beats": 21, "abnormal": 0.2},
        model=changed(BEATGAN, model),
        training=Training(epochs=1, batch_size=16, select="loss"),
        optimizer={"name": "sgd", "schedule": {"name": "constant", "value": 0.05}},
        seed=0,
    )


NOISY = {"name": "ctrnn", "units": 8, "tau": 200.0, "recurrent_noise": 0.1}


def make_cognitive(**model):
    """Costs that are sums over the whole batch; SGD, so that gradients are compared."""
    return cognitive.make(
        trials={"name": "perceptual_decision", "dt": 100.0, "stimulus": 400.0},
        model=changed(NOISY, model),
        training=Training(epochs=1, batch_size=16, select="loss"),
        optimizer={"name": "sgd", "schedule": {"name": "constant", "value": 0.05}},
        losses={
            "squared_error": {"weight": 1.0},
            "rate_l1": {"weight": 1e-3, "reduction": "sum"},
            "rate_l2": {"weight": 1e-3, "reduction": "sum"},
            "weight_l1": {"weight": 1e-3},
            "weight_l2": {"weight": 1e-3},
        },
        examples={"train": 64, "validation": 40, "test": 8},
        evaluation_noise=True,
        seed=0,
    )


class Case(NamedTuple):
    """`compared`: metrics. `mappers`: of which 8 devices are compared with one."""

    make: Callable[[], Any]
    batch_size: int
    steps: int
    compared: tuple[str, ...]
    mappers: tuple[str, ...]


BOTH = ("pmap", "shard_map")
CASES = {
    "distill": Case(make_distill, 16, 3, ("loss", "confusion"), BOTH),
    "simclr": Case(make_simclr, 32, 20, ("loss", "uniformity", "rank"), BOTH),
    "cognitive": Case(make_cognitive, 16, 3, ("loss", "correct"), ("shard_map",)),
    "beatgan": Case(make_beatgan, 16, 2, ("loss", "auc"), ("pmap",)),
}
# Of the same result: negatives sent round a ring of devices, chunk by chunk.
RING = "simclr_ring", lambda: make_simclr({"ring": True, "chunk_size": 3}), "shard_map"


def plain(function, *, donate=False):
    """One device, without pmap or shard_map: the axis is a vmap of size one."""
    mapped = jax.vmap(
        function, in_axes=(None, None, 0), out_axes=None, axis_name=parallel.AXIS
    )
    return jax.jit(mapped)


def train(task, devices, case):
    """(model, metrics of the validation split in ragged batches, last loss)"""
    constants = devices.replicate((task.constants(), jax.random.key(1)))
    state = devices.replicate(task.init(jax.random.key(0)))
    step = programs.compiled_step(task, devices)
    for batch in islice(task.data["train"].own(case.batch_size, epoch=1), case.steps):
        state, logged = step(state, constants, devices.shard(batch))
    training = Training(epochs=1, batch_size=case.batch_size, eval_batch_size=24)
    scores = programs.compiled_scores(task, training, devices)
    metrics = scores(task, model_of(state), constants, "validation")
    return parallel.to_host(model_of(state)), metrics, float(logged["loss"])


def main():
    unmapped = parallel.Parallel(
        1,
        lambda tree: jax.tree.map(jnp.array, tree),
        lambda batch: {k: jnp.asarray(v)[None] for k, v in batch.items()},
        plain,
    )
    for name, case in CASES.items():
        task = case.make()
        assert task.data["validation"].size % 24, "the evaluation must be ragged"
        expected = train(task, unmapped, case)
        for mapper in case.mappers:
            compare(name, task, mapper, case, expected)
        if name == "simclr":
            other, make, mapper = RING
            compare(other, make(), mapper, case, expected)


def compare(name, task, mapper, case, expected):
    """Prints how far a task on eight devices is from the same on one device."""
    got = train(task, parallel.make(mapper, devices=8), case)
    difference = jax.tree.map(
        lambda a, b: float(np.max(np.abs(a - b))), expected[0], got[0]
    )
    row = {
        "task": name,
        "mapper": mapper,
        "parameters": max(jax.tree.leaves(difference)),
        "loss": abs(expected[2] - got[2]),
        "figures": max(
            float(np.max(np.abs(np.subtract(expected[1][k], got[1][k]))))
            for k in case.compared
        ),
        "examples": got[1]["examples"] == task.data["validation"].size,
    }
    print(json.dumps(row))


if __name__ == "__main__":
    sys.exit(main())
