"""The logit losses against NumPy in float64, written from the formulas."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import approx_fprime
from scipy.special import log_softmax, softmax

from kdjax import losses

GRID = np.arange(12).reshape(3, 4)
STUDENT, TEACHER = 3 * np.sin(GRID), 3 * np.cos(GRID)
LABELS = np.array([2, 0, 3], np.int32)
LOGITS = arrays(
    np.float32, (3, 4), elements=st.floats(-30, 30, width=32, allow_subnormal=False)
)


def reference_kl(student, teacher, temperature):
    p = softmax(teacher / temperature, axis=1)
    log_q = log_softmax(student / temperature, axis=1)
    return temperature**2 * np.sum(p * (np.log(p) - log_q), axis=1)


def reference_ce(logits, labels, label_smoothing=0.0):
    classes = logits.shape[1]
    target = (1 - label_smoothing) * np.eye(classes)[labels] + label_smoothing / classes
    return -np.sum(target * log_softmax(logits, axis=1), axis=1)


def reference_kd(student, teacher, labels, temperature, alpha):
    soft = reference_kl(student, teacher, temperature)
    return (1 - alpha) * reference_ce(student, labels) + alpha * soft


def reference_soft_target(student, probabilities, temperature):
    log_q = log_softmax(student / temperature, axis=1)
    return -(temperature**2) * np.sum(probabilities * log_q, axis=1)


def reference_marginal_likelihood(student, probabilities):
    return -np.log(np.sum(probabilities * softmax(student, axis=1), axis=1))


def virtual_teacher(labels, classes, correct):
    teacher = np.full((len(labels), classes), (1 - correct) / (classes - 1))
    teacher[np.arange(len(labels)), labels] = correct
    return teacher


def reference_teacher_free(student, labels, temperature, correct):
    teacher = virtual_teacher(labels, student.shape[1], correct)
    return reference_kl(student, teacher, temperature)


def bound(name):
    """(loss, reference) as functions of student logits, the rest held fixed."""
    probabilities = softmax(TEACHER, axis=1)
    return {
        "cross_entropy": (
            lambda s: losses.cross_entropy(s, LABELS),
            lambda s: reference_ce(s, LABELS).mean(),
        ),
        "label_smoothing": (
            lambda s: losses.cross_entropy(s, LABELS, label_smoothing=0.1),
            lambda s: reference_ce(s, LABELS, 0.1).mean(),
        ),
        "distillation_kl": (
            lambda s: losses.distillation_kl(s, TEACHER, temperature=4.0),
            lambda s: reference_kl(s, TEACHER, 4.0).mean(),
        ),
        "kd_loss": (
            lambda s: losses.kd_loss(s, TEACHER, LABELS, temperature=3, alpha=0.7),
            lambda s: reference_kd(s, TEACHER, LABELS, 3.0, 0.7).mean(),
        ),
        "kd_loss_per_class": (
            lambda s: losses.kd_loss(s, TEACHER, LABELS, reduction="mean"),
            lambda s: (
                0.1 * reference_ce(s, LABELS).mean()
                + 0.9 * reference_kl(s, TEACHER, 4.0).mean() / 4
            ),
        ),
        "soft_target_loss": (
            lambda s: losses.soft_target_loss(s, probabilities, temperature=2.0),
            lambda s: reference_soft_target(s, probabilities, 2.0).mean(),
        ),
        "marginal_likelihood_loss": (
            lambda s: losses.marginal_likelihood_loss(s, probabilities),
            lambda s: reference_marginal_likelihood(s, probabilities).mean(),
        ),
        "teacher_free_loss": (
            lambda s: losses.teacher_free_loss(s, LABELS, temperature=3.0, correct=0.9),
            lambda s: reference_teacher_free(s, LABELS, 3.0, 0.9).mean(),
        ),
        "eskd_loss": (
            lambda s: losses.eskd_loss(s, TEACHER, LABELS, step=1, stop_step=2),
            lambda s: reference_kd(s, TEACHER, LABELS, 4.0, 0.9).mean(),
        ),
        "eskd_loss_stopped": (
            lambda s: losses.eskd_loss(s, TEACHER, LABELS, step=2, stop_step=2),
            lambda s: reference_ce(s, LABELS).mean(),
        ),
    }[name]


NAMES = [
    "cross_entropy",
    "label_smoothing",
    "distillation_kl",
    "kd_loss",
    "kd_loss_per_class",
    "soft_target_loss",
    "marginal_likelihood_loss",
    "teacher_free_loss",
    "eskd_loss",
    "eskd_loss_stopped",
]


@pytest.mark.parametrize("name", NAMES)
def test_value_and_gradient_equal_the_formula(name):
    loss, reference = bound(name)
    student = jnp.asarray(STUDENT, jnp.float32)
    value, gradient = jax.jit(jax.value_and_grad(loss))(student)
    assert value.dtype == jnp.float32
    assert value.shape == ()
    exact = np.asarray(student, np.float64)
    np.testing.assert_allclose(value, reference(exact), rtol=1e-6)
    expected = approx_fprime(exact.ravel(), lambda s: reference(s.reshape(3, 4)))
    np.testing.assert_allclose(gradient.ravel(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_vmap_equals_a_loop(name):
    loss, reference = bound(name)
    students = np.stack([STUDENT, -TEACHER, 0 * STUDENT])
    values = jax.vmap(loss)(jnp.asarray(students, jnp.float32))
    expected = [reference(s) for s in students]
    np.testing.assert_allclose(values, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("reduction", "expected"), [("batchmean", 3.0035706), ("mean", 0.7508926)]
)
def test_golden_kl(reduction, expected):
    value = losses.distillation_kl(
        STUDENT, TEACHER, temperature=4.0, reduction=reduction
    )
    np.testing.assert_allclose(value, expected, rtol=1e-7)


def test_teacher_free_by_hand():
    """At T = 1 a teacher that is sure of one of two classes gives it e / (1 + e)."""
    value = losses.teacher_free_loss(
        np.zeros((2, 2)), np.array([0, 1]), temperature=1.0, correct=1.0
    )
    p = np.e / (1 + np.e)
    expected = np.log(2) + p * np.log(p) + (1 - p) * np.log(1 - p)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    np.testing.assert_allclose(value, 0.1109441, rtol=1e-6)


def test_teacher_free_defaults_are_those_of_the_paper():
    value, gradient = jax.value_and_grad(losses.teacher_free_loss)(
        jnp.asarray(STUDENT, jnp.float32), LABELS
    )
    expected = reference_teacher_free(STUDENT, LABELS, 20.0, 0.99).mean()
    np.testing.assert_allclose(value, expected, rtol=2e-5)  # T^2 magnifies rounding
    q = softmax(STUDENT / 20, axis=1)
    p = softmax(virtual_teacher(LABELS, 4, 0.99) / 20, axis=1)
    np.testing.assert_allclose(gradient, 20 * (q - p) / 3, rtol=1e-5, atol=1e-6)


def test_what_the_virtual_teacher_says_of_ten_classes():
    """As its docstring has it: hardly more than uniform, and .23 where it is zero."""
    label = np.array([3])
    teacher = virtual_teacher(label, 10, 0.99)
    assert softmax(teacher / 20)[0, 3] == pytest.approx(0.105, abs=5e-4)
    assert softmax(teacher)[0, 3] == pytest.approx(0.23, abs=5e-4)
    loss = jax.value_and_grad(losses.teacher_free_loss)
    value, gradient = loss(jnp.asarray(teacher + 7, jnp.float32), label)
    assert abs(value) < 1e-4
    np.testing.assert_allclose(gradient, 0, atol=1e-5)


def test_reduction_none_is_per_example():
    kl = losses.distillation_kl(STUDENT, TEACHER, temperature=4.0, reduction="none")
    np.testing.assert_allclose(kl, reference_kl(STUDENT, TEACHER, 4.0), rtol=1e-6)
    kd = losses.kd_loss(STUDENT, TEACHER, LABELS, reduction="none")
    expected = reference_kd(STUDENT, TEACHER, LABELS, 4.0, 0.9)
    np.testing.assert_allclose(kd, expected, rtol=1e-6)


def test_eskd_takes_a_traced_step():
    @jax.jit
    def loss(step):
        return losses.eskd_loss(STUDENT, TEACHER, LABELS, step=step, stop_step=10)

    distilled = losses.kd_loss(STUDENT, TEACHER, LABELS)
    alone = losses.cross_entropy(STUDENT, LABELS)
    np.testing.assert_allclose(
        [loss(9), loss(10), loss(11)], [distilled, alone, alone], rtol=1e-6
    )


def test_traced_temperature_and_alpha():
    @jax.jit
    def loss(temperature, alpha):
        return losses.kd_loss(
            STUDENT, TEACHER, LABELS, temperature=temperature, alpha=alpha
        )

    expected = reference_kd(STUDENT, TEACHER, LABELS, 2.0, 0.3).mean()
    np.testing.assert_allclose(loss(2.0, 0.3), expected, rtol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_is_computed_in_float32(dtype):
    student, teacher = jnp.asarray(STUDENT, dtype), jnp.asarray(TEACHER, dtype)
    value = losses.kd_loss(student, teacher, LABELS)
    exact = [np.asarray(x, np.float64) for x in (student, teacher)]
    assert value.dtype == jnp.float32
    np.testing.assert_allclose(
        value, reference_kd(*exact, LABELS, 4.0, 0.9).mean(), rtol=1e-6
    )


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_teacher_free_in_half_precision(dtype):
    student = jnp.asarray(STUDENT, dtype)
    value = losses.teacher_free_loss(student, LABELS, temperature=2.0)
    exact = np.asarray(student, np.float64)
    assert value.dtype == jnp.float32
    expected = reference_teacher_free(exact, LABELS, 2.0, 0.99).mean()
    np.testing.assert_allclose(value, expected, rtol=1e-6)


def test_teacher_free_in_float64_and_traced():
    loss = jax.jit(
        lambda s, t, c: losses.teacher_free_loss(s, LABELS, temperature=t, correct=c)
    )
    with jax.enable_x64(True):
        value = loss(STUDENT, 20.0, 0.95)
        narrow = losses.teacher_free_loss(np.float32(STUDENT), LABELS)
    assert (value.dtype, narrow.dtype) == (jnp.float64, jnp.float32)
    expected = reference_teacher_free(STUDENT, LABELS, 20.0, 0.95).mean()
    np.testing.assert_allclose(value, expected, rtol=1e-12)


def test_float64_stays_float64():
    kd_loss = jax.jit(losses.kd_loss)
    with jax.enable_x64(True):
        value = kd_loss(STUDENT, TEACHER, LABELS)
        narrow = kd_loss(np.float32(STUDENT), np.float32(TEACHER), LABELS)
    assert (value.dtype, narrow.dtype) == (jnp.float64, jnp.float32)
    expected = reference_kd(STUDENT, TEACHER, LABELS, 4.0, 0.9).mean()
    np.testing.assert_allclose(value, expected, rtol=1e-13)


def test_no_gradient_reaches_the_teacher():
    student = jnp.asarray(STUDENT, jnp.float32)
    functions = [
        lambda t: losses.distillation_kl(student, t, temperature=4.0),
        lambda t: losses.kd_loss(student, t, LABELS),
        lambda t: losses.eskd_loss(student, t, LABELS, step=0, stop_step=1),
        lambda t: losses.soft_target_loss(student, t),
        lambda t: losses.marginal_likelihood_loss(student, jnp.exp(t)),
    ]
    for function in functions:
        gradient = jax.grad(function)(jnp.asarray(TEACHER, jnp.float32))
        np.testing.assert_array_equal(gradient, np.zeros((3, 4)))


def test_huge_logits_are_finite_and_have_the_gradient_of_the_formula():
    student = jnp.array([[1e4, -1e4, 0.0], [0.0, 1.0, -1e4]])
    teacher = jnp.array([[-1e4, 1e4, 0.0], [1e4, 0.0, 1.0]])

    def loss(s):
        return losses.distillation_kl(s, teacher, temperature=2.0)

    value, gradient = jax.jit(jax.value_and_grad(loss))(student)
    # Both teachers are sure of one class: T^2 times the -log q of it.
    rows = [4 * 1e4, 4 * np.log1p(np.exp(0.5))]
    np.testing.assert_allclose(value, np.mean(rows), rtol=1e-6)
    p = softmax(np.asarray(teacher, np.float64) / 2, axis=1)
    q = softmax(np.asarray(student, np.float64) / 2, axis=1)
    np.testing.assert_allclose(gradient, 2.0 * (q - p) / 2, rtol=1e-6, atol=1e-7)


def test_cross_entropy_keeps_its_digits_far_from_zero():
    logits = np.float32([[8192.0, 8195.0, 8190.0]])
    expected = reference_ce(logits.astype(np.float64), np.array([1])).mean()
    value = losses.cross_entropy(logits, np.array([1]))
    np.testing.assert_allclose(value, expected, rtol=1e-6)


def test_cross_entropy_equals_optax():
    target = optax.smooth_labels(jax.nn.one_hot(LABELS, 4), 0.2)
    student = jnp.asarray(STUDENT, jnp.float32)
    expected = optax.losses.softmax_cross_entropy(student, target).mean()
    value = losses.cross_entropy(student, LABELS, label_smoothing=0.2)
    np.testing.assert_allclose(value, expected, rtol=1e-6)


def test_label_past_the_last_class_is_nan():
    value = losses.cross_entropy(STUDENT, np.array([0, 4, 1]))
    assert np.isnan(value)


def test_soft_targets_have_the_gradient_of_kl():
    student = jnp.asarray(STUDENT, jnp.float32)
    stored = softmax(TEACHER / 4, axis=1)
    soft = jax.grad(lambda s: losses.soft_target_loss(s, stored, temperature=4.0))
    kl = jax.grad(lambda s: losses.distillation_kl(s, TEACHER, temperature=4.0))
    np.testing.assert_allclose(soft(student), kl(student), rtol=1e-5, atol=1e-6)


def test_marginal_likelihood_by_hand():
    """q = (.2, .3, .5) and p = (.5, .5, 0) agree with probability .25."""
    student = jnp.log(jnp.array([[0.2, 0.3, 0.5]]))
    p = jnp.array([[0.5, 0.5, 0.0]])
    value, gradient = jax.value_and_grad(losses.marginal_likelihood_loss)(student, p)
    np.testing.assert_allclose(value, np.log(4), rtol=1e-6)
    np.testing.assert_allclose(gradient, [[-0.2, -0.3, 0.5]], rtol=1e-5)
    half = losses.marginal_likelihood_loss(student.astype(jnp.bfloat16), p)
    assert half.dtype == jnp.float32
    np.testing.assert_allclose(half, np.log(4), rtol=1e-2)


def test_a_teacher_that_knows_nothing_has_no_gradient_and_a_sure_one_is_a_label():
    student = jnp.asarray(STUDENT, jnp.float32)
    loss = jax.value_and_grad(losses.marginal_likelihood_loss)
    value, gradient = loss(student, jnp.full((3, 4), 0.25))
    np.testing.assert_allclose(value, np.log(4), rtol=1e-6)
    np.testing.assert_allclose(gradient, np.zeros((3, 4)), atol=1e-7)
    value, gradient = loss(student, jax.nn.one_hot(LABELS, 4))
    hard = jax.value_and_grad(losses.cross_entropy)(student, LABELS)
    np.testing.assert_allclose(value, hard[0], rtol=1e-6)
    np.testing.assert_allclose(gradient, hard[1], rtol=1e-5, atol=1e-7)
    far = jnp.array([[-200.0, 0.0]])  # whose probability is 0 in float32
    value, gradient = loss(far, jnp.array([[1.0, 0.0]]))
    assert value == 200
    np.testing.assert_allclose(gradient, [[-1.0, 1.0]])


def test_mean_over_shards_is_the_loss_of_the_whole():
    rng = np.random.default_rng(0)
    student, teacher = rng.normal(size=(2, 8, 5)).astype(np.float32)
    labels = rng.integers(0, 5, 8)

    def sharded(s, t, y):
        return jax.lax.pmean(losses.kd_loss(s, t, y), "shards")

    shards = [x.reshape(4, 2, *x.shape[1:]) for x in (student, teacher, labels)]
    values = jax.jit(jax.vmap(sharded, axis_name="shards"))(*shards)
    np.testing.assert_allclose(
        values, np.full(4, losses.kd_loss(student, teacher, labels)), rtol=1e-6
    )


@settings(max_examples=30, deadline=None)
@given(student=LOGITS, teacher=LOGITS, temperature=st.sampled_from([1.0, 4.0, 20.0]))
def test_kl_is_never_negative_and_equals_the_formula(student, teacher, temperature):
    kl = losses.distillation_kl(
        student, teacher, temperature=temperature, reduction="none"
    )
    rounding = 1e-6 * temperature**2 * (1 + 60 / temperature)
    assert np.all(np.asarray(kl) >= -rounding)
    exact = [x.astype(np.float64) for x in (student, teacher)]
    expected = reference_kl(*exact, temperature)
    np.testing.assert_allclose(kl, expected, rtol=1e-6, atol=rounding)


@settings(max_examples=30, deadline=None)
@given(logits=LOGITS, shift=st.floats(-20, 20, width=32, allow_subnormal=False))
def test_kl_is_zero_between_equal_logits_and_ignores_a_shift(logits, shift):
    equal = losses.distillation_kl(logits, logits, temperature=4.0)
    assert equal == 0
    shifted = losses.distillation_kl(
        logits + np.float32(shift), logits, temperature=4.0
    )
    assert abs(shifted) < 1e-4


LOGIT_LOSSES = {
    "distillation_kl": losses.distillation_kl,
    "kd_loss": lambda s, t: losses.kd_loss(s, t, LABELS),
    "soft_target_loss": losses.soft_target_loss,
    "marginal_likelihood_loss": losses.marginal_likelihood_loss,
    "eskd_loss": lambda s, t: losses.eskd_loss(s, t, LABELS, step=0, stop_step=1),
}


@pytest.mark.parametrize("name", LOGIT_LOSSES)
@pytest.mark.parametrize("shape", [(3, 5), (2, 4), (1, 4), (4,), (3, 1, 4)])
def test_shapes_that_differ_are_named(name, shape):
    message = rf"{name}: teacher_\w+ does not fit: .*\(3, 4\).*" + re.escape(str(shape))
    with pytest.raises(ValueError, match=message):
        LOGIT_LOSSES[name](STUDENT, np.zeros(shape))


@pytest.mark.parametrize(
    "labels", [np.zeros(2, int), np.zeros((3, 1), int), np.eye(4)[:3], np.zeros(3)]
)
def test_labels_that_do_not_fit_are_named(labels):
    message = r"labels does not fit: .*\(3, 4\).*labels is \w+ " + re.escape(
        str(labels.shape)
    )
    for function in (
        lambda: losses.cross_entropy(STUDENT, labels),
        lambda: losses.kd_loss(STUDENT, TEACHER, labels),
        lambda: losses.eskd_loss(STUDENT, TEACHER, labels, step=0, stop_step=1),
        lambda: losses.teacher_free_loss(STUDENT, labels),
    ):
        with pytest.raises(ValueError, match=message):
            function()


def test_shapes_are_checked_while_tracing():
    with pytest.raises(ValueError, match="teacher_logits does not fit"):
        jax.eval_shape(losses.distillation_kl, jnp.zeros((3, 4)), jnp.zeros((3, 5)))


@pytest.mark.parametrize("temperature", [0, -1.0, float("nan")])
def test_temperature_must_be_positive(temperature):
    for function in (
        lambda: losses.distillation_kl(STUDENT, TEACHER, temperature=temperature),
        lambda: losses.kd_loss(STUDENT, TEACHER, LABELS, temperature=temperature),
        lambda: losses.soft_target_loss(STUDENT, TEACHER, temperature=temperature),
        lambda: losses.teacher_free_loss(STUDENT, LABELS, temperature=temperature),
    ):
        with pytest.raises(ValueError, match="temperature: expected a number above 0"):
            function()


@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan")])
def test_weights_must_be_fractions(alpha):
    with pytest.raises(ValueError, match=r"alpha: expected a number in \[0, 1\]"):
        losses.kd_loss(STUDENT, TEACHER, LABELS, alpha=alpha)
    with pytest.raises(ValueError, match=r"alpha: expected a number in \[0, 1\]"):
        losses.eskd_loss(STUDENT, TEACHER, LABELS, step=5, stop_step=1, alpha=alpha)
    with pytest.raises(ValueError, match="label_smoothing: expected a number in"):
        losses.cross_entropy(STUDENT, LABELS, label_smoothing=alpha)
    with pytest.raises(ValueError, match=r"correct: expected a number in \[0, 1\]"):
        losses.teacher_free_loss(STUDENT, LABELS, correct=alpha)


def test_unknown_reduction_is_named():
    with pytest.raises(ValueError, match=r"reduction: expected .* found 'sum'"):
        losses.kd_loss(STUDENT, TEACHER, LABELS, reduction="sum")
