"""The bridge to neurogym: on a small environment of our own, and on its real ones."""

import hashlib
import sys
from functools import partial
from types import ModuleType, SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.errors import InputError
from kdjax.tasks.cognitive.trials.gym import make_neurogym


class Choose:
    """As neurogym's environments: the choice is shown for 2 to 4 steps of 20 ms."""

    def __init__(self, dt=100, continuous=False, answer=60, broken=None):
        self.dt, self.continuous, self.broken = dt, continuous, broken
        self.decision = answer // dt
        self.observation_space = SimpleNamespace(name={"fixation": 0, "side": [1, 2]})
        self.action_space = (
            SimpleNamespace() if continuous else SimpleNamespace(n=3, name={"wait": 0})
        )
        self.unwrapped = self
        self.room = np.zeros((9, 3), np.float32)  # written anew for each trial

    def get_wrapper_attr(self, name):
        return getattr(self, name)

    def seed(self, seed):
        self.rng = np.random.RandomState(seed)

    def new_trial(self):
        choice, length = self.rng.randint(2), 2 + self.rng.randint(3)
        end = 2 + length + self.decision
        self.start_ind = {"fixation": 0, "stimulus": 2, "decision": 2 + length}
        self.end_ind = {"fixation": 2, "stimulus": 2 + length, "decision": end}
        self.ob = self.room[:end]
        self.ob[:] = 0
        self.ob[: 2 + length, 0] = 1
        self.ob[2 : 2 + length, 1 + choice] = 1
        self.ob[:2] += [[0.5], [-0.5]]
        if self.broken == "no gt":
            return {}
        if self.broken == "nan":
            self.ob[0] = np.nan
        self.gt = np.zeros((end, 2) if self.continuous else end, int)
        self.gt[2 + length :] = [2 * choice - 1, 1] if self.continuous else 1 + choice
        if self.broken == "action":
            self.gt[-1] = 3
        return {"choice": choice, "length": np.int64(length), "side": "lr"[choice]}


@pytest.fixture
def neurogym(monkeypatch):
    """A module in neurogym's place, whose only environment is Choose-v0."""

    def make(name, **arguments):
        if name != "Choose-v0":
            raise ValueError(f"Environment `{name}` doesn't exist.")
        return Choose(**arguments)

    module = ModuleType("neurogym")
    module.make = make
    monkeypatch.setitem(sys.modules, "neurogym", module)


@partial(jax.jit, static_argnums=0)
def drawn(sample, options, keys, conditions):
    return jax.vmap(sample, in_axes=(0, None, 0))(keys, options, conditions)


def whole(paradigm):
    """Every trial of the pool."""
    rows = np.arange(len(paradigm.options["inputs"]))
    keys = jax.random.split(jax.random.key(0), len(rows))
    trials = drawn(paradigm.sample, paradigm.options, keys, {"trial": rows})
    return jax.tree.map(np.asarray, trials)


def test_trials_are_whole_padded_and_masked(neurogym):
    paradigm = make_neurogym(env="Choose", trials=50)
    assert paradigm.inputs == ("fixation", "side_0", "side_1")
    assert paradigm.outputs == ("wait", "output_1", "output_2")
    assert paradigm.choices == paradigm.outputs
    assert (paradigm.steps, paradigm.dt) == (9, 20.0)
    trials = whole(paradigm)
    c = trials.condition
    assert set(c) == {"choice", "length", "answer", "until", "end", "trial"}
    assert set(c["length"].tolist()) == {2, 3, 4}
    assert set(c["choice"].tolist()) == {0, 1}
    clock = np.arange(9)
    for row in range(50):
        start, end = int(c["answer"][row]), int(c["end"][row])
        assert start == 2 + c["length"][row]
        assert end == c["until"][row] == start + 3
        shown = (clock >= 2) & (clock < start)
        np.testing.assert_array_equal(
            trials.inputs[row, 2:, 1 + int(c["choice"][row])], shown[2:]
        )
        label = np.where(clock >= start, 1 + c["choice"][row], 0)
        expected = np.eye(3)[label.astype(int)] * (clock < end)[:, None]
        np.testing.assert_array_equal(trials.targets[row], expected)
        inside = np.broadcast_to((clock < end)[:, None], (9, 3))
        np.testing.assert_array_equal(trials.mask[row], inside)
        assert not trials.inputs[row, end:].any()


def test_the_seed_says_what_the_pool_is(neurogym):
    one, same, other = (
        make_neurogym(env="Choose-v0", trials=20, seed=seed) for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(one.options["inputs"], same.options["inputs"])
    assert np.any(one.options["inputs"] != other.options["inputs"])


def test_splits_share_no_trial(neurogym):
    paradigm = make_neurogym(env="Choose", trials=20, fractions=(0.5, 0.3, 0.2))
    keys = jax.random.split(jax.random.key(1), 400)
    draw = partial(drawn, paradigm.sample, paradigm.options, keys)
    rows = [draw({}).condition["trial"]]
    rows += [draw({"split": np.full(400, i)}).condition["trial"] for i in range(3)]
    seen = [set(np.asarray(split).tolist()) for split in rows]
    assert seen[0] == seen[1] == set(range(10))
    assert seen[2] == set(range(10, 16))
    assert seen[3] == set(range(16, 20))
    assert list(paradigm.conditions) == ["trial"]
    np.testing.assert_array_equal(paradigm.conditions["trial"], range(16, 20))


def test_the_action_most_often_largest_in_the_period_counts(neurogym):
    paradigm = make_neurogym(env="Choose", trials=20)
    trials = whole(paradigm)
    score = jax.vmap(lambda o, t: paradigm.score(o, t)["correct"])
    np.testing.assert_array_equal(score(jnp.asarray(trials.targets), trials), 1)
    rows, start = np.arange(20), trials.condition["answer"]
    once = trials.targets.copy()  # one of three steps is not answered
    once[rows, start] = [9, 0, 0]
    np.testing.assert_array_equal(score(jnp.asarray(once), trials), 1)
    once[rows, start + 1] = [9, 0, 0]
    np.testing.assert_array_equal(score(jnp.asarray(once), trials), 0)
    outside = trials.targets.copy()
    outside[rows, start - 1] = outside[rows, -1] = [0, 9, 0]
    outside[rows, start] = trials.targets[rows, start]
    np.testing.assert_array_equal(score(jnp.asarray(outside), trials), 1)
    other = trials.targets[..., [0, 2, 1]]
    np.testing.assert_array_equal(score(jnp.asarray(other), trials), 0)


def test_a_continuous_truth_is_the_target_as_it_is(neurogym):
    fields = {"env": "Choose", "arguments": {"continuous": True}, "trials": 20}
    paradigm = make_neurogym(**fields, tolerance=0.2)
    assert paradigm.choices == ()
    assert paradigm.outputs == ("output_0", "output_1")
    trials = whole(paradigm)
    start, choice = trials.condition["answer"], trials.condition["choice"]
    sides = trials.targets[np.arange(20), start]
    np.testing.assert_array_equal(sides, np.stack([2 * choice - 1, choice**0], 1))
    score = jax.vmap(lambda o, t: paradigm.score(o, t)["correct"])
    for wrong, correct in [(0.0, 1), (0.19, 1), (-0.21, 0)]:
        outputs = jnp.asarray(trials.targets + np.asarray([0, wrong], np.float32))
        np.testing.assert_array_equal(score(outputs, trials), correct)


def test_held_inputs_are_those_of_fixation(neurogym):
    held = make_neurogym(env="Choose", trials=20).held
    assert list(held) == ["fixation"]
    np.testing.assert_allclose(held["fixation"].mean, [1, 0, 0])
    # 0.5 and -0.5 in two steps: a variance of 0.5
    np.testing.assert_allclose(held["fixation"].std, np.sqrt(0.5), rtol=1e-6)


def test_steps_may_be_more_than_the_longest(neurogym):
    paradigm = make_neurogym(env="Choose", trials=20, steps=12)
    assert paradigm.steps == 12
    assert whole(paradigm).mask.shape == (20, 12, 3)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"env": "Chose"}, "trials.env: 'Chose-v0': .* doesn't exist"),
        ({"arguments": {"speed": 1}}, "trials.env: 'Choose-v0': .*'speed'"),
        ({"arguments": {"broken": "no gt"}}, "trials.env: expected one with a ground"),
        ({"arguments": {"broken": "nan"}}, "trials.env: 'Choose': found NaN"),
        ({"arguments": {"broken": "action"}}, "among its 3 actions, found 3"),
        ({"arguments": {"answer": 10}}, "trials.dt: expected a step .* 'decision'"),
        ({"answer_period": "test"}, "trials.answer_period: expected one of 'fixation'"),
        ({"steps": 8}, "trials.steps: expected an integer >= 9, found 8"),
        ({"trials": 5}, "trials.fractions: expected a trial or more for each"),
        ({"fractions": (0.5, 0.5)}, "trials.fractions: expected a sequence of 3"),
        ({"tolerance": 0.0}, "trials.tolerance: expected"),
    ],
)
def test_wrong_fields_are_named(neurogym, fields, message):
    with pytest.raises(InputError, match=message):
        make_neurogym(**{"env": "Choose", "trials": 40} | fields)


def test_without_neurogym_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "neurogym", None)
    with pytest.raises(InputError, match="pip install neurogym torch"):
        make_neurogym(env="GoNogo")


REAL = [
    "PerceptualDecisionMaking",
    "GoNogo",
    "DelayMatchSample",
    "ContextDecisionMaking",
    "DelayComparison",
]
PRINTED = """
import hashlib, warnings
warnings.simplefilter("ignore")
from kdjax.tasks.cognitive.trials.gym import make_neurogym
for name in {names!r}:
    options = make_neurogym(env=name, trials=30, seed=7).options
    print(name, hashlib.sha256(options["inputs"].tobytes()).hexdigest())
"""


@pytest.mark.filterwarnings("ignore")
def test_real_environments_are_whole_and_the_same_in_another_process(python):
    pytest.importorskip("neurogym", reason="needs neurogym and torch")
    seen = []
    for name in REAL:
        paradigm = make_neurogym(env=name, trials=30, seed=7)
        trials = whole(paradigm)
        c = trials.condition
        np.testing.assert_array_equal(c["until"], c["end"])  # it is the last period
        assert c["end"].max() == paradigm.steps
        correct = jax.vmap(paradigm.score)(jnp.asarray(trials.targets), trials)
        np.testing.assert_array_equal(correct["correct"], 1)
        # an answer is due in the period, and in no other but for no-go
        late = np.arange(paradigm.steps) >= c["answer"][:, None]
        assert not (trials.targets[..., 1:].any(-1) & ~late).any()
        answered = trials.targets[..., 1:].any((1, 2))
        assert 0 < answered.mean() <= 1 if name == "GoNogo" else answered.all()
        inputs = paradigm.options["inputs"].tobytes()
        seen.append(f"{name} {hashlib.sha256(inputs).hexdigest()}")
    printed = python("-c", PRINTED.format(names=REAL)).stdout
    assert printed.splitlines()[-len(REAL) :] == seen
