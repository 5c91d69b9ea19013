"""Beats beside their patient's usual one: by hand, robust, from the past alone."""

import json

import numpy as np
import pytest

from kdjax import data, experiment
from kdjax.errors import InputError
from kdjax.export.stage import export
from kdjax.loading import load
from kdjax.tasks.anomaly import own_median
from kdjax.tasks.anomaly.own_median import Templates, Usual
from tests.running import training
from tests.tasks.anomaly.beating import NAME

SOLVED = training(epochs=0)
DATA = {"name": NAME}


def make(**changes):
    return own_median.make(**({"data": DATA, "training": SOLVED, "seed": 0} | changes))


def waves(n, seed, *, odd=0):
    """n noisy beats [n, 50, 1], the first `odd` of them of another shape."""
    time = np.linspace(0, 1, 50)[:, None]
    usual, other = np.sin(6 * time), np.cos(9 * time)
    shape = np.where(np.arange(n)[:, None, None] < odd, other, usual)
    noise = 0.05 * np.random.default_rng(seed).standard_normal((n, 50, 1))
    return (shape + noise).astype(np.float32)


LEARNT = Templates(np.stack([np.median(waves(9, k), 0) for k in range(3)]), np.array(1))


def test_the_distance_is_that_to_the_median_of_the_nearer_half():
    x = waves(11, 5, odd=3)
    usual = LEARNT.usual.astype(np.float64)
    nearest = np.square(x[:, None] - usual[None]).mean((2, 3)).min(1)
    half = np.argsort(nearest)[: round(0.5 * 11)]
    median = np.median(x[half].astype(np.float64), axis=0)
    expected = np.square(x - median).mean((1, 2))
    found = own_median.distances(LEARNT, Usual(), x)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert found[:3].min() > 20 * found[3:].max()


@pytest.mark.parametrize("odd", [0, 20, 55, 70])
def test_a_recording_may_be_mostly_abnormal(odd):
    x = waves(100, 5, odd=odd)
    found = own_median.distances(LEARNT, Usual(), x)
    assert found[odd:].max() < 0.02
    assert not odd or found[:odd].min() > 0.2
    plain = np.square(x - np.median(x, axis=0)).mean((1, 2))
    assert (plain[odd:].max() > 0.02) == (odd > 50), "the median alone would not do"


def test_a_monitor_uses_the_past_alone():
    how = Usual(causal=True, memory=30)
    x = waves(90, 5, odd=4)
    changed = x.copy()
    changed[50:] = waves(40, 9, odd=40)
    one, other = (own_median.distances(LEARNT, how, each) for each in (x, changed))
    np.testing.assert_array_equal(one[:50], other[:50])
    assert other[50:60].min() > 0.2
    first = own_median.nearest(LEARNT.usual, x[:10])
    np.testing.assert_array_equal(one[:10], first)
    for beat in (10, 47):
        begin = beat // 10 * 10
        known = x[max(0, begin - 30) : begin]
        near = np.argsort(own_median.nearest(LEARNT.usual, known), kind="stable")
        usual = np.median(known[near[: len(known) // 2]], axis=0)
        assert one[beat] == pytest.approx(np.square(x[beat] - usual).mean(), rel=1e-4)


def test_a_monitor_forgets():
    """A usual beat that has changed for good is the new usual one."""
    x = np.concatenate([waves(100, 1), 1.2 * waves(200, 2)])
    found = own_median.distances(LEARNT, Usual(causal=True, memory=50), x)
    assert found[100:110].mean() > 3 * found[200:].mean()


@pytest.mark.parametrize("n", [1, 2, 9, 10, 11])
def test_few_beats(n):
    for causal in (False, True):
        found = own_median.distances(LEARNT, Usual(causal=causal), waves(n, 0))
        assert found.shape == (n,)
        assert np.isfinite(found).all()


def test_a_recording_of_abnormal_beats_alone_is_doubted():
    dataset = data.load(NAME, seed=0)
    normal = data.take(dataset.train, data.normals(dataset.train))
    templates = own_median.learn(normal)
    assert len(templates.usual) == len(np.unique(normal.group))
    x = dataset.test.x
    assert not own_median.doubtful(templates, Usual(), x[dataset.test.y == 0])
    assert own_median.doubtful(templates, Usual(), x[dataset.test.y == 2])


def test_a_single_patient_doubts_nobody():
    one = own_median.learn(data.take(data.load(NAME, seed=0).train, np.arange(40)))
    assert one.limit == np.inf


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    """A finished stage, by the experiment's own way."""
    workdir = tmp_path_factory.mktemp("own")
    stages = {
        "own": {"task": "own_median"},
        "causal": {"task": "own_median", "detector": {"causal": True}},
    }
    given = {"epochs": 0, "batch_size": 16, "select": "loss"}
    config = {"data": DATA, "training": given, "stages": stages, "seeds": [0]}
    experiment.run(config | {"report": {"order": ["own", "causal"]}}, workdir)
    return workdir / "seed_0" / "own"


def test_a_stage_scores_group_by_group(stage):
    dataset = data.load(NAME, seed=0)
    normal = data.take(dataset.train, data.normals(dataset.train))
    templates = own_median.learn(normal)
    with np.load(stage / "scores.npz") as stored:
        found, split = stored["last"], stored["split"]
    for name in ("validation", "test"):
        part = getattr(dataset, name)
        for group in np.unique(part.group):
            rows = part.group == group
            expected = own_median.distances(templates, Usual(), part.x[rows])
            np.testing.assert_allclose(found[split == name][rows], expected, rtol=1e-5)
    results = json.loads((stage / "results.json").read_text())
    assert results["checkpoints"]["last"]["test"]["auc"] > 0.8
    about = json.loads((stage / "detector.json").read_text())
    assert about == {"groups_learnt_from": len(templates.usual), "doubtful": []}


def test_a_stage_is_loaded_and_called_with_a_whole_recording(stage):
    dataset = data.load(NAME, seed=0)
    rows = dataset.test.group == dataset.test.group[0]
    predictor = load(stage)
    assert isinstance(predictor, own_median.OfRecording)
    assert predictor.kind == "scores"
    found = predictor(dataset.test.x[rows])
    with np.load(stage / "scores.npz") as stored:
        expected = stored["last"][stored["split"] == "test"][rows]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    beside = predictor.reconstruct(dataset.test.x[rows])
    assert np.ptp(beside, axis=0).max() == 0, "one usual beat for all"
    assert predictor.doubts(dataset.test.x[rows]) == ()
    (doubt,) = predictor.doubts(dataset.test.x[dataset.test.y == 2])
    assert "may be abnormal itself" in doubt
    (doubt,) = predictor.doubts(dataset.test.x[:1])
    assert doubt == "1 beats say little of what is usual"


def test_a_stage_cannot_be_exported(stage):
    """A graph of an example has no recording to put it beside."""
    with pytest.raises(InputError, match=r"own: a stage of the task 'own_median' sc"):
        export(stage, ["npz"])
    assert not (stage / "export").exists()


def test_the_report_has_a_table_on_patients(stage):
    report = (stage.parents[1] / "report.md").read_text()
    _, _, section = report.partition("**On patients.**")
    rows = [line for line in section.splitlines() if line.startswith("| own |")]
    ways = [row.split(" | ")[1] for row in rows]
    assert ways == ["its own", "relative", "with rhythm", "with the past's"]
    assert float(rows[2].split(" | ")[2]) > 0.99
    assert "| causal | with the past's |" in section


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"detector": {"casual": True}}, "detector.casual: .*'causal'"),
        ({"detector": {"fraction": 0}}, r"fraction: expected a number in \(0, 1\]"),
        ({"detector": {"memory": 0}}, "memory: expected an integer >= 1, found 0"),
        ({"detector": {"start": 0}}, "start: expected an integer >= 1, found 0"),
        ({"training": training()}, "epochs: expected 0, .* not trained; found 1"),
    ],
)
def test_what_does_not_fit_is_said(changes, message):
    with pytest.raises(InputError, match=message):
        make(**changes)


def test_beats_without_patients_are_refused(tmp_path):
    drawn = np.random.default_rng(0)
    arrays = {"x": drawn.normal(size=(90, 8)), "y": np.arange(90) % 2}
    np.savez(tmp_path / "a.npz", **arrays)
    table = {"name": "arrays", "path": str(tmp_path / "a.npz")}
    with pytest.raises(InputError, match=r"groups of several examples, .* each test"):
        make(data=table)
