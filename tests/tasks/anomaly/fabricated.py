"""A fabricated workdir of detectors, for the tests of the report and its figures."""

import json

import numpy as np

from kdjax.report import document, runs
from kdjax.tasks import SYSTEMS
from kdjax.tasks.anomaly import metrics
from kdjax.training.metrics import CLASSIFICATION
from tests.fabricated import record

SYSTEM = SYSTEMS["anomaly"]
METRICS = {**CLASSIFICATION, **SYSTEM.metrics}
CLASSES = ("N", "S", "V")
STAGES = {"beatgan": 3.0, "pca": 1.0}  # how far abnormal scores lie above normal ones


def examples(seed, distance):
    """scores.npz's arrays: 40 normal and 10 + 10 abnormal examples a split, patients 0
    to 3 validated and 4 to 7 tested."""
    rng = np.random.default_rng([seed, int(10 * distance)])
    label = np.tile(np.repeat([0, 1, 2], [40, 10, 10]), 2).astype(np.int32)
    far = np.array([0.0, distance, 2 * distance])[label]
    score = np.exp(rng.normal(far, 1.0) - 4).astype(np.float32)
    return {
        "key": np.arange(120).astype(str),
        "split": np.repeat(["validation", "test"], 60),
        "label": label,
        "group": (np.arange(120) % 4 + 4 * (np.arange(120) >= 60)).astype(np.int32),
        "last": score,
        "best": (score**2).astype(np.float32),
    }


def measured(arrays, split, kind):
    """The metrics of a split, from scores.npz's arrays."""
    rows = arrays["split"] == split
    label, score = arrays["label"], arrays[kind]
    normal = score[rows & (label == 0)]
    total = {
        "loss": (normal.sum(), normal.size),
        "score": (score * rows, rows.astype(float)),
    }
    return metrics.summarize(total, label=label, classes=CLASSES)


def write_detector(folder, seed, stage, distance, *, select="loss", reconstructs=True):
    arrays = examples(seed, distance)
    folder.mkdir(parents=True)
    np.savez(folder / "scores.npz", **arrays)
    if reconstructs:
        x = np.random.default_rng(seed).normal(size=(5, 32, 2)).astype(np.float32)
        label = np.array([0, 0, 1, 1, 2], np.int32)
        score = np.square(x - 0.9 * x).mean(axis=(1, 2))
        shown = {"x": x, "reconstruction": 0.9 * x, "label": label, "score": score}
        np.savez(folder / "examples.npz", **shown)
    checkpoints = {
        kind: {"epoch": epoch, "step": 10 * epoch}
        | {split: measured(arrays, split, kind) for split in ("validation", "test")}
        for kind, epoch in (("last", 4), ("best", 3))
    }
    lines = [
        {"kind": "validation", "epoch": epoch, "step": 10 * epoch, "loss": 1 / epoch}
        | {"auc": 0.9}
        for epoch in range(1, 5)
    ]
    content = {
        "stage": stage,
        "seed": seed,
        "data": "made-up ECG",
        "synthetic": False,
        "classes": list(CLASSES),
        "examples": {"train": 100, "validation": 60, "test": 60},
        "checkpoints": checkpoints,
    } | record(SYSTEM.metrics, select, task="beatgan")
    (folder / "results.json").write_text(json.dumps(content))
    (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    cost = {"parameters": 46856, "flops": 611840.0, "kib": 186.0, "ms": 0.25}
    (folder / "cost.json").write_text(json.dumps(cost))


def fabricate(workdir, *, seeds=(0, 1, 2), select="loss", settings=None):
    stages = {stage: {} for stage in STAGES}
    config = {"seeds": list(seeds), "stages": stages, "report": settings}
    workdir.mkdir(parents=True, exist_ok=True)
    (workdir / "config.json").write_text(json.dumps(config))
    for seed in seeds:
        for stage, distance in STAGES.items():
            folder = workdir / f"seed_{seed}" / stage
            reconstructs = stage == "beatgan"
            write_detector(
                folder, seed, stage, distance, select=select, reconstructs=reconstructs
            )
    return workdir


def write_classifier(folder, seed, stage):
    """A stage of another system, with an accuracy and no AUC."""
    folder.mkdir(parents=True)
    values = {"loss": 0.5, "accuracy": 0.9, "macro_f1": 0.88, "ece": 0.05}
    at = {"epoch": 2, "step": 80, "validation": values, "test": values}
    content = {
        "stage": stage,
        "seed": seed,
        "data": "made-up ECG",
        "synthetic": False,
        "classes": list(CLASSES),
        "examples": {"train": 100, "validation": 60, "test": 60},
        "checkpoints": {"last": at, "best": at},
    } | record(CLASSIFICATION, "accuracy", task="probe")
    (folder / "results.json").write_text(json.dumps(content))


def read_experiment(workdir):
    return runs.read_experiment(workdir, METRICS)


def write_report(workdir):
    return document.write_report(
        workdir, metrics=METRICS, sections=SYSTEM.sections, figures=SYSTEM.figures
    )
