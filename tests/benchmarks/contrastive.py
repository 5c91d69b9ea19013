"""Time and memory of NT-Xent with its gradient, and a model of both over devices.

    python tests/benchmarks/contrastive.py [case ...] [--rounds=N]
        [--peer=PYTHON_WITH_TORCH] [--figure=FILE] [--tiny]
    python tests/benchmarks/contrastive.py --model

D = 128, temperature 0.1, float32, on one device; N examples are 2N rows. Memory is the
peak resident size above that after imports and inputs, compilation included; each row
is a process of its own, and of the rounds the median. The peer is
../shared/peers/ntxent_torch.py, run in turn with `--peer`, at the sizes where it fits
in 4 GiB. `--model` prints what a device holds and receives over many devices; a test
holds it to what is compiled. `--tiny` is what the tests run.

This file imports the standard library alone at its top: PyTorch's Python runs it too.
"""

import json
import math
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

PEERS = Path(__file__).resolve().parents[3] / "shared" / "peers"
DIM, TEMPERATURE, CHUNK = 128, 0.1, 512
CASES = {"step": [4096], "sizes": [1024, 2048, 4096, 8192, 16384, 32768]}
TINY = {"step": [64], "sizes": [128]}
FULL = "kdjax, one tile"
CHUNKED = f"kdjax, chunk {CHUNK}"
TORCH = "PyTorch"
ROW = "--row"  # what a row's own process is started with


def memory(
    examples: int, dim: int, devices: int, *, ring: bool, chunk: int | None = None
) -> int:
    """Bytes that a device holds for the value and gradient of `nt_xent`.

    With r = 2 examples / devices rows of its own and h visiting rows for each of them,
    `4 (r (7 dim + 3) + r h (dim + 3) + side^2)`: the embeddings and their gradients,
    the normalised rows and theirs, and three more that pass through the loops; lse,
    cotangent and id of each row; one tile. h is 0 on one device, 1 in a ring and
    `devices` when gathered, which the backward pass shares with the forward one. A ring
    of two devices with a single tile has no loop, and XLA keeps both devices' logits.
    """
    rows, side = _padded(examples, devices, chunk)
    held = 0 if devices == 1 else 1 if ring else devices
    tiles = 2 if ring and devices == 2 and side == rows else 1
    return 4 * (rows * (7 * dim + 3) + rows * held * (dim + 3) + tiles * side**2)


def received(
    examples: int, dim: int, devices: int, *, ring: bool, chunk: int | None = None
) -> int:
    """Bytes that a device receives for the value and gradient of `nt_xent`.

    Gathered, the `devices - 1` others' rows come once, with their id, lse and
    cotangent. In a ring they come twice, with their id and then with all three; but a
    ring of two has one turn, which XLA finds to be the same in both passes.
    """
    rows, _ = _padded(examples, devices, chunk)
    numbers = 2 * dim + 4 if ring and devices > 2 else dim + 3
    return 4 * (devices - 1) * rows * numbers


def _padded(examples: int, devices: int, chunk: int | None) -> tuple[int, int]:
    """(rows of a device in whole tiles, side of a tile)."""
    rows = 2 * examples // devices
    tiles = math.ceil(rows / (chunk or rows))
    side = math.ceil(rows / tiles)
    return tiles * side, side


def print_model() -> None:
    print(f"MiB held and received per device, D = {DIM}, tiles of {CHUNK} rows at most")
    print(f"{'N':>6} {'devices':>8} {'':>8} {'held':>10} {'received':>10}")
    for examples in (4096, 32768):
        for devices in (8, 128, 1024):
            for ring in (False, True):
                sizes = [
                    size(examples, DIM, devices, ring=ring, chunk=CHUNK) / 2**20
                    for size in (memory, received)
                ]
                name = "ring" if ring else "gather"
                print(
                    f"{examples:>6} {devices:>8} {name:>8} "
                    f"{sizes[0]:>10.2f} {sizes[1]:>10.2f}"
                )


def kdjax_step(examples, chunk=None):
    """A call of value and gradient, its inputs made."""
    import jax

    from kdjax.losses import nt_xent
    from kdjax.training import host

    host.keep_freed_memory()  # as training does

    def loss(z1, z2):
        return nt_xent(z1, z2, temperature=TEMPERATURE, chunk_size=chunk)

    step = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))
    views = jax.random.normal(jax.random.key(0), (2, examples, DIM))
    z1, z2 = jax.block_until_ready((views[0], views[1]))
    return lambda: jax.block_until_ready(step(z1, z2))


def torch_step(examples):
    sys.path.insert(0, str(PEERS))
    import torch
    from ntxent_torch import nt_xent

    z = torch.nn.functional.normalize(torch.randn(2 * examples, DIM), dim=1)
    z.requires_grad_()

    def step():
        z.grad = None
        nt_xent(z, TEMPERATURE).backward()

    return step


def measure(step, repeats):
    """{"ms": median, "mib": peak above what it was before the first call}."""
    base, times = peak(), []
    for _ in range(1 + repeats):
        start = time.perf_counter()
        step()
        times.append((time.perf_counter() - start) * 1e3)
    return {"ms": statistics.median(times[1:]), "mib": peak() - base}


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def measure_here(name, examples):
    """Of one row, in this process."""
    chunk = {FULL: 2 * examples, CHUNKED: CHUNK}
    step = torch_step(examples) if name == TORCH else kdjax_step(examples, chunk[name])
    return measure(step, repeats=7 if examples <= 8192 else 3)


def run(name, examples, python):
    """One row, in a process of its own."""
    done = subprocess.run(
        [python, __file__, ROW, name, str(examples)],
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def run_rounds(pythons, examples, rounds):
    """The median row of each of {name: its Python}, run in turn; prints them."""
    rows = {name: [] for name in pythons}
    for _ in range(rounds):
        for name, python in pythons.items():
            rows[name].append(run(name, examples, python))
    medians = []
    for name, each in rows.items():
        row = {key: statistics.median(r[key] for r in each) for key in ("ms", "mib")}
        row |= {"name": name, "examples": examples}
        row["ns"] = row["ms"] * 1e6 / (2 * examples) ** 2
        medians.append(row)
        print(
            f"{name:>16} {examples:>6} {row['ms']:>10.4g} {row['ns']:>8.3g} "
            f"{row['mib']:>8.0f}",
            flush=True,
        )
    if TORCH in rows:
        pairs = zip(rows[CHUNKED], rows[TORCH], strict=True)
        ratios = ", ".join(f"{b['ms'] / a['ms']:.3g}" for a, b in pairs)
        print(f"{'ratio':>16} {examples:>6} {ratios}", flush=True)
    return medians


def run_case(case, sizes, rounds, peer):
    print(f"{case:>16} {'N':>6} {'ms':>10} {'ns/pair':>8} {'MiB':>8}")
    rows = []
    for examples in sizes:
        pythons = {CHUNKED: sys.executable}
        if case == "step":
            pythons[FULL] = sys.executable
        # Its logits, their mask, log-softmax and gradient.
        if peer and 4 * 4 * (2 * examples) ** 2 <= 4 * 2**30:
            pythons[TORCH] = peer
        rows += run_rounds(pythons, examples, rounds)
    return rows


def draw(rows, file):
    """Time of a pair and memory against N, for each program."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    labels = ("ns per pair of rows, value + gradient", "MiB above the base")
    for axis, key, label in zip(axes, ("ns", "mib"), labels, strict=True):
        for name, marker in ((CHUNKED, "o"), (TORCH, "s")):
            found = [row for row in rows if row["name"] == name]
            if found:
                sizes = [row["examples"] for row in found]
                axis.plot(
                    sizes, [row[key] for row in found], marker, ls="-", label=name
                )
        axis.set_xscale("log", base=2)
        axis.set_yscale("log", base=2 if key == "mib" else 10)
        ticks = sorted({row["examples"] for row in rows})
        axis.set_xticks(ticks, [f"{tick // 1024}k" for tick in ticks])
        axis.yaxis.set_major_formatter("{x:g}")
        axis.yaxis.set_minor_formatter("{x:g}")
        axis.set_xlabel("N, examples in the batch")
        axis.set_ylabel(label)
        axis.grid(alpha=0.3, which="both")
    axes[0].legend()
    figure.suptitle(f"NT-Xent on {os.cpu_count()} CPU cores, D = {DIM}")
    figure.savefig(file, dpi=150)


def main(arguments):
    from stepping import parser, print_machine

    flags = parser(__doc__, rounds=1)
    flags.add_argument("cases", nargs="*", help=f"of {', '.join(CASES)}; default all")
    flags.add_argument("--figure", help="where to draw the case 'sizes'")
    flags.add_argument("--model", action="store_true", help="print the model alone")
    given = flags.parse_args(arguments)
    if given.model:
        print_model()
        return
    if unknown := set(given.cases) - set(CASES):
        flags.error(f"case: expected {', '.join(CASES)}, found {min(unknown)}")
    print_machine()
    for case in given.cases or CASES:
        sizes = (TINY if given.tiny else CASES)[case]
        rows = run_case(case, sizes, given.rounds, given.peer)
        if case == "sizes" and given.figure:
            draw(rows, given.figure)


if __name__ == "__main__":
    if sys.argv[1:2] == [ROW]:
        print(json.dumps(measure_here(sys.argv[2], int(sys.argv[3]))))
    else:
        main(sys.argv[1:])
