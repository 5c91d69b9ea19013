"""Tables: how a cell of the report is written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from kdjax.report.runs import Experiment, Run, scores
from kdjax.report.statistics import mean_interval
from kdjax.training.metrics import Metric

NONE = "-"
COSTS_SAID = (
    "MFLOPs: 2 x the multiply-accumulates of one forward pass of one example; ms: its"
    " median at batch 1; KiB: float32 parameters and batch statistics."
)
COSTS = ("parameters", "MFLOPs", "ms", "KiB")  # the headings of `cost_cells`


def spread(
    values: Iterable[float | int], *, scale: float = 1.0, form: str = ".3f"
) -> str:
    """`0.945 ± 0.004` from one value a seed; `0.945` from one, a dash from none."""
    known = list(values)
    if not known:
        return NONE
    mean, _, high, n = mean_interval(known)
    if n == 1:
        return f"{scale * mean:{form}}"
    return f"{scale * mean:{form}} ± {scale * (high - mean):{form}}"


def metric_spread(experiment: Experiment, stage: str, metric: Metric) -> str:
    """The cell of a stage's metric on the test split, as the metric is written."""
    values = scores(experiment, stage, metric=metric.name).values()
    return spread(values, scale=metric.scale, form=metric.form)


def percent(shares: Iterable[float | int]) -> str:
    """`93.2 ± 0.4` from shares in [0, 1]."""
    return spread(shares, scale=100.0, form=".1f")


def number_range(values: Iterable[float | int]) -> str:
    """`5`, or `3 to 7` where they differ; a dash where there are none."""
    known = sorted(values)
    if not known:
        return NONE
    low, high = f"{known[0]:g}", f"{known[-1]:g}"
    return low if low == high else f"{low} to {high}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, words: int = 1) -> str:
    """A Markdown table, its first `words` columns to the left, numbers to the right."""
    rule = f"|{'---|' * words}{'--:|' * (len(head) - words)}"
    first, *others = (f"| {' | '.join(cells)} |" for cells in (head, *rows))
    return "\n".join((first, rule, *others))


def cost_cells(runs: Sequence[Run]) -> list[str]:
    """Parameters, MFLOPs, ms and KiB: the median over the seeds that measured them."""
    cells = []
    for field, scale, form in (
        ("parameters", 1.0, ",.0f"),
        ("flops", 1e-6, ".3g"),
        ("ms", 1.0, ".2f"),
        ("kib", 1.0, ",.0f"),
    ):
        known = [run.cost[field] for run in runs if run.cost.get(field) is not None]
        cells.append(format(scale * np.median(known), form) if known else NONE)
    return cells
