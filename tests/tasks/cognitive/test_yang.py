"""Each of the twenty tasks against a description of it in plain Python."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.errors import InputError
from kdjax.tasks.cognitive.trials.yang import make_yang

DT = 20
PI = math.pi
ONE = ["go", "rt_go", "dly_go", "anti", "rt_anti", "dly_anti"]
KINDS = ["dm_1", "dm_2", "ctx_dm_1", "ctx_dm_2", "multsen_dm"]
COMPARE = [*KINDS, *[kind.replace("dm", "dly_dm") for kind in KINDS]]
MATCH = ["dms", "dnms", "dmc", "dnmc"]
NAMES = [*ONE, *COMPARE, *MATCH]
LENGTHS = ("onset", "first", "gap", "second", "wait", "answer")

# ms; a range is drawn from in steps, the end left out
GO = {"onset": range(300, 700, DT), "first": range(500, 1500, DT), "answer": (500,)}
RT_GO = {"onset": range(500, 2500, DT), "answer": (500,)}
SHORT, DELAY = (200, 400, 600), (200, 400, 800, 1600)
DLY_GO = {"onset": (300, 500, 700), "first": SHORT, "gap": DELAY, "answer": (500,)}
DM = {"onset": range(100, 400, DT), "first": (400, 800, 1600), "answer": (500,)}
DLY_DM = {
    "onset": SHORT,
    "first": SHORT,
    "gap": DELAY,
    "second": SHORT,
    "wait": range(100, 300, DT),
    "answer": (500,),
}
DMS = {"onset": SHORT, "first": SHORT, "gap": DELAY, "answer": (500,)}
DMC = {**DMS, "answer": SHORT}
TIMES = dict(
    zip(
        NAMES,
        [GO, RT_GO, DLY_GO] * 2 + [DM] * 5 + [DLY_DM] * 5 + [DMS] * 2 + [DMC] * 2,
        strict=True,
    )
)


@partial(jax.jit, static_argnums=0)
def drawn(sample, options, keys, conditions):
    """A trial of each key, under each of the conditions."""
    return jax.vmap(sample, in_axes=(0, None, 0))(keys, options, conditions)


@partial(jax.jit, static_argnums=0)
def drawn_conditions(sample, options, keys, conditions):
    """What is drawn in it, without the arrays."""
    return drawn(sample, options, keys, conditions).condition


@partial(jax.jit, static_argnums=0)
def scored(score, outputs, trials):
    return jax.vmap(score)(outputs, trials)["correct"]


def keys(n, seed=0):
    return jax.random.split(jax.random.key(seed), n)


@pytest.fixture(scope="module")
def paradigm():
    return make_yang(noise=0.0)


@pytest.fixture(scope="module")
def trials(paradigm):
    """20 trials of each rule, in order, as arrays."""
    rules = {"rule": np.repeat(np.arange(20), 20)}
    many = drawn(paradigm.sample, paradigm.options, keys(400), rules)
    return jax.tree.map(np.asarray, many)


@pytest.fixture(scope="module")
def conditions(paradigm):
    """{rule: what was drawn for 300 trials of it}."""
    rules = {"rule": np.repeat(np.arange(20), 300)}
    many = drawn_conditions(paradigm.sample, paradigm.options, keys(6000), rules)
    each = {k: np.asarray(v).reshape(20, 300) for k, v in many.items()}
    return {n: {k: v[i] for k, v in each.items()} for i, n in enumerate(NAMES)}


def apart(a, b):
    return abs((a - b + PI) % (2 * PI) - PI)


def described(name, c):
    """What happens when in a trial, in steps: written as in the paper's table."""
    on, end_1 = c["onset"], c["onset"] + c["first"]
    first, second = c["location_1"], c["location_2"]
    back = (first + PI) % (2 * PI)
    if name in ("go", "anti"):
        end = end_1 + c["answer"]
        shown, fixated, due = [(on, end)], end_1, end_1
        target = back if name == "anti" else first
    elif name in ("rt_go", "rt_anti"):
        end = on + c["answer"]
        shown, fixated, due = [(on, end)], end, on
        target = back if name == "rt_anti" else first
    elif name in ("dly_go", "dly_anti"):
        due = fixated = end_1 + c["gap"]
        shown, end = [(on, end_1)], due + c["answer"]
        target = back if name == "dly_anti" else first
    elif name in COMPARE:
        if "dly" in name:
            on_2 = end_1 + c["gap"]
            end_2 = on_2 + c["second"]
            shown, due = [(on, end_1), (on_2, end_2)], end_2 + c["wait"]
        else:
            shown, due = [(on, end_1)] * 2, end_1
        fixated, end = due, due + c["answer"]
        counts = (1, 2) if "mult" in name else (int(name[-1]),)
        one, two = (sum(c[f"strength_{i}_{m}"] for m in counts) for i in (1, 2))
        target = first if one > two else second
    else:
        due = end_1 + c["gap"]
        fixated = end = due + c["answer"]
        shown = [(on, end_1), (due, end)]
        near = apart(first, second) < PI / 36
        same = near if name in ("dms", "dnms") else (first < PI) == (second < PI)
        target = second if same == (name in ("dms", "dmc")) else -1
    return shown, fixated, due, end, target


def bump(location):
    units = np.arange(32) * 2 * PI / 32
    return 0.8 * np.exp(-((apart(units, location) / (PI / 8)) ** 2) / 2)


def test_the_network_sees_and_answers_as_in_the_paper(paradigm):
    assert len(paradigm.inputs) == 85
    assert len(paradigm.outputs) == 33
    assert paradigm.inputs[0] == "fixation"
    assert [name.removeprefix("rule_") for name in paradigm.inputs[65:]] == NAMES
    # the longest: 600 + 600 + 1600 + 600 + 280 + 500 ms
    assert paradigm.steps == 4180 // DT


@pytest.mark.parametrize("name", NAMES)
def test_trials_are_as_described(trials, name):
    index = NAMES.index(name)
    for row in range(20 * index, 20 * index + 20):
        c = {k: v[row] for k, v in trials.condition.items()}
        shown, fixated, due, end, target = described(name, c)
        inputs = np.zeros((209, 85))
        inputs[:fixated, 0] = 1
        inputs[:end, 65 + index] = 1
        for i, (on, off) in enumerate(shown, 1):
            for m in (1, 2):
                ring = slice(32 * m - 31, 32 * m + 1)
                strength = c[f"strength_{i}_{m}"]
                inputs[on:off, ring] += strength * bump(c[f"location_{i}"])
        np.testing.assert_allclose(trials.inputs[row], inputs, atol=2e-6)

        targets = np.full((209, 33), 0.05)
        targets[:, 0] = 0.85
        if target >= 0:
            targets[due:, 0] = 0.05
            targets[due:, 1:] += bump(target)
        np.testing.assert_allclose(trials.targets[row], targets, atol=2e-6)

        mask = np.zeros((209, 33))
        mask[100 // DT : due] = 1
        mask[due + 100 // DT : end] = 25
        mask[:, 0] *= 4
        np.testing.assert_array_equal(trials.mask[row], mask)
        assert (c["rule"], c["due"], c["end"]) == (index, due, end)
        np.testing.assert_allclose(c["target"], target, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_times_are_those_of_the_paper(conditions, name):
    for part in LENGTHS:
        allowed = set(TIMES[name].get(part, (0,)))
        seen = set((conditions[name][part] * DT).tolist())
        assert seen <= allowed, part
        assert len(allowed) > 4 or seen == allowed, part


@pytest.mark.parametrize("name", COMPARE)
def test_strengths_to_compare_are_those_of_the_paper(conditions, name):
    c = conditions[name]
    s = np.asarray([[c[f"strength_{i}_{m}"] for m in (1, 2)] for i in (1, 2)])
    modalities = [1] if name in ("dm_2", "dly_dm_2") else [0]
    modalities = [0, 1] if "ctx" in name or "mult" in name else modalities
    assert np.all(s[:, [m for m in (0, 1) if m not in modalities]] == 0)
    if "mult" in name:
        balance = abs(s[:, 0] - s[:, 1]) / s.mean(1)
        assert balance.min() > 0.199
        assert balance.max() < 0.801
        assert 0.3 < np.mean(s[0, 0] > s[0, 1]) < 0.7
        s = s.mean(1, keepdims=True)
        modalities = [0]
    levels = (0.08, 0.16, 0.32) if "dly" in name else (0.01, 0.02, 0.04, 0.08)
    for m in modalities:
        one, two = s[:, m]
        assert (one + two).min() / 2 > 0.799
        assert (one + two).max() / 2 < 1.201
        np.testing.assert_allclose(np.unique(np.round(abs(one - two) / 2, 4)), levels)
        assert 0.35 < np.mean(one > two) < 0.65
    if "ctx" in name:  # one modality says nothing of the other
        agree = np.mean((s[0, 0] > s[1, 0]) == (s[0, 1] > s[1, 1]))
        assert 0.35 < agree < 0.65
    between = apart(c["location_1"], c["location_2"])
    assert between.min() >= PI / 2 - 1e-5
    assert between.max() > 0.95 * PI


@pytest.mark.parametrize("name", [n for n in NAMES if n not in COMPARE])
def test_other_stimuli_are_in_one_modality_or_the_other(conditions, name):
    c = conditions[name]
    pair = (1, 2) if name in MATCH else (1,)
    s = np.stack([c[f"strength_{i}_{m}"] for i in pair for m in (1, 2)], axis=-1)
    seen = {tuple(row) for row in s.tolist()}
    alone = [(1.0, 0.0), (0.0, 1.0)]
    assert seen == ({a + b for a in alone for b in alone} if pair[1:] else {*alone})
    if not pair[1:]:
        assert not c["strength_2_1"].any()
        assert not c["strength_2_2"].any()


@pytest.mark.parametrize("name", MATCH)
def test_half_of_the_stimuli_match(conditions, name):
    c = conditions[name]
    assert 0.35 < np.mean(c["target"] < 0) < 0.65
    one, two = c["location_1"], c["location_2"]
    if name in ("dmc", "dnmc"):
        ten = np.arange(0.1, 2, 0.2) * PI
        for seen in (one, two):
            np.testing.assert_allclose(np.unique(seen), ten, atol=1e-5)
    else:
        between = apart(one, two)
        assert np.all((between < 1e-5) | (between > PI / 9 - 1e-5))
        assert len(np.unique(one)) == 300


@pytest.mark.parametrize("turn", [0, 35, -35, 37, -37, 180])
def test_an_answer_counts_within_36_degrees(paradigm, trials, turn):
    answers = trials.condition["target"] >= 0
    directions = np.arange(32) * 2 * PI / 32
    towards = trials.condition["target"] + turn * PI / 180
    ring = 0.05 + 0.8 * np.exp(np.cos(directions - towards[:, None]) - 1)
    outputs = np.where(answers[:, None, None], 0.0, trials.targets[:, -1:])
    outputs = np.repeat(outputs, 209, axis=1)
    outputs[..., 1:] = ring[:, None]
    correct = scored(paradigm.score, outputs, trials)
    np.testing.assert_array_equal(correct[answers], float(abs(turn) < 36))
    np.testing.assert_array_equal(correct[~answers], 1)


def test_targets_score_one_and_only_the_last_step_counts(paradigm, trials):
    score = partial(scored, paradigm.score)
    np.testing.assert_array_equal(score(trials.targets, trials), 1)
    answers = trials.condition["target"] >= 0
    holding = trials.targets.copy()
    holding[..., 0] = 0.85
    np.testing.assert_array_equal(score(holding, trials), ~answers)
    letting_go = trials.targets.copy()
    letting_go[..., 0] = 0.05
    np.testing.assert_array_equal(score(letting_go, trials), answers)
    early = holding
    rows = np.arange(len(early))
    last = trials.condition["end"] - 1
    early[rows, last] = trials.targets[rows, last]
    np.testing.assert_array_equal(score(early, trials), 1)


def test_rules_come_as_often_as_their_weights_say(paradigm):
    def counted(paradigm):
        c = drawn_conditions(paradigm.sample, paradigm.options, keys(5600, 1), {})
        return np.bincount(c["rule"], minlength=len(paradigm.held))

    expected = np.full(20, 200.0)
    expected[[8, 9]] = 1000  # ctx_dm_1 and 2
    assert np.all(abs(counted(paradigm) - expected) < 5 * np.sqrt(expected))
    some = make_yang(rules=["dms", "go", "dnmc"], weights={"dnmc": 0, "dms": 3})
    counts = counted(some)
    assert counts[2] == 0
    assert abs(counts[0] - 4200) < 5 * np.sqrt(1050)
    assert some.inputs[-3:] == ("rule_dms", "rule_go", "rule_dnmc")


def test_what_a_condition_names_is_given(paradigm, trials):
    again = drawn(paradigm.sample, paradigm.options, keys(400, 9), trials.condition)
    for one, other in zip(jax.tree.leaves(again), jax.tree.leaves(trials), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_the_answer_follows_from_what_is_given(paradigm):
    given = {"rule": 6, "strength_1_1": 2.0, "location_1": 1.5, "onset": 7}
    given = {name: jnp.full(9, value) for name, value in given.items()}
    c = drawn_conditions(paradigm.sample, paradigm.options, keys(9), given)
    np.testing.assert_array_equal(c["rule"], 6)
    np.testing.assert_array_equal(c["due"], 7 + c["first"])
    np.testing.assert_allclose(c["target"], 1.5)
    assert len(np.unique(c["location_2"])) == 9


def test_the_grid_has_every_rule_in_step_and_asks_for_an_answer(paradigm):
    grid = paradigm.conditions
    assert {len(v) for v in grid.values()} == {1152}
    c = drawn_conditions(paradigm.sample, paradigm.options, keys(1152), grid)
    for name, values in grid.items():
        np.testing.assert_array_equal(c[name], values)
    for index, name in enumerate(NAMES):
        rows = {k: v[grid["rule"] == index] for k, v in grid.items()}
        target = np.asarray(c["target"])[grid["rule"] == index]
        assert all(len(np.unique(rows[part])) == 1 for part in LENGTHS)
        places = np.unique(rows["location_1"])
        assert len(places) == (10 if name in ("dmc", "dnmc") else 8)
        # an answer does not depend on the place, and is as often one as the other
        to_first = apart(target, rows["location_1"]) < 1e-5
        if name in COMPARE:
            assert np.mean(to_first) == 0.5
        assert np.mean(target < 0) == (0.5 if name in MATCH else 0)


def test_a_rule_waits_in_fixation_under_noise():
    paradigm = make_yang(noise=0.02, tau=50.0)
    assert list(paradigm.held) == NAMES
    mean, std = paradigm.held["dms"]
    assert mean.sum() == 2
    assert mean[0] == mean[paradigm.inputs.index("rule_dms")] == 1
    np.testing.assert_allclose(std, 0.02 * math.sqrt(2 * 50 / DT), rtol=1e-6)
    rules = {"rule": np.full(20, 16)}
    trial = drawn(paradigm.sample, paradigm.options, keys(20), rules)
    ends = np.asarray(trial.condition["end"])
    before = np.asarray(trial.inputs)[:, :10]  # no stimulus before 200 ms
    np.testing.assert_allclose((before - mean).std(), std[0], rtol=0.03)
    behind = [t[end:] for t, end in zip(trial.inputs, ends, strict=True)]
    assert not np.concatenate(behind).any()


def test_times_are_in_ms_and_only_tables_differ(paradigm):
    assert make_yang(dt=10.0).steps == 419
    fixed = make_yang(
        rules=["rt_go"], times={"rt_onset": (500, 500), "answer": (300,)}, ring=16
    )
    assert fixed.steps == 40
    assert len(fixed.inputs) == 34
    trial = drawn(fixed.sample, fixed.options, keys(1), {})
    assert trial.inputs.shape == (1, 40, 34)
    assert trial.condition["due"] == 25
    assert fixed.sample is paradigm.sample
    assert fixed.score is paradigm.score


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rules": ["dmz"]}, "config.trials.rules: unknown name 'dmz' .did you mean"),
        ({"rules": []}, "config.trials.rules: expected different names"),
        ({"rules": ["go", "go"]}, "config.trials.rules: expected different names"),
        ({"weights": {"g": 1}}, "config.trials.weights.g: unknown field"),
        ({"weights": dict.fromkeys(NAMES, 0)}, "config.trials.weights: expected one"),
        ({"times": {"delays": (1, 2)}}, "config.trials.times.delays: unknown field"),
        ({"times": {"go_onset": (700, 300)}}, "config.trials.times.go_onset: expected"),
        ({"times": {"delay": ()}}, "config.trials.times.delay: expected"),
        ({"times": {"answer": (5,)}}, "config.trials.times.answer: expected at least"),
        ({"grace": 200.0}, "config.trials.grace: expected less than .* 200 ms"),
        ({"coherences": (-0.1,)}, r"config.trials.coherences\[0\]: expected"),
        ({"ring": 2}, "config.trials.ring: expected"),
        ({"dt": 0.0}, "config.trials.dt: expected"),
        ({"noise": -1.0}, "config.trials.noise: expected"),
    ],
)
def test_wrong_fields_are_named(fields, message):
    with pytest.raises(InputError, match=message):
        make_yang(**fields)
