"""The flip-flop task against a plain loop."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.errors import InputError
from kdjax.tasks.cognitive.trials import build
from kdjax.tasks.cognitive.trials.flip_flop import sample, score

SAMPLE = jax.jit(jax.vmap(sample, (0, None, 0)))
SCORE = jax.jit(jax.vmap(score))


@functools.cache
def drawn(n=32, **fields):
    paradigm = build({"name": "flip_flop", **fields})
    keys = jax.random.split(jax.random.key(0), n)
    return paradigm, SAMPLE(keys, paradigm.options, {})


def test_outputs_hold_the_sign_of_the_last_pulse():
    """Where a pulse is on, it is the memory; where none is, that does not change."""
    _, trials = drawn()
    inputs, targets = np.asarray(trials.inputs), np.asarray(trials.targets)
    assert set(np.unique(inputs)) == {-1, 0, 1}
    memory = inputs[:, 0]
    assert (memory != 0).all()
    for t in range(inputs.shape[1]):
        memory = np.where(inputs[:, t] != 0, inputs[:, t], memory)
        np.testing.assert_array_equal(targets[:, t], memory)
    assert (trials.mask == 1).all()


def test_pulses_last_and_come_as_often_as_asked():
    _, trials = drawn(n=300, pulse=20.0, interval=200.0)  # a pulse a step: all are seen
    pulses = np.asarray(trials.inputs)[:, 1:]
    assert (pulses != 0).mean() == pytest.approx(0.1, abs=0.004)
    assert (pulses > 0).mean() == pytest.approx(0.05, abs=0.003)
    _, trials = drawn(n=300, pulse=200.0, interval=20_000.0)
    on = np.asarray(trials.inputs) != 0
    assert on[:, :10].all()
    assert on[:, 10:].mean() < 0.02


def test_the_first_signs_can_be_given():
    paradigm, _ = drawn()
    n = len(paradigm.conditions["first_0"])
    assert n == 8
    keys = jax.random.split(jax.random.key(1), n)
    rows = {name: jnp.asarray(c) for name, c in paradigm.conditions.items()}
    trials = SAMPLE(keys, paradigm.options, rows)
    assert len(np.unique(np.asarray(trials.targets)[:, 0], axis=0)) == n
    for i in range(3):
        np.testing.assert_array_equal(trials.targets[:, 0, i], rows[f"first_{i}"])


@pytest.mark.parametrize(("late", "correct"), [(10, 1), (11, 0)])
def test_an_output_has_the_grace_period_to_change_in(late, correct):
    """200 ms are 10 steps: the target, so many steps late and 0 before, is right."""
    _, trials = drawn()
    outputs = jnp.roll(trials.targets, late, axis=1).at[:, :late].set(0)
    answer = SCORE(outputs, trials)
    np.testing.assert_array_equal(answer["correct"], correct)
    assert (answer["right"] == 1).all() == bool(correct)


def test_one_wrong_sign_is_not_correct_and_lowers_the_share():
    _, trials = drawn()
    outputs = trials.targets.at[:, 12, 1].multiply(-1)  # judged, unless it changed
    changed = np.any(np.diff(np.asarray(trials.targets)[:, 2:13, 1], axis=1), axis=1)
    answer = SCORE(outputs, trials)
    np.testing.assert_array_equal(answer["correct"], np.float32(changed))
    assert 0 < changed.sum() < len(changed)
    assert ((answer["right"] < 1) == ~changed).all()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"channels": 0}, r"channels: expected an integer >= 1"),
        ({"interval": 10}, r"interval: expected a number >= 20"),
        ({"pulse": 5}, r"pulse: expected at least 20 ms"),
        ({"grace": 3000}, r"grace: expected less than the trial, 3000 ms"),
    ],
)
def test_what_it_cannot_be_made_of(fields, message):
    with pytest.raises(InputError, match=r"^config\.trials\." + message):
        build({"name": "flip_flop", **fields})
