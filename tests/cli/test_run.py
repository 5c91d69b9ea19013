"""The command, as a user meets it: in a process of its own."""

import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

import kdjax
from kdjax import experiment
from kdjax.configs import own_data
from kdjax.errors import InputError
from kdjax.stages import batches, record
from kdjax.tasks import ALL

ROOT = Path(__file__).resolve().parents[2]
SMALL = "--config=tests/small.py"


@pytest.fixture(scope="module")
def finished(python, tmp_path_factory):
    """The small experiment, run without interruption."""
    workdir = tmp_path_factory.mktemp("finished")
    done = python("-m", "kdjax", SMALL, f"--workdir={workdir}")
    return workdir, done.stdout


def results(workdir):
    """{stage: results.json} and {stage: the digests of its last checkpoint}."""
    found = {}
    for path in sorted(workdir.glob("seed_0/*/results.json")):
        (last,) = [
            max(path.parent.glob("checkpoints/last/*"), key=lambda p: int(p.name))
        ]
        meta = json.loads((last / "meta" / "metadata").read_text())
        # where and when it was made may differ, what was made may not
        made = {"environment", "resumed", "seconds"}
        content = json.loads(path.read_text())
        content = {key: value for key, value in content.items() if key not in made}
        found[path.parent.name] = content, meta["digests"]
    return found


def test_a_run_leaves_what_the_readme_says(finished):
    workdir, said = finished
    assert "report: " in said
    assert (workdir / "report.md").exists()
    assert list((workdir / "figures").glob("*.png"))
    for stage in ("teacher", "scratch", "eskd"):
        folder = workdir / "seed_0" / stage
        for name in ("config.json", "metrics.jsonl", "results.json", "cost.json"):
            assert (folder / name).exists(), (stage, name)
        known = set(record.ALL_LEAVE) | set(ALL.artefacts)
        assert {path.name for path in folder.iterdir()} <= known
    assert not (workdir / "seed_0" / "scratch" / "soft_labels.npz").exists()


def test_it_says_on_what_it_runs_and_what_is_to_do(finished):
    workdir, said = finished
    first, *_ = said.splitlines()
    assert re.fullmatch(
        rf"1 device \(cpu\), 1 process, \d+ threads?; 0 of 3 stages are done, 3 to do; "
        rf"workdir {re.escape(str(workdir))}",
        first,
    )


@pytest.mark.long
def test_a_run_is_run_again_from_its_record(finished, python, tmp_path):
    """The same came out, or else what and beside which change is said."""
    workdir, again = tmp_path / "run", tmp_path / "again"
    shutil.copytree(finished[0], workdir)
    command = ("-m", "kdjax", "replay", f"--workdir={workdir}", f"--into={again}")
    done = python(*command, "--stage=scratch")
    assert "seed_0/scratch: the same" in done.stdout
    assert "seed_0/teacher: not run again" in done.stdout
    path = workdir / "seed_0" / "scratch" / "results.json"
    changed = json.loads(path.read_text())
    changed["checkpoints"]["best"]["test"]["accuracy"] = 0.125
    changed["environment"]["threads"] = 64
    path.write_text(json.dumps(changed))
    done = python(*command, "--stage=scratch", check=False)
    assert done.returncode == 1
    assert "scratch: checkpoints.best.test.accuracy was 0.125, now " in done.stdout
    assert "(other threads)" in done.stdout
    assert done.stderr.strip() == "kdjax: 1 stages came out otherwise"


def test_training_learns(finished):
    """Four classes on subjects the student never saw: chance is .25."""
    for stage, (found, _) in results(finished[0]).items():
        assert found["checkpoints"]["last"]["test"]["accuracy"] > 0.5, stage


def test_soft_labels_are_keyed_logits(finished):
    with np.load(finished[0] / "seed_0" / "teacher" / "soft_labels.npz") as file:
        assert len(set(file["key"])) == len(file["key"]) == len(file["logits"])
        assert set(file["split"]) == {"train", "validation", "test"}
        assert json.loads(str(file["header"]))["stage"] == "teacher"
        np.testing.assert_array_equal(file["fold"] == -1, file["split"] == "train")
        test = file["split"] == "test"
        hits = file["logits"][test].argmax(1) == file["label"][test]
    found, _ = results(finished[0])["teacher"]
    assert hits.mean() == found["checkpoints"]["best"]["test"]["accuracy"]


def test_the_record_says_what_was_done_with_what(finished):
    found = json.loads((finished[0] / "seed_0/eskd/results.json").read_text())
    teacher = json.loads((finished[0] / "seed_0/teacher/results.json").read_text())
    assert found["classes"] == [f"class_{c}" for c in range(4)]
    assert found["input"]["shape"] == [32, 3]
    (step,) = found["preprocessing"]
    assert step["name"] == "standardise"
    assert len(step["mean"]) == 3
    groups = [
        found["split"][name]["groups"] for name in ("train", "validation", "test")
    ]
    assert sorted(itertools.chain(*groups)) == list(range(8))
    assert found["fingerprint"] == teacher["fingerprint"]
    read = found["reads"]["teacher"]
    assert (read["stage"], read["checkpoint"]) == ("teacher", "best")
    assert read["data"] == teacher["fingerprint"]
    settings = found["settings"]
    assert settings["config.losses.kd"] == {
        "weight": 0.7,
        "temperature": 4.0,
        "reduction": "batchmean",
        "standardise": False,
    }
    assert settings["config.training"]["eval_batch_size"] == 512  # a default
    assert settings["config.model"]["widths"] == [16]  # its own, not the teacher's
    made = found["environment"]
    assert made["versions"]["jax"] == jax.__version__
    assert made["devices"] == 1
    assert made["threads"] >= 1
    assert made["processor"]
    assert len(made["commit"]) == 40
    assert "--config=tests/small.py" in made["command"]
    assert found["selection"] == {
        "metric": "accuracy",
        "rule": "highest validation accuracy",
    }


def test_a_loaded_student_gives_the_evaluations_accuracy_on_raw_windows(finished):
    config = {"name": "synthetic_wearable", "samples": 32, "windows": 48, "noise": 0.2}
    scaled = batches.load(config, 0)
    (step,) = scaled.preprocessing
    raw = scaled.test.x * np.array(step["std"]) + np.array(step["mean"])
    folder = finished[0] / "seed_0" / "eskd"
    content = json.loads((folder / "results.json").read_text())
    for checkpoint in ("last", "best"):
        predictor = kdjax.load(folder, checkpoint)
        probabilities = predictor(raw)
        assert probabilities.shape == (384, 4)
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
        hits = probabilities.argmax(axis=1) == scaled.test.y
        reached = content["checkpoints"][checkpoint]["test"]
        assert hits.mean() == reached["accuracy"]
    assert predictor.classes == tuple(content["classes"])
    assert predictor(raw[:0]).shape == (0, 4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x[0], r"x: expected \[n, 32, 3\], found \(32, 3\)"),
        (lambda x: x[:, :, :2], r"x: expected \[n, 32, 3\], found \(384, 32, 2\)"),
        (lambda x: np.where(x > 1, np.nan, x), "x: expected finite numbers"),
        (lambda x: x.astype(str), "x: expected finite numbers"),
    ],
)
def test_what_a_loaded_student_does_not_take(finished, change, message):
    predictor = kdjax.load(finished[0] / "seed_0" / "eskd")
    with pytest.raises(InputError, match=message):
        predictor(change(np.random.default_rng(0).normal(size=(384, 32, 3))))


def test_what_cannot_be_loaded_is_said(finished, tmp_path):
    with pytest.raises(InputError, match="no stage here"):
        kdjax.load(tmp_path)
    with pytest.raises(InputError, match="found a whole run's"):
        kdjax.load(finished[0])
    with pytest.raises(InputError, match=r"unknown name 'lst' .*'last'"):
        kdjax.load(finished[0] / "seed_0" / "eskd", "lst")
    begun = tmp_path / "begun"
    shutil.copytree(finished[0] / "seed_0" / "eskd", begun)
    (begun / "results.json").unlink()
    with pytest.raises(InputError, match="expected a finished stage"):
        kdjax.load(begun)
    (begun / "record.json").unlink()
    with pytest.raises(InputError, match=r"a run of kdjax 0\.1"):
        kdjax.load(begun)


def test_the_second_time_nothing_is_trained(python, finished):
    workdir, _ = finished
    before = {p: p.stat().st_mtime_ns for p in workdir.rglob("results.json")}
    done = python("-m", "kdjax", SMALL, f"--workdir={workdir}")
    assert "seed 0" not in done.stdout
    assert before == {p: p.stat().st_mtime_ns for p in workdir.rglob("results.json")}


def test_another_config_in_the_same_folder_is_refused(python, finished):
    workdir, _ = finished
    done = python(
        "-m", "kdjax", SMALL, f"--workdir={workdir}", "--config.training.epochs=7",
        check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "config.training.epochs was 10, now 7" in done.stderr


def test_ctrl_c_says_how_to_go_on(tmp_path):
    command = [
        sys.executable,
        "-m",
        "kdjax",
        SMALL,
        f"--workdir={tmp_path}",
        "--jobs=1",
    ]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    log = tmp_path / "seed_0" / "teacher" / "metrics.jsonl"
    # Training, not compiling: an interrupt inside a compiler's callback can be lost.
    while process.poll() is None and not (log.exists() and log.read_text()):
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.strip().splitlines()[-1].startswith("kdjax: interrupted")


@pytest.mark.long
def test_a_full_disk_is_one_line_and_the_same_command_goes_on(
    python, finished, tmp_path
):
    stage = "--stage=scratch --jobs=1"
    command = f"{sys.executable} -m kdjax {SMALL} --workdir={tmp_path} {stage}"
    full = subprocess.run(
        ["bash", "-c", f"ulimit -f 2; {command}"],  # no file above 2 KiB
        cwd=ROOT,
        env=os.environ | {"JAX_ENABLE_COMPILATION_CACHE": "false"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert full.returncode == 3, full.stderr
    (line,) = full.stderr.splitlines()
    assert line.startswith(f"kdjax: stopped: {tmp_path}/seed_0/scratch/")
    assert line.endswith(": File too large")
    python("-m", "kdjax", SMALL, f"--workdir={tmp_path}", "--stage=scratch")
    assert results(tmp_path)["scratch"] == results(finished[0])["scratch"]
    assert not list(tmp_path.rglob("*tmp*"))


def test_one_stage_with_those_it_reads(python, finished, tmp_path):
    shutil.copytree(finished[0], tmp_path / "w")
    for stage in ("teacher", "scratch", "eskd"):
        shutil.rmtree(tmp_path / "w" / "seed_0" / stage)
    python("-m", "kdjax", SMALL, f"--workdir={tmp_path / 'w'}", "--stage=eskd")
    found = {path.name for path in (tmp_path / "w" / "seed_0").iterdir()}
    assert found == {"teacher", "eskd"}


def test_a_diverging_run_stops_and_keeps_its_last_checkpoint(python, tmp_path):
    rate = "--config.optimizer.schedule.value=1e30"
    workdir = f"--workdir={tmp_path}"
    done = python("-m", "kdjax", SMALL, workdir, rate, check=False)
    assert done.returncode == 1
    *_, line = done.stderr.strip().splitlines()
    assert re.search("stopped: seed 0 teacher: .*; seed 0 scratch: ", line)
    assert "at step " in line
    assert "last good checkpoint: " in line
    assert not (tmp_path / "seed_0" / "teacher" / "results.json").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--confg=x"], "Unknown command line flag 'confg'. Did you mean: config"),
        ([], "--config: missing"),
        (["--config=configs/none.py"], "no such file configs/none.py"),
        (["--config=configs/digits_eskd.py:smok"], "'smoke', got 'smok'"),
        ([SMALL, "more"], "unexpected argument 'more'"),
        (
            [SMALL, "--config.trainng.epochs=3"],
            "config.trainng: unknown field (did you mean 'training'?)",
        ),
        (
            [SMALL, "--config.training.epochs=many"],
            "config.training.epochs: expected an integer, found 'many'",
        ),
        ([SMALL, "--config.training.epochs=-1"], "epochs: expected an integer >= 0"),
        ([SMALL, "--profile=9:3"], "--profile: expected START:END, steps counted from"),
        ([SMALL, "--stage=eksd"], "--stage: unknown name 'eksd' (did you mean 'eskd'"),
        (
            ["--config=configs/har_eskd.py", "--config.data.root=/nowhere"],
            "/nowhere",
        ),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(python, tmp_path, arguments, message):
    workdir = tmp_path / "run"
    done = python(
        "-m", "kdjax", f"--workdir={workdir}", *arguments, devices=2, check=False
    )
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("kdjax: error: ")
    assert message in line
    assert not workdir.exists(), "it wrote before it checked"


def arrays(**changes):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 16, 3)), np.arange(60) % 3
    return {"x": x, "y": y, "group": np.arange(60) // 6} | changes


def with_nan():
    x = arrays()["x"]
    x[7, 3, 1] = np.nan
    return arrays(x=x)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (with_nan(), "train x: expected finite values, found NaN"),
        (arrays(y=np.zeros(60, int)), "expected two classes or more"),
        (arrays(y=np.arange(59) % 3), "x: expected 59 entries, as in y"),
        (arrays(y=np.arange(60) % 3 + 1), "y: expected labels 0 to 2"),
        (arrays(group=np.zeros(60, int)), "expected two groups to draw from"),
        (arrays(key=np.zeros(60, int)), "key: expected unique keys"),
        ({"x": np.zeros((4, 8, 1))}, "y: expected this array"),
        (arrays(x=np.zeros(60)), "x: expected numbers [n, ..., channels]"),
        (None, "mine.npz"),
    ],
    ids=[
        "nan",
        "one class",
        "rows",
        "labels",
        "groups",
        "keys",
        "no y",
        "shape",
        "cut",
    ],
)
def test_bad_arrays_are_wrong_input(tmp_path, table, message):
    path = tmp_path / "mine.npz"
    np.savez(path, **(table or arrays()))
    if table is None:
        path.write_bytes(path.read_bytes()[:1000])
    config = own_data.get_config("smoke")
    config.data.path = str(path)
    with pytest.raises(InputError) as raised:
        experiment.run(json.loads(config.to_json_best_effort()), tmp_path / "run")
    assert message in str(raised.value).replace(str(tmp_path), "")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "run").exists()


def test_the_quick_start_at_smoke_size(python, tmp_path):
    config = "--config=configs/digits_eskd.py:smoke"
    done = python("-m", "kdjax", config, f"--workdir={tmp_path}", optimised=True)
    assert done.stdout.count("seed 0 ") == 5
    assert "| eskd | teacher (`best`) |" in (tmp_path / "report.md").read_text()


def test_a_trial_has_a_folder_of_its_own(python):
    """A full run after it was once refused: the folder held another config."""
    config = f"--config={ROOT}/configs/digits_eskd.py:smoke"
    code = (
        "from absl import flags; from kdjax.cli import run\n"
        f"flags.FLAGS(['kdjax', '{config}']); print(run._workdir())"
    )
    assert python("-c", code).stdout == "runs/digits_eskd_smoke\n"


def test_launch_script_names_a_missing_config(tmp_path):
    """Before it installs anything."""
    for folder in ("launch", "configs"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    done = subprocess.run(
        ["bash", "launch/local.sh", "configs/none.py"],
        cwd=tmp_path,
        env=os.environ,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "no config file configs/none.py" in done.stderr
    assert not (tmp_path / ".venv").exists()
