"""Attention as a part of a decoder's stage, from made-up voxels to a student."""

import json

import jax
import numpy as np
import pytest

from kdjax import data, experiment
from kdjax.data import LOADERS, digits
from kdjax.data.dataset import take
from kdjax.data.stored_attention import FILE, read_attention
from kdjax.errors import InputError
from kdjax.files import read_json
from kdjax.tasks.brain import decode
from kdjax.training.task import Training

FMRI = {"name": "synthetic_fmri", "roi": "ROI_V1", "images_a_run": 240, "scale": 0.05}
RIDGE = {"name": "ridge", "penalties": [300]}
LOOK = {"data": {"name": "digits"}, "grid": [4, 4]}


def permuted_digits(*, seed: int):
    """digits with another table: other rows, another split."""
    found = digits(seed=seed + 1)
    order = np.random.default_rng(seed).permutation(len(found.train.y))
    return found._replace(train=take(found.train, order))


def made(attention, decoder=RIDGE, fields=FMRI, **changes):
    return decode.make(
        data=fields,
        decoder=decoder,
        calibration=2,
        training=Training(epochs=0, batch_size=96),
        seed=0,
        attention=attention,
        **changes,
    )


def left(folder, attention=LOOK, **changes):
    task = made(attention, **changes)
    maps = np.asarray(task.init(jax.random.key(0)).params["attention"])
    folder.mkdir(exist_ok=True)
    task.finish({}, folder)
    return maps


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("attended")
    left(folder)
    return folder


def test_a_stage_leaves_maps_by_key_beside_its_soft_labels(folder):
    train = data.load("digits", seed=0).train
    found = read_attention(folder / FILE, train.key)
    assert found.maps.shape == (len(train.y), 4, 4)
    fmri = data.load(seed=0, **FMRI)
    run = np.concatenate([s.group for s in (fmri.train, fmri.validation, fmri.test)])
    assert set(found.fold) == set(range(len(set(run))))
    with np.load(folder / FILE) as file:
        header = json.loads(str(file["header"]))
    assert header["attention"] == LOOK
    assert header["protocol"] == "leave_one_run_out"


def test_the_order_of_the_images_is_no_matter(folder, tmp_path, monkeypatch):
    monkeypatch.setitem(LOADERS, "permuted", permuted_digits)
    key = data.load("digits", seed=0).train.key
    left(tmp_path, LOOK | {"data": {"name": "permuted"}})
    maps = [read_attention(place / FILE, key).maps for place in (folder, tmp_path)]
    np.testing.assert_array_equal(*maps)


def test_in_sample_maps_say_so(tmp_path):
    left(tmp_path, protocol="in_sample")
    key = data.load("digits", seed=0).train.key
    assert (read_attention(tmp_path / FILE, key).fold == -1).all()


def test_the_images_own_contrast_is_of_no_brain(tmp_path):
    contrast = LOOK | {"source": "contrast"}
    quiet = FMRI | {"roi": "ROI_NULL"}
    left(tmp_path, contrast, fields=quiet)
    train = data.load("digits", seed=0).train
    maps = read_attention(tmp_path / FILE, train.key).maps
    for row in (0, 100):
        down, right = np.gradient(train.x[row, ..., 0])
        energy = (down**2 + right**2).reshape(4, 2, 4, 2).mean(axis=(1, 3))
        expected = np.sqrt(energy) / np.sqrt(energy).sum()
        np.testing.assert_allclose(maps[row], expected, rtol=1e-4)


def test_without_the_section_no_maps_are_left(tmp_path):
    task = made(None)
    assert set(task.init(jax.random.key(0)).params) == {"logits"}
    task.finish({}, tmp_path)
    assert not (tmp_path / FILE).exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"grid": [9, 4]}, r"grid: expected 8 x 8 cells at the most, .* found 9 x 4"),
        ({"grid": [4]}, r"grid: expected a sequence of 2 integers, found \[4\]"),
        ({"grid": [0, 4]}, r"grid\[0\]: expected an integer >= 1, found 0"),
        ({"source": "brain"}, "source: expected one of 'decoder', 'contrast'"),
        ({"gird": [4, 4]}, "gird: unknown field .did you mean 'grid'"),
        ({"data": {"name": "digit"}}, r"data\.name: .*did you mean 'digits'"),
        (
            {"data": {"name": "synthetic_wearable", "windows": 12}},
            r"data: expected images \[h, w, channels\] of 2 x 2 pixels or more",
        ),
        (
            {"data": {"name": "human92", "root": "HUMAN"}},
            r"data: key: expected every example, found none for \d+ of",
        ),
    ],
)
def test_fields_that_do_not_fit_are_named(changes, message, shared_data):
    section = json.loads(
        json.dumps(LOOK | changes).replace("HUMAN", str(shared_data / "human92"))
    )
    with pytest.raises(InputError, match=rf"^config\.attention\.{message}"):
        made(section)


def test_a_decoder_that_is_not_affine_is_named():
    network = {"name": "network", "model": {"name": "mlp", "widths": [4]}, "epochs": 2}
    with pytest.raises(InputError, match=r"config\.attention: expected a decoder"):
        made(LOOK, decoder=network).init(jax.random.key(0))


def test_a_student_is_drawn_to_where_the_decoder_looked(tmp_path, monkeypatch):
    """Some steps bring its map nearer; what it read is drawn, and kept track of."""
    look = {"stage": "look", "stored": True, "attention": True}
    drawn = {
        "stored_attention": {"weight": 10.0, "layers": ["layer2"]},
        "cross_entropy": {"weight": 0.01},
    }
    config = {
        "seeds": [0],
        "task": "distill",
        "data": {"name": "digits"},
        "model": {
            "name": "convnet",
            "widths": [4, 8],
            "windows": [3, 3],
            "strides": [1, 2],
        },
        "training": {"epochs": 3, "batch_size": 96, "log_steps": 9},
        "optimizer": {"name": "adam", "schedule": {"name": "constant", "value": 0.01}},
        "stages": {
            "look": {
                "task": "decode",
                "data": FMRI,
                "decoder": RIDGE,
                "calibration": 2,
                "attention": LOOK | {"data": {"name": "seen"}},
                "training": {"epochs": 0},
                **dict.fromkeys(("model", "optimizer")),
            },
            "student": {"teacher": look, "losses": drawn},
        },
    }
    monkeypatch.setitem(LOADERS, "seen", digits)
    experiment.run(json.loads(json.dumps(config)), tmp_path)
    folder = tmp_path / "seed_0" / "student"
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    losses = [
        row["stored_attention"]
        for row in map(json.loads, lines)
        if "stored_attention" in row
    ]
    assert losses[-1] < 0.9 * losses[0]
    record = read_json(folder / "record.json")
    assert record["reads"]["teacher"]["stage"] == "look"
    assert (tmp_path / "figures" / "attention.png").stat().st_size > 10_000
    assert "attention.png" in (tmp_path / "report.md").read_text()
    stages = config["stages"] | {"look": config["stages"]["look"] | {"attention": None}}
    with pytest.raises(InputError, match=r"attention: expected a stage that leaves"):
        experiment.run(
            json.loads(json.dumps(config | {"stages": stages})), tmp_path / "other"
        )
    monkeypatch.setitem(LOADERS, "seen", permuted_digits)
    with pytest.raises(InputError, match=r"look is stale: its data .* changed since"):
        experiment.run(json.loads(json.dumps(config)), tmp_path)
