"""Watching a run: how fast it steps, whether it stands still or its loss leaps."""

from __future__ import annotations

import resource
import sys
import threading
from collections import defaultdict, deque
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any

import jax
import numpy as np

from kdjax import files
from kdjax.console import warn
from kdjax.training import processes

FILE = "timing.json"
LINE_S = 60  # between two lines where no terminal shows a bar
STALL = 10  # times the median step, and LEAST_S at the least
LEAST_S = 10.0
SPIKE = 10  # times the median of the last losses
LOSSES = 100
KEPT = 10_000  # times of steps


class Watch:
    """What is said of a run on stderr while it trains, and its step times afterwards.

    A context. In processes other than the first it says nothing.
    """

    def __init__(self, label: str, steps: int, *, profile: Profile | None = None):
        """`steps`: how many the whole run has."""
        self._label, self._steps, self._profile = label, steps, profile
        self._first = processes.is_first()
        self._seconds: deque[float] = deque(maxlen=KEPT)  # a step
        self._losses: dict[str, deque[float]] = defaultdict(
            lambda: deque(maxlen=LOSSES)
        )
        self._leaps: set[str] = set()
        self._loss: float | None = None  # none was read yet
        self._last: float | None = None
        self._said = monotonic()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Watch:
        if self._first:
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ended.set()
        if self._profile:
            self._profile.stop()

    def step(self, done: int, count: int) -> None:
        """A call of `count` steps is over; `done` steps of the run are.

        The first one, and the first after a pause, may compile, and is not timed.
        """
        now = monotonic()
        if self._last is not None:
            self._seconds.append((now - self._last) / count)
        self._last = now
        if self._profile:
            self._profile.step(done)
        if self._first and now - self._said > LINE_S:
            self._said = now
            if not sys.stderr.isatty():
                self._say(self._line(done))

    def pause(self) -> None:
        """No steps follow for a while: what comes is no stall, and is not timed."""
        self._last = None

    def loss(self, label: str, step: int, value: float) -> None:
        """Notes a step's loss, and says so where it leaps."""
        known = self._losses[label]
        usual = float(np.median(known)) if len(known) == LOSSES else float("inf")
        leaps = value > SPIKE * usual > 0
        if leaps and label not in self._leaps and self._first:
            warn(
                f"{label}: loss {value:.4g} at step {step}, {value / usual:.0f} x the "
                f"median of the {LOSSES} before"
            )
        (self._leaps.add if leaps else self._leaps.discard)(label)
        known.append(value)
        self._loss = value

    def write(self, folder: Path) -> None:
        """Writes FILE: percentiles of a step's time in ms, and the largest memory."""
        found: dict[str, Any] = {"steps_timed": len(self._seconds), "step_ms": {}}
        if self._seconds:
            ms = 1000 * np.percentile(self._seconds, (5, 50, 95, 99))
            names = ("p5", "median", "p95", "p99")
            found["step_ms"] = dict(zip(names, ms.round(3).tolist(), strict=True))
        # Linux counts in KiB
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        found["host_peak_mib"] = round(peak, 1)
        stats = [device.memory_stats() for device in jax.local_devices()]
        peaks = [
            s["peak_bytes_in_use"] for s in stats if s and "peak_bytes_in_use" in s
        ]
        if peaks:
            found["device_peak_mib"] = round(max(peaks) / 2**20, 1)
        files.write_json(folder / FILE, found)

    def _line(self, done: int) -> str:
        said = [f"step {done} of {self._steps}"]
        if self._loss is not None:
            said.append(f"loss {self._loss:.4g}")
        if self._seconds:
            median = float(np.median(self._seconds))
            left = median * (self._steps - done) / 60
            said += [f"{1000 * median:.3g} ms a step", f"{left:.0f} min left"]
        return ", ".join(said)

    def _look(self) -> None:
        """Says once that no step was done for long; in a thread of its own."""
        said = None
        while not self._ended.wait(1.0):
            last = self._last
            if last is None or last == said or not self._seconds:
                continue
            usual = float(np.median(list(self._seconds)))
            waited = monotonic() - last
            if waited > max(STALL * usual, LEAST_S):
                said = last
                self._say(
                    f"no step for {waited:.0f} s; the median is {1000 * usual:.3g} ms"
                )

    def _say(self, text: str) -> None:
        warn(f"{self._label}: {text}")


class Profile:
    """A trace of the steps `first` to `last` of the first stage that takes them.

    For TensorBoard or Perfetto. A call of several steps is traced whole.
    """

    def __init__(self, folder: Path, first: int, last: int):
        self._folder, self._first, self._last = folder, first, last
        self._on = self._done = False

    def step(self, done: int) -> None:
        """So many steps are done: a trace begins, goes on, or ends."""
        if self._done:
            return
        if not self._on and self._first - 1 <= done < self._last:
            jax.profiler.start_trace(str(self._folder))
            self._on = True
        elif self._on and done >= self._last:
            self.stop()

    def stop(self) -> None:
        """Ends a trace that is on, and says where it is."""
        if self._on:
            jax.profiler.stop_trace()
            self._on, self._done = False, True
            warn(f"profile: {self._folder}")
