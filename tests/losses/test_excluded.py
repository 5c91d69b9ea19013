"""Classes excluded by a logit of -inf, and examples left out by `where`, in NumPy."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax, rel_entr, softmax

from kdjax import losses

RNG = np.random.default_rng(0)
STUDENT, TEACHER = RNG.normal(scale=2, size=(2, 5, 6)).astype(np.float32)
LABELS = np.array([0, 5, 3, 1, 2], np.int32)
# Classes that are not possible, of no label; the last row has two, the first none.
EXCLUDED = np.zeros((5, 6), bool)
EXCLUDED[[1, 2, 3, 4, 4], [0, 4, 2, 0, 5]] = True
MORE = EXCLUDED.copy()  # the teacher excludes others too
MORE[0, 1] = MORE[1, 3] = True
WHERE = np.array([True, False, True, True, False])
HALF = [jnp.float32, jnp.bfloat16, jnp.float16]
SMOOTHING, TEMPERATURE, ALPHA, CORRECT = 0.2, 3.0, 0.7, 0.9


def excluding(mask, logits, dtype=jnp.float32):
    return jnp.where(mask, -jnp.inf, jnp.asarray(logits, dtype))


def reference(student, teacher, labels):
    """{name: (value, gradient in the student's logits) of each example} in float64."""
    student, teacher = (np.asarray(x, np.float64) for x in (student, teacher))
    possible = np.isfinite(student)
    onehot = np.eye(student.shape[1])[labels]
    smooth = (1 - SMOOTHING) * onehot
    smooth += SMOOTHING * possible / possible.sum(1, keepdims=True)
    p, q = (softmax(x / TEMPERATURE, axis=1) for x in (teacher, student))
    kl = TEMPERATURE**2 * rel_entr(p, q).sum(1), TEMPERATURE * (q - p)
    soft_log_q = np.where(p == 0, 0, log_softmax(student / TEMPERATURE, axis=1))
    stored = -(TEMPERATURE**2) * np.sum(p * soft_log_q, axis=1), kl[1]

    agree = p * softmax(student, axis=1)
    evidence = agree.sum(1)
    marginal = -np.log(evidence), softmax(student, axis=1) - agree / evidence[:, None]

    virtual = np.full(student.shape, -np.inf)
    virtual[possible] = np.repeat(
        (1 - CORRECT) / (possible.sum(1) - 1), possible.sum(1)
    )
    virtual[onehot > 0] = CORRECT
    made = softmax(virtual / TEMPERATURE, axis=1)
    free = TEMPERATURE**2 * rel_entr(made, q).sum(1), TEMPERATURE * (q - made)

    def entropy(target):
        log_q = np.where(target == 0, 0, log_softmax(student, axis=1))
        return -np.sum(target * log_q, axis=1), softmax(student, axis=1) - target

    hard = entropy(onehot)
    kd = [(1 - ALPHA) * h + ALPHA * k for h, k in zip(hard, kl, strict=True)]
    return {
        "cross_entropy": hard,
        "smoothed": entropy(smooth),
        "distillation_kl": kl,
        "kd_loss": kd,
        "eskd_loss": kd,
        "eskd_loss_stopped": hard,
        "soft_target_loss": stored,
        "marginal_likelihood_loss": marginal,
        "teacher_free_loss": free,
    }


def bound(name, teacher, labels, **options):
    """The loss `name` as a function of student logits."""
    kd = {"temperature": TEMPERATURE, "alpha": ALPHA}
    stored = jax.nn.softmax(teacher.astype(jnp.float32) / TEMPERATURE)
    return {
        "cross_entropy": lambda s: losses.cross_entropy(s, labels, **options),
        "smoothed": lambda s: losses.cross_entropy(
            s, labels, label_smoothing=SMOOTHING, **options
        ),
        "distillation_kl": lambda s: losses.distillation_kl(
            s, teacher, temperature=TEMPERATURE, **options
        ),
        "kd_loss": lambda s: losses.kd_loss(s, teacher, labels, **kd, **options),
        "eskd_loss": lambda s: losses.eskd_loss(
            s, teacher, labels, step=0, stop_step=1, **kd, **options
        ),
        "eskd_loss_stopped": lambda s: losses.eskd_loss(
            s, teacher, labels, step=1, stop_step=1, **kd, **options
        ),
        "soft_target_loss": lambda s: losses.soft_target_loss(
            s, stored, temperature=TEMPERATURE, **options
        ),
        "marginal_likelihood_loss": lambda s: losses.marginal_likelihood_loss(
            s, stored, **options
        ),
        "teacher_free_loss": lambda s: losses.teacher_free_loss(
            s, labels, temperature=TEMPERATURE, correct=CORRECT, **options
        ),
    }[name]


NAMES = list(reference(STUDENT, TEACHER, LABELS))
OF_STORED = ("soft_target_loss", "marginal_likelihood_loss")
MEANS = (*OF_STORED, "teacher_free_loss")
PER_EXAMPLE = [name for name in NAMES if name not in MEANS]


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("name", NAMES)
def test_an_excluded_class_has_probability_zero(name, dtype):
    student, teacher = excluding(EXCLUDED, STUDENT, dtype), excluding(MORE, TEACHER)
    value, gradient = jax.jit(jax.value_and_grad(bound(name, teacher, LABELS)))(student)
    losses_, gradients = reference(student, teacher, LABELS)[name]
    assert value.dtype == jnp.float32
    assert np.isfinite(value)
    np.testing.assert_allclose(value, losses_.mean(), rtol=3e-6)
    rounding = 1e-6 if dtype == jnp.float32 else float(jnp.finfo(dtype).eps)
    gradient = np.asarray(gradient, np.float64)
    np.testing.assert_allclose(gradient, gradients / 5, rtol=rounding, atol=rounding)
    np.testing.assert_array_equal(gradient[EXCLUDED], 0)


@pytest.mark.parametrize("name", NAMES)
def test_excluded_classes_under_vmap(name):
    teacher = excluding(MORE, TEACHER)
    students = jnp.stack([excluding(EXCLUDED, x) for x in (STUDENT, -STUDENT)])
    loss = jax.vmap(jax.value_and_grad(bound(name, teacher, LABELS)))
    values, gradients = loss(students)
    for i, student in enumerate(students):
        expected, slopes = reference(student, teacher, LABELS)[name]
        np.testing.assert_allclose(values[i], expected.mean(), rtol=3e-6)
        np.testing.assert_allclose(gradients[i], slopes / 5, rtol=1e-5, atol=1e-6)


def test_a_temperature_learns_beside_excluded_classes():
    student, teacher = excluding(EXCLUDED, STUDENT), excluding(EXCLUDED, TEACHER)

    def loss(temperature):
        return losses.distillation_kl(student, teacher, temperature=temperature)

    ends = [loss(TEMPERATURE + step) for step in (0.01, -0.01)]
    slope = jax.grad(loss)(TEMPERATURE)
    np.testing.assert_allclose(slope, (ends[0] - ends[1]) / 0.02, rtol=1e-3)


def test_mass_on_a_class_that_the_student_excludes_is_infinite():
    student, teacher = excluding(MORE, STUDENT), excluding(EXCLUDED, TEACHER)
    infinite = np.any(MORE & ~EXCLUDED, axis=1)
    expected = np.where(
        infinite, np.inf, reference(student, teacher, LABELS)["kd_loss"][0]
    )
    each = bound("kd_loss", teacher, LABELS, reduction="none")
    np.testing.assert_allclose(each(student), expected, rtol=1e-6)
    for name in ("distillation_kl", "kd_loss", "soft_target_loss"):
        loss = jax.jit(jax.value_and_grad(bound(name, teacher, LABELS)))
        value, gradient = loss(student)
        assert value == np.inf
        assert np.isfinite(gradient).all()
    # The teacher is out of use: its infinite term, of weight 0, is no term.
    loss = jax.jit(jax.value_and_grad(bound("eskd_loss_stopped", teacher, LABELS)))
    value, gradient = loss(student)
    expected, slopes = reference(student, teacher, LABELS)["cross_entropy"]
    np.testing.assert_allclose(value, expected.mean(), rtol=1e-6)
    np.testing.assert_allclose(gradient, slopes / 5, rtol=1e-5, atol=1e-7)


def test_a_teacher_whose_classes_the_student_excludes_is_infinite():
    student = jnp.array([[-jnp.inf, 0.0, 1.0], [-jnp.inf, 0.0, 1.0]])
    p = jnp.array([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0]])
    loss = jax.value_and_grad(losses.marginal_likelihood_loss)
    value, gradient = loss(student, p)
    assert value == np.inf
    assert np.isfinite(gradient).all()
    value, _ = loss(student[1:], p[1:])
    np.testing.assert_allclose(value, -np.log(0.5 / (1 + np.e)), rtol=1e-6)


def test_a_label_of_an_excluded_class_is_infinite():
    student = excluding(EXCLUDED, STUDENT)
    labels = np.array([0, 0, 3, 1, 5])
    each = losses.cross_entropy(student, labels, reduction="none")
    np.testing.assert_array_equal(np.isinf(each), [0, 1, 0, 0, 1])
    for loss in (losses.cross_entropy, losses.teacher_free_loss):
        value, gradient = jax.value_and_grad(loss)(student, labels)
        assert value == np.inf
        assert np.isfinite(gradient).all()


def test_a_row_without_a_class_is_nan():
    none = jnp.full((5, 6), -jnp.inf)
    assert np.isnan(losses.cross_entropy(none, LABELS))
    assert np.isnan(losses.cross_entropy(none, LABELS, label_smoothing=1.0))
    assert np.isnan(losses.distillation_kl(none, TEACHER))
    assert np.isnan(losses.distillation_kl(STUDENT, none))
    for name in OF_STORED:
        assert np.isnan(getattr(losses, name)(none, softmax(TEACHER, axis=1)))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_and_infinity_give_nan(bad):
    wrong = STUDENT.copy()
    wrong[2, 3] = bad
    for name in NAMES:
        assert np.isnan(bound(name, jnp.asarray(TEACHER), LABELS)(wrong)), name
    for name in ("distillation_kl", "kd_loss", "eskd_loss", *OF_STORED):
        assert np.isnan(bound(name, jnp.asarray(wrong), LABELS)(STUDENT)), name


@pytest.mark.parametrize("label", [-1, -6, 6, 100])
def test_a_label_that_is_no_class_is_nan(label):
    labels = LABELS.copy()
    labels[1] = label
    each = jax.jit(partial(losses.cross_entropy, reduction="none"))(STUDENT, labels)
    np.testing.assert_array_equal(np.isnan(each), [0, 1, 0, 0, 0])
    for name in set(NAMES) - {"distillation_kl", *OF_STORED}:
        loss = bound(name, jnp.asarray(TEACHER), labels)
        value, gradient = jax.jit(jax.value_and_grad(loss))(STUDENT)
        assert np.isnan(value), name
        assert np.isnan(gradient[1]).all(), name
    value = losses.frskd_loss(STUDENT, TEACHER, labels, [], [])
    assert np.isnan(value)
    assert np.isnan(losses.kd_loss(STUDENT, TEACHER, labels, alpha=1.0))


@pytest.mark.parametrize("kind", [bool, np.int32, np.float32, list])
@pytest.mark.parametrize("name", NAMES)
def test_left_out_examples_do_not_count(name, kind):
    """Whatever they hold: NaN, infinity, a label of -1."""
    student, teacher, labels = STUDENT.copy(), TEACHER.copy(), LABELS.copy()
    student[1], student[4], teacher[1], teacher[4] = np.nan, -np.inf, np.inf, np.nan
    labels[~WHERE] = [-1, 99]
    where = WHERE.tolist() if kind is list else WHERE.astype(kind)
    loss = bound(name, jnp.asarray(teacher), labels, where=where)
    value, gradient = jax.jit(jax.value_and_grad(loss))(student)
    expected, slopes = reference(STUDENT, TEACHER, LABELS)[name]
    np.testing.assert_allclose(value, expected[WHERE].mean(), rtol=1e-6)
    np.testing.assert_allclose(gradient[WHERE], slopes[WHERE] / 3, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(gradient[~WHERE], 0)


@pytest.mark.parametrize("name", PER_EXAMPLE)
def test_left_out_examples_are_zero_without_a_reduction(name):
    student = np.where(WHERE[:, None], STUDENT, np.nan)
    each = bound(name, jnp.asarray(TEACHER), LABELS, where=WHERE, reduction="none")
    expected = np.where(WHERE, reference(STUDENT, TEACHER, LABELS)[name][0], 0)
    np.testing.assert_allclose(each(student), expected, rtol=3e-6)
    gradient = jax.grad(lambda s: jnp.sum(each(s)))(student)
    np.testing.assert_array_equal(gradient[~WHERE], 0)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("name", NAMES)
def test_the_mean_of_no_example_is_zero(name):
    nothing = jnp.full((5, 6), jnp.nan)
    loss = bound(name, nothing, np.full(5, -1), where=np.zeros(5, bool))
    value, gradient = jax.value_and_grad(loss)(nothing)
    assert value == 0
    np.testing.assert_array_equal(gradient, 0 * STUDENT)


def test_where_under_vmap_and_traced():
    wheres = np.array([WHERE, ~WHERE, WHERE | True])

    @jax.jit
    @jax.vmap
    def loss(where):
        return losses.kd_loss(
            STUDENT, TEACHER, LABELS, temperature=TEMPERATURE, alpha=ALPHA, where=where
        )

    expected, _ = reference(STUDENT, TEACHER, LABELS)["kd_loss"]
    means = [expected[where].mean() for where in wheres]
    np.testing.assert_allclose(loss(wheres), means, rtol=1e-6)


def test_per_class_reduction_counts_examples_too():
    options = {"temperature": TEMPERATURE, "where": WHERE}
    value = losses.distillation_kl(STUDENT, TEACHER, reduction="mean", **options)
    expected, _ = reference(STUDENT, TEACHER, LABELS)["distillation_kl"]
    np.testing.assert_allclose(value, expected[WHERE].mean() / 6, rtol=1e-6)


@pytest.mark.parametrize("dtype", HALF[1:])
def test_half_precision_with_excluded_classes_and_where(dtype):
    student, teacher = (excluding(EXCLUDED, x, dtype) for x in (STUDENT, TEACHER))
    broken = student.at[1].set(jnp.nan)
    loss = bound("kd_loss", teacher, np.where(WHERE, LABELS, -1), where=WHERE)
    value, gradient = jax.jit(jax.value_and_grad(loss))(broken)
    expected, slopes = reference(student, teacher, LABELS)["kd_loss"]
    assert (value.dtype, gradient.dtype) == (jnp.float32, dtype)
    np.testing.assert_allclose(value, expected[WHERE].mean(), rtol=1e-6)
    rounding = float(jnp.finfo(dtype).eps)
    gradient = np.asarray(gradient, np.float64)
    wanted = np.where(WHERE[:, None], slopes / 3, 0)
    np.testing.assert_allclose(gradient, wanted, rtol=rounding, atol=1e-6)


@pytest.mark.parametrize("where", [np.ones(4, bool), np.ones((5, 1), bool)])
def test_a_where_that_does_not_fit_is_named(where):
    for name in NAMES:
        with pytest.raises(ValueError, match=r"where does not fit: .*\(5, 6\)"):
            bound(name, jnp.asarray(TEACHER), LABELS, where=where)(STUDENT)


MAPS = RNG.normal(size=(4, 5, 3, 2)).astype(np.float32)
RDM = np.abs(RNG.normal(size=(5, 5))).astype(np.float32)
PAID = {"w": jnp.ones(3)}
OF_EXAMPLES = {
    "discriminator": lambda x, **o: losses.beatgan_discriminator_loss(
        x[0, :, :1, 0], x[1, :, :1, 0], **o
    ),
    "generator": lambda x, **o: losses.beatgan_generator_loss(
        *x, adversarial_weight=0.3, **o
    ),
    "ctrnn": lambda x, **o: losses.ctrnn_loss(
        *x[:3], PAID, beta_weight=0.0, beta_rate=0.2, mask=jnp.abs(x[3]), **o
    ),
    "ctrnn_mean": lambda x, **o: losses.ctrnn_loss(
        *x[:3], PAID, beta_weight=0.0, beta_rate=0.2, reduction="mean", **o
    ),
}


@pytest.mark.parametrize("name", OF_EXAMPLES)
def test_what_is_left_out_does_not_count(name):
    """NaN in it reaches neither the loss nor a gradient; nothing left in gives 0."""
    loss = OF_EXAMPLES[name]
    spoilt = jnp.where(WHERE[:, None, None], MAPS, jnp.nan)
    value, gradient = jax.value_and_grad(lambda x: loss(x, where=WHERE))(spoilt)
    few, of_few = jax.value_and_grad(loss)(MAPS[:, WHERE])
    np.testing.assert_allclose(value, few, rtol=1e-6)
    np.testing.assert_allclose(gradient[:, WHERE], of_few, rtol=1e-5, atol=1e-8)
    np.testing.assert_array_equal(gradient[:, ~WHERE], 0)
    assert np.abs(of_few).max() > 1e-3
    assert loss(spoilt, where=np.zeros(5, bool)) == 0


@pytest.mark.parametrize("match", ["correlation", "mse"])
def test_examples_left_out_are_in_no_pair(match):
    spoilt = np.where(WHERE[:, None, None], MAPS[0], np.nan)

    def loss(x):
        return losses.rdm_loss(x, RDM, match=match, where=WHERE)

    value, gradient = jax.value_and_grad(loss)(spoilt)
    few, of_few = jax.value_and_grad(losses.rdm_loss)(
        MAPS[0, WHERE], RDM[np.ix_(WHERE, WHERE)], match=match
    )
    np.testing.assert_allclose(value, few, rtol=1e-6)
    np.testing.assert_allclose(gradient[WHERE], of_few, rtol=1e-5, atol=1e-8)
    np.testing.assert_array_equal(gradient[~WHERE], 0)
    assert np.abs(of_few).max() > 1e-3
