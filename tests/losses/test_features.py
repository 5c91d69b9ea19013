"""Attention transfer against NumPy in float64, written from the formula."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import approx_fprime

from kdjax.losses import attention_transfer_loss

RNG = np.random.default_rng(0)
MAPS = {  # student, teacher: channels differ
    "image": (RNG.normal(size=(2, 4, 5, 3)), RNG.normal(size=(2, 4, 5, 6))),
    "series": (RNG.normal(size=(3, 7, 2)), RNG.normal(size=(3, 7, 4))),
}


def reference(student, teacher, power=2):
    maps = []
    for features in (student, teacher):
        a = (np.abs(features) ** power).mean(-1).reshape(len(features), -1)
        maps.append(a / np.linalg.norm(a, axis=1, keepdims=True))
    return np.mean((maps[0] - maps[1]) ** 2)


@pytest.mark.parametrize("power", [1, 2, 2.5, 4])
@pytest.mark.parametrize("name", MAPS)
def test_value_and_gradient_equal_the_formula(name, power):
    student, teacher = (x.astype(np.float32) for x in MAPS[name])
    loss = jax.value_and_grad(
        lambda s: attention_transfer_loss(s, teacher, power=power)
    )
    value, gradient = jax.jit(loss)(student)
    assert value.dtype == jnp.float32
    assert value.shape == ()

    def flat(s):
        return reference(s.reshape(student.shape), teacher.astype(np.float64), power)

    exact = student.astype(np.float64).ravel()
    np.testing.assert_allclose(value, flat(exact), rtol=2e-6)
    expected = approx_fprime(exact, flat)
    np.testing.assert_allclose(gradient.ravel(), expected, rtol=1e-4, atol=1e-7)


def test_hand_computed_value():
    # Energies (9, 0) and (0, 16) + (0, 0): unit maps (1, 0) and (0, 1).
    student = np.array([[[3.0], [0.0]]])
    teacher = np.array([[[0.0, 0.0], [4.0, 0.0]]])
    assert attention_transfer_loss(student, teacher) == 1.0


def test_vmap_equals_a_loop():
    student, teacher = (x.astype(np.float32) for x in MAPS["series"])
    students = jnp.stack([student, 0.5 - student, teacher[..., :2]])
    values = jax.vmap(lambda s: attention_transfer_loss(s, teacher))(students)
    looped = [reference(np.asarray(s, np.float64), teacher) for s in students]
    np.testing.assert_allclose(values, looped, rtol=1e-5)


def test_half_precision_is_computed_in_float32():
    student, teacher = (jnp.asarray(x, jnp.float16) for x in MAPS["series"])
    value = attention_transfer_loss(student, teacher, power=4)
    exact = [np.asarray(x, np.float64) for x in (student, teacher)]
    assert value.dtype == jnp.float32
    np.testing.assert_allclose(value, reference(*exact, power=4), rtol=2e-6)


def test_no_gradient_reaches_the_teacher():
    student, teacher = (jnp.asarray(x, jnp.float32) for x in MAPS["image"])
    gradient = jax.grad(lambda t: attention_transfer_loss(student, t))(teacher)
    np.testing.assert_array_equal(gradient, np.zeros(teacher.shape))


@pytest.mark.parametrize("power", [1, 1.5, 2])
@pytest.mark.parametrize("size", [0.0, 1e-20, 1e-6])
def test_zero_and_tiny_maps_are_finite(size, power):
    student = jnp.full((2, 4, 3), size)
    teacher = jnp.asarray(RNG.normal(size=(2, 4, 3)), jnp.float32)
    value, gradient = jax.value_and_grad(
        lambda s: attention_transfer_loss(s, teacher, power=power)
    )(student)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()
    if size == 0:  # the student's map is zero, the teacher's has unit norm
        np.testing.assert_allclose(value, 1 / 4, rtol=1e-6)


def test_mean_over_shards_is_the_loss_of_the_whole():
    student, teacher = RNG.normal(size=(2, 8, 5, 3)).astype(np.float32)

    def sharded(s, t):
        return jax.lax.pmean(attention_transfer_loss(s, t), "shards")

    shards = [x.reshape(4, 2, 5, 3) for x in (student, teacher)]
    values = jax.jit(jax.vmap(sharded, axis_name="shards"))(*shards)
    whole = attention_transfer_loss(student, teacher)
    np.testing.assert_allclose(values, np.full(4, whole), rtol=1e-6)


FEATURES = arrays(
    np.float32,
    (2, 5, 3),
    elements=st.floats(-8, 8, width=32, allow_subnormal=False).filter(
        lambda x: abs(x) > 1e-2
    ),
)


@settings(max_examples=25, deadline=None)
@given(FEATURES, FEATURES, st.floats(0.125, 100, width=32))
def test_only_the_shape_of_the_student_map_counts(student, teacher, scale):
    value = attention_transfer_loss(student, teacher)
    assert 0 <= value <= 2 / 5
    scaled = attention_transfer_loss(np.float32(scale) * student, teacher)
    np.testing.assert_allclose(scaled, value, rtol=1e-4, atol=1e-7)
    assert attention_transfer_loss(student, -student) == 0


@pytest.mark.parametrize("shape", [(2, 9, 3), (1, 8, 3), (2, 4, 2, 3), (2, 8)])
def test_shapes_that_differ_are_named(shape):
    message = r"teacher_features does not fit: .*\(2, 8, 3\).*" + re.escape(str(shape))
    with pytest.raises(ValueError, match=message):
        attention_transfer_loss(np.zeros((2, 8, 3)), np.zeros(shape))


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 4, 5, 6)])
def test_only_series_and_images(shape):
    message = "student_features: expected .* found " + re.escape(str(shape))
    with pytest.raises(ValueError, match=message):
        attention_transfer_loss(np.ones(shape), np.ones(shape))


def test_power_below_one_is_refused():
    with pytest.raises(ValueError, match=r"power: expected at least 1, found 0.5"):
        attention_transfer_loss(*MAPS["series"], power=0.5)
