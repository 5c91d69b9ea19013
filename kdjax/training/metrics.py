"""Metrics: what they are called, exact sums over a split, and the log file."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jaxtyping import Array, Float, Int

from kdjax.files import write_text
from kdjax.training import processes, tracking
from kdjax.training.parallel import AXIS

Sums = dict[str, tuple[Any, Any]]
CALIBRATION_BINS = 15


class Metric(NamedTuple):
    """A number that says how good a model is: its direction, and how it is written.

    name: its key in results.json, and in a config's `training.select`.
    label: its name for people.
    higher_is_better: whether more of it is better; nothing else says so.
    scale, form, unit: it is written as `scale * value` in this format, with this unit.
    headline: whether stages are compared by it.
    """

    name: str
    label: str
    higher_is_better: bool
    scale: float = 1.0
    form: str = ".3f"
    unit: str = ""
    headline: bool = False

    def better(self, value: float, best: float | None) -> bool:
        """Whether `value` is better than the `best` so far (None: there is none)."""
        if best is None:
            return True
        return value > best if self.higher_is_better else value < best

    @property
    def chosen_as(self) -> str:
        """`highest validation accuracy`: the rule of a selection by it."""
        most = "highest" if self.higher_is_better else "lowest"
        return f"{most} validation {self.label}"


def by_name(*metrics: Metric) -> dict[str, Metric]:
    """{name: metric}."""
    return {metric.name: metric for metric in metrics}


PER_CENT: dict[str, Any] = {"scale": 100.0, "form": ".1f", "unit": " (%)"}
# What `classification_metrics` gives, of any task that has classes.
CLASSIFICATION = by_name(
    Metric("accuracy", "accuracy", True, **PER_CENT, headline=True),
    Metric("macro_f1", "macro-F1", True, **PER_CENT),
    Metric("ece", "ECE", False, **PER_CENT),
    Metric("loss", "cross-entropy", False),
)


def classification_sums(
    logits: Float[Array, "batch classes"],
    labels: Int[Array, " batch"],
    mask: Float[Array, " batch"],
) -> dict[str, tuple[Array, Array]]:
    """{name: (sum, count)} over all devices' examples whose mask is 1.

    loss: cross-entropy. confusion: [classes, classes], row = true class. calibration:
    [CALIBRATION_BINS, 3], per bin of confidence the count, summed confidence and hits.
    """
    classes = logits.shape[-1]
    logits = logits.astype(jnp.float32)
    loss = optax.losses.softmax_cross_entropy_with_integer_labels(logits, labels)
    predicted = jnp.argmax(logits, axis=-1)
    truth = jnp.eye(classes)[labels] * mask[:, None]
    confusion = truth.T @ jnp.eye(classes)[predicted]
    confidence = jnp.max(jax.nn.softmax(logits), axis=-1)
    bins = jnp.clip(
        jnp.ceil(confidence * CALIBRATION_BINS) - 1, 0, CALIBRATION_BINS - 1
    )
    member = (jnp.arange(CALIBRATION_BINS)[:, None] == bins[None, :]) * mask[None, :]
    per_example = jnp.stack(
        [jnp.ones_like(confidence), confidence, (predicted == labels) * 1.0], axis=-1
    )
    count = jnp.sum(mask)
    sums = {
        "loss": (jnp.sum(jnp.where(mask > 0, loss, 0.0)), count),
        "confusion": (confusion, count),
        "calibration": (member @ per_example, count),
    }
    return lax.psum(sums, AXIS)


def add_sums(total: Sums | None, part: Mapping[str, tuple[Any, Any]]) -> Sums:
    """Adds one batch's sums to the total, on the host in float64."""
    part = {k: (np.float64(s), np.float64(n)) for k, (s, n) in part.items()}
    if total is None:
        return part
    return {k: (total[k][0] + s, total[k][1] + n) for k, (s, n) in part.items()}


def classification_metrics(total: Mapping[str, tuple[Any, Any]]) -> dict[str, Any]:
    """loss, accuracy, macro_f1, ece in [0, 1], confusion and the number of examples.

    macro_f1 is the mean of 2 TP / (2 TP + FP + FN) over the classes that occur in truth
    or prediction. ece is the expected calibration error over 15 equal bins of
    confidence: sum_b (n_b / n) |hits_b / n_b - confidence_b / n_b| (Guo et al. 2017).
    """
    confusion = total["confusion"][0]
    hits, rows, columns = np.diag(confusion), confusion.sum(1), confusion.sum(0)
    occurs = (rows + columns) > 0
    count = total["confusion"][1]
    _, confidence, right = total["calibration"][0].T
    return {
        "loss": float(total["loss"][0] / total["loss"][1]),
        "accuracy": float(hits.sum() / count),
        "macro_f1": float(np.mean(2 * hits[occurs] / (rows + columns)[occurs])),
        "ece": float(np.abs(right - confidence).sum() / count),
        "confusion": confusion.astype(int).tolist(),
        "examples": int(count),
    }


def effective_rank(moments: np.ndarray) -> float:
    """`exp(-sum_k p_k log p_k)`, p the singular values over their sum.

    Of the [n, dim] matrix whose second moments, [dim, dim], are given: 1 where all its
    rows are one direction, dim where all directions weigh alike. Roy & Vetterli 2007;
    Garrido et al. 2023 (RankMe).
    """
    if not np.isfinite(moments).all():
        return float("nan")
    singular = np.sqrt(np.maximum(np.linalg.eigvalsh(moments), 0.0))
    total = singular.sum()
    if total == 0:
        return 1.0
    p = singular[singular > 0] / total
    return float(np.exp(-np.sum(p * np.log(p))))


class MetricsLog:
    """`metrics.jsonl`, one JSON object a line, and what trackers are told.

    The first of several processes writes them; the others' are nowhere.
    """

    def __init__(
        self,
        folder: Path,
        *,
        after_step: int,
        after_epoch: int | None = None,
        track: Sequence[str] = (),
    ):
        """Opens the log, dropping the lines that a killed run wrote past the step.

        And past the epoch: one that was stopped in its validation is validated again.
        """
        self._file, self._trackers = None, list[tracking.Tracker]()
        if not processes.is_first():
            return
        self._path = folder / "metrics.jsonl"
        kept = [
            row
            for row in read_log(self._path)
            if row["step"] <= after_step
            and (
                after_epoch is None
                or row["kind"] == "train"
                or row["epoch"] <= after_epoch
            )
        ]
        write_text(self._path, "".join(json.dumps(row) + "\n" for row in kept))
        self._trackers = tracking.begin(track, folder, after_step)
        self._file = self._path.open("ab", buffering=0)  # a failed write leaves nothing

    def write(
        self, kind: str, *, step: int, epoch: int | float, values: Mapping[str, Any]
    ) -> None:
        numbers = {k: v for k, v in values.items() if isinstance(v, int | float)}
        row = {"kind": kind, "epoch": epoch, "step": step} | numbers
        if self._file is None:
            return
        rest = (json.dumps(row) + "\n").encode()
        try:
            while rest:  # a disk that is nearly full takes a part
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            error.filename = str(self._path)
            raise
        named = {f"{kind}/{name}": value for name, value in numbers.items()}
        for tracker in self._trackers:
            tracker.log(named, step)

    def close(self) -> None:
        if self._file:
            self._file.close()
        for tracker in self._trackers:
            tracker.close()


def read_log(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a metrics.jsonl, none where there is no file.

    A kill may leave the last line half-written: it is left out. So is, and is said, any
    other line that is no object with a kind and a step: no result depends on it.
    """
    content = path.read_bytes() if path.exists() else b""
    for number, line in enumerate(content.split(b"\n")[:-1], start=1):
        row = _row(line)
        if row is None:
            print(f"kdjax: {path}: line {number} is damaged: left out", file=sys.stderr)
        else:
            yield row


def _row(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    right = isinstance(row, dict) and isinstance(row.get("kind"), str)
    return row if right and isinstance(row.get("step"), int) else None
