"""The report's parts on corruptions, references and examples, of a fabricated run."""

import json
import re

import numpy as np
import pytest

from kdjax.data.soft_labels import FILE, write_rows
from kdjax.errors import InputError
from kdjax.report.runs import read_experiment
from kdjax.report.statistics import detectable, mcnemar
from kdjax.tasks import ALL
from kdjax.tasks.distillation import evaluation, judged
from tests.fabricated import record

SEEDS, CLASSES = (0, 1, 2), ["cat", "dog", "owl"]
LABEL = np.arange(40) % 3
RNG = np.random.default_rng(0)
RIGHT = {  # [seeds, examples]: b is right on some more
    "a": RNG.uniform(size=(3, 40)) < 0.5,
    "b": RNG.uniform(size=(3, 40)) < 0.8,
}
LOSS = {"a": [1.0, 1.1, 1.3], "b": [0.8, 0.7, 0.9]}


@pytest.fixture
def workdir(tmp_path):
    report = {"metric": "loss", "comparisons": [["b", "a"]], "order": ["a", "b"]}
    config = {"seeds": SEEDS, "stages": {"a": {}, "b": {}}, "report": report}
    (tmp_path / "config.json").write_text(json.dumps(config))
    for seed in SEEDS:
        for stage, right in RIGHT.items():
            write_stage(tmp_path / f"seed_{seed}" / stage, right[seed], seed)
    return tmp_path


def write_stage(folder, right, seed):
    folder.mkdir(parents=True)
    accuracy, loss = float(right.mean()), LOSS[folder.name][seed]
    test = {"accuracy": accuracy, "loss": loss}
    test |= {"corrupted": {"blur": 0.5, "noise": 0.3}, "corrupted_accuracy": 0.4}
    last = {"epoch": 1, "step": 4, "test": test}
    last["validation"] = {"accuracy": accuracy, "loss": loss}
    if folder.name == "b":
        last["validation"]["reference_loss"] = 0.25
    content = {
        "stage": folder.name,
        "seed": seed,
        "data": "made up",
        "synthetic": False,
        "classes": CLASSES,
        "examples": {"train": 9, "validation": 9, "test": 40},
        "checkpoints": {"last": last, "best": last},
    } | record(evaluation.METRICS, "accuracy")
    (folder / "results.json").write_text(json.dumps(content))
    answers = np.where(right, LABEL, (LABEL + 1) % 3)
    rows = np.random.default_rng(seed).permutation(40)  # joined by key
    write_rows(
        folder / FILE,
        key=np.array([f"e{i:02d}" for i in rows]),
        label=LABEL[rows],
        split=np.full(40, "test"),
        fold=np.zeros(40),
        logits=np.eye(3)[answers[rows]],
        header={},
    )


def read(workdir):
    return read_experiment(workdir, ALL.metrics)


def cells(section, start):
    (row,) = [line for line in section.splitlines() if line.startswith(start)]
    return [cell.strip() for cell in row.strip("|").split("|")]


def test_corruptions_and_reference_stand_by_stage(workdir):
    section = judged.judged_section(read(workdir))
    assert cells(section, "| stage")[1:] == [
        *("cross-entropy", "blur", "noise", "corrupted, mean (%)", "to the reference")
    ]
    one, other = cells(section, "| a |"), cells(section, "| b |")
    assert [re.sub(" ±.*", "", c) for c in one] == [
        "a",
        "1.133",
        "50.0",
        "30.0",
        "40.0",
        "-",
    ]
    assert other[5] == "0.250 ± 0.000"


def test_examples_that_one_of_two_has_right(workdir):
    row = cells(judged.by_example_section(read(workdir)), "| b | a")
    difference = RIGHT["b"].astype(int) - RIGHT["a"]
    alone = [np.mean(np.sum(difference == sign, axis=1)) for sign in (1, -1)]
    p = mcnemar(difference.mean(axis=0))
    expected = [f"{n:.0f}" for n in alone] + 2 * [f"{p:.3g}"]
    assert row == ["b", "a", *expected, f"{detectable(LOSS['b'], LOSS['a']):.3f}"]


def test_other_test_examples_are_said(workdir):
    folder = workdir / "seed_1" / "b"
    write_rows(
        folder / FILE,
        key=np.array(["e00"]),
        label=LABEL[:1],
        split=np.full(1, "test"),
        fold=np.zeros(1),
        logits=np.eye(3)[:1],
        header={},
    )
    with pytest.raises(InputError, match=r"'b' and 'a', seed 1: .*same test examples"):
        judged.by_example_section(read(workdir))


def test_nothing_is_said_where_nothing_is_stored(workdir):
    for path in workdir.glob("seed_*/*/*"):
        if path.name == FILE:
            path.unlink()
            continue
        content = json.loads(path.read_text())
        for last in content["checkpoints"].values():
            last["test"] = {k: last["test"][k] for k in ("accuracy", "loss")}
            last["validation"].pop("reference_loss", None)
        path.write_text(json.dumps(content))
    experiment = read(workdir)
    assert judged.judged_section(experiment) == ""
    assert judged.by_example_section(experiment) == ""
