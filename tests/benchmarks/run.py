"""All steps beside PyTorch, eager and compiled, in turn: one table for the README.

    python tests/benchmarks/run.py --torch=PYTHON_WITH_TORCH [--rounds=5]
        [--rows="NAME;NAME ..."] [--into=FILE] [--tiny]

In each round every row of kdjax runs in a process of its own, on all cores and then on
one, and the peers' programs run once (../shared/peers), all with the same setting of
glibc's malloc. The table has the medians of the rounds with the least and the largest,
and the ratio to the faster peer of each round. Beside them stands what the machine can
do, measured in the same rounds: FLOP/s of a product of 2048 x 2048 matrices and GB/s of
a copy that no cache holds. FLOPs of a step are those of its definition, 2 x the
multiply-accumulates of convolutions and products (`kdjax.training.cost`), so a form
that takes fewer can reach more than it needs. Without `--torch` kdjax alone is timed.
`--into` writes the table between the marks of a Markdown file. `--tiny` is what the
tests run.
"""

import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import beatgan
import contrastive
import jax
import jax.numpy as jnp
import numpy as np
import simclr
import wearable
from stepping import (
    KEEP_FREED,
    PEERS,
    calls,
    in_process,
    made_with,
    parser,
    print_machine,
    ready,
    said,
    steps,
)

from kdjax.report.marks import put
from kdjax.report.tables import table
from kdjax.training import host
from kdjax.training.cost import multiply_accumulates

ROW = "--row"  # what a row's own process is started with
LIMITS = "limits"
FORMS = ("all", "eager", "compiled")  # columns of ms
NAME = "speed"  # of the table, in the page's marks
COMPILED = (
    "compiled_torch.py"  # has a line of each form: torch eager X, torch compiled X
)


class Row(NamedTuple):
    """What is timed, tiny or not, and the peers' lines for the same.

    ours: tiny -> () -> ms, compiled; peers: {form: (program, line)}; task: (tiny -> the
    task, its batch) of a training step, else None.
    """

    ours: Callable[[bool], Callable[[], float]]
    peers: dict[str, tuple[str, str]]
    task: tuple[Callable[[bool], Any], int] | None = None


def rows():
    """{name: Row}."""
    both = {}
    for name, student, teacher in (
        ("WRN16-1 step", (16, 1), None),
        ("WRN16-3 step", (16, 3), None),
        ("WRN28-1 step", (28, 1), None),
        ("KD WRN16-3 -> WRN16-1 step", (16, 1), (16, 3)),
    ):
        both[name] = _of_task(_wearable(student, teacher), 64, _compiled(name))
    name = "BeatGAN step"
    both[name] = _of_task(_beatgan, 64, _compiled("BeatGAN ECG step"))
    for batch in (1, 256):
        line = f"BeatGAN inference per beat, batch {batch}"
        both[f"a beat's score, batch {batch}"] = Row(_scoring(batch), _compiled(line))
    for batch in (256, 1024):
        line = f"torch SimCLR step, batch {batch}"
        peers = {"eager": ("simclr_torch.py", line)}
        both[f"SimCLR step, batch {batch}"] = _of_task(_simclr(batch), batch, peers)
    both["NT-Xent, N = 4096"] = Row(_contrast, _compiled("NT-Xent N = 4096"))
    return both


def _compiled(line):
    forms = ("eager", "compiled")
    return {form: (COMPILED, f"torch {form} {line}") for form in forms}


def _of_task(make, batch, peers):
    def ours(tiny):
        few, size = (2, 8) if tiny else (30, batch)
        return steps(lambda: make(tiny), size, repeats=few)()

    return Row(ours, peers, (make, batch))


def _wearable(student, teacher):
    def make(tiny):
        sizes = wearable.TINY if tiny else wearable.FULL
        small = (10, 1)
        pair = (student, teacher) if not tiny else (small, teacher and small)
        return wearable.make_task(sizes, *pair)

    return make


def _beatgan(tiny):
    return beatgan.make_task(beatgan.TINY if tiny else beatgan.Sizes())


def _simclr(batch):
    def make(tiny):
        return simclr.make_task(8 if tiny else batch)

    return make


def _scoring(batch):
    def ours(tiny):
        sizes, many = (beatgan.TINY, 2) if tiny else (beatgan.Sizes(), 100)
        scorer = partial(beatgan.make_scorer, sizes, batch)
        return calls(scorer, repeats=many, per=batch)()

    return ours


def _contrast(tiny):
    step = contrastive.kdjax_step(32 if tiny else 4096)
    return lambda: contrastive.measure(step, 2 if tiny else 5)["ms"]


def step_flops(task, batch):
    """FLOPs of one step by its definition: forward, backward, teacher."""
    step, state, everywhere, shard = ready(task)
    each = next(iter(task.data["train"].batches(batch, epoch=1)))
    return 2 * multiply_accumulates(step, state, everywhere, shard(each))


def limits(tiny):
    """GFLOP/s of a large product, GB/s read and written by a copy."""
    side, size = (64, 2**16) if tiny else (2048, 2**27)
    square = jnp.ones((side, side))
    product = jax.jit(jnp.matmul)
    jax.block_until_ready(product(square, square))
    here, there = np.ones(size // 4, np.float32), np.empty(size // 4, np.float32)
    np.copyto(there, here)
    seconds = [_best(lambda: jax.block_until_ready(product(square, square)))]
    seconds.append(_best(lambda: np.copyto(there, here)))
    return {
        "gflops": 2e-9 * side**3 / seconds[0],
        "gbs": 2e-9 * size / seconds[1],
    }


def _best(call, times=5):
    found = []
    for _ in range(times):
        start = time.perf_counter()
        call()
        found.append(time.perf_counter() - start)
    return min(found)


def measure_here(name, tiny):
    """Of one row, in this process."""
    if name == LIMITS:
        return limits(tiny)
    host.cache_compilation()  # for the rounds after the first
    row = rows()[name]
    if name.startswith("a beat"):  # small calls, which it slows
        return {"ms": row.ours(tiny)()}
    host.keep_freed_memory()
    found = {"ms": row.ours(tiny)()}
    if row.task is not None:
        make, batch = row.task
        found["gflop"] = step_flops(make(tiny), 8 if tiny else batch) / 1e9
    return found


def peers_say(python, program):
    """{line: ms} of what a peer's program prints."""
    done = subprocess.run(
        [python, PEERS / program],
        env=os.environ | KEEP_FREED,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
    )
    lines = re.findall(r"^(torch [^:\n]*): ([\d.]+) ms", done.stdout, re.MULTILINE)
    return {re.sub(r" \(\d+ params\)", "", line): float(ms) for line, ms in lines}


def run_rounds(names, python, rounds, tiny):
    """[{name: {"all": ms, "one": ms, "gflop": of a step, form: the peer's ms}}]."""
    every, found = rows(), []
    more = ["--tiny"] if tiny else []
    programs = {program for name in names for program, _ in every[name].peers.values()}
    for i in range(rounds):
        this = {name: {} for name in (*names, LIMITS)}
        said = {}
        for program in sorted(programs) if python else ():
            said |= peers_say(python, program)
        for name in (*names, LIMITS):
            for where, cores in (("all", None), ("one", 1)):
                got = in_process(__file__, ROW, name, *more, cores=cores)
                this[name][where] = got if name == LIMITS else got.pop("ms")
                this[name] |= {} if name == LIMITS else got
            peers = every[name].peers if name != LIMITS else {}
            lines = {form: line for form, (_, line) in peers.items()}
            this[name] |= {f: said[line] for f, line in lines.items() if line in said}
            print(f"round {i + 1} of {rounds}: {name}: {this[name]}", flush=True)
        found.append(this)
    return found


def markdown(found, names):
    """The table and what it was made with."""
    limit = {
        where: {k: statistics.median(r[LIMITS][where][k] for r in found) for k in each}
        for where, each in found[0][LIMITS].items()
    }
    head = ("", "kdjax, ms", "PyTorch, ms", "compiled, ms", "ratio to the faster")
    head += ("one core, ms", "all / one", "GFLOP", "GFLOP/s", "of a product's")
    lines = []
    for name in names:
        rounds = [each[name] for each in found]
        ours = statistics.median(r["all"] for r in rounds)
        theirs = [[r[f] for f in ("eager", "compiled") if f in r] for r in rounds]
        ratios = [
            min(peers) / r["all"]
            for peers, r in zip(theirs, rounds, strict=True)
            if peers
        ]
        both = [r["all"] / r["one"] for r in rounds]
        gflop = rounds[0].get("gflop")
        speed = gflop / ours * 1e3 if gflop else None
        share = speed / limit["all"]["gflops"] if speed else None
        lines.append(
            (
                name,
                *(said([r[key] for r in rounds if key in r]) for key in FORMS),
                said(ratios),
                said([r["one"] for r in rounds]),
                said(both),
                f"{gflop:.3g}" if gflop else "-",
                f"{speed:.3g}" if speed else "-",
                f"{100 * share:.0f} %" if share else "-",
            )
        )
    notes = (
        f"{made_with(len(found))}. In the same rounds a product of 2048 x 2048 "
        f"matrices ran at {limit['all']['gflops']:.0f} GFLOP/s on all cores and "
        f"{limit['one']['gflops']:.0f} on one, a copy of 128 MiB at "
        f"{limit['all']['gbs']:.0f} GB/s."
    )
    return f"{table(head, lines)}\n\n{notes}\n"


def main(arguments):
    flags = parser(__doc__, timed=False, into=True)
    flags.add_argument("--torch", metavar="PYTHON", help="a Python that has PyTorch")
    flags.add_argument("--rounds", type=int, default=5)
    flags.add_argument("--rows", help="names of rows, by ;, default all")
    given = flags.parse_args(arguments)
    names = list(rows())
    if given.rows:
        asked = [name.strip() for name in given.rows.split(";")]
        if unknown := set(asked) - set(names):
            flags.error(f"--rows: expected of {'; '.join(names)}, found {min(unknown)}")
        names = asked
    print_machine()
    text = markdown(run_rounds(names, given.torch, given.rounds, given.tiny), names)
    print(text)
    if given.into:
        put(text, Path(given.into), NAME)


if __name__ == "__main__":
    if sys.argv[1:2] == [ROW]:
        print(json.dumps(measure_here(sys.argv[2], "--tiny" in sys.argv)))
    else:
        main(sys.argv[1:])
