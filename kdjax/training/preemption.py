"""Preemption: SIGTERM asks a run to save what it has, and to end.

A run of one process notes the signal while it trains, looks between two steps, and
saves; anywhere else it ends at once, as by Ctrl-C, for what is not yet complete is not
yet written. Of several processes, jax tells all of them, and when: they stop at the
same step.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
from collections.abc import Iterator
from typing import Any

from kdjax.training import processes


class Preempted(BaseException):
    """The run was asked to end (SIGTERM); no error, as KeyboardInterrupt is none."""


BETWEEN, OUTSIDE = "between two stages", "outside of training"  # where nothing is saved

_asked = False
_deferring = False
_idle = False  # a worker that has nothing to save
_points = itertools.count()  # over the whole program: all processes count alike


@contextlib.contextmanager
def heeded() -> Iterator[None]:
    """Heeds SIGTERM inside. Of several processes jax does, since they met."""
    if processes.count() > 1:
        yield
        return
    before = signal.signal(signal.SIGTERM, _note)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def heed_in_worker() -> None:
    """Heeds SIGTERM in a worker process, which it ends at once but for `at_work`."""
    global _idle
    _idle = True
    signal.signal(signal.SIGTERM, _note)


@contextlib.contextmanager
def at_work() -> Iterator[None]:
    """In a worker the signal is answered inside as in a run of one process."""
    global _idle
    _idle = False
    try:
        yield
    finally:
        _idle = True


def check() -> None:
    """Raises Preempted if the run was asked to end; all processes call it alike."""
    asked = _asked
    if processes.count() > 1:
        from jax.experimental import multihost_utils

        asked = multihost_utils.reached_preemption_sync_point(next(_points))
    if asked:
        raise Preempted(BETWEEN)


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Notes a signal for the next `check`, instead of ending at once."""
    global _deferring
    before, _deferring = _deferring, True
    try:
        yield
    finally:
        _deferring = before


def _note(number: int, frame: Any) -> None:
    global _asked
    del number, frame
    _asked = True
    if _idle:
        os._exit(processes.PREEMPTED)
    if not _deferring:
        raise Preempted(OUTSIDE)
