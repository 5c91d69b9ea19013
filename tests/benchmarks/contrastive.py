"""Time and memory of NT-Xent with its gradient, and a model of both over devices.

    python tests/benchmarks/contrastive.py [case ...] [--torch=PYTHON] [--figure=FILE]
    python tests/benchmarks/contrastive.py --model

D = 128, temperature 0.1, float32, on one device; N examples are 2N rows. Memory is the
peak resident size above that after imports and inputs, compilation included; each row
is a process of its own. The peer is ../shared/peers/ntxent_torch.py, run in the same
minute with `--torch=PYTHON`, at the sizes where it fits in 4 GiB. `--model` prints what
a device holds and receives over many devices; a test holds it to what is compiled.

This file imports the standard library alone at its top: PyTorch's Python runs it too.
"""

import argparse
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
FULL = "kdjax, one tile"
CHUNKED = f"kdjax, chunk {CHUNK}"
TORCH = "PyTorch"


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


def kdjax_step(examples, chunk):
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
    chunk = {FULL: None, CHUNKED: CHUNK}
    step = torch_step(examples) if name == TORCH else kdjax_step(examples, chunk[name])
    return measure(step, repeats=7 if examples <= 8192 else 3)


def run(name, examples, python):
    """Measures one row in a process of its own and prints it."""
    done = subprocess.run(
        [python, __file__, f"--row={name}", str(examples)],
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    row = {"name": name, "examples": examples, **json.loads(done.stdout)}
    row["ns"] = row["ms"] * 1e6 / (2 * examples) ** 2
    print(
        f"{name:>16} {examples:>6} {row['ms']:>10.1f} {row['ns']:>8.2f} "
        f"{row['mib']:>8.0f}",
        flush=True,
    )
    return row


def run_case(case, torch):
    print(f"{case:>16} {'N':>6} {'ms':>10} {'ns/pair':>8} {'MiB':>8}")
    rows = []
    for examples in CASES[case]:
        rows.append(run(CHUNKED, examples, sys.executable))
        if case == "step":
            rows.append(run(FULL, examples, sys.executable))
        # Its logits, their mask, log-softmax and gradient.
        if torch and 4 * 4 * (2 * examples) ** 2 <= 4 * 2**30:
            rows.append(run(TORCH, examples, torch))
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


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", help=f"of {', '.join(CASES)}; default all")
    parser.add_argument("--torch", help="the Python that has PyTorch; default: none")
    parser.add_argument("--figure", help="where to draw the case 'sizes'")
    parser.add_argument("--model", action="store_true", help="print the model alone")
    parser.add_argument("--row", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.row:
        print(json.dumps(measure_here(given.row, int(given.cases[0]))))
        return
    if given.model:
        print_model()
        return
    if unknown := set(given.cases) - set(CASES):
        parser.error(f"case: expected {', '.join(CASES)}, found {min(unknown)}")
    for case in given.cases or CASES:
        rows = run_case(case, given.torch)
        if case == "sizes" and given.figure:
            draw(rows, given.figure)


if __name__ == "__main__":
    main()
