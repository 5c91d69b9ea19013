"""A fabricated workdir of networks of cognitive tasks, for the tests of the report."""

import json

import numpy as np

from kdjax.report import document, runs
from kdjax.tasks import SYSTEMS
from kdjax.tasks.cognitive import psychometrics
from kdjax.training.metrics import CLASSIFICATION
from tests.fabricated import record

SYSTEM = SYSTEMS["cognitive"]
METRICS = {**CLASSIFICATION, **SYSTEM.metrics}
COHERENCE = np.array([0.02, 0.08, 0.32])
UNITS, STEPS, DT = 8, 20, 20.0
STAGES = {"free": 0.06, "sparse": 0.09}  # thresholds; each seed adds .01
RULES = ("go", "anti", "dms")


def threshold(stage, seed):
    return STAGES[stage] + 0.01 * seed


def fit_at(level):
    return psychometrics.PsychometricFit(level, 1.25, 0.01, -100.0)


def curve(stage, seed, *, animals=True, crossed=True):
    """psychometrics.json's content."""
    fit = fit_at(threshold(stage, seed))
    points = np.geomspace(0.01, 0.32, 9)
    content = {
        "coherence": list(COHERENCE),
        "trials": [100] * 3,
        "correct": fit.curve(COHERENCE).tolist(),
        "points": points.tolist(),
        "ideal": psychometrics.ideal_observer(COHERENCE).tolist(),
        "ideal_curve": psychometrics.ideal_observer(points).tolist(),
        **fit._asdict(),
        "curve": fit.curve(points).tolist(),
        "intervals": {"threshold": [0.05, 0.1], "slope": [1, 2], "lapse": [0, 0.02]},
        "curve_interval": np.stack([fit.curve(points)] * 2, axis=1).tolist(),
    }
    if animals:
        own = psychometrics.PsychometricFit(0.12, 1.4, 0.02, -1.0)
        at = np.array([0.04, 0.2, 0.9])
        content["animals"] = {
            "T": {
                "coherence": at.tolist(),
                "correct": own.curve(at).tolist(),
                "rt": [550.0, 500.0, 430.0],
                "fit": own._asdict(),
                "factor": 0.5 + 0.1 * seed,
                "residual": 0.02,
            }
        }
    if crossed:
        content["chronometric"] = {
            "coherence": list(COHERENCE),
            "rt": [None, 300.0, 200.0 + 20 * seed],
            "standard_error": [None, None, 5.0],
            "crossed": [0.0, 0.4, 1.0],
            "accuracy": [None, 1.0, 1.0],
        }
    return content


def census(seed):
    return {
        "active": 5 + seed,
        "units": UNITS,
        "density": {"0": 1.0, "0.001": 0.25, "0.01": 0.125},
        "excitatory_weights": 0.6,
        "effective_rank": 3.5,
        "dimensions": 2.25,
    }


def grid():
    """Cue x signed coherence, and the choice that is right."""
    cue, coherence = np.meshgrid([0, 1], [-0.32, -0.02, 0.02, 0.32], indexing="ij")
    cue, coherence = cue.ravel(), coherence.ravel().astype(np.float32)
    return {"cue": cue, "coherence": coherence, "choice": cue ^ (coherence > 0)}


def activity(seed):
    """trajectories.npz: silent last unit; the ends of the window are NaN."""
    rng, conditions = np.random.default_rng(seed), grid()
    time = np.linspace(0, 1, STEPS)[None, :, None]
    drive = conditions["coherence"][:, None, None] * rng.normal(size=(1, 1, UNITS))
    rates = np.abs(1 + time * drive + 0.01 * rng.normal(size=(8, STEPS, UNITS)))
    rates[:, :, -1] = 0
    rates[:, 0] = np.nan
    return {f"condition_{k}": v for k, v in conditions.items()} | {
        "rates": rates.astype(np.float32),
        "outputs": rates[:, :, :2].astype(np.float32),
        "steps": np.arange(-10, STEPS - 10),
        "dt": DT,
    }


def points(seed):
    """fixed_points.npz: a stable and an unstable point, a slow one without evidence."""
    labels = ["cue 0, coherence -0.32", "cue 0, coherence -0.32", "cue 1, coherence 0"]
    ms = np.full((3, 8), 100.0)
    ms[:, 0] = [250.0 + 50 * seed, -400.0, 1e11]
    return {
        "label": np.array(labels),
        "flow": np.array(["mean", "averaged", "mean"]),
        "state": np.random.default_rng(seed).uniform(0, 2, (3, UNITS)),
        "q": np.array([1e-30, 1e-25, 1e-6]),
        "status": np.array(["fixed", "fixed", "slow"]),
        "time_constants": ms,
        "eigenvalues": (-1 / ms).astype(complex),
        "unstable": np.array([0, 1, 0]),
        "starts": np.array([10, 10, 10]),
    }


def summary(seed):
    """fixed_points.json of `points`."""
    counts = {"fixed": 1, "stable": 1, "slow": 0, "unfinished": 0, "largest_q": 1e-30}
    line = {"verdict": seed == 0, "variance": 0.99, "points": 6}
    one = counts | {"slowest_ms": [250.0, 250.0], "line_attractor": line}
    return {
        "cue 0, coherence -0.32; mean": one,
        "cue 0, coherence -0.32; averaged": one
        | {"stable": 0, "fixed": 1 + seed, "line_attractor": None},
        "cue 1, coherence 0; mean": one
        | {"fixed": 0, "stable": 0, "slow": 1, "largest_q": 1e-6, "slowest_ms": None},
    }


def behaviour(seed):
    every = {k: np.repeat(v, 5) for k, v in grid().items()}
    onset = np.full(40, 10, np.int32)
    return every | {"onset": onset, "answer_correct": np.ones(40, np.float32)}


def rules(seed):
    """behaviour.npz of trials with a rule: shares 1, .5 and 0, + .1 for seed 1."""
    rule = np.repeat(np.arange(3), 10)
    share = np.repeat([1.0, 0.5 + 0.1 * seed, 0.0], 10)
    right = np.tile(np.arange(10) / 10, 3) < share
    return {"rule": rule, "answer_correct": right.astype(np.float32)}


def variance():
    cluster = np.array([0, 0, 1, 1, 1, 2, 2, -1])
    return {
        "variance": np.eye(3)[np.array([0, 0, 1, 1, 1, 2, 2, 0])] * 0.5,
        "rules": np.array(RULES),
        "cluster": cluster,
        "clusters": np.array([2, 3]),
        "silhouette": np.array([0.5, 0.75]),
    }


def weights(seed):
    recurrent = np.random.default_rng(seed).normal(size=(UNITS, UNITS))
    recurrent[0] = 0
    return {"recurrent": recurrent.astype(np.float32), "sign": np.zeros(UNITS)}


def decoded():
    rising = np.linspace(0.5, 1, 4)
    return {"cue": rising, "cue_chance": 0.5, "bin": 100.0}


def write(folder, **contents):
    """Files by stem: dicts of arrays as .npz, others as .json."""
    for name, content in contents.items():
        if any(isinstance(value, np.ndarray) for value in content.values()):
            np.savez(folder / f"{name}.npz", **content)
        else:
            (folder / f"{name}.json").write_text(json.dumps(content))


def write_stage(workdir, seed, stage, *, reached=(0.9, 0.96, 0.97), **about):
    """What every stage has: `reached` are the validation trials correct by epoch."""
    folder = workdir / f"seed_{seed}" / stage
    folder.mkdir(parents=True)
    lines = [
        {"kind": "validation", "epoch": i + 1, "step": 100 * (i + 1), "loss": 0.1}
        | {"correct": correct}
        for i, correct in enumerate(reached)
    ]
    test = {"correct": 0.9 - 0.05 * (stage == "sparse") + 0.01 * seed, "loss": 0.1}
    last = {"epoch": len(reached), "step": 100 * len(reached)}
    last |= {"validation": test, "test": test}
    channels = [f"rule_{name}" for name in RULES]
    content = {
        "stage": stage,
        "seed": seed,
        "data": "made-up trials",
        "synthetic": False,
        "classes": ["left", "right"],
        "examples": {"train": 100, "validation": 10, "test": 10},
        "input": {"shape": [STEPS, 3], "channels": channels},
        "outputs": ["left", "right"],
        "dt": DT,
        "settings": {
            "config.model": {"tau": 100.0},
            "config.analysis": {"threshold": 0.5},
        },
        "seconds": 60.0,
        "members": 2,
        "checkpoints": {"last": last, "best": last},
    } | record(SYSTEM.metrics, "correct", task="cognitive")
    (folder / "results.json").write_text(json.dumps(content | about))
    (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    return folder


def fabricate(workdir, *, stages=STAGES, seeds=(0, 1), settings=None):
    """Stages that left everything but what rules leave."""
    config = {"seeds": list(seeds), "stages": {name: {} for name in stages}}
    workdir.mkdir(parents=True, exist_ok=True)
    (workdir / "config.json").write_text(json.dumps(config | {"report": settings}))
    for seed in seeds:
        for stage in stages:
            write(
                write_stage(workdir, seed, stage),
                psychometrics=curve(stage, seed),
                census=census(seed),
                behaviour=behaviour(seed),
                trajectories=activity(seed),
                network=weights(seed),
                fixed_points=points(seed),
                decoding=decoded(),
            )
            folder = workdir / f"seed_{seed}" / stage
            (folder / "fixed_points.json").write_text(json.dumps(summary(seed)))
    return workdir


def read_experiment(workdir):
    return runs.read_experiment(workdir, METRICS)


def write_report(workdir):
    return document.write_report(
        workdir, metrics=METRICS, sections=SYSTEM.sections, figures=SYSTEM.figures
    )
