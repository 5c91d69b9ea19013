#!/usr/bin/env python3
"""Runs a command as several processes of one job, on this machine's processor.

    python launch/local_multiprocess.py --processes=2 --devices=2 -- COMMAND...

Each process gets `--distributed=127.0.0.1:PORT,N,I` at the end of its command and
`--devices` devices of its own (JAX_NUM_CPU_DEVICES, on the CPU unless JAX_PLATFORMS
says otherwise). Each line of output begins with the process's number. When one fails
the others are sent SIGTERM, and SIGKILL `--grace` seconds later. SIGTERM and SIGINT are
passed on to all. The exit code is that of the first process that failed.

    python launch/local_multiprocess.py --processes=2 --devices=2 -- \\
        .venv/bin/python -m kdjax --config=configs/digits_eskd.py --workdir=runs/two
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from types import FrameType
from typing import IO

from command_line import Parser, exit_code, fail, number, say

TICK = 0.01  # seconds between looks at the processes
_printing = threading.Lock()


def free_port() -> int:
    """A TCP port that nothing listens on, just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def commands(command: list[str], *, processes: int, port: int) -> list[list[str]]:
    """The command of each process."""
    address = f"127.0.0.1:{port},{processes}"
    return [[*command, f"--distributed={address},{i}"] for i in range(processes)]


def environment(given: Mapping[str, str], *, devices: int) -> dict[str, str]:
    """The environment of each process."""
    platform = {"JAX_PLATFORMS": "cpu", "PYTHONUNBUFFERED": "1"}
    return platform | dict(given) | {"JAX_NUM_CPU_DEVICES": str(devices)}


def start(each: list[list[str]], environ: dict[str, str]) -> list[subprocess.Popen]:
    """Starts the processes, in sessions of their own: Ctrl-C comes through us."""
    started: list[subprocess.Popen] = []
    for words in each:
        try:
            process = subprocess.Popen(
                words,
                env=environ,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            send(started, signal.SIGKILL)
            fail(f"cannot run {words[0]!r}: {error.strerror}")
        started.append(process)
    return started


def relay(index: int, stream: IO[bytes]) -> None:
    """Copies a process's lines to stdout, its number before each."""
    for line in stream:
        with _printing, contextlib.suppress(BrokenPipeError):  # `| head -1`: run on
            os.write(1, b"[%d] %s\n" % (index, line.rstrip(b"\r\n")))


def send(processes: list[subprocess.Popen], number_: int) -> None:
    """Sends a signal to those that still run."""
    for process in processes:
        process.send_signal(number_)  # does nothing to one that ended


def wait(processes: list[subprocess.Popen], *, grace: float) -> int:
    """Waits for all, ends them when one fails: the first failing code, or 0."""
    running = dict(enumerate(processes))
    failed, deadline = 0, float("inf")
    while running:
        for index, process in list(running.items()):
            if process.poll() is None:
                continue
            del running[index]
            code = exit_code(process.returncode)
            if code and not failed:
                failed, deadline = code, time.monotonic() + grace
                if running:
                    say(f"process {index} ended with exit code {code}; ending the rest")
                send(list(running.values()), signal.SIGTERM)
        if time.monotonic() > deadline:
            deadline = float("inf")
            names = ", ".join(map(str, running))
            say(f"process {names} runs {grace:g} s after SIGTERM; killing it")
            send(list(running.values()), signal.SIGKILL)
        time.sleep(TICK)
    return failed


def main(argv: list[str]) -> int:
    """Parses the command line and returns the exit code."""
    parser = Parser(__doc__)
    count = number(int, low=1)
    parser.add_argument("--processes", type=count, default=2, help="how many (2)")
    parser.add_argument("--devices", type=count, default=2, help="of each (2)")
    parser.add_argument(
        "--grace",
        type=number(float, low=0),
        default=30,
        help="seconds between SIGTERM and SIGKILL, when one has failed (30)",
    )
    options, command = parser.split(argv)
    if not command:
        fail("no command: local_multiprocess.py [flags] -- COMMAND...")
    each = commands(command, processes=options.processes, port=free_port())

    started: list[subprocess.Popen] = []
    early: list[int] = []  # signals that came before the processes were there

    def pass_on(number_: int, frame: FrameType | None) -> None:
        if started:
            send(started, number_)
        else:
            early.append(number_)

    signal.signal(signal.SIGTERM, pass_on)
    signal.signal(signal.SIGINT, pass_on)
    started += start(each, environment(os.environ, devices=options.devices))
    for number_ in list(early):
        send(started, number_)
    readers = [
        threading.Thread(target=relay, args=(index, process.stdout), daemon=True)
        for index, process in enumerate(started)
    ]
    for reader in readers:
        reader.start()
    code = wait(started, grace=options.grace)
    for reader in readers:
        reader.join(timeout=5)  # a grandchild may hold the pipe open
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
