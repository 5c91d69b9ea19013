"""The checkerboard task against plain loops and its ideal observer."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from kdjax.errors import InputError
from kdjax.tasks.cognitive.trials import build
from kdjax.tasks.cognitive.trials.checkerboard import sample, score

SAMPLE = jax.jit(jax.vmap(sample, (0, None, 0)))
SCORE = jax.jit(jax.vmap(score))
# ideal observer, 10 to 40 steps of evidence
IDEAL = {0.01: 0.562, 0.02: 0.622, 0.04: 0.731, 0.08: 0.887, 0.16: 0.988, 0.32: 1.0}


@functools.cache
def checkerboard(**fields):
    return build({"name": "checkerboard", **fields})


def trials_of(paradigm, n=64, seed=0, **condition):
    keys = jax.random.split(jax.random.key(seed), n)
    given = {name: jnp.full(n, value) for name, value in condition.items()}
    return SAMPLE(keys, paradigm.options, given)


def loop(paradigm, condition):
    """(inputs without noise, targets, mask) of one trial, step by step."""
    grace, weight = paradigm.options["grace"], paradigm.options["weight"]
    inputs = np.zeros((paradigm.steps, len(paradigm.inputs)))
    targets, mask = np.zeros((2, paradigm.steps, 2))
    red = condition["coherence"] > 0
    right = 0 if red == bool(condition["cue"]) else 1
    for t in range(paradigm.steps):
        mask[t] = 1
        if t >= condition["target_onset"]:
            inputs[t, condition["cue"]] = 1
        if condition["catch"] or t < condition["onset"]:
            continue
        inputs[t, 2:] = condition["coherence"]
        late = t >= condition["onset"] + grace
        mask[t] = weight if late else 0
        targets[t, right] = late
    return inputs, targets, mask


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"dt": 50.0},
        {
            "onset": (1000.0, 1500.0),
            "grace": 200.0,
            "weight": 5.0,
            "catch": 0.4,
            "coherences": (0.1, 0.7),
        },
    ],
)
def test_trials_are_those_of_a_plain_loop(fields):
    paradigm = checkerboard(noise=0.0, **fields)
    trials = jax.tree.map(np.asarray, trials_of(paradigm))
    for i in range(len(trials.inputs)):
        condition = {name: value[i] for name, value in trials.condition.items()}
        inputs, targets, mask = loop(paradigm, condition)
        np.testing.assert_allclose(trials.inputs[i], inputs, rtol=1e-6)
        np.testing.assert_array_equal(trials.targets[i], targets)
        np.testing.assert_array_equal(trials.mask[i], mask)
    assert {tuple(pair) for pair in trials.targets[:, -1]} >= {(0, 1), (1, 0)}


def test_by_default_everything_is_drawn_as_in_the_blog():
    drawn = trials_of(checkerboard(), n=4000).condition
    assert (drawn["target_onset"].min(), drawn["target_onset"].max()) == (20, 45)
    assert (drawn["onset"].min(), drawn["onset"].max()) == (60, 90)
    size = np.abs(drawn["coherence"])
    np.testing.assert_allclose(
        np.quantile(size, (0.25, 0.5, 0.75)), (0.25, 0.5, 0.75), atol=0.03
    )
    for positive in (drawn["coherence"] > 0, drawn["cue"], drawn["choice"]):
        assert np.mean(positive) == pytest.approx(0.5, abs=0.03)
    assert np.corrcoef(drawn["cue"], drawn["choice"])[0, 1] == pytest.approx(
        0, abs=0.06
    )
    assert not drawn["catch"].any()


def test_coherences_of_a_list_are_drawn_equally_often():
    drawn = trials_of(checkerboard(coherences=(0.1, 0.2, 0.4)), n=3000).condition
    values, counts = np.unique(np.round(drawn["coherence"], 6), return_counts=True)
    np.testing.assert_allclose(values, [-0.4, -0.2, -0.1, 0.1, 0.2, 0.4], rtol=1e-6)
    np.testing.assert_allclose(counts / 3000, 1 / 6, atol=0.03)


@pytest.mark.parametrize("cue", [0, 1])
@pytest.mark.parametrize("choice", [0, 1])
def test_what_a_condition_gives_is_kept(cue, choice):
    """Two of cue, colour and choice fix the third."""
    paradigm = checkerboard()
    signed = 0.3 * (1 if cue != choice else -1)  # positive: with cue 1 the left side
    for names in (("cue", "choice"), ("cue", "coherence"), ("choice", "coherence")):
        full = {"cue": cue, "choice": choice, "coherence": signed}
        drawn = trials_of(paradigm, **{name: full[name] for name in names}).condition
        np.testing.assert_array_equal(drawn["cue"], cue)
        np.testing.assert_array_equal(drawn["choice"], choice)
        np.testing.assert_array_equal(np.sign(drawn["coherence"]), np.sign(signed))
    drawn = trials_of(paradigm, onset=70, target_onset=33, catch=1).condition
    for name, value in {"onset": 70, "target_onset": 33, "catch": 1}.items():
        np.testing.assert_array_equal(drawn[name], value)


def test_cue_and_coherence_decide_where_the_choice_contradicts_them():
    drawn = trials_of(checkerboard(), cue=0, coherence=0.3, choice=0).condition
    np.testing.assert_array_equal(drawn["choice"], 1)
    np.testing.assert_allclose(drawn["coherence"], 0.3, rtol=1e-6)


def test_at_coherence_0_the_side_is_the_one_given_or_either():
    paradigm = checkerboard()
    drawn = trials_of(paradigm, coherence=0.0, cue=1, choice=0).condition
    np.testing.assert_array_equal(drawn["choice"], 0)
    np.testing.assert_array_equal(drawn["cue"], 1)
    assert set(np.asarray(trials_of(paradigm, coherence=0.0).condition["choice"])) == {
        0,
        1,
    }


def test_no_error_counts_in_the_grace_period():
    paradigm = checkerboard(onset=(1200.0, 1600.0), grace=200.0, weight=3.0)
    trials = trials_of(paradigm)
    after = np.arange(paradigm.steps) - np.asarray(trials.condition["onset"])[:, None]
    mask = np.asarray(trials.mask)
    assert (mask[(after >= 0) & (after < 10)] == 0).all()
    assert (mask[after < 0] == 1).all()
    assert (mask[after >= 10] == 3).all()


def test_the_share_of_catch_trials_and_what_they_ask():
    n = 3000
    trials = trials_of(checkerboard(catch=0.3), n=n)
    catch = np.asarray(trials.condition["catch"]) == 1
    assert catch.mean() == pytest.approx(0.3, abs=4 * np.sqrt(0.21 / n))
    assert not np.asarray(trials.targets)[catch].any()
    assert (np.asarray(trials.mask)[catch] == 1).all()
    late = np.asarray(trials.inputs)[catch][:, 90:, 2:].mean((1, 2))
    assert np.abs(late).max() < 6 / np.sqrt(100)
    # correct if and only if both outputs stay at or below a half in the window
    outputs = jnp.zeros_like(trials.targets).at[:, :90].set(1.0)
    np.testing.assert_array_equal(SCORE(outputs, trials)["correct"][catch], 1)
    outputs = outputs.at[:, 95, 1].set(0.51)
    np.testing.assert_array_equal(SCORE(outputs, trials)["correct"][catch], 0)


def test_the_choice_is_the_larger_mean_in_the_decision_window():
    trials = trials_of(checkerboard(decision_window=100.0), choice=1)
    outputs = jnp.zeros_like(trials.targets).at[:, :95, 0].set(9.0)
    outputs = outputs.at[:, 95:, 0].set(0.2).at[:, 99, 1].set(1.1)
    answered = SCORE(outputs, trials)
    np.testing.assert_array_equal(answered["choice"], 1)
    np.testing.assert_array_equal(answered["correct"], 1)


@pytest.mark.parametrize("dt", [20.0, 10.0, 40.0])
def test_the_noise_before_the_checkerboard_has_the_variance_of_its_step(dt):
    trials = trials_of(checkerboard(dt=dt, noise=0.8), n=100)
    before = np.asarray(trials.inputs)[:, : round(1200 / dt), 2:]
    assert before.var() == pytest.approx(0.64 * 20 / dt, rel=0.05)
    assert before.mean() == pytest.approx(0, abs=0.02)


def test_an_ideal_observer_is_right_as_often_as_theory_says():
    """It sums the evidence: mean over n = 10..40 steps of Phi(c sqrt(10 n))."""
    n, paradigm = 2000, checkerboard()
    time = np.arange(paradigm.steps)
    for c, expected in IDEAL.items():
        theory = norm.cdf(c * np.sqrt(10 * np.arange(10, 41))).mean()
        assert theory == pytest.approx(expected, abs=1e-3)
        trials = trials_of(paradigm, n=n, seed=round(100 * c), coherence=c)
        shown = time >= np.asarray(trials.condition["onset"])[:, None]
        total = (np.asarray(trials.inputs)[..., 2:].sum(-1) * shown).sum(1)
        error = np.sqrt(theory * (1 - theory) / n)
        assert np.mean(total > 0) == pytest.approx(theory, abs=4 * error + 1e-3)


@settings(deadline=None, max_examples=30)
@given(
    targets=st.tuples(st.integers(0, 50), st.integers(0, 10)),
    onset=st.tuples(st.integers(60, 80), st.integers(0, 10)),
    seed=st.integers(0, 2**31 - 1),
)
def test_onsets_are_in_their_ranges_and_leave_time_to_decide(targets, onset, seed):
    """Ranges are options: no other trial is compiled for them."""
    low, more = targets
    first, later = onset
    ranges = {
        "target_onset": np.array([low, low + more], np.int32),
        "onset": np.array([first, first + later], np.int32),
    }
    paradigm = checkerboard()
    keys = jax.random.split(jax.random.key(seed), 64)
    trials = SAMPLE(keys, paradigm.options | ranges, {})
    for name, (start, end) in ranges.items():
        drawn = np.asarray(trials.condition[name])
        assert ((start <= drawn) & (drawn <= end)).all()
    assert (np.asarray(trials.targets)[:, -10:].sum(2) == 1).all()


def test_held_inputs_and_the_grid():
    paradigm = checkerboard(test_coherences=(0.1, 0.2))
    held = paradigm.held["cue 1, coherence -0.2"]
    np.testing.assert_allclose(held.mean, [0, 1, *[-0.2] * 10], rtol=1e-6)
    np.testing.assert_array_equal(held.std, [0, 0, *[1] * 10])
    assert len(paradigm.held) == 2 * 5
    assert len(paradigm.conditions["cue"]) == 2 * 2 * 2


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"dt": 0}, r"dt: expected a number > 0, found 0$"),
        ({"dt": True}, r"dt: expected a number, found True$"),
        ({"coherences": ()}, r"coherences: expected one number or more, found none$"),
        ({"test_coherences": []}, r"test_coherences: expected one number or more"),
        ({"coherences": (0.1, 2)}, r"coherences\[1\]: expected a number in \[0, 1\]"),
        ({"catch": 1.5}, r"catch: expected a number in \[0, 1\], found 1.5$"),
        ({"catch": -0.1}, r"catch: expected a number in \[0, 1\], found -0.1$"),
        ({"onset": (1800, 1200)}, r"onset: expected a range \(low, high\), low first"),
        ({"target_onset": (900, 400)}, r"target_onset: expected a range"),
        ({"coherence_range": (0.9, 0.1)}, r"coherence_range: expected a range"),
        ({"onset": (1200, 1500, 1800)}, r"onset: expected a sequence of 2 numbers"),
        ({"target_onset": 1300}, r"target_onset: expected at most 1200 ms, .* 1300$"),
        ({"grace": 200}, r"onset: expected at most 1700 ms, .*, found 1800$"),
        ({"decision_window": 400}, r"onset: expected at most 1600 ms, .*, found 1800$"),
        ({"trial": 1000}, r"onset: expected at most 900 ms, .*, found 1800$"),
        ({"decision_window": 5}, r"decision_window: expected at least 20 ms"),
        ({"evidence": 0}, r"evidence: expected an integer >= 1, found 0$"),
        ({"weight": 0}, r"weight: expected a number > 0, found 0$"),
    ],
)
def test_what_it_cannot_be_made_of(fields, message):
    with pytest.raises(InputError, match=r"^config\.trials\." + message) as raised:
        build({"name": "checkerboard", **fields})
    assert "\n" not in str(raised.value)
