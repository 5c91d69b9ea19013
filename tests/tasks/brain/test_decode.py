"""The decoders as stages of an experiment: what they leave, and what it teaches."""

import json

import jax
import numpy as np
import pytest

from kdjax import data, experiment
from kdjax.data.soft_labels import FILE, Keyed
from kdjax.errors import InputError
from kdjax.files import read_arrays, read_json
from kdjax.tasks.brain import decode
from kdjax.training.task import Training

pytestmark = pytest.mark.usefixtures("undrawn")

UNTRAINED = Training(epochs=0, batch_size=16, eval_batch_size=32)
NETWORK = {
    "name": "network",
    "model": {"name": "mlp", "widths": [32]},
    "epochs": 10,
}


@pytest.fixture(scope="module")
def fields(shared_data):
    path = shared_data / "haxby" / "haxby2001_sub001_slice.h5"
    return {"name": "bdata", "paths": str(path), "test": [12]}


def make(fields, **changes):
    given = {"decoder": {"name": "class_mean"}, "training": UNTRAINED} | changes
    return decode.make(data=fields, seed=0, **given)


@pytest.fixture(scope="module")
def run(fields, tmp_path_factory):
    """Three decoders, one of them in-sample, and a student of one's soft labels."""
    student = {
        "task": "distill",
        "model": {"name": "mlp", "widths": [8]},
        "losses": {"soft_target": {"weight": 1.0}},
        "training": {"epochs": 3, "batch_size": 16},
        "optimizer": {
            "name": "adam",
            "schedule": {"name": "constant", "value": 1e-2},
        },
    }
    config = {
        "seeds": [0],
        "task": "decode",
        "data": fields,
        "training": {"epochs": 0, "batch_size": 16, "eval_batch_size": 32},
        "stages": {
            "ridge": {"decoder": {"name": "ridge"}, "permutations": 50},
            "seen": {"decoder": {"name": "ridge"}, "protocol": "in_sample"},
            "network": {"decoder": NETWORK, "calibration": 2},
            "student": student | {"teacher": {"stage": "ridge", "stored": True}},
        },
    }
    folder = tmp_path_factory.mktemp("decode")
    experiment.run(json.loads(json.dumps(config)), folder)
    return config, folder


def stage(run, name):
    return run[1] / "seed_0" / name


def last_of(run, name):
    return read_json(stage(run, name) / "results.json")["checkpoints"]["last"]


def test_every_block_is_decoded_out_of_its_run(run, fields):
    found = read_arrays(stage(run, "ridge") / FILE, Keyed)
    dataset = data.load("bdata", seed=0, **{k: fields[k] for k in ("paths", "test")})
    splits = dataset.train, dataset.validation, dataset.test
    key, group = (
        np.concatenate([getattr(s, n) for s in splits]) for n in ("key", "group")
    )
    np.testing.assert_array_equal(found.key, key)
    folds = {(int(f), int(g)) for f, g in zip(found.fold, group, strict=True)}
    assert len(folds) == len(set(group)) == 12
    test = read_json(stage(run, "ridge") / "results.json")["checkpoints"]["last"][
        "test"
    ]
    right = np.argmax(found.logits, 1) == found.label
    assert test["examples"] == 96
    assert test["accuracy"] == pytest.approx(right.mean())
    assert 0.6 < test["accuracy"] < 0.85
    p = np.exp(found.logits - found.logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    assert test["entropy"] == pytest.approx(-(p * np.log(p)).sum(1).mean(), rel=1e-4)


def test_a_network_is_a_decoder_as_any_other(run, fields):
    found = read_arrays(stage(run, "network") / FILE, Keyed)
    assert set(found.fold) == set(range(12))
    last = last_of(run, "network")
    right = np.argmax(found.logits, 1) == found.label
    assert last["test"]["accuracy"] == pytest.approx(right.mean())
    assert last["test"]["accuracy"] > 0.3
    again = {
        seed: decode.make(
            data=fields, seed=seed, decoder=NETWORK, calibration=2, training=UNTRAINED
        )
        for seed in (0, 1)
    }
    logits = {
        seed: np.asarray(task.init(jax.random.key(0)).params["logits"])
        for seed, task in again.items()
    }
    np.testing.assert_array_equal(logits[0], found.logits)
    assert np.abs(logits[1] - logits[0]).max() > 0.1


def test_permuted_labels_are_hardly_decoded(run):
    found = read_json(stage(run, "ridge") / "permutations.json")
    assert found["p"] == pytest.approx(1 / 51)
    assert found["null_mean"] == pytest.approx(1 / 8, abs=0.03)
    last = last_of(run, "ridge")
    assert found["accuracy"] == pytest.approx(last["test"]["accuracy"])


def test_the_report_says_what_is_in_sample(run):
    report = (run[1] / "report.md").read_text()
    assert "| ridge | 74.0 | 12.5 |" in report
    assert "> **In-sample**: `seen` was fitted to the very responses" in report
    assert "`ridge` was fitted" not in report
    assert last_of(run, "seen")["test"]["accuracy"] == 1.0


def test_soft_labels_of_responses_teach_a_student(run):
    assert last_of(run, "student")["test"]["accuracy"] > 2 / 8


def test_in_sample_soft_labels_are_refused(run):
    config, folder = run
    student = config["stages"]["student"] | {
        "teacher": {"stage": "seen", "stored": True}
    }
    stages = config["stages"] | {"misled": student}
    with pytest.raises(InputError, match="fold: expected soft labels from outside"):
        experiment.run(json.loads(json.dumps(config | {"stages": stages})), folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"protocol": "loro"}, "config.protocol: expected one of 'leave_one_run_out'"),
        ({"permutations": 10}, "config.permutations: expected 0, .* found 10"),
        ({"training": Training(epochs=1, batch_size=8)}, "epochs: expected 0"),
        ({"decoder": {"name": "rige"}}, "did you mean 'ridge'"),
        ({"calibration": 1}, "config.calibration: expected an integer >= 2"),
    ],
)
def test_fields_that_do_not_fit_are_named(fields, changes, message):
    with pytest.raises(InputError, match=message):
        make(fields, **changes)
