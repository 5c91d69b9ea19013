"""Stages of anomaly detection, loaded: raw examples give the metrics of training."""

import json

import numpy as np
import pytest

import kdjax
from kdjax import data, experiment
from kdjax.data.ecg.recording import cut, read_recording
from kdjax.errors import InputError
from kdjax.tasks.anomaly import metrics
from tests.running import DATA

pytestmark = pytest.mark.usefixtures("undrawn")

RATE = {"name": "adam", "schedule": {"name": "constant", "value": 1e-3}}
PCA = {
    "task": "detector",
    "detector": {"name": "pca", "components": 4},
    "model": None,
    "optimizer": None,
    "training": {"epochs": 0},
}


def config(section, stages, **training):
    fields = {"epochs": 1, "batch_size": 16, "eval_batch_size": 32, "select": "loss"}
    return {
        "seeds": [0],
        "devices": 1,
        "data": section,
        "model": {"name": "beatgan", "latent": 3, "width": 2},
        "training": fields | training,
        "optimizer": RATE,
        "stages": stages,
    }


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """The folder of a BeatGAN, an autoencoder and a PCA on synthetic beats."""
    workdir = tmp_path_factory.mktemp("run")
    stages = {
        "beatgan": {"task": "beatgan"},
        "autoencoder": {"task": "autoencoder"},
        "pca": PCA,
    }
    experiment.run(config(DATA, stages), workdir)
    return workdir / "seed_0"


@pytest.fixture(scope="module")
def test_split():
    """Raw test examples, float64 as a filter gives them, and their labels."""
    examples = data.load(**DATA, seed=0).test
    return examples.x.astype(np.float64), examples.y


def check_metrics(stage, checkpoint, scores, label):
    """The scores give what results.json has, to the last bit."""
    results = json.loads((stage / "results.json").read_text())
    kept = results["checkpoints"][checkpoint]["test"]
    for name, value in metrics.detection(label > 0, scores).items():
        assert kept[name] == value, name
    for name, value in kept["auc_by_class"].items():
        y = results["classes"].index(name)
        assert metrics.auc(scores[label == 0], scores[label == y]) == value
    with np.load(stage / "scores.npz") as stored:
        own = stored[checkpoint][stored["split"] == "test"]
    np.testing.assert_array_equal(scores, own)


@pytest.mark.parametrize("checkpoint", ["last", "best"])
@pytest.mark.parametrize("name", ["beatgan", "autoencoder"])
def test_scores_of_raw_examples_give_the_metrics_of_training(
    root, test_split, name, checkpoint
):
    x, label = test_split
    predictor = kdjax.load(root / name, checkpoint)
    check_metrics(root / name, checkpoint, predictor(x), label)
    # the height of a beat is scaled away, in each lead
    scores = predictor(4.0 * x)
    check_metrics(root / name, checkpoint, scores, label)


@pytest.mark.parametrize("name", ["beatgan", "autoencoder"])
def test_a_score_is_the_error_of_the_reconstruction(root, test_split, name):
    x, _ = test_split
    predictor = kdjax.load(root / name, "last")
    made = predictor.reconstruct(x)
    assert made.shape == x.shape
    error = np.square(predictor.prepare(x) - made).mean((1, 2))
    np.testing.assert_allclose(predictor(x), error, rtol=1e-5)
    with np.load(root / name / "examples.npz") as stored:
        shown = dict(stored)
    again = predictor.reconstruct(shown["x"].astype(np.float64))
    np.testing.assert_array_equal(again, shown["reconstruction"])
    np.testing.assert_array_equal(
        predictor(shown["x"].astype(np.float64)), shown["score"]
    )


def test_what_it_says_of_itself(root):
    predictor = kdjax.load(root / "beatgan")
    assert predictor.kind == "scores"
    assert predictor.shape == (320, 1)
    assert predictor.classes == ("N", "S", "V")
    assert predictor(np.zeros((0, 320, 1))).shape == (0,)


def test_beats_scaled_already_stay_as_they_are(test_split):
    """In float64: float32's own steps are too coarse to add 1 and take it away."""
    x, _ = test_split
    np.testing.assert_array_equal(data.preprocessing.range_of_example(x), x)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x[:, :319], r"x: expected \[n, 320, 1\], found \(60, 319, 1\)"),
        (lambda x: x[..., 0], r"x: expected \[n, 320, 1\], found \(60, 320\)"),
        (lambda x: np.where(x > 0.9, np.nan, x), "x: expected finite numbers"),
        (lambda x: x.astype(str), "x: expected finite numbers"),
    ],
    ids=["short", "no lead", "nan", "text"],
)
def test_wrong_examples_are_refused(root, test_split, change, message):
    predictor = kdjax.load(root / "autoencoder")
    with pytest.raises(InputError, match=message):
        predictor(change(test_split[0]))
    with pytest.raises(InputError, match=message):
        predictor.reconstruct(change(test_split[0]))


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ("..", "expected the config of one stage, found a whole run's"),
        (".", "no stage here"),
        ("pca", "pca: a stage of the task 'detector' cannot be loaded: task: unknown"),
    ],
)
def test_what_cannot_be_loaded_is_said_in_a_line(root, folder, message):
    with pytest.raises(InputError, match=message) as error:
        kdjax.load(root / folder)
    assert "\n" not in str(error.value)


def test_beats_of_mitbih_cut_anew_give_the_metrics_of_training(
    shared_data, tmp_path, monkeypatch
):
    """From five recordings' own samples, filtered and cut here."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "records"
    folder.mkdir()
    for record in ("106", "119", "200", "208", "223"):
        for suffix in (".atr", ".dat", ".hea"):
            name = f"{record}{suffix}"
            (folder / name).symlink_to(shared_data / "mitdb" / name)
    section = {"name": "mitbih", "root": str(folder)}
    section |= {"validation_groups": 1, "test_groups": 1}
    large = {"batch_size": 512, "eval_batch_size": 512}
    stages = {"beatgan": {"task": "beatgan"}}
    experiment.run(config(section, stages, **large), tmp_path / "run")
    stage = tmp_path / "run" / "seed_0" / "beatgan"
    predictor = kdjax.load(stage, "last")
    test = data.load(**section, seed=0).test
    (record,) = {key.split("/")[0] for key in test.key.tolist()}
    recording = read_recording(folder / record, leads=predictor.channels)
    beats = cut(recording)
    keys = [f"{record}/{sample:06d}" for sample in recording.beat[beats.row]]
    scored = np.flatnonzero(np.isin(keys, test.key))  # others are of no group
    assert len(scored) == len(test.key) > 1000
    check_metrics(stage, "last", predictor(beats.raw_beats(scored)), test.y)
