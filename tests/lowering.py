"""Lowers every system's step and evaluation for TPU and CUDA, on 1 and 8 devices.

Run by test_lowering.py in a process with 8 host devices: prints what is in each module.
"""

import json
import sys
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import export, lax

from kdjax.tasks.distillation import distill
from kdjax.training import parallel, programs
from kdjax.training.checkpoint import Checkpoints, Progress, model_of
from kdjax.training.task import Training
from tests.training import parity

ACCELERATORS = ("tpu", "cuda")


def make_kd():
    """A student of a network like its own, whose parameters are all 0."""
    folder = Path(tempfile.mkdtemp())
    checkpoints = Checkpoints(folder)
    init = parity.make_distill().init
    shapes = model_of(jax.eval_shape(init, jax.random.key(0)))
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    checkpoints.save_best(zeros, Progress())
    checkpoints.close()
    data = {"name": "synthetic_wearable", "samples": 32, "windows": 8}
    model = {"name": "wide_resnet", "depth": 10, "width": 1}
    config = {"task": "distill", "data": data, "model": model, "seed": 0}
    return distill.make(
        data=data,
        model=model,
        training=Training(epochs=1, batch_size=16),
        optimizer={"name": "adam", "schedule": {"name": "constant", "value": 0.01}},
        losses={"cross_entropy": {"weight": 0.3}, "kd": {"weight": 0.7}},
        teacher={"folder": str(folder), "config": config},
        seed=0,
    )


MAKERS = {
    "distill": parity.make_distill,
    "kd": make_kd,
    "simclr": parity.make_simclr,
    "autoencoder": parity.make_autoencoder,
    "beatgan": parity.make_beatgan,
    "cognitive": parity.make_cognitive,
}


def functions(task, devices):
    """{"step" or "evaluate": (the function that the loop compiles, its arguments)}"""
    compiled = []

    def keep(function, **options):
        compiled.append(devices.compile(function, **options))
        return compiled[-1]

    kept = devices._replace(compile=keep)
    training = Training(epochs=1, batch_size=16, eval_batch_size=16)
    programs.compiled_step(task, kept)
    programs.compiled_scores(task, training, kept)
    state = jax.eval_shape(task.init, jax.random.key(0))
    constants = task.constants(), jax.random.key(1)
    train, held = (
        next(iter(task.data[split].batches(16, epoch=epoch)))
        for split, epoch in (("train", 1), ("validation", None))
    )
    step, evaluate = compiled
    return {
        "step": (step, (state, constants, train)),
        "evaluate": (evaluate, (model_of(state), constants, held)),
    }


def lower(task, what, function, arguments, platforms=ACCELERATORS):
    """Prints how many convolutions and products there are in the module."""
    exported = export.export(function, platforms=platforms)(*arguments)
    text = exported.mlir_module()
    row = {
        "task": task,
        "what": what,
        "devices": exported.nr_devices,
        "platforms": exported.platforms,
        "convolutions": text.count("stablehlo.convolution("),
        "products": text.count("stablehlo.dot_general "),
    }
    print(json.dumps(row))


def main():
    one = jnp.zeros((2, 3, 8)), jnp.zeros((4, 3, 3))
    plain = jax.jit(lambda x, kernel: lax.conv(x, kernel, (1,), "SAME"))
    lower("none", "convolution", plain, one)
    for name, make in MAKERS.items():
        task = make()
        for count in (1, 8):
            devices = parallel.make("shard_map", devices=count)
            for what, (function, arguments) in functions(task, devices).items():
                lower(name, what, function, arguments)
                if (name, what, count) == ("distill", "step", 1):
                    lower(name, what, function, arguments, ("cpu",))


if __name__ == "__main__":
    sys.exit(main())
