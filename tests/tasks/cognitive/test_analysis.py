"""What is found out about a network, on small ones that are not trained."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax import files, models
from kdjax.errors import InputError
from kdjax.tasks.cognitive import analysis, trials
from kdjax.tasks.cognitive.dynamics import fixed_points, flows, search

BOARD = {"name": "checkerboard", "dt": 50.0, "onset": (1200.0, 1600.0)}
CONDITIONS = 24  # cue x colour x 6 coherences


def made(paradigm, **fields):
    """(network, model) as it starts, with firing that differs between units."""
    sizes = {"inputs": len(paradigm.inputs), "outputs": len(paradigm.outputs)}
    fields = {"name": "ctrnn", "units": 8, "start": "orthogonal"} | fields
    network = models.build_recurrent(dt=paradigm.dt, **sizes, **fields)
    variables = dict(
        network.init(jax.random.key(3), jnp.zeros((1, 1, sizes["inputs"])))
    )
    params = variables.pop("params")
    if "bias" in params:
        params["bias"] = jnp.linspace(0.1, 0.9, 8)
    return network, {"params": params, "model_state": variables}


def study(paradigm, **fields):
    small = {"trials": 10, "rates": 2, "samples": 3, "starts": 4}
    return analysis.build(small | fields, paradigm, 8)


def finish(paradigm, folder, network, model, **fields):
    both = {"last": model, "best": model}
    given = study(paradigm, **fields)
    analysis.finish(network, paradigm, paradigm.options, given, 0, both, folder)


def read(folder, name):
    with np.load(folder / name, allow_pickle=False) as stored:
        return dict(stored)


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    """A checkerboard network's folder, and what it is."""
    folder = tmp_path_factory.mktemp("board")
    paradigm = trials.build(BOARD)
    network, model = made(paradigm)
    held = ["cue 0, coherence 0", "cue 1, coherence 0.32"]
    fields = {"threshold": 0.01, "held": held, "decode": ["cue"], "bin": 400.0}
    finish(paradigm, folder, network, model, **fields)
    return folder, paradigm, network, model


def test_behaviour_is_that_of_the_network(board):
    folder, paradigm, network, model = board
    seen = analysis.observe(
        network, model, paradigm, paradigm.options, 0, 10, keep=("outputs",)
    )
    kept = read(folder, "behaviour.npz")
    assert len(kept["coherence"]) == CONDITIONS * 10
    np.testing.assert_array_equal(kept["answer_correct"], seen.score["correct"])
    choice = seen.outputs[:, -2:].mean(axis=1).argmax(axis=1)
    np.testing.assert_array_equal(kept["answer_choice"], choice)
    np.testing.assert_array_equal(kept["answer_correct"], choice == kept["choice"])
    curve = files.read_json(folder / "psychometrics.json")
    assert curve["trials"] == [40] * 6
    at = np.isclose(np.abs(kept["coherence"]), 0.16)
    assert curve["correct"][4] == pytest.approx(kept["answer_correct"][at].mean())
    assert curve["ideal"] == sorted(curve["ideal"])
    low, high = curve["intervals"]["slope"]
    assert low <= high
    crossed = np.isfinite(kept["reaction_ms"]).mean()
    assert np.mean(curve["chronometric"]["crossed"]) == pytest.approx(crossed)


def test_trajectories_are_means_from_the_onset_on(board):
    folder, paradigm, network, model = board
    kept = read(folder, "trajectories.npz")
    assert kept["rates"].shape[::2] == (CONDITIONS, 8)
    assert kept["outputs"].shape[2] == 2
    assert kept["dt"] == 50.0
    seen = analysis.observe(
        network, model, paradigm, paradigm.options, 0, 2, keep=("rates",)
    )
    where = [
        seen.condition[n] == kept[f"condition_{n}"][7] for n in ("cue", "coherence")
    ]
    rows = np.flatnonzero(np.all(where, axis=0))
    at = [seen.rates[i, seen.condition["onset"][i] + 3] for i in rows]
    (column,) = np.flatnonzero(kept["steps"] == 3)
    np.testing.assert_allclose(kept["rates"][7, column], np.mean(at, 0), rtol=1e-5)
    assert read(folder, "decoding.npz")["cue"].shape == (5,)


def test_the_census_and_the_weights(board):
    folder, _, _, model = board
    counted = files.read_json(folder / "census.json")
    assert counted["units"] == 8
    assert counted["density"]["0"] == 1.0
    kept = read(folder, "network.npz")
    np.testing.assert_array_equal(kept["recurrent"], model["params"]["recurrent"])


def test_the_fixed_points_are_said_for_every_held_input(board):
    folder, _, _, _ = board
    kept = read(folder, "fixed_points.npz")
    summary = files.read_json(folder / "fixed_points.json")
    assert len(summary) == 4  # two inputs, with their mean and with their noise
    for name, found in summary.items():
        label, flow = name.split("; ")
        mine = (kept["label"] == label) & (kept["flow"] == flow)
        assert np.sum(kept["starts"][mine]) == 4
        fixed = mine & (kept["status"] == "fixed")
        assert found["fixed"] == fixed.sum()
        assert np.all(kept["q"][fixed] < 1e-20)
        slowest = np.abs(kept["time_constants"][fixed, 0])
        expected = [slowest.min(), slowest.max()] if fixed.any() else None
        assert found["slowest_ms"] == expected


def test_the_slowest_mode_is_one_of_a_fixed_point():
    """A slow point's modes are all but still, and would hide the others."""
    flow = flows.rate_flow(np.zeros((2, 2)), np.ones(2), "relu", 100.0)
    found = fixed_points.find(flow, np.ones((1, 2)))
    assert found.status.tolist() == ["fixed"]
    still = found._replace(
        time_constants=np.full((1, 2), 1e9), status=np.array(["slow"])
    )
    both = fixed_points.Points(*map(np.concatenate, zip(found, still, strict=True)))
    assert search._summary(flow, both)["slowest_ms"] == pytest.approx([100, 100])
    assert search._summary(flow, still)["slowest_ms"] is None


KINDS = [
    {"state": "rate"},
    {"state": "rate", "activation": "softplus", "learn_tau": True},
    {"state": "voltage", "activation": "tanh"},
    {"state": "leak_inside", "activation": "tanh"},
    {"name": "gru", "start": None},
    {"name": "lstm", "start": None},
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: "_".join(map(str, k.values())))
def test_a_network_stays_where_its_fixed_points_are(kind):
    paradigm = trials.build({"name": "perceptual_decision", "dt": 50.0})
    fields = {k: v for k, v in kind.items() if v is not None}
    if "state" not in fields:
        fields = {"name": fields["name"], "units": 8}
        sizes = {"inputs": len(paradigm.inputs), "outputs": len(paradigm.outputs)}
        network = models.build_recurrent(dt=50.0, **sizes, **fields)
        init = network.init(jax.random.key(3), jnp.zeros((1, 1, sizes["inputs"])))
        model = {"params": init["params"], "model_state": {}}
    else:
        network, model = made(paradigm, **fields)
    held = next(iter(paradigm.held.values()))
    flow = search.flows_under(network, model, held)["mean"]
    parts = 2 if fields.get("name") == "lstm" else 1
    starts = np.random.default_rng(0).uniform(0, 0.5, (5, 8 * parts))
    found = fixed_points.find(flow, starts)
    assert (found.status == "fixed").all()
    states = [jnp.asarray(h, jnp.float32) for h in np.split(found.states, parts, 1)]
    state = tuple(states) if parts > 1 else states[0]
    variables = {"params": model["params"], **model["model_state"]}
    weights = network.apply(variables, method="weights")
    u = jnp.broadcast_to(held.mean, (len(states[0]), len(held.mean)))
    after = network.advance(weights, state, u, None)
    for one, other in zip(jax.tree.leaves(state), jax.tree.leaves(after), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-6)


def test_an_output_that_never_decides_is_said_and_the_rest_is_written(tmp_path, capsys):
    paradigm = trials.build(BOARD)
    network, model = made(paradigm)
    finish(paradigm, tmp_path, network, model, threshold=1e6, starts=0, rates=0)
    said = capsys.readouterr().err
    assert "no readout unit ever crosses the threshold 1e+06; the largest is" in said
    assert "reaction_ms" not in read(tmp_path, "behaviour.npz")
    assert not (tmp_path / "fixed_points.npz").exists()


@pytest.mark.parametrize("coherences", [(0.0,), (0.1, 0.2)])
def test_too_few_coherences_have_no_curve(tmp_path, coherences):
    paradigm = trials.build(BOARD | {"test_coherences": coherences})
    network, model = made(paradigm)
    finish(paradigm, tmp_path, network, model, starts=0, rates=0)
    assert read(tmp_path, "behaviour.npz")["answer_correct"].size
    assert not (tmp_path / "psychometrics.json").exists()


def test_without_inputs_that_are_held_there_are_no_fixed_points(tmp_path):
    paradigm = trials.build(BOARD)._replace(held={})
    network, model = made(paradigm)
    finish(paradigm, tmp_path, network, model, trials=0, rates=1)
    assert (tmp_path / "census.json").exists()
    assert not (tmp_path / "fixed_points.npz").exists()


def test_rules_have_a_variance_of_each_unit(tmp_path):
    names = ["go", "dm_1", "dms"]
    fields = {
        "name": "yang",
        "dt": 50.0,
        "rules": names,
        "ring": 4,
        "grid_locations": 2,
    }
    paradigm = trials.build(fields)
    network, model = made(paradigm)
    finish(paradigm, tmp_path, network, model, trials=1, rates=1, starts=0)
    kept = read(tmp_path, "task_variance.npz")
    assert kept["variance"].shape == (8, 3)
    assert kept["rules"].tolist() == names
    assert np.isfinite(kept["variance"]).all()
    assert set(np.unique(read(tmp_path, "behaviour.npz")["rule"])) == {0, 1, 2}


def test_animals_stand_beside_the_network(tmp_path, board):
    _, paradigm, network, model = board
    rows = ["monkey,abs_coherence_percent,percent_correct,rt_ms"]
    rows += [f"M,{c},{p},400" for c, p in ((5, 60), (10, 75), (20, 90), (60, 99))]
    table = tmp_path / "animals.csv"
    table.write_text("\n".join(rows))
    fields = {"animals": str(table), "starts": 0, "rates": 0, "threshold": 0.01}
    finish(paradigm, tmp_path, network, model, **fields)
    animal = files.read_json(tmp_path / "psychometrics.json")["animals"]["M"]
    assert animal["coherence"] == [0.05, 0.1, 0.2, 0.6]
    assert animal["factor"] > 0
    assert 0.05 < animal["fit"]["threshold"] < 0.3
    json.dumps(animal, allow_nan=False)


def recorded(path, paradigm, network, model, **changes):
    """The network's own rates, as if they had been recorded."""
    seen = analysis.observe(
        network, model, paradigm, paradigm.options, 0, 2, keep=("rates",)
    )
    cue, coherence = (seen.condition[name] for name in ("cue", "coherence"))
    arrays = {"rates": seen.rates, "cue": cue, "coherence": coherence, "dt": 50.0}
    np.savez(path, **(arrays | changes))
    return str(path)


def test_recordings_of_the_network_itself_are_like_it(tmp_path, board):
    _, paradigm, network, model = board
    path = recorded(tmp_path / "recorded.npz", paradigm, network, model)
    fields = {"recordings": path, "trials": 0, "starts": 0}
    finish(paradigm, tmp_path, network, model, **fields)
    alike = files.read_json(tmp_path / "similarity.json")
    assert set(alike) == {"procrustes", "cka", "rsa", "dsa"}
    assert alike["cka"] == pytest.approx(1)
    assert alike["rsa"] == pytest.approx(1)
    assert alike["procrustes"] < 1e-3
    assert alike["dsa"] < 1e-2


def test_recordings_of_other_conditions_are_refused(tmp_path, board):
    _, paradigm, network, model = board
    path = tmp_path / "recorded.npz"
    n = 2 * CONDITIONS
    recorded(path, paradigm, network, model, coherence=np.full(n, 0.5))
    with pytest.raises(InputError, match=r"expected conditions of the network, found"):
        study(paradigm, recordings=str(path))
    recorded(path, paradigm, network, model, speed=np.ones(n))
    with pytest.raises(InputError, match=r"the network has no condition 'speed'"):
        study(paradigm, recordings=str(path))
    recorded(path, paradigm, network, model, rates=np.full((n, 40, 3), np.nan))
    with pytest.raises(InputError, match=r"recorded.npz: rates: expected finite"):
        study(paradigm, recordings=str(path))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"checkpoint": "lst"}, "config.analysis.checkpoint: expected one of"),
        ({"trials": -1}, "config.analysis.trials: expected an integer >= 0"),
        ({"threshold": 0}, "config.analysis.threshold: expected a number > 0"),
        ({"bin": 10.0}, "config.analysis.bin: expected a number >= 50.0"),
        ({"held": ["cue 2"]}, "config.analysis.held: unknown name 'cue 2'"),
        ({"decode": ["side"]}, "config.analysis.decode: unknown name 'side'"),
        (
            {"rates": 50_000},
            "config.analysis.rates: expected at most 34952 trials of each of 24 "
            "conditions, whose rates take 1 GiB, found 50000",
        ),
        ({"rates": 0}, "config.analysis.rates: expected 1 or more, for starts"),
        ({"recordings": "none.npz"}, "none.npz: expected arrays rates, found"),
        ({"animals": "nowhere.csv"}, "nowhere.csv: expected this file, found none"),
        ({"trails": 3}, "config.analysis.trails: unknown field .*'trials'"),
    ],
)
def test_what_does_not_fit_is_said(fields, message):
    with pytest.raises(InputError, match=message):
        study(trials.build(BOARD), **fields)
