"""Files: whole or not at all, what is no plain file, paths, what a kill leaves."""

import os
import socket
import subprocess
import sys
import threading

import numpy as np
import pytest

from kdjax import files
from kdjax.errors import InputError
from tests.disk import full_disk

HOST = socket.gethostname()


@pytest.fixture
def gone():
    """The number of a process that is no more."""
    done = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"],
        capture_output=True,
        check=True,
    )
    return int(done.stdout)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_full_disk_leaves_what_was_there(tmp_path):
    path = tmp_path / "a.json"
    files.write_json(path, "old")
    with full_disk(100), pytest.raises(OSError, match="File too large") as raised:
        files.write_json(path, "new" * 100)
    assert raised.value.filename == str(path)
    assert files.read_json(path) == "old"
    assert names(tmp_path) == ["a.json"]


def test_what_a_killed_process_left_is_removed(tmp_path, gone):
    path = tmp_path / "a.json"
    mine, old = f".a.json.{HOST}.{os.getpid()}", ".a.json.another.1.tmp"
    left = [f".a.json.{HOST}.{gone}.tmp", ".a.json.12.tmp", old]
    kept = [f".a.json.{HOST}.{os.getppid()}.tmp", ".a.json.other.2.tmp", ".b.1.tmp"]
    for name in (*left, *kept):
        (tmp_path / name).touch()
    for name in (old, ".a.json.12.tmp"):
        os.utime(tmp_path / name, (0, 0))
    files.write_json(path, 1)
    assert names(tmp_path) == sorted([*kept, "a.json"])
    assert mine not in names(tmp_path)


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "there").mkdir()
    link, target = tmp_path / "link", tmp_path / "there" / "target"
    link.symlink_to(target)
    for text in ("one", "two"):  # the first makes what the link names
        files.write_text(link, text)
        assert link.is_symlink()
        assert target.read_text() == text


def test_a_device_stays_a_device():
    files.write_text(files.local("/dev/null", where="--output"), "text")
    assert not os.path.isfile("/dev/null")


def test_a_pipe_is_written_to(tmp_path):
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    files.write_text(pipe, "text")
    reader.join()
    assert read == ["text"]
    assert pipe.is_fifo()


def test_a_name_that_is_not_utf_8_can_stand_in_a_text(tmp_path):
    files.write_text(tmp_path / "a.md", os.fsdecode(b"\xff"))
    assert (tmp_path / "a.md").read_bytes() == rb"\udcff"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("", "--workdir: expected a path of this machine, found ''"),
        ("gs://bucket/run", "found 'gs://bucket/run': mount the bucket"),
        ("s3://bucket", "expected a path of this machine"),
        ("~no such user/run", "'~no such user/run': Could not determine home"),
        (os.fsdecode(b"run\xff"), r"expected a path in UTF-8 .* found 'run\\udcff'"),
        ("a\0b", "embedded null byte"),
        ("loop/run", "[Ll]oop"),
    ],
)
def test_what_is_no_path_of_this_machine(tmp_path, monkeypatch, path, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(InputError, match=message):
        files.local(path, where="--workdir")
    assert names(tmp_path) == ["loop"]


def test_a_path_of_this_machine(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert str(files.local("~/run", where="--workdir")) == "/home/me/run"
    assert str(files.local("runs/ü: a", where="--workdir")) == "runs/ü: a"


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000])
def test_what_is_no_json(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.json: cannot be read as JSON"):
        files.read_json(tmp_path / "a.json")


def test_arrays_are_read_back(tmp_path):
    files.write_arrays(tmp_path / "a.npz", {"x": np.arange(3)})
    np.testing.assert_array_equal(
        files.read_all_arrays(tmp_path / "a.npz", "x")["x"], [0, 1, 2]
    )
