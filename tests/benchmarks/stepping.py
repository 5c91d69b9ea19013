"""What the benchmarks share: the machine, steps as training runs them, and a peer."""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import chain, count, islice
from pathlib import Path
from typing import NamedTuple

import jax

from kdjax.machine import threads
from kdjax.report.marks import put
from kdjax.report.tables import table
from kdjax.training import environment, host, parallel, programs
from kdjax.training.environment import processor

ROOT = Path(__file__).resolve().parents[2]
PEERS = ROOT.parent / "shared" / "peers"
# what host.keep_freed_memory asks of glibc, for a peer
KEEP_FREED = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1),
    "MALLOC_ARENA_MAX": "1",
}


class Case(NamedTuple):
    """What is timed, and the peer's program for the same.

    prepare: () -> measure, compiled; measure: () -> ms, the median of a round.
    peer: (a program of PEERS, how the line begins in which it prints its ms, what it is
      given) or None.
    keep: both keep freed memory for the next call, as training does; it slows small
      calls, and stays so in this process.
    """

    name: str
    prepare: Callable[[], Callable[[], float]]
    peer: tuple[str, ...] | None = None
    keep: bool = True


def parser(doc, *, rounds=3, timed=True, into=False):
    """The flags that the benchmarks share."""
    made = argparse.ArgumentParser(description=doc.splitlines()[0])
    made.add_argument(
        "--tiny", action="store_true", help="show that it runs; measures nothing"
    )
    if timed:
        made.add_argument("--rounds", type=int, default=rounds, help="of each case")
        made.add_argument(
            "--peer",
            metavar="PYTHON",
            help="a Python that has PyTorch: in each round, run the peer's program too",
        )
    if into:
        made.add_argument("--into", metavar="FILE", help="the page that has the table")
    return made


def print_machine():
    """A ratio holds for one processor, so every output begins with its name."""
    print(
        f"{processor()}, {threads()} threads, jax {jax.__version__}, "
        f"{jax.default_backend()}",
        flush=True,
    )


def in_process(file, *arguments, cores=None):
    """What a benchmark prints as JSON in a process of its own, on so many cores.

    cores: the first of this process's; None: all.
    """
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:cores])
    try:  # it inherits them
        done = subprocess.run(
            [sys.executable, file, *map(str, arguments)],
            cwd=Path(file).parent,
            env=os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": path},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    finally:
        os.sched_setaffinity(0, before)
    return json.loads(done.stdout.splitlines()[-1])


def report(cases, *, rounds, peer, into=None, name=None):
    """Prints each case's median ms; with a peer run in turn, its median and the ratio.

    In brackets what each round gave. The ratio is the peer's time by kdjax's. `into`:
    a Markdown page, between whose marks of `name` the same is written as a table.
    """
    rows = []
    for case in cases:
        if case.keep:
            host.keep_freed_memory()
        measure = case.prepare()
        ours, theirs = [], []
        for _ in range(rounds):
            ours.append(measure())
            if peer and case.peer:
                theirs.append(peer_ms(peer, *case.peer, keep=case.keep))
        line = f"{case.name}: {_spread(ours)} ms"
        ratios = []
        if theirs:
            ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
            line += f"; peer {_spread(theirs)} ms; ratio {_spread(ratios)}"
        print(line, flush=True)
        rows.append((case.name, *map(said, (ours, theirs, ratios))))
    if into:
        head = ("", "kdjax, ms", "PyTorch, ms", "ratio")
        put(f"{table(head, rows)}\n\n{made_with(rounds)}.\n", Path(into), name)


def made_with(rounds):
    """The line under a table: processor, cores, versions, commit, rounds."""
    commit = environment.commit()
    state = "" if commit["clean"] else ", with changes"
    info = Path("/proc/cpuinfo")
    known = info.read_text().split() if info.exists() else ()
    simd = ", ".join(x for x in ("amx_tile", "avx512f", "avx2") if x in known)
    return (
        f"{processor()} ({simd or 'no AVX2'}), {threads()} cores, "
        f"jax {jax.__version__}, kdjax {str(commit['commit'])[:7]}{state}, "
        f"XLA_FLAGS={os.environ.get('XLA_FLAGS', '')!r}; medians of {rounds} rounds, "
        "in brackets the least and the largest"
    )


def said(values):
    """`12.3 (11.9-14.0)`, the median of the rounds and their ends."""
    if not values:
        return "-"
    median, least, most = statistics.median(values), min(values), max(values)
    return (
        f"{median:.3g} ({least:.3g}-{most:.3g})" if len(values) > 1 else f"{median:.3g}"
    )


def peer_ms(python, program, label, *arguments, keep):
    """What the peer's program prints: 'LABEL ...: 12.34 ms ...'."""
    done = subprocess.run(
        [python, PEERS / program, *arguments],
        env=os.environ | (KEEP_FREED if keep else {}),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    timed = re.search(
        rf"^{re.escape(label)}\b[^:\n]*: ([\d.]+) ms", done.stdout, re.MULTILINE
    )
    if not timed:
        raise SystemExit(
            f"{program}: expected a line '{label}: ... ms', found {done.stdout!r}"
        )
    return float(timed[1])


def _spread(values):
    median = f"{statistics.median(values):.4g}"
    if len(values) == 1:
        return median
    return f"{median} ({', '.join(f'{value:.4g}' for value in values)})"


def steps(make, batch, *, repeats, warmup=3):
    """`Case.prepare` of the steps of the task that `make` makes."""

    def prepare():
        running = run_steps(make(), batch)
        for _ in islice(running, warmup):
            pass
        return lambda: median_ms(seconds for seconds, _ in islice(running, repeats))

    return prepare


def calls(make, *, repeats, warmup=5, per=1):
    """`Case.prepare` of the call that `make` makes; ms by `per`."""

    def prepare():
        call = make()
        for _ in range(warmup):
            jax.block_until_ready(call())
        return lambda: median_ms(_seconds(call) for _ in range(repeats)) / per

    return prepare


def _seconds(call):
    start = time.perf_counter()
    jax.block_until_ready(call())
    return time.perf_counter() - start


def median_ms(seconds):
    return statistics.median(seconds) * 1e3


def ready(task):
    """(compiled step, state, constants, shard) of a task on one device."""
    devices = parallel.make("pmap", devices=1)
    everywhere = devices.replicate((task.constants(), jax.random.key(1)))
    state = devices.replicate(task.init(jax.random.key(0)))
    return programs.compiled_step(task, devices), state, everywhere, devices.shard


def run_steps(task, batch):
    """(seconds, metrics) of step after step, waiting for each."""
    step, state, everywhere, shard = ready(task)
    epochs = (task.data["train"].batches(batch, epoch=e) for e in count(1))
    for each in chain.from_iterable(epochs):
        start = time.perf_counter()
        state, metrics = step(state, everywhere, shard(each))
        jax.block_until_ready(metrics)
        yield time.perf_counter() - start, metrics
