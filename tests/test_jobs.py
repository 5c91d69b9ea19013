"""Stages side by side in worker processes: the same bits, and all end in good order."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kdjax import experiment, jobs, lock, machine
from kdjax.errors import InputError, MachineError
from kdjax.report.runs import read_experiment
from kdjax.training import parallel
from kdjax.training.checkpoint import model_digest
from kdjax.training.loop import Diverged
from tests import small

ROOT = Path(__file__).resolve().parents[1]
CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
needs_two_cores = pytest.mark.skipif(
    len(CORES) < 2, reason="this machine has one core: nothing is side by side"
)
CELLS = [f"seed_{k}/{s}" for k in (0, 1) for s in ("teacher", "scratch", "eskd")]


def start(workdir, *more, jobs=2, cores=None, seeds="0,1"):
    command = [
        *(sys.executable, "-m", "kdjax", "--config=tests/small.py"),
        *(f"--workdir={workdir}", f"--jobs={jobs}", f"--config.seeds=[{seeds}]", *more),
    ]
    environ = os.environ | {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    if cores is not None:
        command = [sys.executable, "-c", PINNED, json.dumps(cores), *command[1:]]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


PINNED = """
import json, os, sys
os.sched_setaffinity(0, json.loads(sys.argv[1]))
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


def ended(process):
    """What was said on stdout and stderr, and the exit code."""
    out, err = process.communicate(timeout=300)
    return out, err, process.returncode


def made(workdir, cell):
    """What a stage came out as: metrics, the last checkpoint, the log."""
    folder = workdir / cell
    results = json.loads((folder / "results.json").read_text())
    log = (folder / "metrics.jsonl").read_text()
    return results["checkpoints"], model_digest(folder, "last"), log


def alive(session):
    """The processes of a session that are there still."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(int(path.parent.name))
    return found


def until(condition, seconds=120):
    last = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < last, "it did not come to that"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def one_by_one(tmp_path_factory):
    """The experiment by one process on one core."""
    workdir = tmp_path_factory.mktemp("one_by_one")
    out, err, code = ended(start(workdir, jobs=1, cores=CORES[:1]))
    assert code == 0, out + err
    return workdir


@needs_two_cores
def test_the_bits_are_those_of_one_process_with_as_many_cores(one_by_one, tmp_path):
    out, err, code = ended(start(tmp_path, cores=CORES[:2]))
    assert (code, err) == (0, "")
    first, *lines, last = out.splitlines()
    assert "2 threads, 2 stages side by side; 0 of 6 stages are done" in first
    assert sorted(" ".join(line.split()[:3]) for line in lines) == sorted(
        f"{cell.replace('_', ' ').replace('/', ' ')}:" for cell in CELLS
    )
    assert last == f"report: {tmp_path}/report.md"
    for cell in CELLS:
        assert made(tmp_path, cell) == made(one_by_one, cell), cell
        record = json.loads((tmp_path / cell / "record.json").read_text())
        assert record["environment"]["threads"] == 1
    assert len(read_experiment(tmp_path).runs) == 6


@needs_two_cores
@pytest.mark.parametrize(
    ("number", "code", "said"),
    [
        pytest.param(signal.SIGTERM, 143, "preempted", marks=pytest.mark.long),
        (signal.SIGINT, 130, "interrupted"),
    ],
)
def test_a_signal_ends_all_and_the_same_command_goes_on(
    one_by_one, tmp_path, number, code, said
):
    """SIGTERM comes to the first process, Ctrl-C to all of the terminal."""
    process = start(tmp_path, "--config.training.log_steps=2", cores=CORES[:2])
    logs = [tmp_path / cell / "metrics.jsonl" for cell in CELLS]
    until(lambda: any(log.exists() and log.read_text() for log in logs))
    if number == signal.SIGTERM:
        process.send_signal(number)
    else:
        os.killpg(process.pid, number)
    _, err, ended_with = ended(process)
    assert ended_with == code, err
    *saved, last = err.splitlines()
    assert last.startswith(f"kdjax: {said}")
    assert all("saved at step" in line for line in saved), err
    until(lambda: not alive(process.pid), seconds=20)
    if number == signal.SIGINT:
        return
    out, err, again = ended(start(tmp_path, cores=CORES[:2]))
    assert again == 0, out + err
    for cell in CELLS:
        assert made(tmp_path, cell) == made(one_by_one, cell), cell


@needs_two_cores
def test_workers_end_with_the_process_that_started_them(tmp_path):
    process = start(tmp_path, "--config.training.epochs=100000")
    log = tmp_path / "seed_0" / "teacher" / "metrics.jsonl"
    until(lambda: log.exists() and log.read_text())
    process.kill()
    process.communicate(timeout=60)
    until(lambda: not alive(process.pid), seconds=20)
    with lock.held(tmp_path):
        size = log.stat().st_size
        time.sleep(0.5)
        assert log.stat().st_size == size


@needs_two_cores
def test_a_worker_that_is_killed_is_said_in_one_line(tmp_path):
    process = start(tmp_path, "--config.training.epochs=100000")
    log = tmp_path / "seed_0" / "teacher" / "metrics.jsonl"
    until(lambda: log.exists() and log.read_text())
    children = [pid for pid in alive(process.pid) if _is_worker(pid)]
    assert len(children) == 2
    os.kill(children[0], signal.SIGKILL)
    _, err, code = ended(process)
    assert code == 3, err
    assert err.splitlines()[-1].startswith("kdjax: stopped: a worker process is gone")
    assert "Traceback" not in err
    until(lambda: not alive(process.pid), seconds=20)


def _is_worker(pid):
    return b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()


DIVERGES = "--config.stages.teacher.optimizer.schedule.value=1e30"


@needs_two_cores
def test_a_stage_that_diverges_stops_what_reads_it_alone(one_by_one, tmp_path):
    _, err, code = ended(start(tmp_path, DIVERGES, cores=CORES[:2]))
    assert code == 1
    check_diverged(tmp_path, err)
    for scratch in ("seed_0/scratch", "seed_1/scratch"):
        assert made(tmp_path, scratch) == made(one_by_one, scratch)
    last = err.splitlines()[-1]
    assert last.startswith("kdjax: stopped: seed 0 teacher: ")
    assert "; seed 1 teacher: " in last


def check_diverged(tmp_path, said):
    assert "Traceback" not in said
    for seed in (0, 1):
        message = f"kdjax: seed {seed} eskd: not trained, for it reads 'teacher', which"
        assert message in said
        assert not (tmp_path / f"seed_{seed}/eskd").exists()
        scratch = f"seed_{seed}/scratch"
        assert (tmp_path / scratch / "results.json").exists()
    assert "| scratch |" in (tmp_path / "report.md").read_text()


def test_and_so_it_does_one_by_one(tmp_path, capsys):
    config = small.get_config()
    config.seeds = (0, 1)
    config.stages.teacher.optimizer = {"schedule": {"value": 1e30}}
    with pytest.raises(Diverged, match=r"^seed 0 teacher: .*; seed 1 teacher: "):
        experiment.run(config, tmp_path)
    check_diverged(tmp_path, capsys.readouterr().err)


def test_where_nothing_came_out_there_is_no_report(tmp_path):
    config = small.get_config()
    config.optimizer.schedule.value = 1e30
    with pytest.raises(Diverged):
        experiment.run(config, tmp_path)
    assert not (tmp_path / "report.md").exists()


def test_the_number_of_jobs(monkeypatch):
    one = parallel.make("pmap", devices=1)
    monkeypatch.setattr(machine, "threads", lambda: 8)
    monkeypatch.setattr(machine, "memory", lambda: 100 * jobs.MEMORY_A_JOB)
    assert jobs.number(None, stages=100, devices=one) == 8
    assert jobs.number(None, stages=3, devices=one) == 3
    assert jobs.number(5, stages=3, devices=one) == 5
    monkeypatch.setattr(machine, "memory", lambda: 5 * jobs.MEMORY_A_JOB // 2)
    assert jobs.number(None, stages=100, devices=one) == 2
    monkeypatch.setattr(machine, "memory", lambda: 1)
    assert jobs.number(None, stages=100, devices=one) == 1
    for wrong in (0, -1, 9):
        with pytest.raises(InputError, match=r"^--jobs: expected"):
            jobs.number(wrong, stages=9, devices=one)
    several = one._replace(devices=2)
    assert jobs.number(None, stages=9, devices=several) == 1
    with pytest.raises(InputError, match=r"^--jobs: expected"):
        jobs.number(2, stages=9, devices=several)
    monkeypatch.setattr(jobs.jax, "default_backend", lambda: "tpu")
    assert jobs.number(None, stages=9, devices=one) == 1


def test_single_stages_share_a_workdir(tmp_path, monkeypatch):
    """A whole run does not; and no stage is trained twice at the same time."""
    config = small.get_config()
    config.training.epochs = 1
    run_together, beside = experiment.cells.loop.run_together, []

    def another(*arguments, **options):
        if not beside:
            beside.append("scratch")
            with pytest.raises(MachineError, match=r"teacher is in use"):
                experiment.run(config, tmp_path, only="eskd")
            with pytest.raises(MachineError, match="is in use"):
                experiment.run(config, tmp_path)
            experiment.run(config, tmp_path, only="scratch")
            assert (tmp_path / "seed_0" / "scratch" / "results.json").exists()
        return run_together(*arguments, **options)

    monkeypatch.setattr(experiment.cells.loop, "run_together", another)
    experiment.run(config, tmp_path, only="eskd")
    assert beside
    assert not list(tmp_path.rglob(lock.NAME))
    experiment.run(config, tmp_path)
    assert len(read_experiment(tmp_path).runs) == 3


@pytest.mark.parametrize(
    ("threads", "platform", "devices", "beside"),
    [
        *((1, "cpu", 1, 8), (3, "cpu", 1, 2), (16, "cpu", 1, 1)),
        *((1, "gpu", 1, 1), (1, "cpu", 4, 1)),
    ],
)
def test_a_replay_gives_a_stage_as_many_threads(
    monkeypatch, threads, platform, devices, beside
):
    monkeypatch.setattr(machine, "threads", lambda: 8)
    known = {"threads": threads, "platform": platform, "devices": devices}
    assert jobs.as_recorded(known) == beside
