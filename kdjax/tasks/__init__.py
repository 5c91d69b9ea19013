"""The tasks by name: each `make(**config sections)` gives a `training.loop.Task`."""

from __future__ import annotations

from collections.abc import Callable

from kdjax.tasks.anomaly import autoencoder, baselines, beatgan
from kdjax.tasks.contrastive import probes, simclr
from kdjax.tasks.distillation import distill
from kdjax.training.loop import Task

TASKS: dict[str, Callable[..., Task]] = {
    "autoencoder": autoencoder.make,
    "beatgan": beatgan.make,
    "detector": baselines.make,
    "distill": distill.make,
    "probe": probes.make,
    "simclr": simclr.make,
}
