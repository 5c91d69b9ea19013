"""Tiny stages to export: a classifier, a detector and a CTRNN."""

import shutil

import pytest

from kdjax import experiment
from tests import small_cognitive
from tests.fabricated import edit
from tests.running import DATA

STEADY = {"name": "constant", "value": 0.01}
CONFIG = {
    "seeds": [0],
    "devices": 1,
    "task": "distill",
    "data": {"name": "synthetic_wearable", "samples": 32, "windows": 8},
    "model": {
        "name": "convnet",
        "widths": [8],
        "windows": [3],
        "strides": [2],
        "dtype": "bfloat16",
    },
    "losses": {"cross_entropy": {"weight": 1.0}},
    "training": {"epochs": 1, "batch_size": 16, "eval_batch_size": 32},
    "optimizer": {"name": "adam", "schedule": STEADY},
    "stages": {
        "student": {},
        "detector": {
            "task": "autoencoder",
            "data": DATA,
            "losses": None,
            "model": {"name": "beatgan", "latent": 3, "width": 2},
            "training": {"select": "loss"},
        },
    },
}


@pytest.fixture(scope="session")
def exportable(tmp_path_factory):
    """The folder of a run with the stages `student`, `detector` and `ctrnn`."""
    workdir = tmp_path_factory.mktemp("exportable")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kdjax.report.document.write_report", lambda *_, **__: workdir)
        experiment.run(CONFIG, workdir)
        experiment.run(small_cognitive.config(), workdir / "ctrnn")
    # a second seed, the same again: the card has a mean over both
    other = workdir / "seed_1" / "student"
    shutil.copytree(workdir / "seed_0" / "student", other)
    for name in ("config.json", "record.json", "results.json"):
        edit(other / name, seed=1)
    return workdir
