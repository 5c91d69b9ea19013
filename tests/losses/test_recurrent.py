"""CTRNN's step and costs against NumPy in float64, written from the formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import approx_fprime

from kdjax.losses import (
    ctrnn_loss,
    euler_step,
    rate_l1,
    rate_l2,
    weight_l1,
    weight_l2,
)

GRID = np.arange(24.0)
OUTPUTS, TARGETS = (3 * f(GRID[:12]).reshape(2, 3, 2) for f in (np.sin, np.cos))
RATES = (2 * np.sin(0.7 * GRID)).reshape(2, 3, 4)
MASK = np.array([1.0, 0.0, 2.0])[None, :, None] * np.ones((2, 3, 2))
PARAMS = {"recurrent": np.cos(GRID[:16]).reshape(4, 4), "bias": np.sin(GRID[:4])}
WEIGHTS = np.concatenate([PARAMS["bias"], PARAMS["recurrent"].ravel()])


def relu(x):
    return np.maximum(x, 0)


@pytest.mark.parametrize("alpha", [0.2, 1.0, np.array([0.1, 0.2, 0.5, 1.0])])
@pytest.mark.parametrize("activation", [(jax.nn.relu, relu), (jnp.tanh, np.tanh)])
def test_both_leaks_equal_their_formula(alpha, activation):
    of_jax, of_numpy = activation
    drive = np.cos(RATES)
    traced = alpha if isinstance(alpha, float) else jnp.asarray(alpha)
    step = jax.jit(
        lambda r, d, inside: euler_step(
            r, d, alpha=traced, activation=of_jax, leak_inside=inside
        ),
        static_argnums=2,
    )
    outside = (1 - alpha) * RATES + alpha * of_numpy(drive)
    np.testing.assert_allclose(step(RATES, drive, False), outside, atol=1e-6)
    inside = of_numpy((1 - alpha) * RATES + alpha * drive)
    np.testing.assert_allclose(step(RATES, drive, True), inside, atol=1e-6)
    assert np.abs(outside - inside).max() > 1e-2 or np.all(alpha == 1)


def test_the_step_takes_bfloat16_one_vector_and_vmap():
    half = jnp.asarray(RATES, jnp.bfloat16)
    step = euler_step(half, half, alpha=0.2)
    assert step.dtype == jnp.float32
    exact = np.asarray(half, np.float64)
    np.testing.assert_allclose(step, 0.8 * exact + 0.2 * relu(exact), rtol=1e-6)
    each = jax.vmap(lambda r: euler_step(r, r, alpha=0.2))(half[0])
    np.testing.assert_allclose(each, step[0], rtol=1e-6)


def test_golden_values():
    # two errors of 1 of four, four rates of |2|, three weights of |3|
    outputs, rates = np.array([[[1.0, 0], [0, 0]]] * 1), np.full((1, 2, 2), -2.0)
    targets = np.array([[[0, 0], [0, 1.0]]])
    params = [np.array([3.0, -3.0]), np.array([[3.0]])]
    loss = ctrnn_loss(outputs, targets, rates, params, beta_rate=0.1, beta_weight=0.01)
    np.testing.assert_allclose(loss, 0.5 + 0.1 * 8 + 0.01 * 9, rtol=1e-6)
    mean = ctrnn_loss(
        outputs,
        targets,
        rates,
        params,
        beta_rate=0.1,
        beta_weight=0.01,
        reduction="mean",
    )
    np.testing.assert_allclose(mean, 0.5 + 0.1 * 2 + 0.01 * 3, rtol=1e-6)
    # the blog's weights: 10e-7 and 10e-5
    loss = ctrnn_loss(outputs, outputs, rates, params)
    np.testing.assert_allclose(loss, 1e-6 * 8 + 1e-4 * 9, rtol=1e-6)


def reference(outputs, targets, rates, weights, mask=1.0):
    error = np.mean(mask * (outputs - targets) ** 2)
    return error + 1e-2 * np.abs(rates).sum() + 1e-3 * np.abs(weights).sum()


@pytest.mark.parametrize("mask", [None, MASK])
def test_value_and_gradients_equal_the_formula(mask):
    def loss(outputs, rates, params):
        costs = {"beta_rate": 1e-2, "beta_weight": 1e-3, "mask": mask}
        return ctrnn_loss(outputs, TARGETS, rates, params, **costs)

    value, gradients = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2)))(
        OUTPUTS, RATES, PARAMS
    )
    weight = 1.0 if mask is None else mask
    exact = reference(OUTPUTS, TARGETS, RATES, WEIGHTS, weight)
    np.testing.assert_allclose(value, exact, rtol=1e-6)
    assert value.dtype == jnp.float32

    def flat(z):
        outputs = z[:12].reshape(2, 3, 2)
        return reference(outputs, TARGETS, z[12:36], z[36:], weight)

    expected = approx_fprime(np.r_[OUTPUTS.ravel(), RATES.ravel(), WEIGHTS], flat)
    found = np.concatenate([np.ravel(g) for g in jax.tree.leaves(gradients)])
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_targets_are_detached():
    gradient = jax.grad(lambda y: ctrnn_loss(OUTPUTS, y, RATES, PARAMS))(TARGETS)
    assert not np.any(gradient)


@pytest.mark.parametrize(
    ("cost", "values"), [(rate_l1, np.abs(RATES)), (rate_l2, RATES**2)]
)
def test_costs_of_rates(cost, values):
    np.testing.assert_allclose(cost(RATES), values.mean(), rtol=1e-6)
    np.testing.assert_allclose(cost(RATES, reduction="sum"), values.sum(), rtol=1e-6)
    half = cost(jnp.asarray(RATES, jnp.bfloat16))
    assert half.dtype == jnp.float32
    np.testing.assert_allclose(half, values.mean(), rtol=1e-2)
    each = jax.vmap(cost)(RATES)
    np.testing.assert_allclose(each, values.mean((1, 2)), rtol=1e-6)


@pytest.mark.parametrize(
    ("cost", "values"), [(weight_l1, np.abs), (weight_l2, np.square)]
)
def test_costs_of_weights(cost, values):
    np.testing.assert_allclose(cost(PARAMS), values(WEIGHTS).sum(), rtol=1e-6)
    mean = cost(PARAMS, reduction="mean")
    np.testing.assert_allclose(mean, values(WEIGHTS).mean(), rtol=1e-6)

    def recurrent(path):
        return path == "layer/recurrent"

    nested = {"layer": PARAMS}
    found = cost(nested, select=recurrent)
    np.testing.assert_allclose(found, values(PARAMS["recurrent"]).sum(), rtol=1e-6)
    gradient = jax.grad(lambda p: cost(p, select=recurrent))(nested)["layer"]
    assert np.any(gradient["recurrent"])
    assert not np.any(gradient["bias"])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: euler_step(RATES, RATES[0], alpha=0.2), "drive does not fit"),
        (lambda: euler_step(RATES, RATES, alpha=0.0), "alpha: expected a number above"),
        (lambda: euler_step(RATES, RATES, alpha=1.5), "alpha: expected dt / tau of at"),
        (lambda: rate_l1(RATES, reduction="none"), "reduction: expected 'mean' or"),
        (lambda: weight_l1(PARAMS, reduction="avg"), "reduction: expected 'mean' or"),
        (lambda: weight_l2(PARAMS, select=lambda p: False), "params: expected arrays"),
        (
            lambda: ctrnn_loss(OUTPUTS, TARGETS[..., :1], RATES, PARAMS),
            r"targets does not fit: .*float32 \(2, 3, 1\)",
        ),
        (
            lambda: ctrnn_loss(OUTPUTS, TARGETS, RATES[:, 1:], PARAMS),
            "rates does not fit",
        ),
    ],
)
def test_what_does_not_fit_is_said(call, message):
    with pytest.raises(ValueError, match=message):
        call()
