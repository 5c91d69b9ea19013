"""Speed of BeatGAN: a training step, scoring a beat, cutting beats, warping time.

    python tests/benchmarks/beatgan.py [MITDB_FOLDER]

The step is the one that training runs, at batch 64 x 320 x 1, on one device; a beat is
scored at batch 1 and 256. The peer is ../shared/peers/beatgan_torch.py: run both in the
same minute on a quiet machine and quote the ratio. With the folder of MIT-BIH's files:
seconds to cut the beats of all records, without the cache and with it.
"""

import os
import statistics
import sys
import tempfile
import time
from itertools import islice

import jax
import jax.numpy as jnp
from stepping import run_steps

from kdjax import augment, data
from kdjax.stages import networks
from kdjax.tasks.anomaly import beatgan, scoring
from kdjax.training import host, loop

MODEL = {"name": "beatgan"}


def make_task():
    return beatgan.make(
        data={"name": "synthetic_ecg", "patients": 20, "beats": 200},
        model=MODEL,
        training=loop.Training(epochs=1, batch_size=64, select="loss"),
        optimizer={
            "name": "adam",
            "b1": 0.5,
            "schedule": {"name": "constant", "value": 1e-4},
        },
        seed=0,
    )


def time_steps(repeats=40, warmup=3):
    steps = islice(run_steps(make_task(), 64), warmup + repeats)
    return statistics.median([seconds * 1e3 for seconds, _ in steps][warmup:])


def time_calls(call, repeats=100, warmup=5):
    """Median ms of a call."""
    found = []
    for _ in range(warmup + repeats):
        start = time.perf_counter()
        jax.block_until_ready(call())
        found.append((time.perf_counter() - start) * 1e3)
    return statistics.median(found[warmup:])


def time_scoring(batch):
    """ms a beat."""
    module = networks.gan(MODEL)
    x = jax.random.normal(jax.random.key(0), (batch, 320, 1))
    found = dict(jax.jit(lambda k: module.init(k, x, train=False))(jax.random.key(1)))
    model = {"params": found.pop("params"), "model_state": found}
    score = scoring.squared_error(
        lambda model, x: beatgan.reconstruct(module, model, x)
    )
    compiled = jax.jit(score).lower(model, x).compile()
    return time_calls(lambda: compiled(model, x)) / batch


def time_warp(name, batch=256):
    """ms a beat."""
    warp = jax.jit(augment.build({"name": name}))
    keys = jax.random.split(jax.random.key(0), batch)
    x = jnp.zeros((batch, 320, 1))
    return time_calls(lambda: warp(keys, x)) / batch


def time_cutting(root):
    """Seconds, with an empty cache and then with what it holds."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        found = []
        for _ in range(2):
            start = time.perf_counter()
            data.read_beats(root)
            found.append(time.perf_counter() - start)
    return found


def main(arguments):
    # Scoring and warping come first: what training asks of malloc slows small calls.
    for batch in (1, 256):
        print(f"scoring, batch {batch}: {time_scoring(batch):.3f} ms a beat")
    for name in ("tick_warp", "time_warp"):
        print(f"{name}: {time_warp(name):.4f} ms a beat")
    for root in arguments:
        cold, cached = time_cutting(root)
        print(f"cutting {root}: {cold:.1f} s; from the cache {cached:.2f} s")
    host.keep_freed_memory()
    print(f"step, batch 64: {time_steps():.1f} ms")


if __name__ == "__main__":
    main(sys.argv[1:])
