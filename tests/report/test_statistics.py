"""Statistics against hand-computed values, scipy's own and rules that always hold."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from kdjax.report import statistics

# Accuracies are counts over one test set: whole numbers over 2893 tie as real ones do.
counts = st.integers(min_value=0, max_value=60)
pairs = st.lists(st.tuples(counts, counts), min_size=1, max_size=9)


def columns(rows):
    return tuple(np.asarray(rows, dtype=np.float64).T / 2893)


def test_mean_interval_is_students():
    # mean 2, s = 1, t(.975, 2) = 4.302653: 2 ± 4.302653 / sqrt(3)
    mean, low, high, n = statistics.mean_interval([1, 2, 3])
    assert (mean, n) == (2.0, 3)
    assert low == pytest.approx(2 - 2.484138, abs=1e-6)
    assert high == pytest.approx(2 + 2.484138, abs=1e-6)


def test_mean_interval_of_one_value_has_no_bounds():
    interval = statistics.mean_interval([0.9])
    assert interval.mean == 0.9
    assert interval.n == 1
    assert np.isnan([interval.low, interval.high]).all()


def test_mean_interval_widens_with_confidence():
    values = [0.91, 0.94, 0.92, 0.95]
    narrow = statistics.mean_interval(values, confidence=0.5)
    wide = statistics.mean_interval(values, confidence=0.99)
    assert wide.low < narrow.low < narrow.mean < narrow.high < wide.high


def test_mean_interval_covers_as_often_as_it_says():
    rng = np.random.default_rng(0)
    intervals = [
        statistics.mean_interval(row) for row in rng.normal(3.0, 2.0, (1000, 5))
    ]
    covered = np.mean([i.low <= 3.0 <= i.high for i in intervals])
    assert 0.93 < covered < 0.97


def test_permutation_by_hand():
    # d = 1, 2, 3: of 8 sums only 6 and -6 are as far out
    assert statistics.paired_permutation([1, 2, 3], [0, 0, 0]) == 2 / 8
    # d = 1, 1, -1: the sum is 1, and all 8 sums are 1 or 3 away from zero
    assert statistics.paired_permutation([1, 1, 0], [0, 0, 1]) == 1.0
    # d = 3, 1, -1, 3: the sum is 6; as far out are 3 + 3 + {2, 0, 0} and the negatives
    assert statistics.paired_permutation([3, 1, 0, 3], [0, 0, 1, 0]) == 6 / 16


def test_permutation_counts_ties_despite_rounding():
    # .3 - .2 and .1 - 0 differ in the last bit; both sign patterns are ties
    assert statistics.paired_permutation([0.3, 0.0], [0.2, 0.1]) == 1.0


@settings(deadline=None, max_examples=40)
@given(pairs.filter(lambda rows: len(rows) > 1))
def test_permutation_equals_scipys_exact_test(rows):
    a, b = columns(rows)
    expected = stats.permutation_test(
        (a * 2893, b * 2893),  # whole numbers: scipy's sums are then exact too
        lambda x, y, axis: np.sum(np.round(x) - np.round(y), axis=axis),
        permutation_type="samples",
        n_resamples=np.inf,
        vectorized=True,
    )
    assert statistics.paired_permutation(a, b) == pytest.approx(expected.pvalue)


@given(pairs)
def test_permutation_is_symmetric_and_bounded(rows):
    a, b = columns(rows)
    p = statistics.paired_permutation(a, b)
    assert p == statistics.paired_permutation(b, a)
    assert statistics.smallest_p(len(rows)) <= p <= 1
    assert statistics.paired_permutation(a, a) == 1.0


@pytest.mark.parametrize("n", [1, 2, 5, 6, 20])
def test_smallest_p_is_reached_when_all_differences_agree(n):
    p = statistics.paired_permutation(np.linspace(1, 2, n), np.zeros(n))
    assert p == statistics.smallest_p(n)


def test_many_pairs_are_sampled_close_to_the_exact_value():
    rng = np.random.default_rng(3)
    a, b = rng.normal(0.4, 1.0, 20), np.zeros(20)
    exact = statistics.paired_permutation(a, b)
    # a pair without difference changes nothing, and makes 21 of them
    sampled = statistics.paired_permutation(np.append(a, 0.0), np.append(b, 0.0))
    assert 0.001 < exact < 0.5
    assert sampled == pytest.approx(exact, abs=0.002)
    far = statistics.paired_permutation(np.ones(30), np.zeros(30))
    assert 0 < far < 1e-5  # never zero, however few were drawn


def test_bootstrap_recovers_a_known_interval():
    # many pairs: the percentile interval is the normal one
    d = np.random.default_rng(1).normal(1.0, 2.0, 400)
    interval = statistics.paired_bootstrap(d, np.zeros(400))
    half = 1.959964 * d.std() / 20
    assert interval.mean == pytest.approx(d.mean())
    assert interval.low == pytest.approx(d.mean() - half, abs=0.02)
    assert interval.high == pytest.approx(d.mean() + half, abs=0.02)


def test_bootstrap_is_a_function_of_its_seed():
    a, b = [0.91, 0.95, 0.93, 0.97], [0.90, 0.91, 0.94, 0.92]
    first = statistics.paired_bootstrap(a, b, samples=200)
    assert first == statistics.paired_bootstrap(a, b, samples=200)
    assert first != statistics.paired_bootstrap(a, b, samples=200, seed=1)


@settings(deadline=None, max_examples=25)
@given(pairs)
def test_bootstrap_stays_within_the_differences(rows):
    a, b = columns(rows)
    interval = statistics.paired_bootstrap(a, b, samples=100)
    assert interval.mean == pytest.approx(np.mean(a - b), abs=1e-12)
    if len(rows) == 1:
        assert np.isnan([interval.low, interval.high]).all()
    else:
        assert np.min(a - b) - 1e-12 <= interval.low <= interval.high
        assert interval.high <= np.max(a - b) + 1e-12


def test_bootstrap_of_equal_differences_is_a_point():
    interval = statistics.paired_bootstrap([2, 3, 4], [1, 2, 3])
    assert interval == (1.0, 1.0, 1.0, 3)


def test_holm_by_hand():
    # sorted .01 .03 .04 -> 3 * .01, 2 * .03, max(.06, .04)
    adjusted = statistics.holm([0.04, 0.01, 0.03])
    np.testing.assert_allclose(adjusted, [0.06, 0.03, 0.06])
    np.testing.assert_allclose(statistics.holm([0.6, 0.7]), [1.0, 1.0])
    np.testing.assert_allclose(statistics.holm([0.02]), [0.02])


probabilities = st.lists(st.floats(0, 1), min_size=1, max_size=12)


@given(probabilities)
def test_holm_lies_between_raw_and_bonferroni_and_keeps_order(p_values):
    p, adjusted = np.asarray(p_values), statistics.holm(p_values)
    assert (adjusted >= p).all()
    assert (adjusted <= np.minimum(1, p * p.size) + 1e-15).all()
    assert (np.diff(adjusted[np.argsort(p, kind="stable")]) >= 0).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: statistics.mean_interval([]), "values"),
        (lambda: statistics.mean_interval([1.0, np.nan]), "finite"),
        (lambda: statistics.paired_permutation([1, 2], [1]), r"\(2,\) and \(1,\)"),
        (lambda: statistics.paired_bootstrap([1, 2], [1]), r"\(2,\) and \(1,\)"),
        (lambda: statistics.paired_permutation([[1.0]], [[1.0]]), "vector"),
        (lambda: statistics.holm([0.2, 1.2]), r"\[0, 1\]"),
    ],
)
def test_wrong_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_mcnemar_by_hand():
    # 30 right by the first alone, 12 by the second: chi^2 = 18^2 / 42 = 7.714
    d = np.repeat([1, -1, 0], [30, 12, 100])
    assert statistics.mcnemar(d) == pytest.approx(stats.chi2.sf(18**2 / 42, 1))
    assert statistics.mcnemar(-d) == pytest.approx(statistics.mcnemar(d))
    assert statistics.mcnemar([0, 0]) == statistics.mcnemar([1, -1]) == 1.0


def test_mcnemar_errs_as_often_as_it_says():
    """Also where the networks of two seeds agree more than chance would."""
    rng = np.random.default_rng(0)
    p = []
    for _ in range(600):
        hard = rng.uniform(size=500)
        a, b = (rng.uniform(size=(2, 500)) < hard for _ in range(2))
        p.append(statistics.mcnemar((a * 1.0 - b).mean(axis=0)))
    assert 0.03 < np.mean(np.array(p) < 0.05) < 0.07


def test_a_detectable_difference_is_found_as_often_as_it_says():
    rng = np.random.default_rng(0)
    found = []
    for _ in range(1000):
        noise = rng.normal(0, 1, 10)
        # the true difference that 10 pairs of this deviation are said to find
        effect = statistics.detectable(noise, np.zeros(10))
        again = rng.normal(effect, noise.std(ddof=1), 10)
        found.append(stats.ttest_1samp(again, 0))
    power = np.mean([test.pvalue < 0.05 for test in found])
    assert 0.77 < power < 0.84
    assert np.isnan(statistics.detectable([1.0], [0.5]))


def test_a_shares_interval_is_wilsons():
    for hits, n in ((3, 10), (0, 7), (7, 7), (394, 396)):
        mean, low, high, count = statistics.share_interval(hits, n)
        expected = stats.binomtest(hits, n).proportion_ci(method="wilson")
        assert (mean, count) == (hits / n, n)
        assert (low, high) == pytest.approx(tuple(expected), abs=1e-9)
        assert 0 <= low <= mean <= high <= 1


@pytest.mark.parametrize(("hits", "n"), [(1, 0), (0, 0), (-1, 3), (4, 3)])
def test_a_share_of_nothing_has_no_interval(hits, n):
    with pytest.raises(ValueError, match="hits: expected 0 to n, n above 0"):
        statistics.share_interval(hits, n)
