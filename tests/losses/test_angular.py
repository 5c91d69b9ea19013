"""Angular margin distillation against NumPy in float64, written from the paper."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import approx_fprime

from kdjax.losses import amd_loss

RNG = np.random.default_rng(0)
compiled = jax.jit(amd_loss, static_argnames="local")
local_gradient = jax.jit(jax.value_and_grad(lambda s, t: amd_loss(s, t, local=True)))
MAPS = {  # student, teacher: channels differ
    "image": (RNG.normal(size=(2, 4, 6, 3)), RNG.normal(size=(2, 4, 6, 5))),
    "odd image": (RNG.normal(size=(2, 5, 3, 4)), RNG.normal(size=(2, 5, 3, 2))),
    "series": (RNG.normal(size=(3, 8, 2)), RNG.normal(size=(3, 8, 4))),
    "odd series": (RNG.normal(size=(2, 7, 3)), RNG.normal(size=(2, 7, 3))),
}


def unit(x):
    return x / np.sqrt((x**2).sum(1, keepdims=True))


def reference_distance(student, teacher, margin, scale):
    """AMD between two [batch, positions] maps of Qp."""
    maps = []
    for positive in (student, teacher):
        angle = np.arccos(np.clip(positive, -1 + 1e-7, 1 - 1e-7))
        p = scale * np.cos(margin * angle)
        g = p - np.logaddexp(p, scale * (1 - positive))
        maps.append((g, p, 1 - positive))
    return (
        sum(np.mean((unit(s) - unit(t)) ** 2) for s, t in zip(*maps, strict=True)) / 3
    )


def reference_amd(student, teacher, *, margin=1.35, scale=64.0, local=False):
    energies = []
    for features in (student, teacher):
        a = (features**2).sum(-1)
        size = np.sqrt((a**2).reshape(len(a), -1).sum(1))
        energies.append(a / (size.reshape(-1, *[1] * (a.ndim - 1)) + 1e-6))

    def distance(*index):
        parts = [e[:, *index].reshape(len(e), -1) for e in energies]
        return reference_distance(*parts, margin, scale)

    total = distance()
    if not local:
        return total
    if student.ndim == 3:
        n = student.shape[1]
        cuts = [0, n // 4, n // 2, 3 * n // 4, n]
        parts = [distance(slice(*cuts[i : i + 2])) for i in range(4)]
    else:
        top, left = student.shape[1] // 2, student.shape[2] // 2
        rows, columns = (
            (slice(0, top), slice(top, None)),
            (slice(0, left), slice(left, None)),
        )
        parts = [distance(r, c) for r in rows for c in columns]
    return 0.8 * total + 0.2 * np.mean(parts)


def golden_maps():
    i = np.arange(96).reshape(2, 3, 4, 4)
    return [np.moveaxis(x, 1, -1) for x in (np.sin(0.7 * i), np.cos(0.3 * i))]


@pytest.mark.parametrize(
    ("margin", "expected"), [(1.35, 0.005048956), (1.1, 0.01020663), (1.5, 0.00207247)]
)
def test_golden_values(margin, expected):
    # Computed in float32 by the authors' code, and so good to about 1e-6.
    value = compiled(*golden_maps(), margin=margin)
    np.testing.assert_allclose(value, expected, rtol=2e-6)


@pytest.mark.parametrize("local", [False, True])
@pytest.mark.parametrize("name", MAPS)
def test_value_and_gradient_equal_the_formula(name, local):
    student, teacher = (x.astype(np.float32) for x in MAPS[name])
    loss = jax.value_and_grad(lambda s: amd_loss(s, teacher, margin=1.2, local=local))
    value, gradient = jax.jit(loss)(student)
    assert value.dtype == jnp.float32
    assert value.shape == ()

    def reference(flat):
        s, t = flat.reshape(student.shape), teacher.astype(np.float64)
        return reference_amd(s, t, margin=1.2, local=local)

    exact = student.astype(np.float64).ravel()
    np.testing.assert_allclose(value, reference(exact), rtol=2e-6)
    expected = approx_fprime(exact, reference)
    tolerance = 2e-5 * np.abs(expected).max()
    np.testing.assert_allclose(gradient.ravel(), expected, rtol=1e-4, atol=tolerance)


def test_eager_equals_compiled():
    student, teacher = MAPS["odd image"]
    np.testing.assert_allclose(
        amd_loss(student, teacher), compiled(student, teacher), rtol=1e-6
    )


def test_float64_is_exact():
    student, teacher = MAPS["image"]
    with jax.enable_x64(True):
        value = compiled(student, teacher, local=True)
    assert value.dtype == jnp.float64
    np.testing.assert_allclose(
        value, reference_amd(student, teacher, local=True), rtol=1e-12
    )


def test_half_precision_is_computed_in_float32():
    student, teacher = (jnp.asarray(x, jnp.bfloat16) for x in MAPS["series"])
    value = compiled(student, teacher)
    exact = [np.asarray(x, np.float64) for x in (student, teacher)]
    assert value.dtype == jnp.float32
    np.testing.assert_allclose(value, reference_amd(*exact), rtol=2e-6)


def test_traced_margin_and_vmap_equal_a_loop():
    student, teacher = (x.astype(np.float32) for x in MAPS["series"])
    margins = jnp.array([1.1, 1.35, 1.5])
    values = jax.vmap(lambda m: compiled(student, teacher, margin=m))(margins)
    looped = [reference_amd(student, teacher, margin=m) for m in (1.1, 1.35, 1.5)]
    np.testing.assert_allclose(values, looped, rtol=2e-6)


def test_no_gradient_reaches_the_teacher():
    student, teacher = (jnp.asarray(x, jnp.float32) for x in MAPS["image"])
    gradient = jax.grad(lambda t: compiled(student, t, local=True))(teacher)
    np.testing.assert_array_equal(gradient, np.zeros(teacher.shape))


@pytest.mark.parametrize("size", [0.0, 1e-20, 1e-6, 1e4])
def test_flat_and_tiny_and_large_maps_are_finite(size):
    student = jnp.full((2, 4, 4, 3), size)
    teacher = jnp.zeros((2, 4, 4, 3)).at[:, 0, 0].set(1.0)  # all energy in one place
    for s, t in ((student, teacher), (teacher, student)):
        value, gradient = local_gradient(s, t)
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()


def test_a_single_position_is_finite():
    one = jnp.ones((2, 1, 3))
    value, gradient = jax.jit(jax.value_and_grad(amd_loss))(one, 2 * one)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


def test_mean_over_shards_is_the_loss_of_the_whole():
    student, teacher = RNG.normal(size=(2, 8, 8, 3)).astype(np.float32)

    def sharded(s, t):
        return jax.lax.pmean(compiled(s, t, local=True), "shards")

    shards = [x.reshape(4, 2, 8, 3) for x in (student, teacher)]
    values = jax.jit(jax.vmap(sharded, axis_name="shards"))(*shards)
    whole = compiled(student, teacher, local=True)
    np.testing.assert_allclose(values, np.full(4, whole), rtol=2e-6)


@settings(max_examples=25, deadline=None)
@given(
    arrays(
        np.float32,
        (2, 8, 3),
        elements=st.floats(-8, 8, width=32, allow_subnormal=False),
    ),
    st.sampled_from([0.5, 2.0, 4.0]),
)
def test_a_map_is_at_no_distance_from_itself_or_its_negative(features, scale):
    assert compiled(features, -features) < 1e-12
    assert compiled(features, features, local=True) < 1e-12
    # With energy above 1, the 1e-6 beside it is nothing and the scale drops out.
    features = np.abs(features) + 1
    assert compiled(scale * features, features) < 1e-9


@pytest.mark.parametrize("shape", [(2, 9, 3), (1, 8, 3), (2, 4, 2, 3), (2, 8)])
def test_shapes_that_differ_are_named(shape):
    message = r"amd_loss: teacher_features does not fit: .*\(2, 8, 3\).*" + re.escape(
        str(shape)
    )
    with pytest.raises(ValueError, match=message):
        amd_loss(np.zeros((2, 8, 3)), np.zeros(shape))


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 4, 5, 6)])
def test_only_series_and_images(shape):
    message = "student_features: expected .* found " + re.escape(str(shape))
    with pytest.raises(ValueError, match=message):
        amd_loss(np.ones(shape), np.ones(shape))


@pytest.mark.parametrize("shape", [(2, 3, 5), (2, 4, 1, 5)])
def test_four_parts_need_enough_positions(shape):
    assert amd_loss(np.ones(shape), np.ones(shape)) == 0
    with pytest.raises(ValueError, match="local=True needs at least"):
        amd_loss(np.ones(shape), np.ones(shape), local=True)


def test_margin_and_scale_must_be_positive():
    with pytest.raises(ValueError, match="margin: expected a number above 0"):
        amd_loss(*golden_maps(), margin=0.0)
    with pytest.raises(ValueError, match="scale: expected a number above 0"):
        amd_loss(*golden_maps(), scale=-1)
