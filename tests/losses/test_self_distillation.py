"""Self-distillation against NumPy in float64, written from the formulas."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import approx_fprime
from scipy.special import expit, log_softmax, softmax

from kdjax.losses import bernoulli_kl, distillation_kl, frskd_loss

RNG = np.random.default_rng(0)
GRID = np.arange(12).reshape(3, 4)
LOGITS, TEACHER = (3 * f(GRID).astype(np.float32) for f in (np.sin, np.cos))
LABELS = np.array([2, 0, 3], np.int32)
MAPS = [RNG.normal(size=s).astype(np.float32) for s in ((3, 8, 2), (3, 4, 5))]
REFINED = [RNG.normal(size=s).astype(np.float32) for s in ((3, 8, 3), (3, 4, 5))]


def reference_attention(own, better):
    maps = []
    for features in (own, better):
        a = (features**2).mean(-1)
        maps.append(a / np.linalg.norm(a, axis=1, keepdims=True))
    return np.mean((maps[0] - maps[1]) ** 2)


def reference(logits, teacher, maps, refined, temperature=4.0, alpha=2.0, beta=100.0):
    rows = np.arange(len(LABELS))
    hard = [-log_softmax(z, axis=1)[rows, LABELS].mean() for z in (logits, teacher)]
    p = softmax(teacher / temperature, axis=1)
    logs = [log_softmax(z / temperature, axis=1) for z in (teacher, logits)]
    soft = temperature**2 * np.sum(p * (logs[0] - logs[1]), axis=1).mean()
    pairs = zip(maps, refined, strict=True)
    attention = sum(reference_attention(*pair) for pair in pairs)
    return sum(hard) + alpha * soft + beta * attention


def exact(maps):
    return [np.asarray(x, np.float64) for x in maps]


def reference_bernoulli(student, teacher, temperature=4.0):
    p, q = expit(teacher / temperature), expit(student / temperature)
    divergence = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
    return temperature**2 * divergence.mean()


def test_golden_value():
    """In order: the cross-entropies, KD at T = 4 (3.0035706), attention."""
    parts = {"alpha": 0, "beta": 0}, {"alpha": 1, "beta": 0}
    hard, with_soft = (
        frskd_loss(LOGITS, TEACHER, LABELS, MAPS, REFINED, **part) for part in parts
    )
    np.testing.assert_allclose(with_soft - hard, 3.0035706, rtol=1e-6)
    one, other = np.array([[[3.0], [0.0]]]), np.array([[[0.0, 0.0], [4.0, 0.0]]])
    value = frskd_loss(
        np.zeros((1, 2)), np.zeros((1, 2)), np.array([1]), [one, one], [other, one]
    )
    np.testing.assert_allclose(value, 2 * np.log(2) + 100, rtol=1e-6)


@pytest.mark.parametrize(
    "options", [{}, {"temperature": 2.0, "alpha": 0.5, "beta": 3.0}]
)
def test_value_and_gradients_equal_the_formula(options):
    def loss(logits, teacher, maps, refined):
        return frskd_loss(logits, teacher, LABELS, maps, refined, **options)

    differentiated = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2, 3)))
    value, gradients = differentiated(LOGITS, TEACHER, MAPS, REFINED)
    assert value.dtype == jnp.float32
    assert value.shape == ()
    logits, teacher = exact([LOGITS, TEACHER])
    maps, refined = exact(MAPS), exact(REFINED)
    expected = reference(logits, teacher, maps, refined, **options)
    np.testing.assert_allclose(value, expected, rtol=1e-6)

    def of_logits(flat):
        return reference(flat.reshape(3, 4), teacher, maps, refined, **options)

    slope = approx_fprime(logits.ravel(), of_logits)
    np.testing.assert_allclose(gradients[0].ravel(), slope, rtol=1e-4, atol=1e-5)
    for i, features in enumerate(maps):

        def of_map(flat, i=i, shape=features.shape):
            changed = [*maps[:i], flat.reshape(shape), *maps[i + 1 :]]
            return reference(logits, teacher, changed, refined, **options)

        slope = approx_fprime(features.ravel(), of_map)
        assert np.abs(slope).max() > 1e-3
        tolerance = 1e-4 * np.abs(slope).max()
        np.testing.assert_allclose(gradients[2][i].ravel(), slope, atol=tolerance)


def test_the_self_teacher_learns_from_the_labels_alone():
    def loss(teacher, refined):
        return frskd_loss(LOGITS, teacher, LABELS, MAPS, refined)

    to_logits, to_maps = jax.grad(loss, argnums=(0, 1))(TEACHER, REFINED)
    expected = (softmax(TEACHER, axis=1) - np.eye(4)[LABELS]) / 3
    np.testing.assert_allclose(to_logits, expected, rtol=1e-5, atol=1e-6)
    for gradient, features in zip(to_maps, REFINED, strict=True):
        np.testing.assert_array_equal(gradient, 0 * features)


def test_images_and_no_maps():
    maps = [RNG.normal(size=(3, 4, 5, c)) for c in (2, 6)]
    bare = frskd_loss(LOGITS, TEACHER, LABELS, [], [])
    value = frskd_loss(LOGITS, TEACHER, LABELS, maps[:1], maps[1:])
    np.testing.assert_allclose(
        value - bare,
        100 * reference_attention(*(x.reshape(3, 20, -1) for x in maps)),
        rtol=1e-4,
    )


def test_vmap_equals_a_loop():
    students = np.stack([LOGITS, -TEACHER, 0 * LOGITS])
    values = jax.vmap(lambda s: frskd_loss(s, TEACHER, LABELS, MAPS, REFINED))(students)
    expected = [reference(s, TEACHER, MAPS, REFINED) for s in students]
    np.testing.assert_allclose(values, expected, rtol=1e-5)
    values = jax.vmap(bernoulli_kl)(students, -students)
    expected = [reference_bernoulli(s, -s) for s in exact(students)]
    np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-7)


def test_half_precision_is_computed_in_float32():
    half = [jnp.asarray(x, jnp.bfloat16) for x in (LOGITS, TEACHER)]
    maps, refined = (
        [jnp.asarray(x, jnp.bfloat16) for x in features] for features in (MAPS, REFINED)
    )
    value = frskd_loss(*half, LABELS, maps, refined)
    expected = reference(*exact(half), exact(maps), exact(refined))
    assert value.dtype == jnp.float32
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    value = bernoulli_kl(*half)
    assert value.dtype == jnp.float32
    np.testing.assert_allclose(value, reference_bernoulli(*exact(half)), rtol=1e-5)


@pytest.mark.parametrize("temperature", [1, 2.0, 4.0])
@pytest.mark.parametrize("shape", [(12,), (12, 1)])
def test_bernoulli_kl_equals_the_formula(shape, temperature):
    student, teacher = LOGITS.reshape(shape), TEACHER.reshape(shape)

    def loss(student, teacher):
        return bernoulli_kl(student, teacher, temperature=temperature)

    compiled = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))
    value, (to_student, to_teacher) = compiled(student, teacher)
    s, t = exact([student, teacher])
    expected = reference_bernoulli(s, t, temperature)
    np.testing.assert_allclose(value, expected, rtol=2e-6)
    slope = temperature * (expit(s / temperature) - expit(t / temperature)) / 12
    np.testing.assert_allclose(to_student, slope, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(to_teacher, 0 * teacher)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.floats(-60, 60, width=32), min_size=4, max_size=4),
    st.sampled_from([0.5, 1.0, 4.0]),
)
def test_bernoulli_kl_is_that_of_two_logits(values, temperature):
    student, teacher = np.array(values, np.float32).reshape(2, 2)
    one = bernoulli_kl(student, teacher, temperature=temperature)
    pairs = [np.stack([z, 0 * z], axis=1) for z in (student, teacher)]
    two = distillation_kl(*pairs, temperature=temperature)
    np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-4)
    assert bernoulli_kl(student, student, temperature=temperature) == 0


def test_bernoulli_kl_of_large_logits_is_exact():
    student, teacher = jnp.array([1e4, -1e4, 1e4]), jnp.array([1e4, 1e4, 0.0])
    value, gradient = jax.value_and_grad(bernoulli_kl)(student, teacher)
    # nothing; T^2 (0 + 1e4 / T); T^2 (1e4 / T / 2 - ln 2)
    expected = (4e4 + 16 * (1250 - np.log(2))) / 3
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    np.testing.assert_allclose(gradient, [0, -4 / 3, 2 / 3], rtol=1e-6)


def test_maps_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r"refined_features: expected 2 .* found 1"):
        frskd_loss(LOGITS, TEACHER, LABELS, MAPS, REFINED[:1])
    message = re.escape("refined_features[0]: expected (3, 8, 2) or other channels")
    with pytest.raises(ValueError, match=message + r".* found \(3, 4, 5\)"):
        frskd_loss(LOGITS, TEACHER, LABELS, MAPS, REFINED[::-1])
    with pytest.raises(ValueError, match=r"student_features: expected .* \(3, 4\)"):
        frskd_loss(LOGITS, TEACHER, LABELS, [LOGITS], [LOGITS])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"logits": np.zeros((3, 5))}, r"frskd_loss: self_teacher_logits does not fit"),
        ({"labels": np.zeros(2, int)}, r"frskd_loss: labels does not fit"),
        ({"labels": np.zeros(3)}, r"frskd_loss: labels does not fit"),
        ({"temperature": 0}, "temperature: expected a number above 0, found 0"),
    ],
)
def test_bad_arguments_are_named(change, message):
    arguments = {
        "logits": LOGITS,
        "self_teacher_logits": TEACHER,
        "labels": LABELS,
        "features": MAPS,
        "refined_features": REFINED,
    }
    with pytest.raises(ValueError, match=message):
        frskd_loss(**arguments | change)


def test_bad_arguments_of_bernoulli_kl_are_named():
    with pytest.raises(ValueError, match=r"bernoulli_kl: teacher_logits does not fit"):
        bernoulli_kl(np.zeros(3), np.zeros((3, 1)))
    with pytest.raises(ValueError, match=r"temperature: expected .* found -1"):
        bernoulli_kl(np.zeros(3), np.zeros(3), temperature=-1)


def test_examples_that_do_not_count_are_left_out():
    where = np.array([True, False, True])
    spoilt = [np.where(where[:, None], x, np.nan) for x in (LOGITS, TEACHER)]
    maps = [np.where(where.reshape(-1, *(1,) * (x.ndim - 1)), x, np.inf) for x in MAPS]

    def loss(logits):
        return frskd_loss(logits, spoilt[1], LABELS, maps, REFINED, where=where)

    value, gradient = jax.value_and_grad(loss)(spoilt[0])
    kept = [[x[where] for x in each] for each in (MAPS, REFINED)]
    few = frskd_loss(LOGITS[where], TEACHER[where], LABELS[where], *kept)
    np.testing.assert_allclose(value, few, rtol=1e-6)
    np.testing.assert_array_equal(gradient[1], 0)
    assert np.isfinite(gradient).all()

    def yes_or_no(logits):
        return bernoulli_kl(logits, spoilt[1][:, 0], where=where)

    value, gradient = jax.value_and_grad(yes_or_no)(spoilt[0][:, 0])
    few = bernoulli_kl(LOGITS[where, 0], TEACHER[where, 0])
    np.testing.assert_allclose(value, few, rtol=1e-6)
    assert gradient[1] == 0
    assert np.isfinite(gradient).all()
