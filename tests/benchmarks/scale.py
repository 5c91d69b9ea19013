"""What an example costs in a training step against the batch and the network's width.

    python tests/benchmarks/scale.py [--figure=FILE] [--rounds=3] [--tiny]

Steps of WRN16-k, as `wearable.py` takes them (128 samples x 9 channels), of batches of
16 to 4,096 at width 1, and of widths 1 to 8 at batch 64. Each is a process of its own:
ms of an example, and the process's largest memory above what it had before its first
step was compiled: the medians of so many rounds. `--tiny` is what the tests run.
"""

import itertools
import json
import math
import resource
import statistics
import sys

import wearable
from stepping import in_process, parser, print_machine, run_steps

from kdjax.machine import threads
from kdjax.training import host
from kdjax.training.environment import processor

ROW = "--row"  # what a row's own process is started with
BATCHES, WIDTHS = (16, 64, 256, 1024, 4096), (1, 2, 4, 8)
TINY_BATCHES, TINY_WIDTHS = (8, 16), (1, 2)


def measure_here(batch, width, tiny):
    """ms of an example, MiB, in this process."""
    host.keep_freed_memory()
    base = wearable.TINY if tiny else wearable.FULL
    # windows of an activity, of which four subjects do six: an epoch has two batches
    windows = max(base.windows, math.ceil(2 * batch / 24))
    sizes = base._replace(windows=windows, batch=batch)
    depth = 10 if tiny else 16
    running = run_steps(wearable.make_task(sizes, (depth, width)), batch)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    steps = 2 if tiny else max(8, min(60, 8192 // batch))
    found = [seconds for seconds, _ in itertools.islice(running, 3 + steps)][3:]
    more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak
    return {
        "batch": batch,
        "width": width,
        "ms": 1e3 * statistics.median(found) / batch,
        "mib": more / 2**10,
    }


def measure(sizes, tiny, rounds):
    """The same of each (batch, width), in processes of their own: the median of so many
    rounds, in each of which all have their turn."""
    found = {size: [] for size in sizes}
    for _ in range(rounds):
        for size in found:
            found[size].append(in_process(__file__, ROW, *size, int(tiny)))
    rows = []
    for (batch, width), each in found.items():
        middle = {k: statistics.median(one[k] for one in each) for k in each[0]}
        rows.append(middle)
        every = ", ".join(f"{one['ms']:.4g}" for one in each)
        print(
            f"batch {batch}, width {width}: {middle['ms']:.4g} ms an example "
            f"({every}), {middle['mib']:.0f} MiB"
        )
    return rows


def draw(by_batch, by_width, file):
    """ms of an example and memory, against the batch and against the width."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 2, figsize=(8, 5), layout="constrained")
    for column, (rows, key, label) in enumerate(
        (
            (by_batch, "batch", "batch (width 1)"),
            (by_width, "width", "width k of WRN16-k (batch 64)"),
        )
    ):
        x = [row[key] for row in rows]
        for axis, value in zip(axes[:, column], ("ms", "mib"), strict=True):
            axis.plot(x, [row[value] for row in rows], "o-")
            axis.set_xscale("log", base=2)
            axis.set_xticks(x, [f"{tick:,}" for tick in x])
            axis.set_ylim(bottom=0)
            axis.grid(alpha=0.3)
        axes[1, column].set_xlabel(label)
    axes[0, 0].set_ylabel("ms of an example")
    axes[1, 0].set_ylabel("MiB that a step takes")
    figure.suptitle(f"A training step on {threads()} cores of {processor()}")
    figure.savefig(file, dpi=150)


def main(arguments):
    flags = parser(__doc__, timed=False)
    flags.add_argument("--figure", help="where to draw both")
    flags.add_argument("--rounds", type=int, default=3, help="times that each is taken")
    given = flags.parse_args(arguments)
    print_machine()
    batches, widths = BATCHES, WIDTHS
    if given.tiny:
        batches, widths = TINY_BATCHES, TINY_WIDTHS
    fixed = 8 if given.tiny else 64
    by_batch = [(batch, 1) for batch in batches]
    by_width = [(fixed, width) for width in widths]
    rows = measure(dict.fromkeys(by_batch + by_width), given.tiny, given.rounds)
    found = {(row["batch"], row["width"]): row for row in rows}
    if given.figure:
        drawn = ([found[one] for one in each] for each in (by_batch, by_width))
        draw(*drawn, given.figure)


if __name__ == "__main__":
    if sys.argv[1:2] == [ROW]:
        batch, width, tiny = map(int, sys.argv[2:])
        print(json.dumps(measure_here(batch, width, bool(tiny))))
    else:
        main(sys.argv[1:])
