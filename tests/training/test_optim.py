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
    _, schedule = optim.build(spec, total_steps=200, batch_size=256)
    rates = [float(schedule(jnp.int32(epoch))) for epoch in (0, 10, 11, 66, 67, 133)]
    np.testing.assert_allclose(rates, [0.05, 0.05, 0.01, 0.01, 0.001, 0.0001])


def test_cosine_schedule_follows_its_formula():
    rate = {"name": "cosine", "value": 0.2, "warmup": 0.1, "end": 0.02}
    _, schedule = optim.build(
        {"name": "adam", "schedule": rate}, total_steps=100, batch_size=256
    )
    expected = [0.2 * t / 10 for t in range(10)] + [
        0.02 + 0.18 * 0.5 * (1 + np.cos(np.pi * (t - 10) / 90)) for t in range(10, 101)
    ]
    found = [float(schedule(jnp.int32(t))) for t in range(101)]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_is_torch_sgd(nesterov):
    """v = m v + (g + d w);  w -= lr (v, or g + d w + m v with Nesterov)."""
    spec = {"name": "sgd", "momentum": 0.9, "weight_decay": 0.01, "nesterov": nesterov}
    tx, _ = optim.build(spec | {"schedule": CONSTANT}, total_steps=3, batch_size=256)
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
    tx, _ = optim.build(spec, total_steps=1, batch_size=256)
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
        optim.build(spec, total_steps=10, batch_size=256)


def simclr_lars(weights, gradient, velocity, rate, *, decay, trust, adapted):
    """One step of SimCLR's lars_optimizer.py, written out in float64."""
    if adapted:
        gradient = gradient + decay * weights
        norms = np.linalg.norm(weights), np.linalg.norm(gradient)
        ratio = trust * norms[0] / norms[1] if all(norms) else 1.0
        rate = rate * ratio
    velocity = 0.9 * velocity + rate * gradient
    return weights - velocity, velocity


def test_lars_is_simclrs():
    spec = {"name": "lars", "weight_decay": 0.01, "schedule": CONSTANT}
    tx, _ = optim.build(spec, total_steps=4, batch_size=256)
    rng = np.random.default_rng(0)
    start = {"kernel": rng.normal(size=(3, 2)), "bias": rng.normal(size=2)}
    start["zero"] = np.zeros((2, 2))
    weights, velocity = dict(start), {k: np.zeros_like(v) for k, v in start.items()}
    params = {k: jnp.asarray(v, jnp.float32) for k, v in start.items()}
    state = tx.init(params)
    for _ in range(4):
        gradients = {k: rng.normal(size=v.shape) for k, v in start.items()}
        narrow = {k: jnp.asarray(v, jnp.float32) for k, v in gradients.items()}
        updates, state = tx.update(narrow, state, params)
        params = optax.apply_updates(params, updates)
        for name in start:
            weights[name], velocity[name] = simclr_lars(
                weights[name],
                gradients[name],
                velocity[name],
                0.1,
                decay=0.01,
                trust=1e-3,
                adapted=name != "bias",
            )
    for name in start:
        np.testing.assert_allclose(params[name], weights[name], rtol=2e-6)


@pytest.mark.parametrize(
    ("rule", "factor"), [("none", 1.0), ("linear", 16.0), ("sqrt", 64.0)]
)
def test_the_rate_is_scaled_by_the_batch(rule, factor):
    rate = {"name": "cosine", "value": 0.3, "warmup": 0.1, "scaling": rule}
    spec = {"name": "lars", "schedule": rate}
    _, schedule = optim.build(spec, total_steps=100, batch_size=4096)
    np.testing.assert_allclose(float(schedule(10)), 0.3 * factor, rtol=1e-6)
    assert float(schedule(0)) == 0.0
    np.testing.assert_allclose(float(schedule(100)), 0.0, atol=1e-6)


def test_accumulated_steps_are_one_step_of_their_mean_gradient():
    spec = {"name": "sgd", "schedule": {"name": "cosine", "value": 0.1}}
    whole, _ = optim.build(spec, total_steps=3, batch_size=256)
    parts, rates = optim.build(spec | {"accumulate": 4}, total_steps=12, batch_size=64)
    rng = np.random.default_rng(1)
    gradients = jnp.asarray(rng.normal(size=(3, 4, 5)), jnp.float32)
    found = expected = jnp.ones(5)
    state, other = parts.init(found), whole.init(expected)
    for step in range(3):
        for part in gradients[step]:
            updates, state = parts.update(part, state, found)
            found = optax.apply_updates(found, updates)
        updates, other = whole.update(gradients[step].mean(0), other, expected)
        expected = optax.apply_updates(expected, updates)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert float(rates(3)) == float(rates(0)) > float(rates(4))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"accumulate": 0}, r"config.optimizer.accumulate: expected an integer >= 1"),
        (
            {"schedule": CONSTANT | {"scaling": "lineer"}},
            r"scaling: unknown name 'lineer' \(did you mean 'linear'",
        ),
    ],
)
def test_what_a_large_batch_cannot_take(spec, message):
    base = {"name": "lars", "schedule": CONSTANT}
    with pytest.raises(InputError, match=message):
        optim.build(base | spec, total_steps=10, batch_size=256)
