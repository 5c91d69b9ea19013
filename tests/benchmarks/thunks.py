"""Where a step's time goes: what XLA runs on the CPU, and how busy each thread is.

    python tests/benchmarks/thunks.py "WRN16-1 step" [--steps=10] [--tiny]

The names are those of `run.py`'s steps. The trace is jax's own profiler's, which slows
the step somewhat; ms are of one step, summed over threads. A product is a `dot` (Eigen)
or part of a `ynn_fusion`; what else has "fusion" in its name is a loop.
"""

import collections
import gzip
import itertools
import json
import re
import sys
import tempfile
from pathlib import Path

import jax
import run
from stepping import parser, print_machine, run_steps

from kdjax.training import host

# what holds the operations, or waits for them
FRAMES = ("ThunkExecutor", "SlinkyThreadPool", "CommonPjRt", "end: ")


def traced(task, batch, steps):
    """(ms of a step, the events of the trace in XLA's threads, by thread)."""
    running = run_steps(task, batch)
    for _ in itertools.islice(running, 3 * steps):
        pass
    with tempfile.TemporaryDirectory() as folder:
        jax.profiler.start_trace(folder)
        seconds = [seconds for seconds, _ in itertools.islice(running, steps)]
        jax.profiler.stop_trace()
        (file,) = Path(folder).glob("**/*.trace.json.gz")
        events = json.loads(gzip.decompress(file.read_bytes()))["traceEvents"]
    names = {
        (e["pid"], e["tid"]): e["args"]["name"]
        for e in events
        if e.get("name") == "thread_name"
    }
    by_thread = collections.defaultdict(list)
    for event in events:
        thread = names.get((event.get("pid"), event.get("tid")), "")
        if event.get("ph") == "X" and thread.startswith("tf_XLA"):
            by_thread[thread].append(event)
    return 1e3 * sum(seconds) / steps, by_thread


def kinds(events, steps):
    """[(kind of operation, ms of a step, how many of a step)], the longest first."""
    ms, count = collections.Counter(), collections.Counter()
    for event in events:
        if not event["name"].startswith(FRAMES):
            kind = re.sub(r"[.\d]+$", "", event["name"])
            ms[kind] += event["dur"] / 1e3 / steps
            count[kind] += 1 / steps
    return [(kind, value, count[kind]) for kind, value in ms.most_common()]


def busy(events, steps):
    """ms of a step in which a thread is inside an operation."""
    spans = sorted(
        (e["ts"], e["ts"] + e["dur"])
        for e in events
        if not e["name"].startswith(FRAMES)
    )
    total, until = 0.0, 0.0
    for begin, end in spans:
        total += max(end - max(begin, until), 0.0)
        until = max(until, end)
    return total / 1e3 / steps


def main(arguments):
    flags = parser(__doc__, timed=False)
    flags.add_argument("name", help="of a step in run.py")
    flags.add_argument("--steps", type=int, default=10, help="that are traced")
    given = flags.parse_args(arguments)
    rows = {name: row for name, row in run.rows().items() if row.task is not None}
    if given.name not in rows:
        flags.error(f"name: expected one of {'; '.join(rows)}, found {given.name}")
    print_machine()
    host.keep_freed_memory()
    make, batch = rows[given.name].task
    batch = 8 if given.tiny else batch
    ms, by_thread = traced(make(given.tiny), batch, given.steps)
    print(f"{given.name}: {ms:.4g} ms while it is traced")
    for thread, events in sorted(by_thread.items()):
        inside = busy(events, given.steps)
        if inside > 0.02 * ms:
            print(f"thread {thread.partition('/')[0]}: busy {inside:.4g} ms")
    every = [event for events in by_thread.values() for event in events]
    for kind, value, count in kinds(every, given.steps)[:20]:
        print(f"{value:8.3f} ms {count:7.1f} x {kind}")


if __name__ == "__main__":
    main(sys.argv[1:])
