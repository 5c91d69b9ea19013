"""The launchers are scripts: their folder is where they find each other."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "launch"))


@pytest.fixture
def child(tmp_path):
    """Writes a Python script and gives the command that runs it."""

    def write(text):
        path = tmp_path / f"child_{len(list(tmp_path.glob('child_*')))}.py"
        path.write_text(text)
        return [sys.executable, "-S", str(path)]

    return write


@pytest.fixture
def wait_for():
    """Waits until there is a file with this in it, ten seconds at most."""

    def wait(path, text=""):
        end = time.monotonic() + 10
        while time.monotonic() < end:
            if path.exists() and text in path.read_text():
                return
            time.sleep(0.01)
        raise AssertionError(f"{path} never had {text!r}")

    return wait


@pytest.fixture
def refused():
    """Runs a launcher that ends with code 2, and gives the one line that it says."""

    def run(*words):
        done = subprocess.run(words, capture_output=True, text=True)
        assert done.returncode == 2
        (line,) = done.stderr.splitlines()
        assert line.startswith("kdjax: error: ")
        return line

    return run
