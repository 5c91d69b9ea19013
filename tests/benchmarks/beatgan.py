"""Speed of BeatGAN: a training step, scoring a beat, cutting beats, warping time.

    python tests/benchmarks/beatgan.py [MITDB_FOLDER] [--rounds=N]
        [--peer=PYTHON_WITH_TORCH] [--tiny]

The step is the one that training runs, at batch 64 x 320 x 1, on one device; a beat is
scored at batch 1 and 256. The peer is ../shared/peers/beatgan_torch.py; `--peer` runs
it in turn with each. With the folder of MIT-BIH's files: seconds to cut the beats of
all records, without the cache and with it. `--tiny` is what the tests run.
"""

import os
import sys
import tempfile
import time
from typing import NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
from stepping import Case, calls, parser, print_machine, report, steps

from kdjax import augment, data
from kdjax.tasks.anomaly import beatgan, scoring
from kdjax.training.task import Training

PEER = "beatgan_torch.py"


class Sizes(NamedTuple):
    """`scored`: beats in a call; `warped`: beats in a batch that is augmented."""

    width: int = 32
    patients: int = 20
    beats: int = 200
    batch: int = 64
    scored: tuple = (1, 256)
    warped: int = 256
    steps: int = 40
    calls: int = 100


TINY = Sizes(2, patients=8, beats=20, batch=16, scored=(1, 16), warped=4, steps=2)


def model(sizes):
    return {"name": "beatgan", "width": sizes.width}


def make_task(sizes):
    return beatgan.make(
        data={
            "name": "synthetic_ecg",
            "patients": sizes.patients,
            "beats": sizes.beats,
        },
        model=model(sizes),
        training=Training(epochs=1, batch_size=sizes.batch, select="loss"),
        optimizer={
            "name": "adam",
            "b1": 0.5,
            "schedule": {"name": "constant", "value": 1e-4},
        },
        seed=0,
    )


def make_scorer(sizes, batch):
    module = scoring.gan(model(sizes))
    x = jax.random.normal(jax.random.key(0), (batch, 320, 1))
    made = dict(jax.jit(lambda k: module.init(k, x, train=False))(jax.random.key(1)))
    trained = {"params": made.pop("params"), "model_state": made}
    score = scoring.squared_error(
        lambda trained, x: beatgan.reconstruct(module, trained, x)
    )
    compiled = jax.jit(score).lower(trained, x).compile()
    return lambda: compiled(trained, x)


def make_warp(name, batch):
    warp = jax.jit(augment.build({"name": name}))
    keys = jax.random.split(jax.random.key(0), batch)
    x = jnp.zeros((batch, 320, 1))
    return lambda: warp(keys, x)


def small_cases(sizes):
    """ms a beat; first, because what training asks of malloc slows small calls."""
    for batch in sizes.scored:
        yield Case(
            name=f"scoring a beat, batch {batch}",
            prepare=calls(
                lambda batch=batch: make_scorer(sizes, batch),
                repeats=sizes.calls,
                per=batch,
            ),
            peer=(PEER, f"torch BeatGAN inference per beat, batch {batch}"),
            keep=False,
        )
    for name in ("tick_warp", "time_warp"):
        yield Case(
            name=f"{name} of a beat",
            prepare=calls(
                lambda name=name: make_warp(name, sizes.warped),
                repeats=sizes.calls,
                per=sizes.warped,
            ),
            keep=False,
        )


def time_cutting(root):
    """Seconds, with an empty cache and then with what it holds."""
    times = []
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.dict(os.environ, XDG_CACHE_HOME=folder),
    ):
        for _ in range(2):
            start = time.perf_counter()
            data.read_beats(root)
            times.append(time.perf_counter() - start)
    return times


def main(arguments):
    flags = parser(__doc__)
    flags.add_argument("root", nargs="?", metavar="MITDB_FOLDER")
    given = flags.parse_args(arguments)
    print_machine()
    sizes = TINY if given.tiny else Sizes()
    turns = {"rounds": given.rounds, "peer": given.peer}
    report(small_cases(sizes), **turns)
    if given.root:
        cold, cached = time_cutting(given.root)
        print(
            f"cutting {given.root}: {cold:.2f} s; from the cache {1e3 * cached:.1f} ms"
        )
    step = Case(
        name=f"BeatGAN step, batch {sizes.batch}",
        prepare=steps(
            lambda: make_task(sizes), sizes.batch, repeats=sizes.steps, warmup=3
        ),
        peer=(PEER, f"torch BeatGAN ECG step, batch {sizes.batch}"),
    )
    report([step], **turns)


if __name__ == "__main__":
    main(sys.argv[1:])
