"""Trackers: each gets the log, offline, and goes on where a killed run stopped."""

import json
import time

import pytest

from kdjax.errors import InputError, MachineError
from kdjax.training import metrics, tracking


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "run" / "seed_0" / "teacher"
    folder.mkdir(parents=True)
    config = {"model": {"name": "mlp", "width": 16}, "seed": 0}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def write(folder, track, *, after=0):
    """What a run logs, and the rest of it when it goes on."""
    log = metrics.MetricsLog(folder, after_step=after, track=track)
    for step in range(after + 1, after + 3):
        log.write("train", step=step, epoch=1.0, values={"loss": 1.0 / step})
    log.close()


def test_tensorboard_gets_event_files(folder):
    pytest.importorskip("tensorboardX")
    write(folder, ["tensorboard"])
    (events,) = (folder / "tensorboard").iterdir()
    assert b"train/loss" in events.read_bytes()


def test_mlflow_gets_one_run_of_a_stage(folder, tmp_path, monkeypatch):
    pytest.importorskip("mlflow")
    from mlflow import MlflowClient

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    write(folder, ["mlflow"])
    write(folder, ["mlflow"], after=2)
    client = MlflowClient()
    (run,) = client.search_runs([client.get_experiment_by_name("kdjax").experiment_id])
    assert run.info.run_name == "seed_0/teacher"
    assert run.data.tags["run"] == "run"
    assert run.data.params["model.width"] == "16"
    history = client.get_metric_history(run.info.run_id, "train/loss")
    assert [(m.step, m.value) for m in history] == [(s, 1 / s) for s in (1, 2, 3, 4)]


def test_mlflow_is_beside_the_run_where_no_server_is_named(folder, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    uris = []

    class Client:
        def __init__(self, uri):
            uris.append(uri)
            raise OSError("no\nserver")

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(mlflow, "MlflowClient", Client)
    with pytest.raises(MachineError, match="track: mlflow: no server"):
        write(folder, ["mlflow"])
    assert uris == [f"sqlite:///{folder.parents[1]}/mlflow.db"]


def test_wandb_gets_a_run_offline(folder, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    write(folder, ["wandb"])
    own = json.loads((folder / "tracking.json").read_text())["wandb"]
    (written,) = (folder / "wandb").glob(f"offline-run-*-{own}/run-{own}.wandb")
    texts = (b"train/loss", b"seed_0/teacher", b"kdjax")
    last = time.monotonic() + 30  # another process of wandb's writes it
    while not all(text in written.read_bytes() for text in texts):
        assert time.monotonic() < last, written.read_bytes()
        time.sleep(0.05)
    write(folder, ["wandb"], after=2)
    assert json.loads((folder / "tracking.json").read_text())["wandb"] == own


def test_a_tracker_that_fails_ends_no_training(folder, monkeypatch, capsys):
    told = []

    def log(numbers, step):
        told.append(step)
        raise OSError("the server\nis gone")

    failing = tracking.Tracker(log, lambda: told.append("closed"))
    monkeypatch.setitem(tracking.TRACKERS, "mine", ("json", lambda *a: (failing, "1")))
    write(folder, ["mine"])
    assert told == [1]
    said = capsys.readouterr().err
    assert said == "kdjax: mine failed, and gets no more: the server is gone\n"
    assert len(list(metrics.read_log(folder / "metrics.jsonl"))) == 2


def test_a_package_that_is_missing_is_said_before_training(monkeypatch):
    monkeypatch.setitem(tracking.TRACKERS, "wandb", ("no_such_package", None))
    with pytest.raises(InputError, match=r"pip install 'kdjax\[wandb\]'"):
        tracking.check(["wandb"])
    with pytest.raises(InputError, match="did you mean 'mlflow'"):
        tracking.check(["mlflo"])
