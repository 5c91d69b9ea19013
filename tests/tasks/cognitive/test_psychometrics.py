"""Psychometric curves against their formula, simulated observers, and rules."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from kdjax.errors import InputError
from kdjax.tasks.cognitive import psychometrics

COHERENCES = np.array([0.01, 0.02, 0.04, 0.08, 0.16, 0.32])
TRUTH = {"threshold": 0.06, "slope": 1.3, "lapse": 0.03}


def expected_counts(trials=1.0, guess=0.5, **changed):
    return trials * psychometrics.weibull(COHERENCES, **(TRUTH | changed), guess=guess)


def drawn_counts(trials, seed=0):
    rng = np.random.default_rng(seed)
    return rng.binomial(trials, expected_counts())


def parameters(fit):
    return fit[:3]


def test_weibull_by_hand():
    at = [0.0, 0.1, -0.1, 1e9]
    curve = psychometrics.weibull(at, threshold=0.1, slope=7.0, lapse=0.02)
    at_threshold = 0.5 + 0.48 * (1 - np.exp(-1))
    np.testing.assert_allclose(curve, [0.5, at_threshold, at_threshold, 0.98])
    # at twice the threshold: exp(-2^2)
    (p,) = psychometrics.weibull([0.2], threshold=0.1, slope=2, lapse=0, guess=0.25)
    assert p == pytest.approx(0.25 + 0.75 * (1 - np.exp(-4)))


@pytest.mark.parametrize(
    ("threshold", "slope", "lapse", "guess"),
    [(0.06, 1.3, 0.03, 0.5), (0.02, 2.5, 0.01, 0.5), (0.15, 0.8, 0.0, 0.25)],
)
def test_a_fit_of_exact_proportions_is_their_curve(threshold, slope, lapse, guess):
    truth = {"threshold": threshold, "slope": slope, "lapse": lapse}
    correct = expected_counts(guess=guess, **truth)
    fit = psychometrics.fit_weibull(COHERENCES, correct, 1, guess=guess)
    assert parameters(fit) == pytest.approx([*truth.values()], rel=2e-3, abs=2e-5)
    np.testing.assert_allclose(fit.curve(COHERENCES, guess=guess), correct, atol=1e-5)


def test_a_fit_recovers_an_observer_from_its_trials():
    trials = 20_000
    fit = psychometrics.fit_weibull(COHERENCES, drawn_counts(trials), trials)
    assert fit.threshold == pytest.approx(0.06, rel=0.03)
    assert fit.slope == pytest.approx(1.3, rel=0.04)
    assert fit.lapse == pytest.approx(0.03, abs=0.006)


def test_no_neighbour_is_likelier_and_the_likelihood_is_the_binomial_one():
    correct, trials = drawn_counts(200), 200
    fit = psychometrics.fit_weibull(COHERENCES, correct, trials)

    def likelihood(**changed):
        of = dict(zip(TRUTH, parameters(fit), strict=True)) | changed
        p = psychometrics.weibull(COHERENCES, **of)
        logs = stats.binom.logpmf(correct, trials, p)
        # less the coefficients, which are those at p = 1/2
        return (logs - stats.binom.logpmf(correct, trials, 0.5)).sum()

    at_half = 6 * trials * np.log(0.5)
    assert fit.log_likelihood == pytest.approx(likelihood() + at_half)
    for name in TRUTH:
        for factor in (0.97, 1.03):
            assert likelihood(**{name: getattr(fit, name) * factor}) < likelihood()


def test_single_trials_of_either_sign_are_their_counts():
    rng = np.random.default_rng(1)
    coherence = np.tile(COHERENCES, 50) * rng.choice([-1, 1], 300)
    correct = rng.random(300) < np.tile(expected_counts(), 50)
    counts = correct.reshape(50, 6).sum(0)
    one_by_one = psychometrics.fit_weibull(coherence, correct, 1)
    assert one_by_one == psychometrics.fit_weibull(COHERENCES, counts, [50] * 6)


def test_how_many_trials_are_assumed_changes_the_likelihood_alone():
    proportions = drawn_counts(100) / 100
    one = psychometrics.fit_weibull(COHERENCES, proportions, 1)
    many = psychometrics.fit_weibull(COHERENCES, proportions * 777.5, 777.5)
    assert parameters(many) == pytest.approx(parameters(one), rel=1e-4)
    assert many.log_likelihood == pytest.approx(777.5 * one.log_likelihood)


@settings(deadline=None, max_examples=25)
@given(
    scale=st.floats(min_value=1e-3, max_value=1e3),
    threshold=st.floats(min_value=0.03, max_value=0.1),
    slope=st.floats(min_value=0.8, max_value=3),
    lapse=st.floats(min_value=0, max_value=0.08),
)
def test_a_scale_of_coherence_is_one_of_the_threshold(scale, threshold, slope, lapse):
    correct = expected_counts(100, threshold=threshold, slope=slope, lapse=lapse)
    fit = psychometrics.fit_weibull(COHERENCES, correct.round(), 100)
    scaled = psychometrics.fit_weibull(scale * COHERENCES, correct.round(), 100)
    assert scaled.threshold == pytest.approx(scale * fit.threshold, rel=1e-3)
    assert scaled.slope == pytest.approx(fit.slope, rel=1e-3)
    assert scaled.lapse == pytest.approx(fit.lapse, abs=1e-4)
    assert scaled.log_likelihood == pytest.approx(fit.log_likelihood, rel=1e-6)


def test_what_data_do_not_determine_stops_at_a_bound():
    coherence = [0.0, *COHERENCES]
    always = psychometrics.fit_weibull(coherence, [5, *[10] * 6], 10)
    assert always.threshold < COHERENCES[0]
    assert always.lapse == pytest.approx(1e-6)
    chance = psychometrics.fit_weibull(coherence, [5] * 7, 10)
    assert chance.curve(0.16) < 0.55
    assert chance.log_likelihood == pytest.approx(70 * np.log(0.5), rel=1e-3)
    lapsing = psychometrics.fit_weibull(COHERENCES, [7] * 6, 10, max_lapse=0.2)
    assert lapsing.lapse == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("coherence", "correct", "trials", "message"),
    [
        ([0.1, 0.2, 0.3], [1, 2], 3, r"correct: expected shape \(3,\), found \(2,\)"),
        ([0.1, 0.2, np.nan], [1, 2, 2], 3, "coherence: expected finite"),
        ([], [], 3, r"coherence: expected \[n\]|shape"),
        ([0.1, 0.2, 0.3], [1, 4, 2], 3, "found 4 of 3 in row 1"),
        ([0.1, 0.2, 0.3], [1, -1, 2], 3, "found -1 of 3 in row 1"),
        ([0.1, 0.2, 0.3], [0, 0, 0], 0, "found 0 of 0 in row 0"),
        ([0.1, 0.2, 0.3], [1, 2, 2], [3, 3], r"trials: .*found \(2,\)"),
        ([0.1, -0.1, 0.3, 0], [1, 2, 2, 1], 3, r"at least 3 .*found \[0.1, 0.3\]"),
    ],
)
def test_wrong_counts_are_named(coherence, correct, trials, message):
    with pytest.raises(InputError, match=message):
        psychometrics.fit_weibull(coherence, correct, trials)


@pytest.mark.parametrize(
    "field", [{"guess": 1.0}, {"max_lapse": 0.5}, {"max_lapse": 0}]
)
def test_wrong_bounds_are_named(field):
    (name,) = field
    with pytest.raises(InputError, match=f"^{name}: expected a number"):
        psychometrics.fit_weibull(COHERENCES, [1] * 6, 2, **field)


def resampled(trials=200, seed=0, **options):
    rng = np.random.default_rng(seed)
    return psychometrics.bootstrap(
        *(COHERENCES, drawn_counts(trials), trials),
        rng=rng,
        samples=40,
        **options,
    )


@pytest.mark.parametrize("parametric", [False, True])
def test_bootstrap_intervals_hold_the_fit_and_narrow_with_trials(parametric):
    few, many = (resampled(n, parametric=parametric) for n in (100, 6400))
    for result in (few, many):
        fit = result.fit
        assert result.threshold[0] < fit.threshold < result.threshold[1]
        assert result.slope[0] < fit.slope < result.slope[1]
        assert result.lapse[0] <= fit.lapse <= result.lapse[1]
        curve = fit.curve(COHERENCES)
        assert (result.curve[:, 0] <= curve).all()
        assert (curve <= result.curve[:, 1]).all()
    ratio = np.diff(few.threshold) / np.diff(many.threshold)
    assert 5 < ratio < 13  # sqrt(64) = 8


def test_bootstrap_knows_its_seed_points_and_confidence():
    one, again, other = resampled(), resampled(), resampled(seed=1)
    assert one.threshold == again.threshold
    assert one.threshold != other.threshold
    np.testing.assert_array_equal(one.coherence, COHERENCES)
    narrow = resampled(confidence=0.5, points=[0.05, 0.5])
    assert one.threshold[0] < narrow.threshold[0] < narrow.threshold[1]
    assert narrow.threshold[1] < one.threshold[1]
    assert narrow.curve.shape == (2, 2)


def test_bootstraps_of_trials_and_of_the_curve_differ_where_the_curve_is_wrong():
    # No Weibull curve falls; of 10 000 trials each the data alone say that this does.
    falling = np.array([0.9, 0.8, 0.7, 0.6])
    kept = {}
    for parametric in (False, True):
        result = psychometrics.bootstrap(
            *([1, 2, 3, 4], 10_000 * falling, 10_000),
            rng=np.random.default_rng(0),
            parametric=parametric,
            samples=20,
        )
        kept[parametric] = result.curve
    assert not np.allclose(kept[False], kept[True], atol=1e-5)


def test_bootstrap_needs_whole_trials():
    with pytest.raises(InputError, match="trials: expected a whole number"):
        psychometrics.bootstrap(COHERENCES, [1] * 6, 2.5, rng=np.random.default_rng(0))


def test_ideal_observer_golden():
    expected = [0.5617, 0.6218, 0.7315, 0.8868, 0.9877, 0.9999]
    found = psychometrics.ideal_observer(COHERENCES)
    np.testing.assert_allclose(found, expected, atol=5e-5)
    np.testing.assert_array_equal(psychometrics.ideal_observer(-COHERENCES), found)
    assert psychometrics.ideal_observer(0.0) == 0.5


def test_an_observer_that_sums_its_evidence_is_ideal():
    rng, trials, channels, noise = np.random.default_rng(0), 4000, 3, 0.7
    steps = range(5, 13)
    for coherence in (0.04, -0.16):
        shape = (trials, steps[-1], channels)
        evidence = rng.normal(coherence, noise, shape).sum(-1)
        last = rng.integers(steps[0], steps[-1] + 1, trials)
        shown = np.arange(steps[-1])[None, :] < last[:, None]
        right = np.sign((evidence * shown).sum(1)) == np.sign(coherence)
        ideal = psychometrics.ideal_observer(
            coherence, channels=channels, steps=steps, noise=noise
        )
        error = np.sqrt(ideal * (1 - ideal) / trials)
        assert abs(right.mean() - ideal) < 3.5 * error
        # one that hears one channel of three does worse
        worse = psychometrics.ideal_observer(
            coherence, channels=1, steps=steps, noise=noise
        )
        assert worse < ideal - 3.5 * error
