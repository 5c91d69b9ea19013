"""MiniRocket as a stage: it learns, is resumed and loaded, refuses what is wrong."""

import json

import jax
import numpy as np
import pytest

import kdjax
from kdjax import data, experiment
from kdjax.data.soft_labels import FILE
from kdjax.errors import InputError
from kdjax.stages import ridge
from kdjax.stages.calibration import temperature
from kdjax.tasks.distillation import minirocket
from kdjax.training.task import Training

pytestmark = pytest.mark.usefixtures("undrawn")

WAVES = {"name": "synthetic_wearable", "samples": 32, "windows": 16, "noise": 0.5}
SOLVED = Training(epochs=0, batch_size=16)
CONFIG = {
    "seeds": [0],
    "devices": 1,
    "data": WAVES,
    "training": {"epochs": 0, "batch_size": 16},
    "stages": {
        "minirocket": {"task": "minirocket", "features": 420, "soft_labels": "last"}
    },
}


def make(**changes):
    sections = {"data": WAVES, "training": SOLVED, "seed": 0, "features": 420}
    return minirocket.make(**(sections | changes))


@pytest.fixture(scope="module")
def waves():
    return data.load(**WAVES, seed=0)


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    """The folder of a stage, run by its experiment."""
    workdir = tmp_path_factory.mktemp("run")
    experiment.run(CONFIG, workdir)
    return workdir / "seed_0" / "minirocket"


def read(folder, name):
    return json.loads((folder / name).read_text())


def stored(folder):
    with np.load(folder / FILE, allow_pickle=False) as found:
        return dict(found)


def test_it_learns(stage, waves):
    """Four waves in much noise: chance is .25."""
    found = read(stage, "results.json")["checkpoints"]
    assert found["last"]["test"]["accuracy"] > 0.8
    assert found["last"]["test"] == found["best"]["test"]
    assert found["last"]["test"]["examples"] == len(waves.test.y)


def test_what_it_leaves(stage, waves):
    said, cost = read(stage, "minirocket.json"), read(stage, "cost.json")
    assert said["penalty"] in minirocket.PENALTIES
    assert said["dilations"] == [1, 2, 3], "of (32 - 1) / (9 - 1) = 3.9 at most"
    own = 420 + len(said["dilations"]) * 84 * 3
    assert cost["parameters"] == own + 2 * 420 + 4 * 420 + 4
    assert cost["flops"] > 2 * 32 * 84 * 27
    labels = stored(stage)
    tested = labels["split"] == "test"
    right = labels["logits"][tested].argmax(axis=1) == waves.test.y
    reached = read(stage, "results.json")["checkpoints"]["last"]["test"]["accuracy"]
    assert right.mean() == pytest.approx(reached)


def test_it_is_loaded_and_takes_raw_examples(stage, waves):
    predictor = kdjax.load(stage)
    step = waves.preprocessing
    (scaling,) = step
    raw = waves.test.x * np.array(scaling["std"]) + np.array(scaling["mean"])
    found = predictor(raw)
    logits = stored(stage)["logits"][-len(waves.test.y) :]
    np.testing.assert_allclose(found, jax.nn.softmax(logits), atol=2e-2)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)


def test_killed_before_it_is_done_it_ends_as_unbroken(stage, tmp_path, monkeypatch):
    class KilledError(Exception):
        pass

    def killed(*_):
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(minirocket, "forward_cost", killed)
        with pytest.raises(KilledError):
            experiment.run(CONFIG, tmp_path)
    again = tmp_path / "seed_0" / "minirocket"
    assert not (again / "results.json").exists()
    experiment.run(CONFIG, tmp_path)
    one, other = (read(folder, "results.json") for folder in (stage, again))
    assert one["checkpoints"] == other["checkpoints"]
    assert read(stage, "minirocket.json") == read(again, "minirocket.json")
    jax.tree.map(np.testing.assert_array_equal, stored(stage), stored(again))


def fitted(**changes):
    """A task's parameters, as NumPy."""
    return jax.tree.map(np.asarray, make(**changes).init(jax.random.key(0)).params)


def test_only_labelled_training_examples_are_fitted_to(waves, tmp_path):
    """Changed test examples change nothing, nor do the examples without a label."""
    parts = waves.train, waves.validation, waves.test
    x, y = (np.concatenate([p[field] for p in parts]) for field in (0, 1))
    sizes = [len(part.y) for part in parts]
    split = np.repeat(["train", "validation", "test"], sizes)

    def params(name, x):
        np.savez(tmp_path / name, x=x, y=y, split=split)
        table = {"name": "arrays", "path": str(tmp_path / name), "scale": False}
        return fitted(data=table | {"labels_per_class": 5})

    known = data.load(**WAVES, seed=0, labels_per_class=5).train.y
    before = params("before.npz", x)
    x[split == "test"] = 0.3 - 2 * x[split == "test"]
    x[: sizes[0]][known == data.UNLABELLED] *= 3
    after = params("after.npz", x)
    same = jax.tree.map(np.array_equal, before, after)
    assert all(jax.tree.leaves(same))


def test_the_readout_is_the_ridge_of_standardised_features(waves):
    params = fitted(penalties=[100.0])
    transform = jax.jit(minirocket.minirocket.transform)
    x = np.asarray(transform(params["minirocket"], waves.train.x))
    readout = params["ridge"]
    np.testing.assert_allclose(readout["mean"], x.mean(0), atol=1e-4)
    moving = x.std(0) > 0
    np.testing.assert_allclose(readout["std"][moving], x.std(0)[moving], rtol=1e-3)
    scaled = (x - readout["mean"]) / readout["std"]
    y = waves.train.y
    expected = ridge.fit(scaled, y, scaled, y, classes=4, penalties=[100.0])
    held = np.asarray(transform(params["minirocket"], waves.validation.x))
    logits = (held - readout["mean"]) / readout["std"] @ expected.kernel + expected.bias
    t = temperature(logits, waves.validation.y)
    assert t < 0.9, "estimates of 0 and 1 say too little"
    np.testing.assert_allclose(readout["kernel"], expected.kernel / t, atol=1e-3)
    np.testing.assert_allclose(readout["bias"], expected.bias / t, rtol=1e-3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"training": Training(epochs=2, batch_size=16)},
            "config.training.epochs: expected 0, for MiniRocket is not trained",
        ),
        (
            {"data": {"name": "digits"}},
            r"config.task: 'minirocket' is for series .* found examples of shape \(8,",
        ),
        (
            {"data": WAVES | {"samples": 8}},
            "config.data: expected series of 9 samples or more, found 8",
        ),
        ({"features": 50}, "config.features: expected an integer >= 84, found 50"),
        ({"penalties": []}, "config.penalties: expected one or more, found none"),
        ({"penalties": [-1.0]}, r"config.penalties\[0\]: expected a number >= 0"),
        ({"soft_labels": "lst"}, "config.soft_labels: .*'lst'"),
    ],
)
def test_what_does_not_fit_is_named(changes, message):
    with pytest.raises(InputError, match=message):
        make(**changes)
