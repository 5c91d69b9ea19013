"""Stages against their references: paired by seed, exact, corrected over the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from kdjax.report.runs import Experiment, headline, scores, teachers
from kdjax.report.statistics import (
    Interval,
    holm,
    paired_bootstrap,
    paired_permutation,
    smallest_p,
)
from kdjax.training.metrics import Metric

LEVEL = 0.05
LEAST_SEEDS = 5  # below these a bootstrap interval covers too little to be printed


class Comparison(NamedTuple):
    """The headline of `stage` minus that of `reference`, over their common seeds.

    higher: whether a higher headline is better.
    """

    stage: str
    reference: str
    difference: Interval
    p: float
    adjusted_p: float
    higher: bool = True

    @property
    def verdict(self) -> str:
        """`better`, `worse` or `not significant`, by the adjusted p-value."""
        if self.adjusted_p >= LEVEL:
            return "not significant"
        return "better" if (self.difference.mean > 0) == self.higher else "worse"


def planned_pairs(experiment: Experiment) -> list[tuple[str, str]]:
    """The settings' pairs, else every student (a stage no other learns from) against
    `scratch`, where there is such a stage."""
    if experiment.settings.comparisons is not None:
        return [(pair[0], pair[1]) for pair in experiment.settings.comparisons]
    if "scratch" not in experiment.stages:
        return []
    others = {"scratch", "teacher", *teachers(experiment)}
    return [(stage, "scratch") for stage in experiment.stages if stage not in others]


def compare(
    experiment: Experiment, pairs: Sequence[tuple[str, str]]
) -> list[Comparison]:
    """Compares the pairs that have a common seed at the headline checkpoint; the others
    are left out, and do not count in Holm's correction."""
    values = {stage: scores(experiment, stage) for stage in experiment.stages}
    higher = headline(experiment).higher_is_better
    return corrected(paired(values, pairs, higher=higher))


def paired(
    values: Mapping[str, Mapping[int, float]],
    pairs: Sequence[tuple[str, str]],
    *,
    higher: bool = True,
) -> list[Comparison]:
    """The pairs that have a common seed, of `{stage: {seed: value}}`; not corrected."""
    compared = []
    for stage, reference in pairs:
        a, b = values.get(stage, {}), values.get(reference, {})
        common = sorted(a.keys() & b.keys())
        if common:
            x, y = [a[seed] for seed in common], [b[seed] for seed in common]
            p = paired_permutation(x, y)
            difference = paired_bootstrap(x, y)
            compared.append(Comparison(stage, reference, difference, p, np.nan, higher))
    return compared


def corrected(compared: Sequence[Comparison]) -> list[Comparison]:
    """The comparisons with Holm's p-values over all of them, in the same order."""
    if not compared:
        return []
    adjusted = holm([c.p for c in compared]).tolist()
    return [c._replace(adjusted_p=p) for c, p in zip(compared, adjusted, strict=True)]


def power_note(comparisons: Sequence[Comparison]) -> str:
    """A sentence where no comparison can reach .05 with so few seeds, else ''.

    The smallest two-sided p-value of n pairs is 2 / 2^n, and Holm multiplies the
    smallest of m by m.
    """
    tests = len(comparisons)
    if not tests:
        return ""
    n = max(c.difference.n for c in comparisons)
    least = tests * smallest_p(n)
    if least < LEVEL:
        return ""
    enough = next(k for k in range(n, 64) if tests * smallest_p(k) < LEVEL)
    corrected = (
        f", and Holm's correction over {tests} comparisons makes that"
        f" {min(least, 1.0):.3g}"
        if tests > 1
        else ""
    )
    return (
        f"**No verdict but `not significant` is possible here.** With n = {n} paired"
        f" seeds the smallest two-sided p-value is 2/2^{n} = {smallest_p(n):.3g}"
        f"{corrected}: {LEVEL:g} is out of reach, however large the difference. It"
        f" takes at least {enough} seeds."
    )


def comparison_table(comparisons: Sequence[Comparison], metric: Metric) -> str:
    """The comparisons as a Markdown table, differences as the headline is written."""
    scale, form = metric.scale, f"+{metric.form}"
    unit = " (points)" if metric.scale == 100 else metric.unit
    rows = [
        "| stage | against | seeds |"
        f" difference{unit} | 95 % bootstrap | exact p |"
        " Holm p | verdict |",
        "|---|---|--:|--:|---|--:|--:|---|",
    ]
    for c in comparisons:
        mean, low, high, n = c.difference
        between = f"{scale * low:{form}} to {scale * high:{form}}"
        if n < LEAST_SEEDS:
            between = "-"
        rows.append(
            f"| {c.stage} | {c.reference} | {n} | {scale * mean:{form}} | {between} |"
            f" {c.p:.3g} | {c.adjusted_p:.3g} | {c.verdict} |"
        )
    return "\n".join(rows)
