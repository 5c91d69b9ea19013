"""Go/no-go, match to sample, comparison and decisions, against plain loops."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.errors import InputError
from kdjax.tasks.cognitive.trials import build

SHORT = {"dt": 50.0, "grace": 100.0, "weight": 4.0}


@functools.cache
def drawn(name, n=32, **fields):
    """A paradigm without noise and `n` of its trials, as NumPy arrays."""
    paradigm = build({"name": name, "noise": 0.0, **SHORT, **fields})
    return paradigm, trials_of(paradigm, n)


def trials_of(paradigm, n=32, **condition):
    keys = jax.random.split(jax.random.key(9), n)
    given = {name: jnp.full(n, value) for name, value in condition.items()}
    sample = jax.jit(jax.vmap(paradigm.sample, (0, None, 0)))
    return jax.tree.map(np.asarray, sample(keys, paradigm.options, given))


def go_nogo(c, period):
    return {"go" if c["choice"] else "nogo": 1} if period == "stimulus" else {}


def perceptual_decision(c, period):
    return {"evidence": c["coherence"]} if period == "stimulus" else {}


def mante(c, period):
    on = (
        {}
        if period == "response"
        else {["context_motion", "context_colour"][c["context"]]: 1}
    )
    if period == "stimulus":
        on |= {"motion": c["motion"], "colour": c["colour"]}
    return on


def match_to_sample(c, period):
    if period not in ("sample", "test"):
        return {}
    return {f"stimulus_{c[f'{period}_stimulus']}": 1}


def parametric_working_memory(c, period):
    if period not in ("first", "second"):
        return {}
    scaled = (c["f1" if period == "first" else "f2"] - 10) / 24
    return {"rising": scaled, "falling": 1 - scaled}


# {name: (periods, what is on in one, the right choice)}
TASKS = {
    "go_nogo": (
        ("fixation", "stimulus", "delay", "response"),
        go_nogo,
        lambda c: c["choice"],
    ),
    "perceptual_decision": (
        ("fixation", "stimulus", "delay", "response"),
        perceptual_decision,
        lambda c: c["coherence"] > 0 if c["coherence"] else c["choice"],
    ),
    "mante": (
        ("fixation", "stimulus", "delay", "response"),
        mante,
        lambda c: c[["motion", "colour"][c["context"]]] > 0,
    ),
    "match_to_sample": (
        ("fixation", "sample", "delay", "test", "response"),
        match_to_sample,
        lambda c: c["sample_stimulus"] != c["test_stimulus"],
    ),
    "parametric_working_memory": (
        ("fixation", "first", "delay", "second", "response"),
        parametric_working_memory,
        lambda c: c["f2"] > c["f1"],
    ),
}
FIELDS = {
    "go_nogo": {},
    "perceptual_decision": {"delay": (0.0, 300.0)},
    "mante": {"stimulus": (500.0, 750.0)},
    "match_to_sample": {"stimuli": 3},
    "parametric_working_memory": {"delay": (500.0, 1500.0)},
}


def loop(paradigm, periods, shown, right, c):
    """(inputs, targets, mask) of a trial without noise, step by step."""
    inputs = np.zeros((paradigm.steps, len(paradigm.inputs)))
    targets = np.zeros((paradigm.steps, len(paradigm.outputs)))
    mask = np.zeros_like(targets)
    t = 0
    for period in periods:
        for i in range(c[period]):
            on = shown(c, period)
            if period != "response":
                on = on | {"fixation": 1}
            for name, value in on.items():
                inputs[t, paradigm.inputs.index(name)] = value
            answer = "fixation" if period != "response" else paradigm.choices[right(c)]
            if answer == "nogo":
                answer = "fixation"
            targets[t, paradigm.outputs.index(answer)] = 1
            mask[t] = 1 if period != "response" else 4 if i >= 2 else 0
            t += 1
    assert t == c["end"]
    assert t - c["response"] == c["due"]
    return inputs, targets, mask


@pytest.mark.parametrize("name", TASKS)
def test_trials_are_those_of_a_plain_loop(name):
    paradigm, trials = drawn(name, **FIELDS[name])
    for i in range(len(trials.inputs)):
        c = {key: value[i].item() for key, value in trials.condition.items()}
        inputs, targets, mask = loop(paradigm, *TASKS[name], c)
        np.testing.assert_allclose(trials.inputs[i], inputs, atol=1e-6)
        np.testing.assert_array_equal(trials.targets[i], targets)
        np.testing.assert_array_equal(trials.mask[i], mask)
        assert c["choice"] == TASKS[name][2](c)
    assert len(np.unique(trials.condition["end"])) > 2
    assert set(trials.condition["choice"]) == {0, 1}


@pytest.mark.parametrize("name", TASKS)
def test_periods_are_within_their_ranges_and_can_be_given(name):
    paradigm, trials = drawn(name, **FIELDS[name])
    periods = TASKS[name][0]
    for period, (low, high) in zip(periods, paradigm.options["periods"], strict=True):
        lengths = trials.condition[period]
        assert ((low <= lengths) & (lengths <= high)).all()
    np.testing.assert_array_equal(
        trials_of(paradigm, delay=7, choice=1).condition["delay"], 7
    )


@pytest.mark.parametrize("name", TASKS)
def test_to_break_fixation_is_not_correct(name):
    paradigm, trials = drawn(name, **FIELDS[name])
    early = np.arange(paradigm.steps) < trials.condition["due"][:, None]
    moved = np.where(early[..., None], 0.4, trials.targets).astype(np.float32)
    answer = jax.jit(jax.vmap(paradigm.score))(moved, trials)
    np.testing.assert_array_equal(answer["choice"], trials.condition["choice"])
    np.testing.assert_array_equal(answer["fixated"], 0)
    np.testing.assert_array_equal(answer["correct"], 0)


@pytest.mark.parametrize("name", TASKS)
def test_an_answer_in_the_grace_period_or_after_the_end_does_not_count(name):
    paradigm, trials = drawn(name, **FIELDS[name])
    time = np.arange(paradigm.steps)
    due, end = (trials.condition[k][:, None] for k in ("due", "end"))
    ignored = ((time >= due) & (time < due + 2)) | (time >= end)
    outputs = np.where(ignored[..., None], -99.0, trials.targets).astype(np.float32)
    outputs[..., -1] = np.where(ignored, 99.0, outputs[..., -1])
    answer = jax.jit(jax.vmap(paradigm.score))(outputs, trials)
    np.testing.assert_array_equal(answer["correct"], 1)


def test_the_share_of_go_trials():
    choice = drawn("go_nogo", n=2000, go=0.2)[1].condition["choice"]
    assert choice.mean() == pytest.approx(0.2, abs=4 * np.sqrt(0.16 / 2000))


def test_a_test_that_does_not_match_is_any_of_the_others():
    _, trials = drawn("match_to_sample", n=2000, match=0.25, stimuli=4)
    c = trials.condition
    assert c["choice"].mean() == pytest.approx(0.75, abs=0.04)
    pairs = np.stack([c["sample_stimulus"], c["test_stimulus"]])[:, c["choice"] == 1]
    kinds, counts = np.unique(pairs, axis=1, return_counts=True)
    assert kinds.shape[1] == 12
    np.testing.assert_allclose(counts / counts.sum(), 1 / 12, atol=0.03)


@pytest.mark.parametrize("given", [{"test_stimulus": 2}, {"sample_stimulus": 1}])
@pytest.mark.parametrize("choice", [0, 1])
def test_one_stimulus_and_the_choice_leave_the_other(given, choice):
    paradigm, _ = drawn("match_to_sample", stimuli=3)
    c = trials_of(paradigm, choice=choice, **given).condition
    np.testing.assert_array_equal(c["choice"], choice)
    np.testing.assert_array_equal(c["sample_stimulus"] != c["test_stimulus"], choice)
    for name, value in given.items():
        np.testing.assert_array_equal(c[name], value)


def test_a_pair_of_frequencies_comes_in_either_order():
    _, trials = drawn("parametric_working_memory", n=2000, delay=(500.0, 500.0))
    c = trials.condition
    kinds, counts = np.unique([c["f1"], c["f2"]], axis=1, return_counts=True)
    assert set(np.abs(kinds[0] - kinds[1])) == {8.0}
    assert kinds.shape[1] == 10
    np.testing.assert_allclose(counts / 2000, 0.1, atol=0.03)


def test_the_other_evidence_is_independent_of_the_answer():
    _, trials = drawn("mante", n=2000)
    c = trials.condition
    other = np.where(c["context"] == 0, c["colour"], c["motion"]) > 0
    assert np.corrcoef(other, c["choice"])[0, 1] == pytest.approx(0, abs=0.09)
    sizes = {round(float(x), 3) for x in np.abs([c["motion"], c["colour"]]).ravel()}
    assert sizes == {0.05, 0.15, 0.5}


def test_without_coherence_either_side_is_right():
    paradigm, _ = drawn("perceptual_decision")
    c = trials_of(paradigm, coherence=0.0).condition
    assert set(c["choice"]) == {0, 1}
    c = trials_of(paradigm, coherence=0.0, choice=1).condition
    np.testing.assert_array_equal(c["choice"], 1)


@pytest.mark.parametrize(
    ("name", "label", "on"),
    [
        ("go_nogo", "delay", {"fixation": 1}),
        ("go_nogo", "nogo", {"fixation": 1, "nogo": 1}),
        (
            "perceptual_decision",
            "coherence -0.064",
            {"fixation": 1, "evidence": -0.064},
        ),
        ("mante", "context colour", {"fixation": 1, "context_colour": 1}),
        (
            "mante",
            "context motion, motion 0.15",
            {"fixation": 1, "context_motion": 1, "motion": 0.15},
        ),
        ("match_to_sample", "stimulus_1", {"fixation": 1, "stimulus_1": 1}),
        (
            "parametric_working_memory",
            "22 Hz",
            {"fixation": 1, "rising": 0.5, "falling": 0.5},
        ),
    ],
)
def test_held_inputs_are_those_of_a_moment(name, label, on):
    paradigm = build({"name": name})
    mean = [on.get(channel, 0) for channel in paradigm.inputs]
    np.testing.assert_allclose(paradigm.held[label].mean, mean, rtol=1e-6)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"name": "go_nogo", "go": 1.2}, r"go: expected a number in \[0, 1\]"),
        ({"name": "go_nogo", "stimulus": 4}, r"stimulus: expected at least 20 ms"),
        ({"name": "go_nogo", "grace": 500}, r"grace: expected less than .* 500 ms"),
        ({"name": "mante", "delay": (900, 300)}, r"delay: expected a range"),
        ({"name": "mante", "coherences": ()}, r"coherences: expected one number"),
        ({"name": "mante", "weight": 0}, r"weight: expected a number > 0"),
        ({"name": "match_to_sample", "stimuli": 1}, r"stimuli: expected an integer"),
        ({"name": "parametric_working_memory", "pairs": ()}, r"pairs: expected one"),
        (
            {"name": "parametric_working_memory", "pairs": ((18, 10),)},
            r"pairs\[0\]: expected a range",
        ),
        (
            {"name": "parametric_working_memory", "pairs": ((10, 50),)},
            r"pairs\[0\]: expected a number in \[10.0, 34.0\], found 50",
        ),
        (
            {"name": "parametric_working_memory", "frequency_range": (10, 10)},
            r"frequency_range: expected two different",
        ),
    ],
)
def test_what_they_cannot_be_made_of(spec, message):
    with pytest.raises(InputError, match=r"^config\.trials\." + message):
        build(spec)
