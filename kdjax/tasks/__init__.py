"""The tasks by name: each `make(**config sections)` gives a `training.loop.Task`."""

from __future__ import annotations

from collections.abc import Callable

from kdjax.tasks import autoencoder, beatgan, detector, distill, probe, simclr
from kdjax.training.loop import Task

TASKS: dict[str, Callable[..., Task]] = {
    "autoencoder": autoencoder.make,
    "beatgan": beatgan.make,
    "detector": detector.make,
    "distill": distill.make,
    "probe": probe.make,
    "simclr": simclr.make,
}
