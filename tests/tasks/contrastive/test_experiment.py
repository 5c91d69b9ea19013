"""Pretrain, probe, fine-tune and distil: the whole of it, resumed, and refused."""

import json
import runpy
import shutil
from pathlib import Path

import pytest

from kdjax import experiment

pytestmark = pytest.mark.usefixtures("undrawn")

TESTS = Path(__file__).resolve().parents[2]
CONFIG, CONFIGS = TESTS / "small_simclr.py", TESTS.parent / "configs"
FLAG = f"--config={CONFIG}"
STAGES = {"pretrain", "linear", "knn", "ridge", "random_knn"}
STAGES |= {"fine_tune", "scratch", "distill"}


def results(workdir):
    """{stage: results.json} and {stage: the digests of its last checkpoint}."""
    stages, digests = {}, {}
    for path in sorted(workdir.glob("seed_0/*/results.json")):
        stage = path.parent.name
        stages[stage] = json.loads(path.read_text())
        steps = [int(p.name) for p in path.parent.glob("checkpoints/last/*")]
        if steps:
            newest = path.parent / "checkpoints" / "last" / str(max(steps))
            meta = json.loads((newest / "meta" / "metadata").read_text())
            digests[stage] = meta["digests"]
    return stages, digests


def reached(stages):
    """Of {stage: results.json} all but when and how long."""
    when = ("seconds", "environment", "resumed")
    return {
        stage: {k: v for k, v in record.items() if k not in when}
        for stage, record in stages.items()
    }


def test_accuracy_of_the_test_split(finished):
    """Ten digits: chance is .1; the controls have no pretraining."""
    stages, digests = results(finished)
    assert set(stages) == STAGES
    assert set(digests) == {"pretrain", "linear", "fine_tune", "scratch", "distill"}
    last = {stage: at["checkpoints"]["last"]["test"] for stage, at in stages.items()}
    for stage in ("linear", "knn", "ridge", "random_knn"):
        assert last[stage]["accuracy"] > 0.6, stage
    for stage in ("fine_tune", "distill"):
        assert last[stage]["accuracy"] > 0.3, stage
    assert not last["pretrain"]["collapsed"]
    reads = {stage: at["reads"] for stage, at in stages.items()}
    start = reads["fine_tune"]["start"]
    assert (start["stage"], start["checkpoint"]) == ("pretrain", "last")
    assert start["model"] == digests["pretrain"]["model"]
    assert reads["scratch"] == reads["random_knn"] == {}
    assert reads["knn"]["encoder"] == start
    sizes = {stage: at["examples"] for stage, at in stages.items()}
    assert sizes["fine_tune"]["train"] == sizes["fine_tune"]["labelled"] < 60
    assert sizes["distill"]["train"] == sizes["pretrain"]["train"] > 900


def test_a_stage_and_its_control_share_their_random_numbers(finished):
    """Compared by seed, they differ in where they start alone."""
    stages, _ = results(finished)
    streams = {
        stage: record["settings"]["config.training"]["stream"]
        for stage, record in stages.items()
    }
    assert streams["fine_tune"] == streams["scratch"] == 1
    assert streams["pretrain"] == streams["linear"] == streams["distill"] == 0


@pytest.mark.parametrize("name", ["simclr_digits", "simclr_har"])
def test_so_do_the_pairs_of_the_configs(name):
    get_config = runpy.run_path(str(CONFIGS / f"{name}.py"))["get_config"]
    stages = json.loads(get_config().to_json_best_effort())["stages"]
    pairs = [stage.removeprefix("fine_tune_") for stage in stages if "tune" in stage]
    assert pairs
    for per_cent in pairs:
        pretrained, new = stages[f"fine_tune_{per_cent}"], stages[f"scratch_{per_cent}"]
        assert pretrained["training"]["stream"] == 1
        assert pretrained.pop("start") == {"stage": "pretrain", "checkpoint": "last"}
        assert pretrained == new


def test_the_report_has_every_stage_the_table_and_the_map(finished):
    text = (finished / "report.md").read_text()
    for stage in STAGES:
        assert f"| {stage} |" in text, stage
    before, after = text.split("## Contrastive pretraining")
    assert "| pretrain |" in after.split("\n## ")[0]
    assert "| knn |" not in after.split("\n## ")[0]
    accuracies = before.split("## Results")[1]
    assert "| knn |" in accuracies
    assert "| pretrain |" not in accuracies
    assert "](figures/embeddings.png)" in text
    assert (finished / "figures" / "embeddings.png").stat().st_size > 10_000
    assert "Collapsed" not in text


def test_cut_in_pretraining_it_ends_with_the_same_bits(small, finished, tmp_path):
    """As a kill after the second of three epochs leaves it."""
    workdir = tmp_path / "w"
    shutil.copytree(finished, workdir)
    seed = workdir / "seed_0"
    for folder in seed.iterdir():
        if folder.name not in ("pretrain", "scratch", "random_knn"):
            shutil.rmtree(folder)
    (seed / "pretrain" / "results.json").unlink()
    last = seed / "pretrain" / "checkpoints" / "last"
    steps = sorted(int(p.name) for p in last.iterdir() if p.name.isdigit())
    shutil.rmtree(last / str(steps[-1]))
    log = seed / "pretrain" / "metrics.jsonl"
    whole = log.read_text()
    experiment.run(small(), workdir)
    (again, digests), (once, expected) = results(workdir), results(finished)
    assert digests == expected
    assert reached(again) == reached(once)
    assert [stage for stage in again if "resumed" in again[stage]] == ["pretrain"]
    assert log.read_text() == whole


def test_a_stage_added_later_reads_what_is_there(small, finished, tmp_path):
    workdir = tmp_path / "w"
    shutil.copytree(finished, workdir)
    before = {p: p.stat().st_mtime_ns for p in workdir.rglob("results.json")}
    config = small()
    nearest = {"probe": {"name": "knn", "neighbours": 1}}
    config["stages"]["nearest"] = config["stages"]["knn"] | nearest
    experiment.run(config, workdir)
    after = {p: p.stat().st_mtime_ns for p in workdir.rglob("results.json")}
    (new,) = set(after) - set(before)
    assert new.parent.name == "nearest"
    assert all(after[path] == time for path, time in before.items())
    assert "| nearest |" in (workdir / "report.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            [FLAG, "--config.stages.pretrain.contrast.temperature=0.0"],
            "stage 'pretrain': config.contrast.temperature: expected a number > 0",
        ),
        (
            [FLAG, "--config.training.batch_size=33"],
            "config.training.batch_size: 33 is not divisible by 2 devices",
        ),
        (
            [FLAG, "--config.stages.scratch.data.label_fraction=2.0"],
            "stage 'scratch': config.data.label_fraction: expected a number in (0, 1]",
        ),
        (
            ["--config=configs/simclr_cifar.py", "--config.data.root=/nowhere"],
            "/nowhere",
        ),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(python, tmp_path, arguments, message):
    workdir = tmp_path / "run"
    command = ["-m", "kdjax", f"--workdir={workdir}"]
    done = python(*command, *arguments, devices=2, check=False)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("kdjax: error: ")
    assert message in line
    assert not workdir.exists(), "it wrote before it checked"
