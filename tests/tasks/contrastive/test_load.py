"""A trained probe or encoder in use: raw examples in, what was measured out."""

import functools
import io
import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

import kdjax
from kdjax import data, experiment
from kdjax.errors import InputError
from kdjax.stages import representations
from kdjax.stages.representations import FROZEN
from kdjax.tasks.contrastive import readouts

pytestmark = pytest.mark.usefixtures("undrawn")

PROBES = ("linear", "knn", "ridge", "random_knn")


@pytest.fixture(scope="module")
def seed(finished):
    """The folder of one seed's stages."""
    return finished / "seed_0"


@pytest.fixture(scope="module")
def test_split():
    """scikit-learn's own pixels, 0 to 16, of the test split, and their digits."""
    rows = data.load("digits", seed=0).test.key.astype(int)
    images, labels = load_digits(return_X_y=True)
    return images[rows].reshape(-1, 8, 8, 1), labels[rows]


def measured(folder, checkpoint="last"):
    results = json.loads((folder / "results.json").read_text())
    return results["checkpoints"][checkpoint]["test"]["accuracy"]


def accuracy(predictor, x, y):
    probabilities = predictor(x)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    return np.mean(probabilities.argmax(axis=1) == y)


@pytest.mark.parametrize("stage", PROBES)
@pytest.mark.parametrize("checkpoint", ["best", "last"])
def test_raw_digits_give_the_accuracy_that_was_measured(
    seed, test_split, stage, checkpoint
):
    predictor = kdjax.load(seed / stage, checkpoint)
    assert predictor.kind == "probabilities"
    assert predictor.shape == (8, 8, 1)
    assert accuracy(predictor, *test_split) == measured(seed / stage, checkpoint)


def test_best_and_last_are_two_checkpoints(seed, tmp_path):
    folder = tmp_path / "linear"
    shutil.copytree(seed / "linear", folder)
    shutil.rmtree(folder / "checkpoints" / "best")
    kdjax.load(folder, "last")
    with pytest.raises(InputError, match="best: no checkpoint here"):
        kdjax.load(folder)


def test_a_pretrained_stage_gives_the_representations_that_probes_read(
    seed, test_split
):
    """Those of `last`, which the probes of this experiment read."""
    dataset = data.load("digits", seed=0)
    spec = {"folder": seed / "pretrain", "checkpoint": "last"}
    frozen = representations.frozen(spec, None, dataset, 0)
    features = representations.encode(frozen.module, frozen.load(), dataset, 0)
    predictor = kdjax.load(seed / "pretrain", "last")
    assert predictor.kind == "embeddings"
    x, y = test_split
    np.testing.assert_allclose(predictor(x), features.x[-len(y) :], rtol=1e-5)


def test_a_probe_needs_no_folder_but_its_own(seed, test_split, tmp_path):
    shutil.copytree(seed / "linear", tmp_path / "alone")
    x = test_split[0][:9]
    alone, beside = kdjax.load(tmp_path / "alone"), kdjax.load(seed / "linear")
    np.testing.assert_array_equal(alone(x), beside(x))


def test_a_probe_keeps_the_defaults_that_it_was_measured_with(
    seed, test_split, monkeypatch
):
    """kNN's neighbours are in no config here, and in use all the same."""
    known = kdjax.load(seed / "knn")(test_split[0])
    other = functools.partial(readouts.knn, neighbours=1)
    monkeypatch.setitem(readouts.PROBES, "knn", other)
    np.testing.assert_array_equal(kdjax.load(seed / "knn")(test_split[0]), known)


# --- a frozen network that cannot be used --------------------------------------------


KERNEL = "encoder/params/encoder/Dense_0/kernel"


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-400])


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def narrow(path):
    with np.load(path) as stored:
        arrays = dict(stored)
    arrays[KERNEL] = np.zeros((64, 31), np.float32)
    np.savez(path, **arrays)


def without(path):
    with np.load(path) as stored:
        arrays = dict(stored)
    del arrays[KERNEL]
    np.savez(path, **arrays)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (Path.unlink, r"expected a frozen network, found no such file"),
        (cut_short, r"expected a frozen network, found File is not a zip"),
        (flip_a_bit, r"expected a frozen network, found Bad CRC-32"),
        (narrow, r"Dense_0/kernel: expected \(64, 32\), found \(64, 31\)"),
        (without, r"Dense_0/kernel: expected \(64, 32\), found none"),
    ],
)
def test_a_damaged_frozen_network_is_named(seed, tmp_path, damage, message):
    folder = tmp_path / "knn"
    shutil.copytree(seed / "knn", folder)
    damage(folder / FROZEN)
    with pytest.raises(InputError, match=message) as error:
        kdjax.load(folder)
    assert str(error.value).startswith(f"{folder / FROZEN}: ")


# --- real windows --------------------------------------------------------------------

SIGNALS = [
    f"{sensor}_{axis}"
    for sensor in ("body_acc", "body_gyro", "total_acc")
    for axis in "xyz"
]


def official_test(path):
    """The official test windows [n, 128, 9] as in the files, and their activities."""
    folder = "UCI HAR Dataset/test"
    with zipfile.ZipFile(path) as archive:

        def table(name):
            return np.loadtxt(io.BytesIO(archive.read(f"{folder}/{name}.txt")))

        x = [table(f"Inertial Signals/{signal}_test") for signal in SIGNALS]
        return np.stack(x, axis=-1), table("y_test").astype(int) - 1


def test_raw_windows_of_uci_har_give_the_accuracy_that_was_measured(
    small, shared_data, tmp_path
):
    (path,) = (shared_data / "uci_har").glob("*.zip")
    config = small()
    config["data"] = {"name": "uci_har", "root": str(path)}
    stages = {n: config["stages"][n] for n in ("pretrain", "linear", "scratch")}
    stages["pretrain"]["augment"] = {"name": "scaling", "std": 0.2}
    for stage in stages.values():
        stage["training"] |= {"epochs": 1, "batch_size": 128}
    experiment.run(config | {"stages": stages, "report": None}, tmp_path)
    x, y = official_test(path)
    for stage, least in (("linear", 0.6), ("scratch", 0.4)):
        folder = tmp_path / "seed_0" / stage
        predictor = kdjax.load(folder, "last")
        assert predictor.channels == tuple(SIGNALS)
        assert accuracy(predictor, x, y) == measured(folder) > least
