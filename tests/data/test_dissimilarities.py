"""Dissimilarities against SciPy, values worked out by hand, and rules for all RDMs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.spatial.distance import squareform
from scipy.special import log_softmax, softmax
from scipy.stats import spearmanr

from kdjax.data.dissimilarities import (
    category_rdm,
    check_rdm,
    class_scores,
    correlation_rdm,
    noise_ceiling,
    pairs,
    permuted_accuracies,
    soft_labels_from,
    spearman,
)
from kdjax.errors import InputError

SEEDS = st.integers(0, 10_000)
Y = np.repeat(np.arange(3), 5)


def some_rdm(seed, *, n=15, signal=1.0, left_out=0):
    """Dissimilarities of three classes of five, `left_out` pairs of them NaN.

    No image is in two of these pairs: each keeps some of every class.
    """
    rng = np.random.default_rng(seed)
    values = rng.uniform(0, 2, n * (n - 1) // 2)
    rdm = squareform(values + signal * pairs(category_rdm(np.arange(n) // 5)))
    i, j = rng.permutation(n)[: 2 * left_out].reshape(2, -1)
    rdm[i, j] = rdm[j, i] = np.nan
    return rdm


def negative_log_likelihood(logits, y):
    return -log_softmax(logits, axis=1)[np.arange(len(y)), y].mean()


def test_pairs_are_the_upper_triangle_row_by_row():
    rdm = np.arange(16).reshape(4, 4)
    assert pairs(rdm).tolist() == [1, 2, 3, 6, 7, 11]
    rdm = some_rdm(0)
    np.testing.assert_array_equal(squareform(pairs(rdm)), rdm)
    np.testing.assert_array_equal(pairs(np.stack([rdm, 2 * rdm]))[1], 2 * pairs(rdm))


def test_category_rdm():
    expected = [[0, 1, 0], [1, 0, 1], [0, 1, 0]]
    np.testing.assert_array_equal(category_rdm(np.array([4, 1, 4])), expected)


def test_correlation_rdm():
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 3, 3), np.uint8)
    rdm = correlation_rdm(images)
    expected = 1 - np.corrcoef(images.reshape(5, -1))
    np.testing.assert_allclose(rdm, expected, atol=1e-12)
    images[3] = 77
    rdm = correlation_rdm(images)
    others = np.delete(np.arange(5), 3)
    assert np.isnan(rdm[3, others]).all()
    assert np.isnan(rdm[others, 3]).all()
    assert np.isnan(rdm).sum() == 8


def test_spearman_by_hand():
    a, b = squareform([1.0, 2, 3]), squareform([10.0, 30, 20])
    np.testing.assert_allclose(spearman(a, b), 1 - 6 * 2 / (3 * 8))
    assert np.isnan(spearman(a, np.zeros((3, 3))))
    with pytest.raises(ValueError, match=r"one size, found \(3, 3\) and \(4, 4\)"):
        spearman(a, np.zeros((4, 4)))


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.integers(0, 7))
def test_spearman_knows_ranks_alone_and_leaves_out_what_is_not_there(seed, left_out):
    a, b = some_rdm(seed, left_out=left_out), some_rdm(seed + 1, left_out=3)
    b = np.round(2 * b) / 2  # ties
    expected = spearmanr(pairs(a), pairs(b), nan_policy="omit").statistic
    np.testing.assert_allclose(spearman(a, b), expected, atol=1e-12)
    np.testing.assert_allclose(spearman(np.exp(a), b), expected, atol=1e-12)
    order = np.random.default_rng(seed).permutation(15)
    permuted = np.ix_(order, order)
    np.testing.assert_allclose(spearman(a[permuted], b[permuted]), expected, atol=1e-12)


def test_noise_ceiling_by_hand():
    # Ranks 1 2 3, 1 2 3 and 3 2 1: the others' means are 2 2 2 (nothing), 2 2 2 and
    # 1 2 3; the mean of all is 5/3 2 7/3.
    rdms = np.stack([squareform(x) for x in ([1.0, 2, 3], [10.0, 11, 99], [3.0, 2, 1])])
    lower, upper = noise_ceiling(rdms)
    assert np.isnan(lower)
    np.testing.assert_allclose(upper, 1 / 3)
    lower, upper = noise_ceiling(rdms[:2])
    np.testing.assert_allclose((lower, upper), (1, 1))
    with pytest.raises(ValueError, match="two subjects or more, found 1"):
        noise_ceiling(rdms[:1])


def ceiling_reference(values):
    """Of dissimilarities [subjects, pairs] without ties."""
    ranks = values.argsort(axis=1).argsort(axis=1) + 1.0
    bounds = np.zeros((len(ranks), 2))
    for k, own in enumerate(ranks):
        others = np.delete(ranks, k, axis=0).mean(axis=0)
        for i, mean in enumerate((others, ranks.mean(axis=0))):
            bounds[k, i] = spearmanr(own, mean).statistic
    return bounds.mean(axis=0)


@settings(max_examples=10, deadline=None)
@given(SEEDS)
def test_noise_ceiling_is_that_of_ranks(seed):
    rdms = np.stack([some_rdm(seed + k) for k in range(4)])
    expected = ceiling_reference(pairs(rdms))
    np.testing.assert_allclose(noise_ceiling(rdms), expected)
    units = rdms * np.array([1, 0.01, 7, 100])[:, None, None] ** 2
    np.testing.assert_allclose(noise_ceiling(units), expected)
    rdms[2, 0, 1] = rdms[2, 1, 0] = np.nan
    expected = ceiling_reference(pairs(rdms)[:, 1:])
    np.testing.assert_allclose(noise_ceiling(rdms), expected)


def test_class_scores_by_hand():
    rdm = squareform([1.0, 2, 3, 4, 5, 6])  # 01 02 03, 12 13, 23
    y = np.array([0, 0, 1, 1])
    expected = [[-1, -2.5], [-1, -4.5], [-3, -6], [-4, -6]]
    np.testing.assert_allclose(class_scores(rdm, y, 2), expected)
    np.testing.assert_allclose(class_scores(rdm + np.eye(4), y, 2), expected)
    rdm[0, 3] = rdm[3, 0] = np.nan
    expected = [[-1, -2], [-1, -4.5], [-3, -6], [-5, -6]]
    np.testing.assert_allclose(class_scores(rdm, y, 2), expected)
    rdm[0, 2] = rdm[2, 0] = np.nan
    message = "distance of image 0 to another image of class 1, found none"
    with pytest.raises(InputError, match=message):
        class_scores(rdm, y, 2)


def test_class_scores_leave_the_fold_out():
    y, fold = np.array([0, 0, 0, 1, 1, 1]), np.array([0, 0, 1, 0, 1, 1])
    rdm = some_rdm(0)[:6, :6]
    scores = class_scores(rdm, y, 2, fold=fold)
    np.testing.assert_allclose(scores[0], [-rdm[0, 2], -rdm[0, 4:].mean()])
    np.testing.assert_allclose(scores[5], [-rdm[5, :2].mean(), -rdm[5, 3]])


@pytest.mark.parametrize("score", [class_scores, soft_labels_from])
def test_labels_must_be_classes_of_several_images(score):
    with pytest.raises(InputError, match="y: expected labels 0 to 1, found 0 to 2"):
        score(some_rdm(0), Y, 2)
    with pytest.raises(InputError, match="another image of class 3, found none"):
        score(some_rdm(0), Y, 4)
    y = np.where(np.arange(15) == 6, 3, Y)
    with pytest.raises(InputError, match="image 6 to another image of class 3"):
        score(some_rdm(0), y, 4)


def test_soft_labels_need_a_third_image_of_each_class():
    y = np.array([0, 0, 0, 1, 1])
    assert class_scores(some_rdm(0)[:5, :5], y, 2).shape == (5, 2)
    with pytest.raises(InputError, match="image 4 to another image of class 1"):
        soft_labels_from(some_rdm(0)[:5, :5], y, 2)


@settings(max_examples=6, deadline=None)
@given(SEEDS, st.integers(0, 7))
def test_permuting_the_images_permutes_the_scores(seed, left_out):
    rdm = some_rdm(seed, left_out=left_out)
    order = np.random.default_rng(seed).permutation(15)
    permuted = rdm[np.ix_(order, order)], Y[order], 3
    for score in (class_scores, soft_labels_from):
        np.testing.assert_allclose(
            score(*permuted), score(rdm, Y, 3)[order], rtol=1e-6, atol=1e-6
        )


@settings(max_examples=6, deadline=None)
@given(SEEDS, st.floats(1e-3, 1e3), st.floats(-10, 10), st.floats(0, 2))
def test_soft_labels_know_no_unit(seed, scale, shift, signal):
    rdm = some_rdm(seed, signal=signal)
    logits = soft_labels_from(rdm, Y, 3)
    changed = soft_labels_from(scale * (rdm + shift), Y, 3)
    np.testing.assert_allclose(changed, logits, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(logits.sum(axis=1), np.zeros(15), atol=1e-9)
    scores = class_scores(rdm, Y, 3)
    if (logits != 0).any(axis=1).all():
        assert (logits.argmax(axis=1) == scores.argmax(axis=1)).all()


@settings(max_examples=6, deadline=None)
@given(SEEDS, st.integers(0, 14), st.booleans())
def test_an_image_does_not_know_its_own_label(seed, image, folded):
    fold = np.arange(15) % 5 if folded else None
    rdm = some_rdm(seed)
    known = soft_labels_from(rdm, Y, 3, fold=fold)
    y = Y.copy()
    held = fold == fold[image] if folded else np.arange(15) == image
    y[held] = (y[held] + 1) % 3
    other = soft_labels_from(rdm, y, 3, fold=fold)
    np.testing.assert_allclose(other[held], known[held], rtol=1e-9)


def test_the_temperature_makes_the_other_labels_most_likely():
    rdm = some_rdm(3, signal=0.4)
    logits = soft_labels_from(rdm, Y, 3)
    for image in (0, 7, 14):
        others = np.delete(np.arange(15), image)
        scores = class_scores(rdm[np.ix_(others, others)], Y[others], 3)
        best = minimize_scalar(
            lambda b, s=scores, y=Y[others]: negative_log_likelihood(b * s, y),
            bounds=(0, 100),
            options={"xatol": 1e-9},
        ).x
        own = class_scores(rdm, Y, 3)[image]
        expected = softmax(best * own)
        np.testing.assert_allclose(softmax(logits[image]), expected, atol=1e-6)


def test_without_error_they_are_all_but_hard_and_without_help_uniform():
    rdm = category_rdm(Y)
    probabilities = softmax(soft_labels_from(rdm, Y, 3), axis=1)
    np.testing.assert_allclose(probabilities, np.eye(3)[Y], atol=1e-12)
    for useless in (2 - rdm, np.ones((15, 15))):
        np.testing.assert_array_equal(
            soft_labels_from(useless, Y, 3), np.zeros((15, 3))
        )


def test_permuted_labels_are_at_chance():
    rdm, y = some_rdm(0, signal=3.0), Y
    found = permuted_accuracies(rdm, y, 3, permutations=300, seed=0)
    assert found.shape == (300,)
    assert abs(found.mean() - 1 / 3) < 0.1
    again = permuted_accuracies(rdm, y, 3, permutations=300, seed=0)
    np.testing.assert_array_equal(found, again)
    assert (class_scores(rdm, y, 3).argmax(axis=1) == y).mean() >= found.max()


def check(rdm, **fields):
    return check_rdm(rdm, where="it.mat: RDMs[1]", images=15, **fields)


def test_an_rdm_is_float64_with_a_zero_diagonal():
    rdm = some_rdm(0)
    given = (rdm + np.diag(np.full(15, np.nan))).astype(np.float32)
    checked = check(given)
    assert checked.dtype == np.float64
    np.testing.assert_allclose(checked, rdm, rtol=1e-6)
    assert np.isnan(given[0, 0])
    noise = 1e-7 * np.random.default_rng(0).normal(size=(15, 15))
    check(rdm + noise)


def changed(i, j, value):
    rdm = some_rdm(0)
    rdm[i, j] = value
    return rdm


@pytest.mark.parametrize(
    ("rdm", "message"),
    [
        (some_rdm(0)[:14, :14], r"of 15 images, \(15, 15\), found \(14, 14\)"),
        (some_rdm(0)[0], r"of 15 images, \(15, 15\), found \(15,\)"),
        (
            changed(3, 7, 5.0),
            r"a symmetric matrix, found 5 at \(3, 7\) and .* \(7, 3\)",
        ),
        (changed(9, 2, np.nan), r"expected numbers, found nan at \(9, 2\)"),
        (changed(0, 2, np.inf), r"expected numbers, found inf at \(0, 2\)"),
    ],
)
def test_what_is_no_rdm_names_file_and_pair(rdm, message):
    with pytest.raises(InputError, match=r"^it.mat: RDMs\[1\]: .*" + message):
        check(rdm)


def test_missing_pairs_may_be_allowed_but_are_symmetric_too():
    rdm = some_rdm(0, left_out=5)
    np.testing.assert_array_equal(check(rdm, missing=True), rdm)
    with pytest.raises(InputError, match="expected numbers, found nan"):
        check(rdm)
    with pytest.raises(InputError, match=r"symmetric .* and nan at \(1, 0\)"):
        check(changed(1, 0, np.nan), missing=True)
    with pytest.raises(InputError, match=r"found inf at \(0, 2\)"):
        check(changed(0, 2, np.inf), missing=True)
