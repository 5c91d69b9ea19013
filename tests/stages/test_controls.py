"""Control teachers: each keeps what it should of soft labels, and takes the rest."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax

from kdjax.stages.controls import CONTROLS, apply

KNOWN = 40  # rows of a class, the first ones; CLASSES of ten each
UNKNOWN = 12
CLASSES = 4
LABELS = np.repeat([*range(CLASSES), -1], [10] * CLASSES + [UNKNOWN]).astype(np.int32)
KEY = np.array([f"{7919 * i % 997:03d}" for i in range(KNOWN + UNKNOWN)])
SEEDS = st.integers(0, 2**31)
NEED_THE_CLASS = ["matched_random", "matched_smoothing"]
DRAWN = ["matched_random", "within_class_shuffle", "across_class_shuffle", "random"]
rule = settings(max_examples=25, deadline=None)


def teacher(seed, classes=CLASSES):
    """Logits that favour the true class, no two rows or values alike."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=2, size=(len(LABELS), classes))
    return (logits + 2 * (LABELS[:, None] == np.arange(classes))).astype(np.float32)


def made(name, logits, seed=0, labels=LABELS):
    return CONTROLS[name](logits, labels, seed)


def of_class(p):
    """The probability of each labelled row's class."""
    return p[np.arange(KNOWN), LABELS[:KNOWN]]


def multiset(rows):
    return rows[np.lexsort(rows.T)]


@pytest.mark.parametrize("name", CONTROLS)
def test_it_is_a_pure_function_of_its_seed(name):
    logits = teacher(1)
    before = logits.copy()
    first, again, other = (made(name, logits, seed) for seed in (3, 3, 4))
    assert first.shape == logits.shape
    assert first.dtype == np.float32
    assert np.isfinite(first).all()
    np.testing.assert_array_equal(logits, before)
    np.testing.assert_array_equal(first, again)
    assert np.array_equal(first, other) == (name not in DRAWN)
    assert not np.array_equal(first, logits)


@rule
@given(SEEDS, SEEDS)
@pytest.mark.parametrize("name", CONTROLS)
def test_the_order_of_the_examples_is_no_matter(name, seed, order_seed):
    logits = teacher(1)
    expected = apply(CONTROLS[name], logits, LABELS, seed, key=KEY)
    rows = np.random.default_rng(order_seed).permutation(len(LABELS))
    found = apply(CONTROLS[name], logits[rows], LABELS[rows], seed, key=KEY[rows])
    np.testing.assert_array_equal(found, expected[rows])


@pytest.mark.parametrize("name", NEED_THE_CLASS)
def test_rows_without_a_label_stay(name):
    logits = teacher(2)
    np.testing.assert_array_equal(made(name, logits)[KNOWN:], logits[KNOWN:])
    unlabelled = np.full(len(LABELS), -1)
    np.testing.assert_array_equal(made(name, logits, labels=unlabelled), logits)


@rule
@given(SEEDS, SEEDS, st.integers(CLASSES, 7))
def test_matched_random_keeps_the_true_class_and_what_the_others_hold(
    seed, teacher_seed, classes
):
    logits = teacher(teacher_seed, classes)
    found = made("matched_random", logits, seed)
    p, q = softmax(logits, axis=1), softmax(found, axis=1)
    np.testing.assert_allclose(of_class(q), of_class(p), rtol=1e-5)
    np.testing.assert_array_equal(np.sort(found, axis=1), np.sort(logits, axis=1))


def test_matched_random_forgets_which_other_class_is_likely():
    """Of four classes with one confused for the next, each other is next as often."""
    n = 600
    labels = np.arange(n) % CLASSES
    logits = np.zeros((n, CLASSES), np.float32)
    logits[np.arange(n), labels] = 2.0
    logits[np.arange(n), (labels + 1) % CLASSES] = 1.0
    found = CONTROLS["matched_random"](logits, labels, 0)
    places = (np.nonzero(found == 1)[1] - labels) % CLASSES
    counts = np.bincount(places, minlength=CLASSES)
    assert counts[0] == 0
    expected = n / 3  # within 4 binomial standard deviations
    assert (np.abs(counts[1:] - expected) < 4 * np.sqrt(expected * 2 / 3)).all()


def test_matched_random_of_two_classes_is_the_teacher():
    labels = LABELS[:20]
    logits = teacher(3)[:20, :2]
    np.testing.assert_array_equal(made("matched_random", logits, 0, labels), logits)


@rule
@given(SEEDS, SEEDS)
def test_shuffles_keep_the_rows(seed, teacher_seed):
    logits = teacher(teacher_seed)
    across = made("across_class_shuffle", logits, seed)
    np.testing.assert_array_equal(multiset(across), multiset(logits))
    within = made("within_class_shuffle", logits, seed)
    for label in np.unique(LABELS):
        rows = label == LABELS
        np.testing.assert_array_equal(multiset(within[rows]), multiset(logits[rows]))


def test_shuffles_part_rows_from_their_examples():
    logits = teacher(4)
    within = made("within_class_shuffle", logits)
    across = made("across_class_shuffle", logits)
    for found in (within, across):
        assert (found == logits).all(axis=1).mean() < 0.3
    origin = [int(np.flatnonzero((logits == row).all(axis=1))[0]) for row in across]
    assert (LABELS[origin] == LABELS).mean() < 0.5  # by chance about a fifth


@rule
@given(SEEDS)
def test_class_mean_is_the_mean_of_its_class(teacher_seed):
    logits = teacher(teacher_seed)
    p, q = (softmax(x, axis=1) for x in (logits, made("class_mean", logits)))
    for label in np.unique(LABELS):
        rows = label == LABELS
        mean = np.broadcast_to(p[rows].mean(axis=0), q[rows].shape)
        np.testing.assert_allclose(q[rows], mean, rtol=1e-5)
    found = made("class_mean", logits)
    np.testing.assert_allclose(np.exp(found).sum(axis=1), 1, rtol=1e-6)
    assert len(np.unique(found, axis=0)) == CLASSES + 1


@rule
@given(SEEDS, st.integers(CLASSES, 7))
def test_matched_smoothing_is_as_confident_and_says_no_more(teacher_seed, classes):
    logits = teacher(teacher_seed, classes)
    p = softmax(logits.astype(np.float64), axis=1)
    q = softmax(made("matched_smoothing", logits)[:KNOWN], axis=1)
    mean = of_class(p[:KNOWN]).mean()
    np.testing.assert_allclose(of_class(q), mean, rtol=1e-5)
    others = np.arange(classes) != LABELS[:KNOWN, None]
    np.testing.assert_allclose(q[others], (1 - mean) / (classes - 1), rtol=1e-5)


def test_a_teacher_that_is_sure_has_finite_controls():
    """1 - p rounds to 0 where the logits differ by 200."""
    labels = np.array([0, 1, 2, 0])
    logits = (200 * np.eye(3)[labels]).astype(np.float32)
    found = made("matched_smoothing", logits, 0, labels)
    np.testing.assert_allclose(found, logits - 200, rtol=1e-6, atol=1e-6)
    found = made("class_mean", logits, 0, labels)
    np.testing.assert_allclose(found, logits - 200, rtol=1e-6, atol=1e-6)


def test_random_is_of_no_example():
    """Uniform logits over 0.01, whatever the teacher says."""
    found = made("random", teacher(5), 6)
    np.testing.assert_array_equal(found, made("random", teacher(7), 6, -LABELS))
    assert 0 <= found.min() < 5
    assert 95 < found.max() < 100
    assert found.mean() == pytest.approx(50, abs=4 * 100 / np.sqrt(12 * found.size))
