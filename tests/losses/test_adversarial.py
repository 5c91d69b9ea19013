"""BeatGAN's losses against NumPy in float64, written from the formulas."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.optimize import approx_fprime
from scipy.special import expit

from kdjax.losses import beatgan_discriminator_loss, beatgan_generator_loss

RNG = np.random.default_rng(0)
GRID = np.arange(6.0)
REAL, FAKE = 3 * np.sin(GRID), 3 * np.cos(GRID)
X, REBUILT = RNG.normal(size=(2, 2, 8, 3)).astype(np.float32)
REAL_MAP, FAKE_MAP = RNG.normal(size=(2, 2, 4, 5)).astype(np.float32)


def reference_discriminator(real, fake):
    return np.mean(-np.log(expit(real))) + np.mean(-np.log(1 - expit(fake)))


def reference_generator(x, rebuilt, real_map, fake_map, weight=1.0):
    return np.mean((rebuilt - x) ** 2) + weight * np.mean((fake_map - real_map) ** 2)


def test_golden_values():
    # The first is PyTorch's, in float64.
    value = beatgan_discriminator_loss(REAL, FAKE)
    np.testing.assert_allclose(value, 2.187985382, rtol=1e-6)
    # 1/2 ln 2 + 1/2 ln 4 + ln(3/2), at odds of 1, 1/3 (real) and 1/2 (fake)
    value = beatgan_discriminator_loss([0.0, -np.log(3)], [-np.log(2), -np.log(2)])
    np.testing.assert_allclose(value, np.log(2) * 1.5 + np.log(1.5), rtol=1e-6)
    zeros, ones = np.zeros((2, 4, 1)), np.ones((2, 4, 1))
    value = beatgan_generator_loss(zeros, 2 * ones, ones, -2 * ones)
    assert value == 4 + 9
    value = beatgan_generator_loss(
        zeros, 2 * ones, ones, -2 * ones, adversarial_weight=0.5
    )
    assert value == 4 + 4.5


@pytest.mark.parametrize("shape", [(6,), (6, 1)])
def test_discriminator_value_and_gradients_equal_the_formula(shape):
    real, fake = (x.astype(np.float32).reshape(shape) for x in (REAL, FAKE))
    loss = jax.value_and_grad(beatgan_discriminator_loss, argnums=(0, 1))
    value, gradients = jax.jit(loss)(real, fake)
    assert value.dtype == jnp.float32
    assert value.shape == ()
    exact = [x.astype(np.float64).ravel() for x in (real, fake)]
    np.testing.assert_allclose(value, reference_discriminator(*exact), rtol=1e-6)
    both = np.concatenate(exact)
    expected = approx_fprime(both, lambda z: reference_discriminator(z[:6], z[6:]))
    np.testing.assert_allclose(np.ravel(gradients), expected, rtol=1e-5, atol=1e-7)
    assert np.abs(expected).min() > 1e-3


def test_discriminator_equals_optax():
    entropy = optax.losses.sigmoid_binary_cross_entropy
    real, fake = (jnp.asarray(x, jnp.float32) for x in (REAL, FAKE))
    expected = entropy(real, jnp.ones(6)).mean() + entropy(fake, jnp.zeros(6)).mean()
    value = beatgan_discriminator_loss(real, fake)
    np.testing.assert_allclose(value, expected, rtol=1e-6)


@pytest.mark.parametrize("size", [100.0, 1e4])
def test_large_logits_are_exact(size):
    """Right by far costs nothing, wrong by far the logit; gradients stay in [0, 1]."""
    loss = jax.jit(jax.value_and_grad(beatgan_discriminator_loss, argnums=(0, 1)))
    large = jnp.full(4, size)
    value, gradients = loss(large, -large)
    assert value == 0  # e^-100 is below float32
    np.testing.assert_array_equal(gradients, np.zeros((2, 4)))
    value, gradients = loss(-large, large)
    np.testing.assert_allclose(value, 2 * size, rtol=1e-6)
    np.testing.assert_allclose(gradients, [[-0.25] * 4, [0.25] * 4], rtol=1e-6)


@pytest.mark.parametrize("weight", [1.0, 0.01])
def test_generator_value_and_gradients_equal_the_formula(weight):
    arguments = X, REBUILT, REAL_MAP, FAKE_MAP

    def loss(*arguments):
        return beatgan_generator_loss(*arguments, adversarial_weight=weight)

    value, gradients = jax.jit(jax.value_and_grad(loss, (0, 1, 2, 3)))(*arguments)
    assert value.dtype == jnp.float32
    exact = [x.astype(np.float64) for x in arguments]
    expected = reference_generator(*exact, weight=weight)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    np.testing.assert_allclose(
        gradients[1], 2 * (exact[1] - exact[0]) / X.size, rtol=1e-5, atol=1e-8
    )
    to_map = 2 * weight * (exact[3] - exact[2]) / REAL_MAP.size
    np.testing.assert_allclose(gradients[3], to_map, rtol=1e-5, atol=1e-8)
    for target in (0, 2):  # detached
        np.testing.assert_array_equal(gradients[target], 0 * arguments[target])


def test_vmap_and_a_traced_weight_equal_a_loop():
    weights = jnp.array([0.0, 0.5, 2.0])
    arguments = X, REBUILT, REAL_MAP, FAKE_MAP
    values = jax.jit(
        jax.vmap(lambda w: beatgan_generator_loss(*arguments, adversarial_weight=w))
    )(weights)
    expected = [reference_generator(*arguments, weight=w) for w in (0, 0.5, 2)]
    np.testing.assert_allclose(values, expected, rtol=1e-6)
    logits = np.stack([REAL, FAKE, 0 * REAL]).astype(np.float32)
    values = jax.vmap(beatgan_discriminator_loss)(logits, logits[::-1])
    expected = [
        reference_discriminator(r, f) for r, f in zip(logits, logits[::-1], strict=True)
    ]
    np.testing.assert_allclose(values, expected, rtol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_is_computed_in_float32(dtype):
    halves = [jnp.asarray(x, dtype) for x in (X, REBUILT, REAL_MAP, FAKE_MAP)]
    value = beatgan_generator_loss(*halves)
    expected = reference_generator(*(np.asarray(x, np.float64) for x in halves))
    assert value.dtype == jnp.float32
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    logits = [jnp.asarray(x, dtype) for x in (REAL, FAKE)]
    value = beatgan_discriminator_loss(*logits)
    expected = reference_discriminator(*(np.asarray(x, np.float64) for x in logits))
    assert value.dtype == jnp.float32
    np.testing.assert_allclose(value, expected, rtol=1e-6)


def test_mean_over_shards_is_the_loss_of_the_whole():
    def sharded(*arguments):
        return jax.lax.pmean(beatgan_generator_loss(*arguments), "shards")

    arguments = X, REBUILT, REAL_MAP, FAKE_MAP
    values = jax.vmap(sharded, axis_name="shards")(*(x[:, None] for x in arguments))
    whole = beatgan_generator_loss(*arguments)
    np.testing.assert_allclose(values, np.full(2, whole), rtol=1e-6)


@pytest.mark.parametrize("shape", [(5,), (6, 1), (1,)])
def test_logits_that_differ_in_shape_are_named(shape):
    message = "beatgan_discriminator_loss: fake_logits does not fit: .*" + re.escape(
        str(shape)
    )
    with pytest.raises(ValueError, match=message):
        beatgan_discriminator_loss(np.zeros(6), np.zeros(shape))


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("reconstruction", (2, 7, 3)),
        ("reconstruction", (2, 8, 1)),
        ("real_features", (3, 4, 5)),
        ("fake_features", (2, 4, 1)),
    ],
)
def test_shapes_that_differ_are_named(name, shape):
    arguments = {
        "x": X,
        "reconstruction": REBUILT,
        "real_features": REAL_MAP,
        "fake_features": FAKE_MAP,
    } | {name: np.zeros(shape)}
    message = f"beatgan_generator_loss: {name} does not fit: .*{re.escape(str(shape))}"
    with pytest.raises(ValueError, match=message):
        beatgan_generator_loss(**arguments)
