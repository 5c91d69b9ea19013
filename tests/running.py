"""Small stages on synthetic heart beats, for the tests of anomaly detection."""

import jax
import jax.numpy as jnp

from kdjax.tasks.contrastive import simclr
from kdjax.training import loop, parallel
from kdjax.training.task import Training

RATE = 0.1
DATA = {"name": "synthetic_ecg", "patients": 8, "beats": 20}
VIEWS = {"name": "scaling", "std": 0.5}
PROJECTION = {"hidden": [5], "outputs": 4}
ENCODER = {"name": "beat_encoder", "width": 2, "projection": PROJECTION}


def training(**changes):
    fields = {"epochs": 1, "batch_size": 16, "select": "loss"}
    return Training(**(fields | changes))


def sgd(value=RATE):
    schedule = {"name": "constant", "value": value}
    return {"name": "sgd", "momentum": 0.0, "schedule": schedule}


def mapped(function, *, donate=False):
    """What pmap compiles, on one device: the devices are an axis of vmap."""
    del donate
    axes = {"in_axes": (None, None, 0), "out_axes": None}
    return jax.jit(jax.vmap(function, **axes, axis_name=parallel.AXIS))


def take_step(task):
    """(state before, state after, metrics, x)"""
    constants = jax.tree.map(jnp.asarray, task.constants())
    before = task.init(jax.random.key(0))
    batch = next(iter(task.data["train"].batches(16, epoch=1)))
    shards = jax.tree.map(lambda a: jnp.asarray(a)[None], batch)

    def step(state, constants, batch):
        return task.step(state, batch, constants, jax.random.key(7))

    after, metrics = mapped(step)(before, constants, shards)
    return before, after, metrics, constants["x"][batch["index"]]


def run(task, settings, folder):
    """What `loop.run` finds, its functions compiled by `mapped`."""
    devices = parallel.make("pmap", devices=1)._replace(compile=mapped)
    devices = devices._replace(
        shard=lambda batch: {k: jnp.asarray(v)[None] for k, v in batch.items()}
    )
    return loop.run(task, settings, folder=folder, seed=0, devices=devices, label="")


def trained_stage(task, folder, model, *, name="beatgan", **changes):
    """Trains `task` by `training(**changes)`: the section that names the stage."""
    run(task, training(**changes), folder)
    config = {"task": name, "data": DATA, "seed": 0, "model": model}
    return {"folder": folder, "checkpoint": "last", "config": config}


def pretrained(folder):
    """`ENCODER`, trained by SimCLR for an epoch."""
    task = simclr.make(
        data=DATA,
        model=ENCODER,
        training=training(),
        optimizer=sgd(),
        augment=VIEWS,
        seed=0,
    )
    return trained_stage(task, folder, ENCODER, name="simclr")
