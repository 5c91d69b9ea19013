"""The tasks by name: each `make(**config sections)` gives a `training.loop.Task`."""

from __future__ import annotations

from collections.abc import Callable

from kdjax.tasks import beatgan, distill, probe, simclr
from kdjax.training.loop import Task

TASKS: dict[str, Callable[..., Task]] = {
    "beatgan": beatgan.make,
    "distill": distill.make,
    "probe": probe.make,
    "simclr": simclr.make,
}
