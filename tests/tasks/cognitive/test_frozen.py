"""Frozen parameters stay as they start in training, whatever is paid for weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.tasks.cognitive import task
from kdjax.training.parallel import AXIS
from kdjax.training.task import Training


@pytest.mark.parametrize(
    ("frozen", "rank", "held"),
    [
        (["recurrent", "input"], None, {"recurrent", "input"}),
        (["recurrent"], 2, {"recurrent_in", "recurrent_out"}),
        ([], None, set()),
    ],
)
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_neither_a_cost_nor_a_decay_moves_them(frozen, rank, held, optimizer):
    made = task.make(
        trials={"name": "checkerboard"},
        model={"name": "ctrnn", "units": 4, "frozen": frozen, "rank": rank},
        training=Training(epochs=1, batch_size=2, select="correct"),
        optimizer={
            "name": optimizer,
            "weight_decay": 0.1,
            "schedule": {"name": "constant", "value": 0.1},
        },
        losses={
            "squared_error": {"weight": 1.0},
            "weight_l1": {"weight": 0.1},
            "weight_l2": {"weight": 0.1},
        },
        examples={"train": 4, "validation": 4, "test": 4},
        seed=0,
    )
    state = made.init(jax.random.key(0))
    step = jax.jit(
        jax.vmap(
            made.step, in_axes=(None, 0, None, None), out_axes=None, axis_name=AXIS
        )
    )
    batch = {"index": jnp.arange(2)[None]}
    constants = jax.tree.map(jnp.asarray, made.constants())
    after = state
    for _ in range(2):
        after, _ = step(after, batch, constants, jax.random.key(1))
    same = {
        name
        for name, value in after.params.items()
        if np.array_equal(value, state.params[name])
    }
    assert same == held
