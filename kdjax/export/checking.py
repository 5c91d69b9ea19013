"""An artefact held against the stage's predictor, on the whole test split."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kdjax.export.raw import Raw

Outputs = NDArray[np.float32]
Run = Callable[[NDArray[np.float32]], Outputs]
CLOSE = 1e-4  # of the largest output, or of 1: more is another function
WARM, REPEATS = 5, 50
METRICS = {"probabilities": "accuracy", "scores": "auc"}


class Check(NamedTuple):
    """What was found.

    difference: the largest of any output. equal: predictions that are the same, of
    probabilities. metric: its name and value, where there is one. ms: the median of
    `REPEATS` calls with one example.
    """

    examples: int
    difference: float
    close: bool
    equal: int | None
    metric: dict[str, Any] | None
    ms: float


def outputs(run: Run, raw: Raw) -> Outputs:
    """`run` of every test example."""
    return np.concatenate([run(x) for x in raw.parts()])


def check(run: Run, raw: Raw, expected: Outputs, kind: str) -> Check:
    """The artefact's outputs beside the `expected` ones, and its time."""
    found = outputs(run, raw)
    difference = float(np.max(abs(found - expected)))
    equal = None
    if kind == "probabilities":
        equal = int((found.argmax(-1) == expected.argmax(-1)).sum())
    return Check(
        examples=len(found),
        difference=difference,
        close=difference <= CLOSE * max(1.0, float(abs(expected).max())),
        equal=equal,
        metric=metric(found, raw.y, kind),
        ms=milliseconds(run, next(raw.parts())[:1]),
    )


def metric(found: Outputs, y: NDArray[np.int32] | None, kind: str) -> Any:
    """{"name", "value"} of accuracy or AUC; None where there is none."""
    if y is None or kind not in METRICS:
        return None
    if kind == "probabilities":
        value = float(np.mean(found.argmax(-1) == y))
    elif 0 < (y != 0).sum() < len(y):
        from sklearn.metrics import roc_auc_score  # imported here: it takes a second

        # class 0 is the normal one
        value = float(roc_auc_score(y != 0, np.nan_to_num(found, nan=np.inf)))
    else:
        return None
    return {"name": METRICS[kind], "value": value}


def recorded(results: Mapping[str, Any], checkpoint: str, kind: str) -> float | None:
    """The same metric of the same split as results.json has it."""
    test = results["checkpoints"].get(checkpoint, {}).get("test", {})
    found: float | None = test.get(METRICS.get(kind))
    return found


def milliseconds(run: Run, example: NDArray[np.float32]) -> float:
    """The median time of a call with one example."""
    times = []
    for _ in range(WARM + REPEATS):
        start = time.perf_counter()
        run(example)
        times.append((time.perf_counter() - start) * 1e3)
    return statistics.median(times[WARM:])
