"""Several processes: how they meet, agree, heed the first one, and end together.

Each runs the same program on its own devices. What they say to each other, beside the
devices' collectives, are short texts by key in the coordination service of
`jax.distributed`, which process 0 runs. Only this file and `parallel.py` know that
there may be others; alone, every function here does nothing or calls what it is given.

What one process finds wrong ends all: it says so on its way out, and a thread of each
of the others, which listens, prints it and ends its process with the same exit code. A
process that is killed says nothing. The service misses its heartbeats, and jax then
aborts the others, where no `except` sees it: they say who it was as they are aborted.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import json
import os
import re
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from kdjax.checks import difference
from kdjax.errors import InputError, MachineError

MEET_S = 300  # how long one waits for the others to come
HEARTBEAT_S = 15  # one that was not heard of for so long is lost
BEAT_S = 0.5  # between two looks at whether another one has stopped
GRACE_S = 5  # for the others to read why process 0, which runs the service, stops
WAIT_MS = 1000  # between two looks at the signals of this process
PREEMPTED = 143  # the exit code of all, once they have saved
LOST = 134  # the exit code of those who lose another, as of jax's own abort
# how a collective says, as whatever kind of error, that it did not reach another
STATUS = "UNKNOWN|UNAVAILABLE|ABORTED|CANCELLED|INTERNAL|DEADLINE_EXCEEDED"
UNREACHED = re.compile(f"({STATUS}): ")


class Place(NamedTuple):
    """Process `own` of `number`, which meet at `address`, "HOST:PORT" of process 0.

    local: which of the host's accelerators is its own; None: all of them.
    """

    address: str
    number: int
    own: int
    local: int | None = None


class _Beat(NamedTuple):
    """The last beat of a process, and when it was first seen here, in seconds."""

    beat: str
    when: float


class _Group(NamedTuple):
    """The processes that have met, as one of them sees them."""

    client: Any  # of the coordination service
    own: int
    names: list[str]  # "process 1 (host, pid 123)"
    calls: Iterator[int]  # of the functions that all processes call
    heard: list[_Beat]
    ending: threading.Event  # this process ends by itself
    listener: threading.Thread


_group: _Group | None = None


def count() -> int:
    """How many processes run together."""
    return len(_group.names) if _group else 1


def index() -> int:
    """Which of them this is, from 0."""
    return _group.own if _group else 0


def is_first() -> bool:
    """Whether this is process 0, which alone writes what a run leaves."""
    return index() == 0


def meet(spec: str) -> None:
    """Waits for the other processes, if the flag `--distributed` says that there are.

    "off": there are none. "HOST:PORT,N,I": this is process I of N, which meet at
    process 0's port. "auto": by a TPU slice's metadata, or by the variables that SLURM
    gives each task of a step; without either, off. Before any other call of jax.
    InputError for any other text, MachineError if process 0's port is in use.
    """
    place = _place(spec)
    if place is None or place.number == 1 or _group is not None:
        return
    print(
        f"kdjax: process {place.own} of {place.number} waits for the others at "
        f"{place.address}, {MEET_S} s at most",
        file=sys.stderr,
        flush=True,
    )
    if place.own == 0:
        _check_free(int(place.address.rpartition(":")[2]))
    _join(place)


def _place(spec: str) -> Place | None:
    if spec == "off":
        return None
    if spec == "auto":
        return _of_slurm() or _of_tpu()
    match = re.fullmatch(r"(\S+:(\d{1,5})),(\d{1,6}),(\d{1,6})", spec)
    if match is None or not 0 < int(match[2]) < 2**16:
        raise InputError(
            "--distributed: expected auto, off or HOST:PORT,N,I (this is process I of "
            f"N), found {spec!r}"
        )
    place = Place(match[1], int(match[3]), int(match[4]))
    if place.own >= place.number:
        raise InputError(
            f"--distributed: expected a process below {place.number}, found "
            f"{place.own} (they count from 0)"
        )
    return place


def _of_slurm() -> Place | None:
    """A task of a SLURM step of several; an allocation's shell has a part of these."""
    names = ("JOB_ID", "STEP_NODELIST", "NTASKS", "PROCID", "LOCALID")
    job, nodes, tasks, own, local = (os.environ.get(f"SLURM_{n}") for n in names)
    if not (job and nodes and tasks and own and local) or int(tasks) < 2:
        return None
    # the first of "node7", "node7,node9", "node[007-009,12],other3"
    first = re.match(r"([^,\[]+)(?:\[(\d+))?", nodes)
    host = "".join(part or "" for part in first.groups()) if first else nodes
    port = 2**16 - 2**12 + int(job) % 2**12  # of jobs on a node, each its own
    return Place(f"{host}:{port}", int(tasks), int(own), int(local))


def _of_tpu() -> Place | None:
    """A host of a Cloud TPU slice, or of several slices."""
    from jax._src.clusters import GceTpuCluster, GkeTpuCluster

    for cluster in (GkeTpuCluster, GceTpuCluster):
        if cluster.is_env_present():
            hosts = cluster.get_process_count()
            if hosts < 2:
                return None
            address = cluster.get_coordinator_address(MEET_S, None)
            return Place(address, hosts, cluster.get_process_id())
    return None


def _check_free(port: int) -> None:
    """MachineError if another program has the port: jax would crash without a word."""
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind(("", port))
        except OSError as error:
            raise MachineError(
                f"--distributed: port {port} of this host: {error.strerror}"
            ) from error


def _join(place: Place) -> None:
    global _group
    import jax
    from jax._src import distributed

    began = time.monotonic()
    _heed_abort(place, began)
    jax.distributed.initialize(
        place.address,
        place.number,
        place.own,
        local_device_ids=place.local,
        cluster_detection_method="deactivate",
        initialization_timeout=MEET_S,
        heartbeat_timeout_seconds=HEARTBEAT_S,
    )
    client = distributed.global_state.client
    assert client is not None
    who = f"process {place.own} ({socket.gethostname()}, pid {os.getpid()})"
    try:
        client.key_value_set(f"kdjax/names/{place.own}", who)
        names = [
            client.blocking_key_value_get(f"kdjax/names/{i}", MEET_S * 1000)
            for i in range(place.number)
        ]
    except RuntimeError:  # jax's, of a process that was killed just now
        _miss(place, began)
    listener = threading.Thread(target=_listen, daemon=True)
    heard = [_Beat("", time.monotonic())] * place.number
    _group = _Group(
        client,
        place.own,
        names,
        itertools.count(),
        heard,
        threading.Event(),
        listener,
    )
    listener.start()


def first_says(work: Callable[[], Any]) -> Any:
    """What `work` returns in process 0, plain values; it is not called in the others.

    All processes call this, in the same order; what process 0 does before, such as
    writing a file, is then done.
    """
    if _group is None:
        return work()
    key = f"kdjax/said/{next(_group.calls)}"
    if _group.own == 0:
        _group.client.key_value_set(key, json.dumps(work()))
    return json.loads(_waited_for(key))


def all_say(value: Any) -> list[Any]:
    """The values, plain ones, that the processes call this with, in their order."""
    if _group is None:
        return [value]
    key = f"kdjax/said/{next(_group.calls)}"
    _group.client.key_value_set(f"{key}/{_group.own}", json.dumps(value))
    return [json.loads(_waited_for(f"{key}/{i}")) for i in range(count())]


def _waited_for(key: str) -> str:
    """What is said under a key, however long it takes; a signal is heeded meanwhile."""
    assert _group is not None
    while True:
        try:
            return str(_group.client.blocking_key_value_get(key, WAIT_MS))
        except RuntimeError as error:
            if "DEADLINE_EXCEEDED" not in str(error):
                raise


def agree(**values: Any) -> None:
    """InputError on every process unless all have the same values, by name."""
    own = json.loads(json.dumps(values))
    for i, others in enumerate(all_say(own)):
        found = difference(others, own)
        if found is not None and _group is not None:
            where, its, mine = found
            raise InputError(
                f"{where}: expected the same on every process, found "
                f"{its!r} on {_group.names[i]} and {mine!r} here"
            )


def check_shared(file: Path) -> None:
    """InputError unless all processes see what process 0 has just written to a file."""
    text = first_says(file.read_text)
    if not all(all_say(file.exists() and file.read_text() == text)):
        raise InputError(
            "--workdir: expected a folder that all processes share, found that not all "
            f"of them see {file.resolve()} of process 0"
        )


def _listen() -> None:
    """Beats, and ends this process when another one has stopped."""
    assert _group is not None
    client = _group.client
    for beat in itertools.count():
        if _group.ending.wait(BEAT_S):
            return
        try:
            key = f"kdjax/beats/{_group.own}"
            client.key_value_set(key, str(beat), allow_overwrite=True)
            for key, said in client.key_value_dir_get("kdjax/beats/"):
                i = int(key.rpartition("/")[2])
                if _group.heard[i].beat != said:
                    _group.heard[i] = _Beat(said, time.monotonic())
            stopped = client.key_value_dir_get("kdjax/stopped/")
        except Exception:  # jax's, of the service that process 0 runs
            _lose(0)
        for key, text in stopped:
            i = int(key.rpartition("/")[2])
            if i != _group.own and not _group.ending.is_set():
                why = json.loads(text)
                client.key_value_set(f"kdjax/heard/{_group.own}", "")
                _end(f"{_group.names[i]} stopped: {why['message']}", why["code"])


def _heed_abort(place: Place, began: float) -> None:
    """Has SIGABRT call `_aborted`, in the thread that aborts: jax's or this one."""
    global _on_abort
    handler = ctypes.CFUNCTYPE(None, ctypes.c_int)
    _on_abort = handler(lambda number: _aborted(place, began))  # kept, lest it be freed
    libc = ctypes.CDLL(None)
    libc.signal.argtypes = (ctypes.c_int, handler)
    libc.signal(signal.SIGABRT, _on_abort)


_on_abort: Any = None


def _aborted(place: Place, began: float) -> None:
    """Says what jax aborts for: whom this process has lost, or has not met.

    The service cannot be asked: the thread that is aborted would take its answer.
    """
    if _group is None:
        _miss(place, began)
    others = [i for i in range(count()) if i != _group.own]
    silent = min(others, key=lambda i: _group.heard[i].when)
    if time.monotonic() - _group.heard[silent].when > HEARTBEAT_S / 2:
        _lose(silent)
    if not _answers(place.address):  # process 0 is missed at once
        _lose(0)
    os._exit(LOST)  # what jax says above is of this process


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=2).close()
    except OSError:
        return False
    return True


def _miss(place: Place, began: float) -> NoReturn:
    """Ends this process, for not all have come, or one has gone already."""
    _end(
        f"process {place.own} of {place.number} has not met all the others at "
        f"{place.address} in {time.monotonic() - began:.0f} s",
        LOST,
    )


def _lose(i: int) -> NoReturn:
    """Ends this process, for another one does not answer any more."""
    assert _group is not None
    _end(f"{_group.names[i]} is lost; the same command goes on without loss", LOST)


def _end(message: str, code: int) -> NoReturn:
    print(f"kdjax: {message}", file=sys.stderr, flush=True)
    sys.stdout.flush()
    os._exit(code)


@contextlib.contextmanager
def ending() -> Iterator[None]:
    """Ends a process as the others need it: they are told why, or waited for.

    An exit with a code, or an error, ends all of them; `command.stop` says its words in
    the exit's notes. What fails because another process is lost waits to be told so.
    """
    try:
        yield
    except BaseException as error:
        if _group is not None and not _is_done(error):
            _leave(error)
        _finish()
        raise
    _finish()


def _is_done(error: BaseException) -> bool:
    """Whether all processes exit so: done, or preempted at one step."""
    return isinstance(error, SystemExit) and error.code in (None, 0, PREEMPTED)


def _finish() -> None:
    """Waits for the others to be done, too, and parts from them."""
    global _group
    if _group is None:
        return
    import jax

    all_say("done")
    _group.ending.set()
    _group.listener.join()
    _group = None
    jax.distributed.shutdown()


def _leave(error: BaseException) -> NoReturn:
    """Tells the others that this process ends, and ends it."""
    assert _group is not None
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else 1
        notes = getattr(error, "__notes__", [])
        message = notes[-1] if notes else f"exit code {code}"
    else:
        # a collective fails before the heartbeats of the one that was killed are missed
        if type(error).__name__ == "JaxRuntimeError" or UNREACHED.match(str(error)):
            time.sleep(HEARTBEAT_S + GRACE_S)
        traceback.print_exception(error)
        code, message = 1, f"{type(error).__name__}: {error}".splitlines()[0]
    _group.ending.set()
    why = json.dumps({"message": message, "code": code})
    with contextlib.suppress(Exception):  # the service may be gone
        _group.client.key_value_set(f"kdjax/stopped/{_group.own}", why)
        until = time.monotonic() + GRACE_S
        while _group.own == 0 and time.monotonic() < until:
            if len(_group.client.key_value_dir_get("kdjax/heard/")) == count() - 1:
                break
            time.sleep(0.1)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
