"""The metrics of anomaly detection: AUC, average precision, best F1, thresholds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from kdjax.errors import InputError
from kdjax.training.metrics import Metric, by_name

NORMAL = 0  # the class that a detector learns from
METRICS = by_name(
    Metric("loss", "mean score of the normal examples", False),
    Metric("auc", "AUC", True, headline=True),
    Metric("average_precision", "average precision", True),
    Metric("best_f1", "best F1", True),
)


def score_sums(
    score: Float[Array, " batch"],
    label: Int[Array, " batch"],
    index: Int[Array, " batch"],
    mask: Float[Array, " batch"],
    *,
    rows: int,
) -> dict[str, tuple[Array, Array]]:
    """A batch's part of the sums that `summarize` takes.

    `loss`: the score of the normal examples. `score`: every example's own, at its place
    `index` among all `rows`, so that ranks are exact whatever the batches and devices.
    """
    normal = mask * (label == NORMAL)
    empty = jnp.zeros(rows, jnp.float32)
    # chosen, not multiplied: an infinite score elsewhere would make these nan
    of_normal = jnp.where(normal > 0, score, 0.0)
    known = jnp.where(mask > 0, score, 0.0)
    return {
        "loss": (jnp.sum(of_normal), jnp.sum(normal)),
        "score": (empty.at[index].add(known), empty.at[index].add(mask)),
    }


def summarize(
    total: Mapping[str, tuple[Any, Any]],
    *,
    label: Int[np.ndarray, " rows"],
    classes: Sequence[str],
) -> dict[str, Any]:
    """A split's metrics from its sums.

    `loss`, the mean score of the normal examples; and, if there are abnormal ones,
    those of `detection`, and `auc_by_class`, each class against the normal one.
    """
    score, seen = total["score"]
    rows = seen > 0
    score, label = score[rows], label[rows]
    values: dict[str, Any] = {
        "loss": float(total["loss"][0] / total["loss"][1]),
        "examples": int(rows.sum()),
    }
    if (label == NORMAL).all() or not np.isfinite(values["loss"]):
        return values
    normal = score[label == NORMAL]
    by_class = {
        name: auc(normal, score[label == y])
        for y, name in enumerate(classes)
        if y != NORMAL and (label == y).any()
    }
    return values | detection(label != NORMAL, score) | {"auc_by_class": by_class}


def detection(abnormal: np.ndarray, score: Float[np.ndarray, " n"]) -> dict[str, float]:
    """auc, average_precision, best_f1 and its threshold: flag what is at least it.

    The area under the ROC curve (ties count half), the mean precision weighted by the
    rise in recall, without interpolation, and the best harmonic mean of both, whose
    threshold is chosen on the labels and so flatters: all as scikit-learn has them.
    """
    from sklearn import metrics  # imported here: it takes a second

    score = ordered(score)
    precision, recall, thresholds = metrics.precision_recall_curve(abnormal, score)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    best = int(np.argmax(f1[:-1]))
    return {
        "auc": float(metrics.roc_auc_score(abnormal, score)),
        "average_precision": float(metrics.average_precision_score(abnormal, score)),
        "best_f1": float(f1[best]),
        "best_f1_threshold": float(thresholds[best]),
    }


def auc(normal: Float[np.ndarray, " n"], abnormal: Float[np.ndarray, " m"]) -> float:
    """How often an abnormal example's score is above a normal one's; ties half."""
    from sklearn.metrics import roc_auc_score

    truth = np.repeat([0, 1], [len(normal), len(abnormal)])
    return float(roc_auc_score(truth, ordered(np.concatenate([normal, abnormal]))))


def threshold(normal: Float[np.ndarray, " n"], false_alarms: float) -> float:
    """The lowest of these scores that at most the fraction `false_alarms` exceeds.

    Flag what is above it. A score that is not a number counts as the largest. n > 0;
    InputError unless the fraction is between 0 and 1.
    """
    if not 0 < false_alarms < 1:
        raise InputError(
            f"false alarms: expected a fraction between 0 and 1, found {false_alarms}"
        )
    ranked = np.sort(np.where(np.isnan(normal), np.inf, normal))
    allowed = int(false_alarms * len(ranked) + 1e-9)  # .29 of 100 is 28.999...
    above = min(allowed, len(ranked) - 1)
    return float(ranked[len(ranked) - 1 - above])


def relative(
    score: Float[np.ndarray, " n"], group: Int[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """Each score divided by the first quartile of all scores of its group, a patient.

    A detector reconstructs one patient's normal beats worse than another's, and one
    threshold for all mixes them up. No label is used, but the patient's whole
    recording; where more than three in four beats are abnormal, they become the norm.
    Scores: squared errors or distances, never negative; a quartile of 0 counts as the
    least positive.
    """
    scaled = np.asarray(score, np.float64).copy()
    tiny = float(np.finfo(np.float32).tiny)
    for one in np.unique(group):
        own = group == one
        scaled[own] /= max(float(np.quantile(ordered(scaled[own]), 0.25)), tiny)
    return scaled


def flags(score: Float[np.ndarray, " n"], limit: float) -> np.ndarray:
    """Which scores are above the limit; one that is not a number is."""
    return ~(score <= limit)


def ordered(score: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """An infinite score, or one that is not a number, is the largest: scikit-learn
    refuses both."""
    return np.nan_to_num(np.asarray(score, np.float64), nan=1e300, posinf=1e300)
