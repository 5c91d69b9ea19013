"""Worker processes: stages that do not read one another are trained side by side.

Each worker has its own share of the CPU's cores, and computes what one process with as
many cores computes, bit for bit. The process that started the workers says their lines
and ends them as it ends itself: at Ctrl-C and SIGTERM they save first.
"""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection
from multiprocessing.queues import SimpleQueue
from types import TracebackType
from typing import Any, NamedTuple, TextIO

import jax
from absl import logging
from tqdm import tqdm

from kdjax import cells, machine
from kdjax.cells import Cell, Seed
from kdjax.checks import integer
from kdjax.console import say, warn
from kdjax.errors import MachineError
from kdjax.training import host, parallel, preemption, processes
from kdjax.training.preemption import Preempted

MEMORY_A_JOB = 2 * 2**30  # bytes: jax, a small network and its data
SAVING_S = 60.0  # so long may workers that are to end take to save
BLAS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def number(asked: int | None, *, stages: int, devices: parallel.Parallel) -> int:
    """How many stages are trained at the same time.

    asked: None for as many as there are cores, `stages` in the whole experiment and
    MEMORY_A_JOB each; 1 on an accelerator, on several devices and of several
    processes, where an InputError says so if more were asked for.
    """
    alone = devices.devices == 1 and processes.count() == 1
    if not alone or jax.default_backend() != "cpu":
        return integer(1 if asked is None else asked, low=1, high=1, where="--jobs")
    if asked is not None:
        return integer(asked, low=1, high=machine.threads(), where="--jobs")
    room = machine.memory() // MEMORY_A_JOB
    return max(1, min(machine.threads(), stages, room))


def as_recorded(environment: Mapping[str, Any]) -> int:
    """How many stages at the same time have as many threads each as a stage had.

    environment: of the stage's record.
    """
    if environment["platform"] != "cpu" or environment["devices"] > 1:
        return 1
    return max(1, machine.threads() // int(environment["threads"]))


class _Settings(NamedTuple):
    """What every worker is given when it starts."""

    cores: SimpleQueue[set[int]]
    stdout: Connection
    stderr: Connection
    verbosity: int
    unraisable: Callable[..., Any]


class Workers:
    """A pool of worker processes; a context."""

    def __init__(self, jobs: int):
        self.jobs = jobs
        self._processes: list[Any] = []

    def __enter__(self) -> Workers:
        context = multiprocessing.get_context("spawn")
        cores: SimpleQueue[set[int]] = context.SimpleQueue()
        for share in _shares(self.jobs):
            cores.put(share)
        self._printers, ends = [], []
        for write in (say, _say_on_stderr):
            ours, theirs = context.Pipe(duplex=False)
            printer = threading.Thread(target=_pass_on, args=(ours, write))
            self._printers.append(printer)
            ends.append(theirs)
        settings = _Settings(
            cores, ends[0], ends[1], logging.get_verbosity(), sys.unraisablehook
        )
        self._pool = ProcessPoolExecutor(
            self.jobs, mp_context=context, initializer=_begin, initargs=(settings,)
        )
        before = multiprocessing.active_children()
        with _blas_threads(max(machine.threads() // self.jobs, 1)):
            for _ in range(self.jobs):  # each starts one, for none is idle yet
                self._pool.submit(os.getpid)
        started = multiprocessing.active_children()
        self._processes = [child for child in started if child not in before]
        for end in ends:
            end.close()  # the last worker's end is the end of all lines
        for printer in self._printers:
            printer.start()
        return self

    def train(self, group: Sequence[Cell]) -> Future[None]:
        """`cells.train` of stages of one program, in a worker that is free."""
        return self._pool.submit(_train, [(cell.this, cell.name) for cell in group])

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        ending = self._processes if error is not None else []
        try:
            for process in ending:
                process.terminate()
            for process in ending:
                process.join(SAVING_S)
        finally:  # of a second Ctrl-C, too
            for process in ending:
                process.kill()
            self._pool.shutdown(cancel_futures=True)
            for printer in self._printers:
                printer.join()
        if isinstance(error, Preempted):
            raise Preempted("the workers have saved") from error
        if isinstance(error, BrokenProcessPool):
            raise MachineError(
                "a worker process is gone: killed, as for want of memory, or crashed; "
                "--jobs=1 takes the least memory"
            ) from error


def _shares(jobs: int) -> list[set[int]]:
    """The cores of each worker: as many of each, neighbours."""
    if not hasattr(os, "sched_getaffinity"):
        return [set()] * jobs
    cores = sorted(os.sched_getaffinity(0))
    size = len(cores) // jobs
    return [set(cores[i * size : (i + 1) * size]) for i in range(jobs)]


@contextlib.contextmanager
def _blas_threads(count: int) -> Iterator[None]:
    """Processes that start inside have so many threads of BLAS, if not told otherwise.

    It counts the cores when it is loaded, before a worker knows its own.
    """
    given = [name for name in BLAS if name not in os.environ]
    os.environ.update(dict.fromkeys(given, str(count)))
    try:
        yield
    finally:
        for name in given:
            del os.environ[name]


def _pass_on(lines: Connection, write: Callable[[str], None]) -> None:
    """Says what the workers say, until the last of them is gone."""
    with open(lines.fileno(), errors="replace", closefd=False) as file:
        for line in file:
            with tqdm.external_write_mode():
                write(line.rstrip("\n"))
    lines.close()


def _say_on_stderr(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# What follows runs in a worker.


def _begin(given: _Settings) -> None:
    """Prepares a worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process answers it
    preemption.heed_in_worker()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    tqdm.set_lock(threading.RLock())  # its own one would outlive this process
    sys.stdout, sys.stderr = _lines(1, given.stdout), _lines(2, given.stderr)
    cores = given.cores.get()
    if cores:
        os.sched_setaffinity(0, cores)
    logging.set_verbosity(given.verbosity)
    sys.unraisablehook = given.unraisable
    host.cache_compilation()
    host.keep_freed_memory()


def _lines(stream: int, end: Connection) -> TextIO:
    """The standard stream of that number, which from here on leads into a pipe."""
    os.dup2(end.fileno(), stream)
    end.close()
    return open(stream, "w", 1, errors="backslashreplace", closefd=False)


def _end_with_parent() -> None:
    """A worker that nobody waits for would write into a folder that nobody holds."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(processes.LOST)


def _train(places: Sequence[tuple[Seed, str]]) -> None:
    """Trains stages of one program."""
    try:
        with preemption.at_work():
            with contextlib.redirect_stdout(io.StringIO()):  # said before
                group = [cells.checked(this, name) for this, name in places]
            cells.train(group)
    except Preempted as where:
        if str(where) not in (preemption.BETWEEN, preemption.OUTSIDE):
            warn(str(where))
        os._exit(processes.PREEMPTED)
