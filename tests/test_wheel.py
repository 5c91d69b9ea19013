"""The wheel alone, in an empty folder: run, bring one's own data, score, export."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.data.ecg.test_mitbih import write_record

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ("pyproject.toml", "README.md", "LICENSE", "kdjax", "configs")


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A command of a fresh environment that has the wheel, and what kdjax needs.

    kdjax is the wheel's: what it needs is found where the tests have it.
    """
    source = tmp_path_factory.mktemp("source")
    for name in SOURCE:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=ignored)
        else:
            shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    wheels = ["wheel", "--no-deps", "--no-build-isolation", "-w", source, source]
    subprocess.run([*pip, *wheels], check=True)
    (wheel,) = source.glob("*.whl")
    place = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place], check=True)
    python = place / "bin" / "python"
    subprocess.run(
        [*pip, "--python", python, "install", "--no-deps", wheel], check=True
    )
    (packages,) = place.glob("lib/python*/site-packages")
    needed = next(p for p in sys.path if p.endswith("site-packages"))
    (packages / "needed.pth").write_text(needed + "\n")
    return place / "bin" / "kdjax", wheel


@pytest.fixture(scope="module")
def kdjax(installed, tmp_path_factory):
    """Runs the command in an empty folder, which it leaves there."""
    command, _ = installed
    folder = tmp_path_factory.mktemp("empty")
    less = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1", "PYTHONPATH": ""}

    def run(*arguments):
        done = subprocess.run(
            [command, *map(str, arguments)],
            cwd=folder,
            env=os.environ | less,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    run.folder = folder
    return run


def test_the_wheel_has_no_more_than_the_package(installed):
    with zipfile.ZipFile(installed[1]) as archive:
        names = archive.namelist()
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"kdjax"}
    for name in ("kdjax/configs/digits_eskd.py", "kdjax/py.typed"):
        assert name in names


def test_the_quick_start(kdjax):
    assert "report: runs/digits_eskd_smoke/report.md" in kdjax(
        "--config=digits_eskd:smoke"
    )
    assert (kdjax.folder / "runs" / "digits_eskd_smoke" / "report.md").exists()
    assert kdjax("configs").startswith("beatgan_ecg: ")


@pytest.mark.long
def test_ones_own_arrays_and_an_export(kdjax):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(90, 16, 3)), np.arange(90) % 3
    np.savez(kdjax.folder / "mine.npz", x=x + y[:, None, None], y=y)
    (kdjax.folder / "mine.py").write_text(
        "from kdjax.configs import own_data\n\n\n"
        "def get_config(arg=''):\n"
        "    config = own_data.get_config('smoke')\n"
        "    config.data.path = 'mine.npz'\n"
        "    config.model = {'name': 'mlp', 'widths': (8,)}\n"
        "    return config\n"
    )
    assert "seed 0 scratch: test accuracy" in kdjax(
        "--config=mine.py", "--stage=scratch"
    )
    stage = "runs/mine/seed_0/scratch"
    kdjax("export", stage, "--format=npz")
    assert (kdjax.folder / stage / "export" / "model_card.md").exists()


@pytest.mark.long
def test_a_recording_is_scored(kdjax):
    for name in ("100", "101", "103", "105", "106"):
        write_record(kdjax.folder / "mitdb", name)
    kdjax(
        *("--config=beatgan_ecg:smoke", "--stage=beatgan", "--workdir=ecg"),
        *("--config.data.root=mitdb", "--config.training.batch_size=4"),
        *("--config.data.validation_groups=1", "--config.data.test_groups=1"),
    )
    said = kdjax(
        *("score", "--checkpoint=ecg/seed_0/beatgan", "--input=mitdb/100"),
        *("--output=scores.csv", "--false_alarms=0.5"),
    )
    assert "false alarms an hour" in said
    lines = (kdjax.folder / "scores.csv").read_text().splitlines()
    assert lines[0] == "time,sample,score,flag,symbol"
    assert len(lines) > 5
