"""Rules that hold for every paradigm, and the tools that they share."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from kdjax.errors import InputError
from kdjax.tasks.cognitive.trials import PARADIGMS, Paradigm, Trial, build
from kdjax.tasks.cognitive.trials.drawing import between, white_noise

# Long steps and short delays: the rules are the same, and quick to check.
FIELDS = {
    "checkerboard": {"dt": 50.0, "catch": 0.2, "grace": 100.0, "onset": (1200, 1600)},
    "flip_flop": {"dt": 100.0, "noise": 0.2},
    "go_nogo": {"dt": 50.0},
    "mante": {"dt": 50.0},
    "match_to_sample": {"dt": 50.0, "stimuli": 3},
    "parametric_working_memory": {"dt": 50.0, "delay": (500.0, 1000.0)},
    "perceptual_decision": {"dt": 50.0, "delay": (0.0, 200.0)},
}
BETWEEN = jax.jit(between)
KEYS = jax.random.split(jax.random.key(5), 24)


class Drawn(NamedTuple):
    paradigm: Paradigm
    sample: Callable  # (keys, options, conditions) -> trials, compiled
    trials: Trial  # of KEYS

    @property
    def silent(self):
        """The options without noise."""
        options = self.paradigm.options
        return options | {"noise": 0 * options["noise"]}


def test_every_paradigm_is_tested():
    with_tests_of_their_own = {"neurogym", "yang"}
    assert set(FIELDS) == set(PARADIGMS) - with_tests_of_their_own


@pytest.fixture(scope="module", params=FIELDS)
def drawn(request):
    """A paradigm and 24 of its trials."""
    paradigm = build({"name": request.param, **FIELDS[request.param]})
    sample = jax.jit(jax.vmap(paradigm.sample, (0, None, 0)))
    return Drawn(paradigm, sample, sample(KEYS, paradigm.options, {}))


def assert_equal(trial, other):
    for one, another in zip(
        jax.tree.leaves(trial), jax.tree.leaves(other), strict=True
    ):
        np.testing.assert_allclose(one, another, rtol=1e-5, atol=1e-6)


def test_shapes_and_names(drawn):
    paradigm, _, trials = drawn
    n, steps, outputs = len(KEYS), paradigm.steps, len(paradigm.outputs)
    assert trials.inputs.shape == (n, steps, len(paradigm.inputs))
    assert trials.targets.shape == trials.mask.shape == (n, steps, outputs)
    assert {x.dtype.name for x in trials[:3]} == {"float32"}
    assert all(value.shape == (n,) for value in trials.condition.values())
    assert len(set(paradigm.inputs)) == len(paradigm.inputs)
    for leaf in jax.tree.leaves(paradigm.options):
        assert leaf.dtype in (np.float32, np.int32)
        assert isinstance(leaf, np.ndarray | np.generic)
    for held in paradigm.held.values():
        assert held.mean.shape == held.std.shape == (len(paradigm.inputs),)
    assert len({len(column) for column in paradigm.conditions.values()}) == 1


def test_a_trial_is_a_function_of_its_key_and_not_of_its_batch(drawn):
    trials = drawn.sample(KEYS[::-1], drawn.paradigm.options, {})
    assert_equal(jax.tree.map(lambda x: x[::-1], trials), drawn.trials)


def test_trials_are_single_precision_where_arrays_are_double_by_default(drawn):
    paradigm, _, trials = drawn
    with jax.enable_x64(True):
        double = jax.eval_shape(
            lambda key: paradigm.sample(key, paradigm.options, {}), KEYS[0]
        )
    same = jax.tree.map(lambda x, y: x.dtype == y.dtype, double, trials)
    assert all(jax.tree.leaves(same))


def test_trials_vary_in_noise_and_in_what_they_ask(drawn):
    for array in (drawn.trials.inputs, drawn.trials.targets):
        assert len(np.unique(np.asarray(array), axis=0)) > len(KEYS) / 8
    assert len(np.unique(np.asarray(drawn.trials.inputs), axis=0)) == len(KEYS)
    quiet = drawn.sample(KEYS, drawn.silent, {}).inputs
    assert len(np.unique(np.asarray(quiet), axis=0)) > len(KEYS) / 8


def test_a_condition_that_was_drawn_can_be_given(drawn):
    replayed = drawn.sample(KEYS[::-1], drawn.silent, drawn.trials.condition)
    assert_equal(replayed.condition, drawn.trials.condition)
    if drawn.paradigm.name != "flip_flop":  # its later pulses have no name
        np.testing.assert_array_equal(replayed.targets, drawn.trials.targets)
        np.testing.assert_array_equal(replayed.mask, drawn.trials.mask)


def test_the_grid_of_conditions_can_be_drawn(drawn):
    rows = {name: jnp.asarray(c) for name, c in drawn.paradigm.conditions.items()}
    keys = jax.random.split(jax.random.key(0), len(next(iter(rows.values()))))
    condition = drawn.sample(keys, drawn.paradigm.options, rows).condition
    for name, column in rows.items():
        np.testing.assert_array_equal(condition[name], column, err_msg=name)
    cells = np.stack([*rows.values()], axis=1)
    assert len(np.unique(cells, axis=0)) == len(cells)


def test_the_targets_are_a_correct_answer_and_their_opposite_is_none(drawn):
    paradigm, _, trials = drawn
    score = jax.jit(jax.vmap(paradigm.score))
    signs = paradigm.name == "flip_flop"
    opposite = -trials.targets if signs else 1 - trials.targets
    right, wrong = score(trials.targets, trials), score(opposite, trials)
    np.testing.assert_array_equal(right["correct"], 1)
    np.testing.assert_array_equal(wrong["correct"], 0)
    if paradigm.choices:
        answered = trials.condition.get("catch", jnp.zeros(len(KEYS))) == 0
        assert (right["choice"] == trials.condition["choice"])[answered].all()
        assert (wrong["choice"] != trials.condition["choice"])[answered].all()


def test_a_condition_of_an_unknown_name_is_an_error(drawn):
    wrong = {"choise": jnp.zeros(len(KEYS))}
    with pytest.raises(InputError, match=r"^condition\.choise: unknown name"):
        jax.eval_shape(drawn.sample, KEYS, drawn.paradigm.options, wrong)


def test_the_noise_on_held_inputs_is_that_of_the_trials(drawn):
    noise = drawn.trials.inputs - drawn.sample(KEYS, drawn.silent, {}).inputs
    for held in drawn.paradigm.held.values():
        np.testing.assert_allclose(noise.std((0, 1)), held.std, rtol=0.1, atol=1e-6)


@pytest.mark.parametrize("name", FIELDS)
def test_a_step_half_as_long_carries_as_much_information(name):
    coarse = build({"name": name, "noise": 0.4, "dt": 25.0})
    fine = build({"name": name, "noise": 0.4, "dt": 12.5})
    assert fine.steps == 2 * coarse.steps
    variance, half = fine.options["noise"] ** 2, coarse.options["noise"] ** 2
    np.testing.assert_allclose(variance, 2 * half, rtol=1e-5)
    assert max(half) == pytest.approx(0.4**2 * 20 / 25)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"name": "chekerboard"}, "name: unknown name 'chekerboard' .*'checkerboard'"),
        ({"name": "mante", "stimlus": 1.0}, r"stimlus: unknown field \(did you mean"),
        ({"dt": 20.0}, "config.trials.name: missing"),
    ],
)
def test_what_build_cannot_take(spec, message):
    with pytest.raises(InputError, match=message):
        build(spec)


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize(
    ("field", "value"), [("dt", 0.0), ("dt", -20.0), ("noise", -1.0), ("dt_ref", 0)]
)
def test_every_paradigm_checks_its_fields(name, field, value):
    with pytest.raises(InputError, match=rf"^config\.trials\.{field}: .*found {value}"):
        build({"name": name, field: value})


def test_ones_own_paradigm_is_built_by_module_and_name():
    own = "kdjax.tasks.cognitive.trials.memory:make_go_nogo"
    assert build({"name": own, "go": 0.2}).options["go"] == np.float32(0.2)


@given(
    u=st.floats(0, 1, width=32, exclude_max=True),
    low=st.integers(0, 500),
    more=st.integers(0, 500),
)
def test_a_drawn_step_is_within_its_range(u, low, more):
    value = BETWEEN(np.float32(u), np.array([low, low + more], np.int32))
    assert low <= value <= low + more


def test_every_step_of_a_range_is_drawn_and_as_often():
    u = jax.random.uniform(jax.random.key(2), (6000,))
    values = jax.vmap(between, (0, None))(u, np.array([3, 8], np.int32))
    _, counts = np.unique(values, return_counts=True)
    assert len(counts) == 6
    assert stats.chisquare(counts).pvalue > 0.001


@pytest.mark.parametrize("shape", [(100, 12), (7, 3), (1, 1)])
def test_white_noise_is_normal_and_independent(shape):
    noise = white_noise(jax.random.key(3), *shape)
    assert noise.shape == shape
    noise = jax.vmap(lambda key: white_noise(key, *shape))(
        jax.random.split(jax.random.key(4), 20_000 // noise.size)
    )
    assert stats.kstest(np.ravel(noise), "norm").pvalue > 0.001


def test_white_noise_is_uncorrelated_between_steps_channels_and_halves():
    keys = jax.random.split(jax.random.key(6), 4000)
    noise = jax.vmap(lambda key: white_noise(key, 4, 3))(keys).reshape(4000, -1)
    correlation = np.corrcoef(np.asarray(noise), rowvar=False)
    np.testing.assert_allclose(correlation, np.eye(12), atol=5 / np.sqrt(4000))
