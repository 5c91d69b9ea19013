"""Every system learns where its networks compute in bfloat16; what is kept is float32.

The brain's decoders: tests/tasks/brain/decoding/test_neural.py.
"""

import re
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest

from kdjax.errors import InputError
from kdjax.training import parallel, programs
from kdjax.training.checkpoint import model_of
from kdjax.training.parallel import AXIS
from kdjax.training.task import Training
from tests.training import parity


class Case(NamedTuple):
    """A system's `make`, the metric that training brings down, to what share of its
    first value, and how many products of a step are in float32 at most: those of the
    last layer, forwards and back, and of a loss."""

    make: Callable[..., Any]
    metric: str
    share: float
    exact: int


MOTION = {"name": "motion_beatgan", "widths": (8, 4)}
CASES = {
    "wide_resnet": Case(parity.make_distill, "loss", 0.8, 3),
    "mlp": Case(partial(parity.make_distill, name="mlp", widths=(16,)), "loss", 0.8, 3),
    "simclr": Case(parity.make_simclr, "loss", 0.97, 11),
    "beatgan": Case(parity.make_beatgan, "reconstruction", 0.6, 24),
    "autoencoder": Case(parity.make_autoencoder, "loss", 0.6, 0),
    "motion": Case(partial(parity.make_autoencoder, **MOTION), "loss", 0.97, 0),
    "ctrnn": Case(parity.make_cognitive, "squared_error", 0.7, 3),
    "gru": Case(
        partial(parity.make_cognitive, name="gru", units=8), "squared_error", 0.5, 3
    ),
    "lstm": Case(
        partial(parity.make_cognitive, name="lstm", units=8), "squared_error", 0.5, 3
    ),
}
STEPS = 12


def train(task):
    """(state, [metrics of each step], metrics of the validation split)"""
    devices = parallel.make("pmap", devices=1)
    constants = devices.replicate((task.constants(), jax.random.key(1)))
    state = devices.replicate(task.init(jax.random.key(0)))
    step, logged = programs.compiled_step(task, devices), []
    batches = list(task.data["train"].batches(16, epoch=1))[:2]
    for i in range(STEPS):
        batch = devices.shard(batches[i % len(batches)])
        state, metrics = step(state, constants, batch)
        logged.append(jax.device_get(metrics))
    training = Training(epochs=1, batch_size=16, eval_batch_size=24)
    scores = programs.compiled_scores(task, training, devices)
    return state, logged, scores(task, model_of(state), constants, "validation")


def products(task):
    """How many of a step's matrix products and convolutions have each dtype."""
    batch = next(iter(task.data["train"].batches(16, epoch=1)))
    batch = {name: x[None] for name, x in batch.items()}
    state = jax.eval_shape(task.init, jax.random.key(0))
    step = jax.vmap(
        task.step, in_axes=(None, 0, None, None), out_axes=None, axis_name=AXIS
    )
    traced = jax.make_jaxpr(step)(state, batch, task.constants(), jax.random.key(0))
    product = r":(\w+)\[[\d,]*\] = (?:dot_general|conv_general_dilated)"
    return Counter(re.findall(product, str(traced)))


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, marks=pytest.mark.long if case == "beatgan" else ())
        for case in CASES
    ],
)
def test_a_system_learns_in_bfloat16(case):
    make, metric, share, exact = CASES[case]
    task = make(dtype="bfloat16")
    found = products(task)
    assert set(found) <= {"bf16", "f32"}
    assert found["f32"] <= exact
    assert found["bf16"] >= 2
    state, logged, scores = train(task)
    kept = jax.tree.leaves((state.params, state.model_state, state.opt_state))
    floats = {a.dtype for a in kept if not np.issubdtype(a.dtype, np.integer)}
    assert floats == {np.dtype("float32")}
    for values in logged:
        assert all(v.dtype == np.float32 and np.isfinite(v) for v in values.values())
    assert np.isfinite(scores["loss"])
    falls = [values[metric] for values in logged]
    assert np.mean(falls[-2:]) < share * np.mean(falls[:2])


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", ["float16", "half", 16, None, ["bfloat16"]])
def test_another_dtype_is_refused(case, dtype):
    with pytest.raises(InputError) as caught:
        CASES[case].make(dtype=dtype)
    assert str(caught.value) == (
        f"config.model.dtype: expected one of 'bfloat16', 'float32', found {dtype!r}"
    )
