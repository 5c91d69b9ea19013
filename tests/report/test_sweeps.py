"""Of a swept stage's tries the one that validation prefers is reported."""

import json

import pytest

from kdjax.report import document, runs
from kdjax.tasks import ALL
from tests.fabricated import edit
from tests.report.test_document import fabricate, write_report

TRIES = {"eskd~weight=0.3": 0.99, "eskd~weight=0.9": 0.6}  # on the test split


@pytest.fixture
def swept(tmp_path):
    """The try that is better on the test split is worse on the validation split."""
    fabricate(tmp_path, stages=TRIES | {"scratch": 0.8}, seeds=(0, 1))
    config = {"stages": {"eskd": {"losses": {"kd": {}}}, "scratch": {}}}
    edit(tmp_path / "config.json", **config, sweep={"losses.kd.weight": [0.3, 0.9]})
    for seed in (0, 1):
        for name, value in (("eskd~weight=0.3", 0.7), ("eskd~weight=0.9", 0.9)):
            path = tmp_path / f"seed_{seed}" / name / "results.json"
            checkpoints = json.loads(path.read_text())["checkpoints"]
            checkpoints["last"]["validation"]["accuracy"] = value + seed / 100
            edit(path, checkpoints=checkpoints)
    return tmp_path


def test_validation_chooses(swept):
    experiment = runs.read_experiment(swept, ALL.metrics)
    assert set(experiment.stages) == {"eskd", "scratch"}
    (choice,) = experiment.choices
    assert choice.chosen == "eskd~weight=0.9"
    assert list(choice.values) == list(TRIES)
    for seed, run in enumerate(runs.stage_runs(experiment, "eskd")):
        assert run.folder == swept / f"seed_{seed}" / "eskd~weight=0.9"
    assert max(runs.scores(experiment, "eskd").values()) < 0.7


def test_the_report_has_the_test_score_of_the_chosen_one_alone(swept):
    text = write_report(swept).read_text()
    assert "`eskd`: 2 tries; chosen: `eskd~weight=0.9`." in text
    assert "| eskd~weight=0.3 | 70.5 ± " in text  # its validation accuracy
    (row,) = (line for line in text.splitlines() if line.startswith("| eskd | 6"))
    assert "99." not in row
    for accuracy in ("98.", "99."):
        assert accuracy not in document.results_section(
            runs.read_experiment(swept, ALL.metrics)
        )


def test_seeds_that_lack_a_try_are_gaps(swept):
    (swept / "seed_1" / "eskd~weight=0.3" / "results.json").unlink()
    experiment = runs.read_experiment(swept, ALL.metrics)
    assert runs.gaps(experiment) == {"eskd": [1]}
    (swept / "seed_0" / "eskd~weight=0.3" / "results.json").unlink()
    experiment = runs.read_experiment(swept, ALL.metrics)
    assert experiment.choices[0].chosen is None
    assert "no seed has finished all tries" in document.sweeps_section(experiment)
    assert runs.gaps(experiment) == {"eskd": [0, 1]}
