"""The task `cognitive`: what it learns, on which trials it is judged, what it costs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kdjax
from kdjax import experiment, losses
from kdjax.augment import example_keys
from kdjax.errors import InputError
from kdjax.files import read_json
from kdjax.models import build_recurrent
from kdjax.tasks.cognitive import trials as paradigms
from kdjax.tasks.cognitive.task import SPLIT_SIZE
from kdjax.tasks.cognitive.trials import decisions
from kdjax.training import loop, parallel, programs
from kdjax.training.checkpoint import model_of
from kdjax.training.metrics import read_log
from tests.running import mapped
from tests.small_cognitive import CONFIG, config, make, training

pytestmark = pytest.mark.usefixtures("undrawn")

RNG = jax.random.key(7)


def on_one_device(function, *arguments):
    """A step or an evaluation, uncompiled by pmap: the axis is a vmap of one."""
    first, constants, batch = arguments
    shards = jax.tree.map(lambda a: jnp.asarray(a)[None], batch)
    return mapped(function)(first, jax.tree.map(jnp.asarray, constants), shards)


def step_of(task, state=None, index=range(16)):
    """(state before, state after, metrics) of one step."""
    before = task.init(jax.random.key(0)) if state is None else state
    batch = {"index": np.array(index, np.int32)}
    after, logged = on_one_device(
        lambda s, c, b: task.step(s, b, c, RNG), before, task.constants(), batch
    )
    return before, after, logged


def drawn(task_config, index, key):
    """(trials, keys of the network's noise) of these numbers and this key."""
    paradigm = paradigms.build(task_config["trials"])
    keys = jax.vmap(jax.random.split)(example_keys(key, jnp.asarray(index)))
    made = jax.vmap(lambda k: paradigm.sample(k, paradigm.options, {}))(keys[:, 0])
    return paradigm, made, keys[:, 1]


# --- learning -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def learnt(tmp_path_factory):
    """(config, folder) of a stage that learns; three levels of which are two easier."""
    workdir = tmp_path_factory.mktemp("learnt")
    changes = {
        "examples": {"train": 512, "validation": 64, "test": 200},
        "training": {
            "epochs": 6,
            "batch_size": 32,
            "eval_batch_size": 64,
            "steps_per_call": 8,
            "select": "correct",
        },
        "optimizer": {"schedule": {"value": 0.03}},
        "curriculum": {
            "levels": [{"noise": 0.0}, {"noise": 0.1}],
            "criterion": 0.8,
            "window": 4,
        },
    }
    config_ = config(**changes)
    experiment.run(config_, workdir)
    return config_, workdir / "seed_0" / "ctrnn"


def test_it_learns_to_decide(learnt):
    """Chance, for a network that holds fixation, is a half."""
    _, folder = learnt
    results = read_json(folder / "results.json")
    for checkpoint in results["checkpoints"].values():
        assert checkpoint["test"]["correct"] > 0.9
        assert checkpoint["test"]["examples"] == 200
    rows = list(read_log(folder / "metrics.jsonl"))
    losses_ = [row["loss"] for row in rows if row["kind"] == "validation"]
    assert losses_[-1] < 0.5 * losses_[0]
    assert results["selection"]["metric"] == "correct"
    levels = [row["level"] for row in rows if row["kind"] == "train"]
    assert levels == sorted(levels)
    assert levels[-1] == 2


def test_a_trained_stage_gives_outputs_of_raw_trials(learnt):
    """Of the trials it was tested on, drawn anew, as many are correct."""
    config_, folder = learnt
    results = read_json(folder / "results.json")
    index = 2 * SPLIT_SIZE + np.arange(200)
    paradigm, made, _ = drawn(config_, index, jax.random.key(0))
    for checkpoint in ("last", "best"):
        predictor = kdjax.load(folder, checkpoint=checkpoint)
        assert predictor.kind == "outputs"
        assert predictor.channels == paradigm.inputs
        assert predictor.shape == (paradigm.steps, len(paradigm.inputs))
        outputs = predictor(made.inputs)
        assert outputs.shape == (200, paradigm.steps, len(paradigm.outputs))
        score = jax.vmap(paradigm.score)(jnp.asarray(outputs), made)
        expected = results["checkpoints"][checkpoint]["test"]
        np.testing.assert_allclose(score["correct"].mean(), expected["correct"])
        error = np.mean(made.mask * np.square(outputs - made.targets))
        np.testing.assert_allclose(error, expected["loss"], rtol=1e-5)
        assert "ctrnn" in repr(predictor)


def test_it_goes_on_with_its_level_to_the_bit(learnt, tmp_path):
    config_, folder = learnt
    known = read_json(folder / "results.json")["checkpoints"]
    fields = {k: v for k, v in config_.items() if k in ("examples", "curriculum")}
    fields |= {"optimizer": {"schedule": {"value": 0.03}}}
    settings = training(**config_["training"])
    run = functools.partial(
        loop.run, seed=0, devices=parallel.make("pmap", devices=1), label="x"
    )
    task = make(settings, **fields)
    with pytest.raises(KeyboardInterrupt):
        run(stopped(task, epoch=4), settings, folder=tmp_path)
    state = task.init(jax.random.key(0))
    assert set(state.opt_state) == {"optimizer", "level", "correct", "steps"}
    assert json_of(run(task, settings, folder=tmp_path)) == json_of(known)


def json_of(reached):
    return {kind: {**values} for kind, values in reached.items()}


def stopped(task, *, epoch):
    """The task, killed as that epoch begins."""
    train = task.data["train"]

    def batches(size, **given):
        if given["epoch"] == epoch:
            raise KeyboardInterrupt
        return train.batches(size, **given)

    return task._replace(data=task.data | {"train": train._replace(batches=batches)})


# --- which trials ---------------------------------------------------------------------


def evaluated(task, split, state=None):
    devices = parallel.make("pmap", devices=1)
    scores = programs.compiled_scores(task, training(), devices)
    model = model_of(task.init(jax.random.key(0)) if state is None else state)
    constants = devices.replicate((task.constants(), RNG))
    return scores(task, devices.replicate(model), constants, split)


def test_all_stages_of_a_seed_are_judged_on_the_same_trials():
    """However many they train on: the test once began where training's numbers end."""
    first = evaluated(make(), "test")
    assert evaluated(make(), "test") == first
    other = make(examples={"train": 64, "validation": 8}, losses={"rate_l1": None})
    assert evaluated(other, "test") == first
    validation = evaluated(make(examples={"validation": 40}), "validation")
    assert validation["examples"] == first["examples"] == 40
    assert validation["loss"] != first["loss"]
    assert evaluated(make(seed=1), "test")["loss"] != first["loss"]


def test_no_trial_is_drawn_twice():
    """Inputs of training's first steps, of validation and of test, of two seeds."""
    seen = []
    for seed in (0, 1):
        task = make(seed=seed)
        for split in ("validation", "test"):
            batch = next(iter(task.data[split].batches(16, epoch=None)))
            key = jax.random.key(seed)
            seen.append(drawn(CONFIG, batch["index"], key)[1].inputs)
        step_rng = jax.random.split(loop.random_key(seed, 0))[1]
        for step in (0, 1):
            key = jax.random.fold_in(step_rng, step)
            seen.append(drawn(CONFIG, np.arange(16), key)[1].inputs)
    rows = np.concatenate([np.asarray(x).reshape(16, -1) for x in seen])
    assert len(np.unique(rows, axis=0)) == len(rows) == 16 * 8


def test_more_test_trials_begin_with_the_same_ones():
    few, many = (make(examples={"test": n}).data["test"] for n in (16, 48))
    first = next(iter(few.batches(16, epoch=None)))["index"]
    np.testing.assert_array_equal(
        next(iter(many.batches(16, epoch=None)))["index"], first
    )


def test_the_networks_noise_is_left_out_unless_asked_for():
    still, noisy = make(), make(evaluation_noise=True)
    silent = make(model={"recurrent_noise": 0.0})
    assert evaluated(still, "test") == evaluated(silent, "test")
    assert evaluated(noisy, "test") == evaluated(noisy, "test")
    assert evaluated(noisy, "test")["loss"] != evaluated(still, "test")["loss"]


# --- what it costs --------------------------------------------------------------------


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_costs_are_those_of_the_whole_batch(reduction):
    """Against kdjax.losses on the rates of a plain pass, noise included."""
    fields = {"weight": 0.5, "reduction": reduction}
    chosen = {"weight_l2": fields | {"select": ["recurrent", "readout"]}}
    costs = dict.fromkeys(("rate_l1", "rate_l2", "weight_l1"), fields) | chosen
    task = make(losses=costs)
    before, _, logged = step_of(task)
    paradigm, made, noise = drawn(CONFIG, range(16), RNG)
    sizes = {"inputs": len(paradigm.inputs), "outputs": len(paradigm.outputs)}
    model = {k: v for k, v in CONFIG["model"].items() if k != "name"}
    network = build_recurrent("ctrnn", dt=paradigm.dt, **sizes, **model)
    variables = {"params": before.params, **before.model_state}
    found = network.apply(variables, made.inputs, keys=noise)
    rates, params = found.features["rates"], before.params
    expected = {
        "squared_error": jnp.mean(made.mask * jnp.square(found.logits - made.targets)),
        "rate_l1": losses.rate_l1(rates, reduction=reduction),
        "rate_l2": losses.rate_l2(rates, reduction=reduction),
        "weight_l1": losses.weight_l1(params, reduction=reduction),
        "weight_l2": losses.weight_l2(
            params,
            select=lambda path: path in ("recurrent", "readout"),
            reduction=reduction,
        ),
    }
    for name, value in expected.items():
        np.testing.assert_allclose(logged[name], value, rtol=1e-5, err_msg=name)
    total = expected.pop("squared_error") + 0.5 * sum(expected.values())
    np.testing.assert_allclose(logged["loss"], total, rtol=1e-5)
    score = jax.vmap(paradigm.score)(found.logits, made)["correct"]
    np.testing.assert_allclose(logged["correct"], score.mean())


def test_a_section_of_a_network_is_selected_whole():
    """A GRU's `cell` holds several arrays; selected, it once stopped the compiler."""
    cost = {"weight": 1.0, "select": ["cell"]}
    model = {"name": "gru", "units": 8}
    task = make(model=model, losses={"rate_l1": None, "weight_l1": cost})
    before, _, logged = step_of(task)
    arrays = jax.tree.leaves(before.params["cell"])
    expected = sum(float(jnp.abs(array).sum()) for array in arrays)
    np.testing.assert_allclose(logged["weight_l1"], expected, rtol=1e-5)


# --- levels ---------------------------------------------------------------------------


def test_the_next_level_comes_at_the_criterion_and_no_sooner():
    levels = {"levels": [{"noise": 0.0}], "criterion": 0.5, "window": 4}
    advance = make_levels(levels)
    reached = {"level": 0, "correct": 0.0, "steps": 0}
    ups = []
    for _ in range(12):
        reached = advance(
            jax.tree.map(jnp.asarray, reached), jnp.float32(1), jnp.float32(0.5)
        )
        ups.append(int(reached["level"]))
    assert ups == [0] * 3 + [1] * 9, "at the window's length, and there it stays"
    reached = {"level": 0, "correct": 0.0, "steps": 0}
    for _ in range(50):
        reached = advance(
            jax.tree.map(jnp.asarray, reached), jnp.float32(0.45), jnp.float32(0.5)
        )
    assert int(reached["level"]) == 0


def make_levels(spec):
    from kdjax.tasks.cognitive import curriculum

    return curriculum.build(spec, CONFIG["trials"]).advance


def test_levels_draw_their_own_trials_and_evaluation_the_last():
    levels = [{"coherences": [0.0], "noise": 0.0}, {"coherences": [1.0]}]
    task = make(curriculum={"levels": levels, "window": 1, "criterion": 1.0})
    before, _, logged = step_of(task)
    assert float(logged["level"]) == float(before.opt_state["level"]) == 0
    easy = make(trials=levels[0])
    np.testing.assert_array_equal(logged["loss"], step_of(easy)[2]["loss"])
    at_last = before._replace(
        opt_state=before.opt_state | {"level": jnp.asarray(2, jnp.int32)}
    )
    np.testing.assert_array_equal(
        step_of(task, at_last)[2]["loss"], step_of(make())[2]["loss"]
    )
    assert evaluated(task, "test") == evaluated(make(), "test")


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        (
            [{}, {"stimulus": 800.0}],
            r"levels\[1\]: expected the steps of config.trials, 10, found 14",
        ),
        (
            [{"dt": 50.0, "fixation": 0.0, "stimulus": 200, "response": 300}],
            r"levels\[0\]: expected the dt of config.trials, 100.0, found 50.0",
        ),
        (
            [{"coherences": [0.5, 0.2]}],
            r"expected the shape of coherences of config.trials, \(1,\), found \(2,\)",
        ),
        ([], "levels: expected sections of trials, found "),
        ([{"niose": 0}], r"config.trials.niose: unknown field \(did you mean 'noise'"),
    ],
)
def test_levels_are_trials_of_one_shape(levels, message):
    """What differs is named: once it said that (10, 100.0) was not (10, 100.0)."""
    with pytest.raises(InputError, match=message):
        make(curriculum={"levels": levels})


# --- a pool of trials -----------------------------------------------------------------


def sample_pool(key, options, condition):
    """A trial whose target is the split that it is of."""
    made = decisions.sample_perceptual_decision(key, options, {})
    split = condition.get("split", jnp.zeros((), jnp.int32))
    targets = jnp.full_like(made.targets, split)
    return made._replace(targets=targets, condition=made.condition | {"split": split})


def score_pool(outputs, trial):
    return {"correct": trial.condition["split"].astype(jnp.float32)}


def make_pool(*, dt=100.0, stimulus=400.0):
    made = decisions.make_perceptual_decision(dt=dt, stimulus=stimulus)
    return made._replace(sample=sample_pool, score=score_pool, pooled=True)


def test_a_pool_is_evaluated_on_its_own_splits():
    task = make(trials={"name": f"{__name__}:make_pool"})
    assert step_of(task)[2]["correct"] == 0
    assert evaluated(task, "validation")["correct"] == 1
    assert evaluated(task, "test")["correct"] == 2


# --- what is refused ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"losses": {"rate_l3": {"weight": 1}}},
            r"config.losses: unknown name 'rate_l3' \(did you mean 'rate_l[12]'",
        ),
        (
            {"losses": {"squared_error": None}},
            "config.losses.squared_error: missing; without it nothing is learnt",
        ),
        ({"losses": {"rate_l1": {"weight": -1}}}, "rate_l1.weight: expected a number"),
        ({"losses": {"rate_l2": {}}}, "config.losses.rate_l2.weight: missing"),
        (
            {"losses": {"rate_l1": {"reduction": "max"}}},
            "rate_l1.reduction: expected one of 'mean', 'sum', found 'max'",
        ),
        (
            {"losses": {"rate_l1": {"select": ["recurrent"]}}},
            "config.losses.rate_l1.select: unknown field",
        ),
        (
            {"losses": {"weight_l1": {"select": ["recurent"]}}},
            r"weight_l1.select: unknown name 'recurent' \(did you mean 'recurrent'",
        ),
        (
            {"losses": {"weight_l1": {"select": "recurrent"}}},
            "weight_l1.select: expected names of parameters, found 'recurrent'",
        ),
        (
            {"losses": {"weight_l1": {"select": []}}},
            r"weight_l1.select: expected names of parameters, found \[\]",
        ),
        ({"examples": {"train": 0}}, r"config.examples.train: expected an integer"),
        ({"examples": {"test": 2.5}}, r"config.examples.test: expected an integer"),
        ({"examples": {"tset": 5}}, r"config.examples.tset: unknown field .*'test'"),
        ({"examples": {"train": 8}}, "batch_size: 16 is more than the 8 training"),
        ({"model": {"tau": 100.0}}, r"config.model.tau: expected more than a step"),
        ({"trials": {"name": "chekerboard"}}, r"config.trials.name: unknown name"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_said_in_one_line(changes, message):
    with pytest.raises(InputError, match=message) as error:
        make(**changes)
    assert "\n" not in str(error.value)


def test_an_unknown_metric_is_said_with_those_there_are():
    message = r"training.select: unknown name 'accuracy' \(known: correct, loss\)"
    with pytest.raises(InputError, match=message):
        make(training(select="accuracy"))


def test_what_compiles_the_same_is_of_one_program():
    """Closures are not compared: what they hold could differ."""
    pool = {"trials": {"name": f"{__name__}:make_pool"}}
    assert make(**pool).program == make(**pool).program
    assert make(**pool).program != make().program
    closures = {"trials": {"name": f"{__name__}:make_closure"}}
    first, second = make(**closures), make(**closures)
    assert first.program != second.program


def make_closure(*, dt=100.0, stimulus=400.0):
    made = make_pool(dt=dt, stimulus=stimulus)
    return made._replace(sample=lambda *given: made.sample(*given))
