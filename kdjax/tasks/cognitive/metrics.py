"""How well a network does a cognitive task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kdjax.training.metrics import PER_CENT, Metric, by_name

METRICS = by_name(
    Metric("correct", "correct trials", True, **PER_CENT, headline=True),
    Metric("loss", "squared error", False, form=".4f"),
)


def summarize(total: Mapping[str, tuple[Any, Any]]) -> dict[str, Any]:
    """loss, the masked mean squared error; correct, a share; and how many trials."""
    means = {name: float(total[name][0] / total[name][1]) for name in METRICS}
    return means | {"examples": int(total["correct"][1])}
