"""A task that compiles in no time, for tests of the loop.

As a program, for test_together.py: eight members on one host device and on two.
"""

import sys
from functools import partial
from itertools import islice
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from kdjax.augment import example_keys
from kdjax.data.dataset import epoch_order, index_batches
from kdjax.training import loop, parallel
from kdjax.training.metrics import Metric
from kdjax.training.parallel import AXIS
from kdjax.training.state import TrainState
from kdjax.training.task import Source, Task, Training

STEPS = 7  # an epoch


def settings(**changes):
    fields = {"epochs": 2, "batch_size": 16, "log_steps": 2, "select": "loss"}
    return Training(**fields | changes)


def tiny(seed=0, *, bad=-1, rate=0.1, best_at=100, streamed=False):
    """Three numbers that come near others, best at one step, NaN at another."""

    def batches(size, start, batch_size, *, epoch, rows=slice(None), skip=0):
        order = np.arange(size)
        if epoch is not None:
            order = epoch_order(size, seed=seed, epoch=epoch)
        every = index_batches(
            size, batch_size, order=order + start, drop_remainder=epoch is not None
        )
        for batch in islice(every, skip, None):
            yield {name: x[rows] for name, x in batch.items()}

    def init(rng):
        w = jax.random.normal(rng, (3,))
        zero = jnp.zeros((), jnp.int32)
        return TrainState(zero, {"w": w}, {"n": zero}, {"m": jnp.zeros(3)})

    def step(state, batch, constants, rng):
        keys = example_keys(rng, batch["index"])
        targets = jax.vmap(lambda key: jax.random.normal(key, (3,)))(keys)
        targets = targets + constants["x"][batch["index"] % 5][:, None]
        gradient = lax.pmean(state.params["w"] - jnp.mean(targets, 0), AXIS)
        m = 0.9 * state.opt_state["m"] + gradient
        params = {"w": state.params["w"] - constants["rate"] * m}
        loss = jnp.sum(jnp.square(gradient))
        loss = jnp.where(state.step + 1 == constants["bad"], jnp.nan, loss)
        logged = {"loss": loss, "grad_norm": jnp.sqrt(jnp.sum(jnp.square(m)))}
        model_state = {"n": state.step + 1}
        return TrainState(state.step + 1, params, model_state, {"m": m}), logged

    def evaluate(model, batch, constants):
        off = jnp.abs(model["model_state"]["n"] - constants["best_at"])
        off = off + 0.1 * jnp.tanh(model["params"]["w"].sum())
        sums = {"loss": (off * batch["mask"].sum(), batch["mask"].sum())}
        return lax.psum(sums, AXIS)

    constants = {
        "x": np.arange(5, dtype=np.float32),
        "rate": np.float32(rate),
        "bad": np.int32(bad),
        "best_at": np.int32(best_at),
    }
    sizes = {"train": 16 * STEPS + 3, "validation": 20, "test": 20}
    return Task(
        init=init,
        step=step,
        evaluate=evaluate,
        summarize=lambda total: {"loss": float(total["loss"][0] / total["loss"][1])},
        metrics={"loss": Metric("loss", "loss", False)},
        data={
            split: Source(size, partial(batches, size, 0), streamed)
            for split, size in sizes.items()
        },
        constants=lambda: constants,
        finish=lambda models, folder: None,
        about={},
        program="tiny",
    )


def main():
    training = settings(epochs=8, checkpoint_epochs=8, eval_epochs=4)
    for count in (1, 2):
        root = Path(sys.argv[1]) / str(count)
        members = [
            loop.Member(tiny(rate=0.01 * (i + 1)), root / str(i), 0, str(i))
            for i in range(8)
        ]
        devices = parallel.make("pmap", devices=count)
        reached = loop.run_together(members, training, devices=devices, vmapped=False)
        print(*(each["last"]["test"]["loss"] for each in reached))


if __name__ == "__main__":
    main()
