"""Within an epoch: when a run is saved, and which metrics are not yet written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import monotonic
from typing import Any, NamedTuple

import jax
import numpy as np

from kdjax.training.checkpoint import Progress
from kdjax.training.task import Training

Calls = list[dict[str, list[float]]]


class Logged(NamedTuple):
    """Metrics of a call, of each member, that are not yet read from the device."""

    metrics: Sequence[Mapping[str, Any]]
    steps: int


def unlogged(pending: Sequence[Logged], members: int) -> list[Calls]:
    """Of each member the metrics of the calls, as plain values: a Progress's own."""
    read = jax.device_get([call.metrics for call in pending])
    return [
        [{n: np.atleast_1d(v).tolist() for n, v in call[i].items()} for call in read]
        for i in range(members)
    ]


def restored(progress: Sequence[Progress]) -> list[Logged]:
    """The calls whose mean was not written when the members were saved."""
    calls = zip(*(member.unlogged for member in progress), strict=True)
    return [Logged(call, len(next(iter(call[0].values())))) for call in calls]


def last_logged(progress: Progress) -> int:
    """The last step whose metrics were written when this was saved."""
    return progress.step - sum(call.steps for call in restored([progress]))


class Saving:
    """When a checkpoint is due within an epoch: after so many steps, or minutes.

    Each process has its own clock, but the first alone saves, and waits for none.
    """

    def __init__(self, training: Training, step: int):
        self._steps = training.checkpoint_steps
        self._minutes = training.checkpoint_minutes
        self._step, self._since = step, monotonic()

    def is_due(self, step: int) -> bool:
        """Whether it is due at this step; then the minutes begin anew."""
        every, minutes = self._steps, self._minutes
        passed = (monotonic() - self._since) / 60
        due = every is not None and step // every > self._step // every
        due = due or (minutes is not None and passed >= minutes)
        self._step = step
        if due:
            self._since = monotonic()
        return due
