"""`Paths`: a network's mean activity in each condition, and what tells them apart."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kdjax.report.runs import Run
from kdjax.tasks.cognitive.report.stored import Left, of_run, step_ms

PANELS = 4  # values of a condition that panels are of, at most
COVERED = 0.5  # of the trials that a step needs to be shown


class Paths(NamedTuple):
    """Mean rates [conditions, time, units] with the ms of each step.

    conditions: {name: its value in each condition}. aligned: whether 0 ms is the onset.
    """

    run: Run
    rates: np.ndarray
    ms: np.ndarray
    conditions: dict[str, np.ndarray]
    aligned: bool

    @property
    def colour(self) -> str:
        """The name of the condition that colours stand for."""
        graded = [name for name in self.varied if name == "coherence"]
        return (graded or [*self.varied, *self.conditions])[0]

    @property
    def varied(self) -> list[str]:
        """The conditions that differ."""
        return [k for k, v in self.conditions.items() if len(np.unique(v)) > 1]

    @property
    def panels(self) -> tuple[str, np.ndarray] | None:
        """The condition that panels are of, with its values, if there is one."""
        for name in self.varied:
            values = np.unique(self.conditions[name])
            if name not in (self.colour, "choice") and len(values) <= PANELS:
                return name, values
        return None

    @property
    def toward(self) -> np.ndarray:
        """What colours show of each condition: evidence toward a choice, or a value."""
        values = self.conditions[self.colour].astype(float)
        if self.colour == "coherence" and "choice" in self.conditions:
            return np.abs(values) * (2 * self.conditions["choice"] - 1)
        return values


def paths(one: Left) -> Paths:
    """Mean trajectories, at the steps that enough trials of each condition have."""
    content, behaviour = one.content, of_run(one.run, "behaviour.npz") or {}
    rates, steps = content["rates"], content["steps"]
    aligned = bool(steps.min() < 0)
    kept = np.isfinite(rates).all(axis=(0, 2))
    if aligned and "onset" in behaviour:
        at = behaviour["onset"][:, None] + steps[None, :]
        kept &= ((at >= 0) & (at < one.run.record["input"]["shape"][0])).mean(
            0
        ) >= COVERED
    prefix = "condition_"
    conditions = {
        k.removeprefix(prefix): v for k, v in content.items() if k.startswith(prefix)
    }
    ms = steps[kept] * step_ms(one.run)
    return Paths(one.run, rates[:, kept].astype(float), ms, conditions, aligned)
