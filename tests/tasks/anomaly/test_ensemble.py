"""An ensemble's score is its formula, and a network learns it: as a run, by hand."""

import json
import shutil

import jax
import numpy as np
import pytest

from kdjax import data, experiment
from kdjax.data.ecg.intervals import around
from kdjax.errors import InputError
from kdjax.export.stage import export
from kdjax.loading import load
from kdjax.tasks.anomaly import ensemble, own_median, regressor, rhythm
from kdjax.tasks.anomaly.own_median import Usual
from tests.running import RATE, sgd, take_step, training
from tests.tasks.anomaly.beating import NAME

DATA = {"name": NAME}
SOLVED = {"epochs": 0, "batch_size": 32, "select": "loss"}
AUTOENCODER = {"name": "dense_autoencoder", "latent": 2, "widths": [8]}
MLP = {"name": "mlp", "widths": [32]}
ADAM = {"name": "adam", "schedule": {"name": "cosine", "value": 3e-3}}
SOLVED_STAGE = {"task": "ensemble", "model": None, "optimizer": None}


@pytest.fixture(scope="module")
def seed(tmp_path_factory):
    """A seed's folder with an autoencoder, two ensembles and a student of each."""
    member = {"errors": {"stage": "autoencoder", "checkpoint": "last"}}
    taught = {"training": {"epochs": 40, "batch_size": 32}, "model": MLP}
    config = {
        "data": DATA,
        "model": AUTOENCODER,
        "optimizer": ADAM,
        "training": SOLVED,
        "seeds": [0],
        "stages": {
            "autoencoder": {"task": "autoencoder", "training": {"epochs": 2}},
            "plain": SOLVED_STAGE,
            "teacher": SOLVED_STAGE | {"members": member},
            "past": SOLVED_STAGE | {"rhythm": "past", "detector": {"causal": True}},
            "student": {"task": "regressor", "teacher": {"stage": "teacher"}} | taught,
            "monitor": {"task": "regressor", "teacher": {"stage": "past"}} | taught,
        },
    }
    config["report"] = {"order": list(config["stages"])}
    workdir = tmp_path_factory.mktemp("ensemble")
    experiment.run(config, workdir)
    return workdir / "seed_0"


def stored(folder):
    with np.load(folder / "scores.npz") as file:
        return dict(file)


def held(dataset, field):
    parts = dataset.validation, dataset.test
    return np.concatenate([getattr(part, field) for part in parts])


def units(score, normal):
    logs = np.log(score.astype(np.float64))
    low, high = np.quantile(logs[normal], [0.5, 0.99])
    return (logs - low) / (high - low)


def test_the_score_is_the_formula(seed):
    dataset = data.load(NAME, seed=0)
    templates = own_median.learn(dataset.train)
    distance = np.concatenate(
        [
            own_median.by_group(
                lambda x: own_median.distances(templates, Usual(), x), part
            )
            for part in (dataset.validation, dataset.test)
        ]
    )
    errors, found = stored(seed / "autoencoder")["last"], stored(seed / "teacher")
    normal = (found["split"] == "validation") & (found["label"] == 0)
    odd = rhythm.of_dataset(dataset).whole
    expected = (units(distance, normal) + units(errors, normal)) / 2 + odd
    np.testing.assert_allclose(found["last"], expected, rtol=1e-4, atol=1e-4)
    alone = stored(seed / "plain")["last"]
    np.testing.assert_allclose(alone, units(distance, normal) + odd, atol=1e-4)


def test_without_members_beats_are_ranked_as_own_median_with_its_rhythm(seed):
    """Scores are in units of their own; the order is the same."""
    dataset = data.load(NAME, seed=0)
    found = stored(seed / "plain")
    templates = own_median.learn(dataset.train)
    with np.errstate(all="raise"):
        score = own_median.solve(dataset, Usual())[1][len(dataset.train.y) :]
    normal = (found["split"] == "validation") & (found["label"] == 0)
    known = rhythm.of_dataset(dataset)
    other = rhythm.combined(score, known.whole, rhythm.weight(score[normal]))
    slope = np.polyfit(other, found["last"], 1)
    np.testing.assert_allclose(np.polyval(slope, other), found["last"], atol=1e-3)
    assert slope[0] > 0
    assert len(templates.usual) > 1


def test_units_of_normal_scores_are_0_and_1():
    normal = np.exp(np.random.default_rng(0).normal(size=9_999))
    found = ensemble.in_units(np.quantile(normal, [0.5, 0.99]), normal)
    np.testing.assert_allclose(found, [0, 1], atol=1e-3)
    odd = ensemble.in_units(np.array([0.0, np.inf, np.nan]), normal)
    assert np.isfinite(odd).all()
    assert odd[0] < 0 < 1 < odd[1] == odd[2]
    alike = ensemble.in_units(np.array([1.0, 2.0]), np.ones(50))
    np.testing.assert_allclose(alike, [0, np.log(2) / 1e-3])


def test_soft_scores_are_of_all_examples_by_key(seed):
    dataset = data.load(NAME, seed=0)
    with np.load(seed / "teacher" / "soft_scores.npz") as file:
        soft = dict(zip(file["key"], file["score"], strict=True))
    parts = dataset.train, dataset.validation, dataset.test
    assert set(soft) == {key for part in parts for key in part.key}
    scores = [soft[key] for key in held(dataset, "key")]
    np.testing.assert_array_equal(scores, stored(seed / "teacher")["last"])
    trained = [soft[key] for key in dataset.train.key]
    assert np.std(trained) > 0.1, "those that a student learns"


def test_a_student_learns_the_scores(seed):
    theirs, own = (stored(seed / name)["last"] for name in ("teacher", "student"))
    assert np.corrcoef(theirs, own)[0, 1] > 0.9, "on patients that it never saw"
    results = json.loads((seed / "student" / "results.json").read_text())
    assert results["checkpoints"]["last"]["test"]["auc"] > 0.95
    assert results["examples"]["train"] == len(data.load(NAME, seed=0).train.y)
    assert results["metrics"]["loss"].startswith("Huber loss")


def test_the_step_is_that_of_the_huber_loss(seed):
    task = regressor.make(
        data=DATA,
        model=MLP,
        optimizer=sgd(),
        training=training(),
        seed=0,
        teacher={"folder": str(seed / "teacher")},
    )
    before, after, metrics, _ = take_step(task)
    constants = task.constants()
    rows = next(iter(task.data["train"].batches(16, epoch=1)))["index"]
    x, target = constants["x"][rows], constants["score"][rows]
    params = jax.tree.map(np.asarray, before.params)
    hidden = params["encoder"]["Dense_0"]
    h = np.maximum(x @ hidden["kernel"] + hidden["bias"], 0)
    last = params["head"]["classes"]
    out = (h @ last["kernel"] + last["bias"])[:, 0]
    apart = np.abs(out - target)
    huber = np.where(apart <= 1, apart**2 / 2, apart - 0.5).mean()
    np.testing.assert_allclose(metrics["loss"], huber, rtol=1e-4)
    slope = np.clip(out - target, -1, 1)[:, None] / len(rows)
    moved = np.asarray(after.params["head"]["classes"]["kernel"]) - last["kernel"]
    np.testing.assert_allclose(moved, -RATE * h.T @ slope, atol=1e-5)


@pytest.mark.parametrize("name", ["student", "monitor"])
def test_of_a_recording_it_gives_what_the_stage_left(seed, name):
    dataset = data.load(NAME, seed=0)
    predictor = load(seed / name, "last")
    expected, split = (stored(seed / name)[field] for field in ("last", "split"))
    for group in np.unique(dataset.test.group):
        rows = dataset.test.group == group
        found = predictor.of_recording(
            dataset.test.x[rows], dataset.intervals[-1][rows]
        )
        np.testing.assert_allclose(found, expected[split == "test"][rows], atol=1e-4)


def test_a_monitors_student_knows_nothing_of_what_comes(seed):
    predictor = load(seed / "monitor", "last")
    dataset = data.load(NAME, seed=0)
    rows = np.flatnonzero(dataset.test.group == dataset.test.group[0])
    x = dataset.test.x[rows].copy()
    times = np.cumsum(np.random.default_rng(0).normal(0.8, 0.05, len(x)))
    before = predictor.of_recording(x, around(times))
    times[31:] += 0.3
    x[31:] = -x[31:]
    after = predictor.of_recording(x, around(times))
    np.testing.assert_allclose(before[:31], after[:31], atol=1e-5)
    assert (before[31:] != after[31:]).all()


def test_a_student_is_exported(seed):
    folder = export(seed / "student", ["npz", "stablehlo"], checkpoint="last")
    said = json.loads((folder / "export.json").read_text())
    width = 2 * data.load(NAME, seed=0).test.x[0].size + 2
    assert said["input"]["shape"] == [width]
    artefact = said["artefacts"]["model.stablehlo"]
    auc = json.loads((seed / "student" / "results.json").read_text())
    test = auc["checkpoints"]["last"]["test"]["auc"]
    assert artefact["metric"] == {"name": "auc", "value": pytest.approx(test, abs=1e-4)}
    card = (folder / "model_card.md").read_text()
    assert "those of the patient's usual beat" in card


def test_an_ensemble_is_not_loaded(seed):
    with pytest.raises(InputError, match="'ensemble' cannot be loaded"):
        load(seed / "teacher")


def test_a_damaged_teacher_is_said(seed, tmp_path):
    shutil.copytree(seed / "teacher", tmp_path / "teacher")
    path = tmp_path / "teacher" / "soft_scores.npz"
    with np.load(path) as file:
        arrays = {name: file[name][1:] for name in file.files}
        first = file["key"][0]
    np.savez(path, **arrays)
    task = regressor.make(
        data=DATA,
        model=MLP,
        optimizer=sgd(),
        training=training(),
        seed=0,
        teacher={"folder": str(tmp_path / "teacher")},
    )
    with pytest.raises(InputError, match=f"every example's, found no '{first}'"):
        task.constants()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rhythm": "hole"}, r"config.rhythm: unknown name 'hole'.*'whole'"),
        ({"training": training()}, "epochs: expected 0, for an ensemble is not tr"),
        ({"detector": {"casual": True}}, "detector.casual: .*'causal'"),
        ({"data": {"name": "synthetic_ecg"}}, "whose intervals are known, found"),
        ({"members": {"own_median": "autoencoder"}}, "'own_median' is always one"),
        ({"members": {"a": "plain"}}, r"members.a: its task: unknown name 'ensemble'"),
    ],
)
def test_an_ensembles_config_is_checked(seed, changes, message):
    if "members" in changes:
        named = changes["members"].items()
        changes = {"members": {k: {"folder": str(seed / v)} for k, v in named}}
    given = {"data": DATA, "training": training(epochs=0), "seed": 0}
    with pytest.raises(InputError, match=message):
        ensemble.make(**(given | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"teacher": {}}, r"config.teacher.stage: missing"),
        ({"teacher": "plain", "seed": 1}, "plain: expected a stage of these data"),
        ({"teacher": "autoencoder"}, "of the task 'ensemble', .* is of 'autoencoder'"),
        ({"model": {"name": "fcn"}}, "this network is for series"),
    ],
)
def test_a_students_config_is_checked(seed, changes, message):
    given = {
        "data": DATA,
        "model": MLP,
        "optimizer": sgd(),
        "training": training(),
        "seed": 0,
        "teacher": "teacher",
    } | changes
    if isinstance(given["teacher"], str):
        given["teacher"] = {"folder": str(seed / given["teacher"])}
    with pytest.raises(InputError, match=message):
        regressor.make(**given)
