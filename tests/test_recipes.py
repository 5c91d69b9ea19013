"""CONTRIBUTING.md's recipes followed in a copy of the package; a system taken out."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ml_collections import ConfigDict

from tests.conftest import QUICK, UNOPTIMISED

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "CONTRIBUTING.md").read_text()
BLOCKS = re.findall(r"```python\n# (\S+)\n(.*?)```", PAGE, re.DOTALL)
CODE = dict(BLOCKS)
PICTURES = "kdjax/tasks/distillation/report.py"

# A stage of each system, and one of the recipes' own, all tiny.
CONFIG = """
import json, sys
from kdjax import experiment
from kdjax.training import host
from matplotlib.figure import Figure
host.cache_compilation()  # the runs share most of their programs
if "drawn" not in sys.argv:  # most of the time is PNG
    Figure.savefig = lambda self, file, **how: None
experiment.run(json.loads(sys.argv[1]), __import__("pathlib").Path(sys.argv[2]))
"""
SGD = {"name": "sgd", "schedule": {"name": "constant", "value": 0.1}}
WAVES = {"name": "synthetic_wearable", "samples": 16, "windows": 12, "subjects": 8}
HEAD = {"hidden": [8], "outputs": 4}
MLP = {"name": "mlp", "widths": [8]}
TRAINING = {"epochs": 1, "batch_size": 16, "eval_batch_size": 64}
STAGES = {
    "distillation": {
        "scratch": {
            "task": "distill",
            "data": WAVES,
            "model": MLP,
            "losses": {"cross_entropy": {"weight": 1.0}},
            "optimizer": SGD,
        }
    },
    "brain": {
        "class_mean": {
            "task": "decode",
            "data": WAVES,
            "decoder": {"name": "class_mean"},
            "training": {"epochs": 0},
        }
    },
    "cognitive": {
        "go_nogo": {
            "task": "cognitive",
            "trials": {"name": "go_nogo", "dt": 50.0},
            "examples": {"train": 16, "validation": 16, "test": 16},
            "model": {"name": "ctrnn", "units": 4},
            "losses": {"squared_error": {"weight": 1.0}},
            "optimizer": SGD,
            "training": TRAINING | {"select": "loss"},
            "analysis": {"trials": 1, "rates": 1, "starts": 0},
        }
    },
    "contrastive": {
        "pretrain": {
            "task": "simclr",
            "data": WAVES,
            "model": MLP | {"projection": HEAD},
            "augment": {"name": "noise"},
            "training": {"select": "loss"},
            "optimizer": SGD,
        }
    },
    "anomaly": {
        "pca": {
            "task": "detector",
            "data": {"name": "synthetic_ecg", "patients": 8, "beats": 10},
            "detector": {"name": "pca", "components": 2},
            "training": {"select": "loss", "epochs": 0},
        }
    },
}


def copy(folder):
    """The package in `folder`, without what was compiled."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "kdjax", folder / "kdjax", ignore=ignored)
    return folder


def run(folder, stages, *how):
    """Runs the stages with the copy's kdjax; report.md and what was printed."""
    config = {"seeds": [0], "training": TRAINING, "stages": stages, "report": {}}
    done = subprocess.run(
        [sys.executable, "-c", CONFIG, json.dumps(config), str(folder / "run"), *how],
        cwd=folder,
        env=os.environ | {UNOPTIMISED: "1", "XLA_FLAGS": QUICK},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return (folder / "run" / "report.md").read_text(), done.stdout


def insert(path, before, line):
    text = path.read_text()
    assert text.count(before) == 1, before
    path.write_text(text.replace(before, f"{line}\n{before}"))


@pytest.mark.long
@pytest.mark.parametrize("gone", STAGES)
def test_without_one_system_the_others_train_and_report(tmp_path, gone):
    """A system is its folder and its line."""
    folder = copy(tmp_path)
    shutil.rmtree(folder / "kdjax" / "tasks" / gone)
    registry = folder / "kdjax" / "tasks" / "__init__.py"
    text = registry.read_text()
    assert text.count(f'    "{gone}",\n') == 1
    registry.write_text(text.replace(f'    "{gone}",\n', ""))
    stages = {
        k: v for name, own in STAGES.items() if name != gone for k, v in own.items()
    }
    report, said = run(folder, stages)
    assert said.count("seed 0 ") == len(stages) == len(STAGES) - 1
    for stage in stages:
        assert f"| {stage} |" in report


def test_the_page_has_a_recipe_of_each_kind():
    assert [path for path, _ in BLOCKS] == [
        "kdjax/losses/logit_distance.py",
        "kdjax/models/pooled.py",
        "kdjax/data/tones.py",
        PICTURES,
        "kdjax/tasks/prior/__init__.py",
    ]


def test_the_recipes_work_as_they_stand(tmp_path):
    folder = copy(tmp_path)
    touched = set()
    for name, code in BLOCKS:
        path = folder / name
        if path.exists():  # the picture, which goes into a report
            insert(path, "\n\nARTEFACTS = ", f"\n{code}")
            text = path.read_text()
            listed = "FIGURES = (soft_label_maps,"
            assert text.count(listed) == 1
            path.write_text(text.replace(listed, f"{listed} examples_by_class,"))
        else:
            path.parent.mkdir(exist_ok=True)
            path.write_text(code)
        touched.add(name)
    data = folder / "kdjax" / "data" / "__init__.py"
    insert(data, '    "uci_har": uci_har,', '    "tones": "kdjax.data.tones:tones",')
    insert(folder / "kdjax" / "tasks" / "__init__.py", ")\n\nSYSTEMS", '    "prior",')

    tones = {"name": "tones", "samples": 16}
    model = {"name": "kdjax.models.pooled:pooled", "width": 4}
    loss = "kdjax.losses.logit_distance:logit_distance_loss"
    alone = {"cross_entropy": {"weight": 1.0}}
    common = {"task": "distill", "data": tones, "model": model, "optimizer": SGD}
    stages = {
        "prior": {"task": "prior", "data": tones, "rate": 0.5},
        "teacher": common | {"losses": alone},
        "student": common
        | {
            "losses": alone | {"distance": {"function": loss, "weight": 0.5}},
            "teacher": {"stage": "teacher"},
        },
    }
    stages = json.loads(ConfigDict(stages).to_json())  # as a config file has it
    report, _ = run(folder, stages, "drawn")
    assert "| prior | 50.0 | 50.0 |" in report
    assert "| student | teacher (`best`) | 1 of 1 |" in report
    assert "![Test examples of each class.](figures/examples_by_class.png)" in report
    log = (folder / "run/seed_0/student/metrics.jsonl").read_text()
    assert "distance" in json.loads(log.splitlines()[0])
    # of each one file, but for the two lines of registries
    changed = {
        str(path.relative_to(folder))
        for path in (folder / "kdjax").rglob("*.py")
        if not (ROOT / path.relative_to(folder)).exists()
        or (ROOT / path.relative_to(folder)).read_text() != path.read_text()
    }
    registries = {"kdjax/data/__init__.py", "kdjax/tasks/__init__.py"}
    assert changed == touched | registries
