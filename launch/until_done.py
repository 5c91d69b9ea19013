#!/usr/bin/env python3
"""Runs a command again until it is done.

    python launch/until_done.py [flags] -- COMMAND...

COMMAND is run again after exit codes 134 (it aborted, as jax does when it loses a
peer), 137 (killed) and 143 (preempted), and after no other: 0 is done, 1 diverged, 2
wrong input, 3 the environment, 130 interrupted. It waits first, ever longer.
A run that lasted --long_run seconds was a good one: after it, waits and restarts are
counted from the start.

SIGTERM and SIGINT are passed on to COMMAND, which is then not run again. The exit code
is COMMAND's own, 128 + the signal if one ended it.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from types import FrameType

from command_line import Parser, exit_code, fail, number, say

RESTARTED = {134: "aborted", 137: "killed", 143: "preempted"}
TICK = 0.05  # seconds; how often a wait looks for a signal


class Child:
    """The command's process: signals to this one are passed on to it."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.stopped = False
        self._early: int | None = None  # a signal that came while nothing ran
        for number_ in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number_, self._pass_on)

    def _pass_on(self, number_: int, frame: FrameType | None) -> None:
        self.stopped = True
        if self.process is None:
            self._early = number_
        else:
            self.process.send_signal(number_)

    def run(self, command: list[str]) -> int:
        """Runs the command to its end: its exit code."""
        try:
            # A session of its own: Ctrl-C reaches it once, through us.
            process = subprocess.Popen(command, start_new_session=True)
        except OSError as error:
            fail(f"cannot run {command[0]!r}: {error.strerror}")
        self.process = process
        if self._early is not None:
            process.send_signal(self._early)
        code = exit_code(process.wait())
        self.process = None
        return code

    def pause(self, seconds: float) -> None:
        """Waits, unless told to stop."""
        end = time.monotonic() + seconds
        while not self.stopped and (left := end - time.monotonic()) > 0:
            time.sleep(min(TICK, left))


def until_done(
    command: list[str],
    *,
    first_wait: float,
    longest_wait: float,
    restarts: int,
    long_run: float,
) -> int:
    """Runs the command until its exit code is none of `RESTARTED`: that code."""
    child, count = Child(), 0
    while True:
        began = time.monotonic()
        code = child.run(command)
        took = time.monotonic() - began
        if child.stopped or code not in RESTARTED:
            return code
        count = 1 if took >= long_run else count + 1
        ended = f"exit code {code} ({RESTARTED[code]}) after {took:.1f} s"
        if count > restarts:
            say(f"{ended}; given up after {restarts} restarts in a row")
            return code
        # The exponent is bounded: 2.0**1024 overflows.
        wait = min(longest_wait, first_wait * 2.0 ** min(count - 1, 60))
        say(f"{ended}; restart {count} of {restarts} in {wait:g} s")
        child.pause(wait)
        if child.stopped:
            return code


def main(argv: list[str]) -> int:
    """Parses the command line and returns the exit code."""
    parser = Parser(__doc__)
    seconds = number(float, low=0)
    flags = {
        "first_wait": (seconds, 10, "seconds before the first restart"),
        "longest_wait": (seconds, 600, "no wait is longer, in seconds"),
        "restarts": (number(int, low=0), 50, "in a row, and no more"),
        "long_run": (seconds, 1800, "seconds after which the count starts anew"),
    }
    for name, (kind, default, text) in flags.items():
        parser.add_argument(
            f"--{name}", type=kind, default=default, help=f"{text} ({default})"
        )
    options, command = parser.split(argv)
    if not command:
        fail("no command: until_done.py [flags] -- COMMAND...")
    return until_done(command, **vars(options))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
