"""Optimisers and schedules from config sections."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kdjax.errors import InputError
from kdjax.training import optim

CONSTANT = {"name": "constant", "value": 0.1}
WEARABLE = {
    "name": "steps",
    "values": [0.05, 0.01, 0.001, 0.0001],
    "boundaries": [0.055, 1 / 3, 2 / 3],
}


def test_wearable_schedule_at_200_epochs():
    spec = {"name": "sgd", "schedule": WEARABLE}
    _, schedule = optim.build(spec, total_steps=200)
    rates = [float(schedule(jnp.int32(epoch))) for epoch in (0, 10, 11, 66, 67, 133)]
    np.testing.assert_allclose(rates, [0.05, 0.05, 0.01, 0.01, 0.001, 0.0001])


def test_cosine_schedule_follows_its_formula():
    rate = {"name": "cosine", "value": 0.2, "warmup": 0.1, "end": 0.02}
    _, schedule = optim.build({"name": "adam", "schedule": rate}, total_steps=100)
    expected = [0.2 * t / 10 for t in range(10)] + [
        0.02 + 0.18 * 0.5 * (1 + np.cos(np.pi * (t - 10) / 90)) for t in range(10, 101)
    ]
    found = [float(schedule(jnp.int32(t))) for t in range(101)]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_is_torch_sgd(nesterov):
    """v = m v + (g + d w);  w -= lr (v, or g + d w + m v with Nesterov)."""
    spec = {"name": "sgd", "momentum": 0.9, "weight_decay": 0.01, "nesterov": nesterov}
    tx, _ = optim.build(spec | {"schedule": CONSTANT}, total_steps=3)
    weights, velocity = np.array([1.0, -2.0]), np.zeros(2)
    params = jnp.asarray(weights, jnp.float32)
    state = tx.init(params)
    for gradient in ([0.5, 1.0], [-1.0, 0.25], [2.0, 0.0]):
        updates, state = tx.update(jnp.asarray(gradient), state, params)
        params = optax.apply_updates(params, updates)
        total = np.array(gradient) + 0.01 * weights
        velocity = 0.9 * velocity + total
        weights = weights - 0.1 * (total + 0.9 * velocity if nesterov else velocity)
    np.testing.assert_allclose(params, weights, rtol=1e-6)


def test_adamw_decays_apart_from_the_gradient():
    spec = {"name": "adamw", "weight_decay": 0.5, "schedule": CONSTANT}
    tx, _ = optim.build(spec, total_steps=1)
    params = jnp.array([2.0])
    updates, _ = tx.update(jnp.array([0.0]), tx.init(params), params)
    np.testing.assert_allclose(updates, [-0.1 * 0.5 * 2.0], rtol=1e-6)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"schedule": CONSTANT}, r"config.optimizer.name: missing"),
        ({"name": "sgd"}, r"config.optimizer.schedule.name: missing"),
        ({"name": "sdg", "schedule": CONSTANT}, r"'sdg' \(did you mean 'sgd'\?\)"),
        (
            {"name": "sgd", "momentun": 0.9, "schedule": CONSTANT},
            r"config.optimizer.momentun: unknown field \(did you mean 'momentum'\?\)",
        ),
        (
            {"name": "sgd", "schedule": {"name": "constant"}},
            r"config.optimizer.schedule.value: missing",
        ),
        (
            {"name": "sgd", "schedule": WEARABLE | {"boundaries": [0.5]}},
            r"one more value than boundaries",
        ),
        (
            {
                "name": "adam",
                "schedule": {"name": "cosine", "value": 1.0, "warmup": 1.5},
            },
            r"expected 0 <= warmup < 1, got 1.5",
        ),
    ],
)
def test_wrong_sections_are_named(spec, message):
    with pytest.raises(InputError, match=message):
        optim.build(spec, total_steps=10)
