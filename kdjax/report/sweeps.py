"""Sweeps: of a stage's tries the one that validation prefers, and no other's test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from kdjax.training.metrics import Metric

if TYPE_CHECKING:
    from kdjax.report.runs import Run

Runs = dict[tuple[str, int], "Run"]


class Choice(NamedTuple):
    """A swept stage, and what its tries reached on the validation split.

    chosen: the try that is the stage from here on, None where no seed has all tries.
    values: {try: its values of `metric`, one a seed}.
    """

    stage: str
    chosen: str | None
    metric: Metric | None
    values: Mapping[str, Sequence[float]]


def choose(
    runs: Mapping[tuple[str, int], Run],
    swept: Mapping[str, Sequence[str]],
    metrics: Mapping[str, Metric],
    checkpoint: str,
) -> tuple[Runs, list[Choice]]:
    """The runs with each swept stage in the place of its tries, and how it was chosen.

    The try with the best mean of the metric that its epochs were chosen by, on the
    validation split at `checkpoint`, over the seeds that have finished all tries.
    """
    tries = {name for names in swept.values() for name in names}
    kept = {place: run for place, run in runs.items() if place[0] not in tries}
    choices = []
    for stage, names in swept.items():
        seeds = sorted(
            set.intersection(*({s for n, s in runs if n == name} for name in names))
        )
        if not seeds:
            choices.append(Choice(stage, None, None, {}))
            continue
        by = runs[names[0], seeds[0]].selection["metric"]
        values = {
            name: [
                runs[name, seed].metric(by, checkpoint=checkpoint, split="validation")
                for seed in seeds
            ]
            for name in names
        }
        metric = metrics[by]
        sign = 1 if metric.higher_is_better else -1
        chosen = max(names, key=lambda name: sign * float(np.mean(values[name])))
        choices.append(Choice(stage, chosen, metric, values))
        for seed in seeds:
            kept[stage, seed] = runs[chosen, seed]._replace(stage=stage)
    return kept, choices
