"""Reaction times by hand, and by a model whose answer is known."""

import numpy as np
import pytest

from kdjax.errors import InputError
from kdjax.tasks.cognitive import chronometrics


def reactions(evidence, onset, **options):
    return chronometrics.reaction_times(
        evidence, onset, **({"threshold": 1.0, "dt": 20.0} | options)
    )


def test_reaction_times_by_hand():
    evidence = [
        [0.0, 0.0, 0.5, 1.5, 0.0],  # halfway between steps 2 and 3
        [0.0, 0.0, 0.2, -1.0, 0.0],  # on step 3 exactly, from the other side
        [9.0, 0.0, 0.0, 0.0, 0.9],  # beyond it only before the onset
        [0.0, -3.0, 0.0, 0.0, 0.0],  # beyond it at the onset
        [9.0, 0.5, 0.5, 0.5, 3.0],  # a fifth of the way from step 3 to 4
    ]
    found = reactions(evidence, [1] * 5)
    np.testing.assert_allclose(found.ms, [30, 40, np.nan, 0, 44])
    np.testing.assert_array_equal(found.choice, [1, -1, 0, -1, 1])


def test_each_trial_has_its_own_onset():
    ramp = np.tile(np.arange(6) / 2, (3, 1))
    found = reactions(ramp, np.array([0, 1, 4], np.uint64), threshold=1.25, dt=10)
    np.testing.assert_allclose(found.ms, [25, 15, 0])


def test_time_does_not_depend_on_the_step():
    """Interpolation finds the crossing of a straight line whatever dt is."""
    for dt in (1.0, 7.0, 20.0):
        line = np.arange(0, 200, dt)[None, :] / 123.4
        assert reactions(line, [0], dt=dt).ms == pytest.approx([123.4])


def test_a_threshold_that_no_trial_crosses_is_one_line():
    evidence = np.array([[9.0, 0.25, 0.0], [0.0, 0.0, -1.75]])
    message = (
        "evidence: no readout unit ever crosses the threshold 2; the largest is 1.75"
    )
    with pytest.raises(InputError) as caught:
        reactions(evidence, [1, 0], threshold=2.0)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("evidence", "onset", "options", "message"),
    [
        ([1.0, 2.0], [0], {}, "evidence: expected .trials, time."),
        ([[1.0, np.nan]], [0], {}, "evidence: expected finite"),
        ([[1.0, 2.0]], [0, 1], {}, r"onset: expected integers \(1,\)"),
        ([[1.0, 2.0]], [0.0], {}, r"onset: expected integers \(1,\)"),
        ([[1.0, 2.0]], [2], {}, "onset: expected steps from 0 to 1, found 2 to 2"),
        ([[1.0, 2.0]], [-1], {}, "onset: expected steps from 0 to 1, found -1"),
        ([[1.0, 2.0]], [0], {"threshold": 0.0}, "threshold: expected a number"),
        ([[1.0, 2.0]], [0], {"dt": 0.0}, "dt: expected a number"),
    ],
)
def test_wrong_evidence_is_named(evidence, onset, options, message):
    with pytest.raises(InputError, match=message):
        reactions(evidence, onset, **options)


def test_chronometric_by_hand():
    nan = np.nan
    found = chronometrics.chronometric(
        coherence=[0.1, -0.1, 0.1, -0.1, 0.2, 0.2, 0.4],
        rt=[300.0, 500.0, 900.0, nan, 200.0, nan, nan],
        correct=[1, 1, 0, 1, 1, 0, 0],
    )
    np.testing.assert_array_equal(found.coherence, [0.1, 0.2, 0.4])
    np.testing.assert_allclose(found.rt, [400, 200, nan])
    # std of 300 and 500 with n - 1 is 141.42; over sqrt(2)
    np.testing.assert_allclose(found.standard_error, [100, nan, nan])
    np.testing.assert_allclose(found.crossed, [3 / 4, 1 / 2, 0])
    np.testing.assert_allclose(found.accuracy, [2 / 3, 1, nan])


def test_chronometric_names_what_differs_in_length():
    with pytest.raises(InputError, match=r"rt: expected shape \(2,\), found \(1,\)"):
        chronometrics.chronometric([0.1, 0.2], [5.0], [1, 1])


def test_drift_to_a_bound_has_the_known_accuracy_and_time():
    """Drift v, unit diffusion, bounds ±a: P = 1/(1 + e^(-2av)), mean a tanh(av)/v."""
    rng, trials, dt, bound = np.random.default_rng(0), 1500, 0.005, 1.0
    coherence = np.repeat([0.5, 2.0], trials)
    steps = rng.normal(coherence[:, None] * dt, np.sqrt(dt), (2 * trials, 1200))
    found = reactions(
        np.cumsum(steps, axis=1), np.zeros(2 * trials, int), threshold=bound, dt=dt
    )
    curve = chronometrics.chronometric(coherence, found.ms, found.choice == 1)
    drift = np.array([0.5, 2.0])
    accuracy = 1 / (1 + np.exp(-2 * bound * drift))
    mean = bound * np.tanh(bound * drift) / drift
    # a walk in steps overshoots its bound by .58 sqrt(dt) or so, .04 here
    np.testing.assert_allclose(curve.accuracy, accuracy, atol=0.04)
    np.testing.assert_allclose(curve.rt, mean, rtol=0.12)
    assert curve.rt[0] > curve.rt[1] + 5 * curve.standard_error.max()
    assert (curve.crossed > 0.98).all()
