"""The lock of a workdir: one run at a time, whoever was killed is taken over from."""

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kdjax import experiment, lock
from kdjax.errors import InputError, MachineError

HOLDING = """
import sys, time
from pathlib import Path
from kdjax import lock
with lock.held(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def other(tmp_path):
    """A process that holds the lock of the folder `run`."""
    command = [sys.executable, "-c", HOLDING, str(tmp_path / "run")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_second_run_is_refused_and_told_of_the_first(tmp_path, other):
    named = rf"process {other.pid} on host {socket.gethostname()} \(since 2\d\d\d-"
    with pytest.raises(MachineError, match=named), lock.held(tmp_path / "run"):
        pytest.fail("it was held twice")
    known = json.loads((tmp_path / "run" / lock.NAME).read_text())
    assert known["pid"] == other.pid


@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"pid": 1}'])
def test_one_that_was_killed_is_taken_over_from(tmp_path, other, capsys, content):
    other.send_signal(signal.SIGKILL)
    other.wait()
    who = f"process {other.pid} on host {socket.gethostname()}"
    if content is not None:
        (tmp_path / "run" / lock.NAME).write_text(content)
        who = "another process" if content else ""
    with lock.held(tmp_path / "run"):
        known = json.loads((tmp_path / "run" / lock.NAME).read_text())
    assert known["pid"] == os.getpid()
    said = capsys.readouterr().err
    assert (f"taken over from {who}" in said) if who else not said


def test_nothing_is_left(tmp_path):
    with lock.held(tmp_path / "new" / "run"):
        assert (tmp_path / "new" / "run" / lock.NAME).exists()
    assert not list(tmp_path.iterdir())
    (tmp_path / "old").mkdir()
    with lock.held(tmp_path / "old" / "run"):
        (tmp_path / "old" / "run" / "file").touch()
    assert [p.name for p in (tmp_path / "old" / "run").iterdir()] == ["file"]


@pytest.mark.parametrize("shared", [False, True])
def test_nothing_is_left_where_nothing_can_be_locked(
    tmp_path, monkeypatch, capsys, shared
):
    """As on some network file systems."""

    def refuse(file, how):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock.fcntl, "flock", refuse)
    with lock.held(tmp_path / "run", shared=shared):
        assert (tmp_path / "run" / lock.NAME).exists()
    assert "not locked: No locks available" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_of_many_at_once_one_holds_it(tmp_path):
    """Whoever removes the file, no two hold a lock of the same name."""
    code = (
        "import sys\nfrom pathlib import Path\nfrom kdjax import lock\n"
        "from kdjax.errors import MachineError\n"
        "root = Path(sys.argv[1])\n"
        "for _ in range(200):\n"
        "    try:\n"
        "        with lock.held(root / 'run'):\n"
        "            (root / 'run' / 'only').touch(exist_ok=False)\n"
        "            (root / 'run' / 'only').unlink()\n"
        "    except MachineError:\n"
        "        pass\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    running = [subprocess.Popen(command) for _ in range(3)]
    assert [process.wait(60) for process in running] == [0, 0, 0]


@pytest.mark.parametrize("name", ["file", "file/run", "x" * 300])
def test_where_no_folder_can_be(tmp_path, name):
    (tmp_path / "file").touch()
    with (
        pytest.raises(InputError, match="no folder can be here"),
        lock.held(tmp_path / name),
    ):
        pytest.fail("it is no folder")


def test_an_experiment_in_use_is_refused_and_a_wrong_one_leaves_nothing(
    tmp_path, other
):
    before = time.monotonic()
    with pytest.raises(MachineError, match="is in use"):
        experiment.run({}, tmp_path / "run")
    assert time.monotonic() - before < 5
    with pytest.raises(InputError, match="stages"):
        experiment.run({}, tmp_path / "another")
    assert not (tmp_path / "another").exists()
    with pytest.raises(InputError, match="mount the bucket"):
        experiment.run({}, Path("gs://bucket/run"))
    assert not os.path.exists("gs:")
