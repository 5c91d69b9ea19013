"""What a heart beat's score costs: of an ensemble, and of the network that learnt it.

    python tests/benchmarks/ecg_distilled.py SEED_FOLDER [--rounds=20] [--tiny]

SEED_FOLDER is RUN/seed_<k> of configs/ecg_distilled.py, whose stage `distilled` is
exported (kdjax export SEED_FOLDER/distilled --format=stablehlo,onnx,tflite
--checkpoint=last). On one core, of the test patient with the most beats, 256 beats at
once, the median microseconds a beat: by the ensemble (each part of it, and their sum)
and by every artefact in its own runtime. What both need before is apart: the patient's
usual beat and the logarithms of the intervals. `--tiny` is what the tests run.
"""

import functools
import os
import statistics
import sys
import time
from pathlib import Path

import jax
import numpy as np
from stepping import parser, print_machine

from kdjax.data.dataset import as_float
from kdjax.export.formats import FORMATS
from kdjax.loading import load
from kdjax.stages import batches
from kdjax.stages.record import read_stage
from kdjax.tasks.anomaly import own_median, rhythm
from kdjax.tasks.anomaly.regressor import vectors

BATCH, TINY = 256, 16


def microseconds(function, beats, rounds):
    """The median time of a call, a beat's part."""
    times = []
    for _ in range(rounds + 2):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return 1e6 * statistics.median(times[2:]) / beats


def recording(stage, rows):
    """Scaled beats, `rows` at most, of the test patient who has the most, and the
    intervals around them."""
    dataset = batches.load(stage.config["data"], stage.config["seed"])
    groups, counts = np.unique(dataset.test.group, return_counts=True)
    kept = np.flatnonzero(dataset.test.group == groups[counts.argmax()])[:rows]
    return as_float(dataset.test.x[kept]), dataset.intervals[-1][kept]


def of_network(folder, checkpoint, x):
    """A call that scores a batch by a member's network."""
    predictor = load(folder, checkpoint)
    score, resident = jax.jit(predictor.forward), jax.device_put(x)
    return lambda: score(predictor.model, resident).block_until_ready()


def main(arguments):
    flags = parser(__doc__, rounds=20)
    flags.add_argument("seed", type=Path, metavar="SEED_FOLDER")
    given = flags.parse_args(arguments)
    rounds = 1 if given.tiny else given.rounds
    print_machine()
    stage, teacher = (read_stage(given.seed / n) for n in ("distilled", "ensemble"))
    beats, around = recording(stage, TINY if given.tiny else None)
    predictor = load(stage.folder, "last")
    templates, how = predictor.templates, predictor.how
    past = stage.record["beats"]["rhythm"] == "past"
    batch = beats[:BATCH]
    usual = functools.partial(own_median.own, templates, how, beats)
    beside = usual()
    made = vectors(batch, beside[:BATCH], around[:BATCH], past=past)
    parts = {
        "the distance from it": lambda: np.square(batch - beside[:BATCH]).mean((1, 2)),
        "the rhythm": lambda: rhythm.irregularity(around[:BATCH], past=past),
    }
    for name, spec in teacher.config["members"].items():
        folder = given.seed / spec["stage"]
        parts[name] = of_network(folder, spec["checkpoint"], batch)
    print(f"{len(beats)} beats, {len(batch)} at once; microseconds a beat")
    both = microseconds(usual, len(beats), rounds)
    print(f"before both, the usual beat: {both:.2f}")
    took = {name: microseconds(f, len(batch), rounds) for name, f in parts.items()}
    for name, each in took.items():
        print(f"ensemble, {name}: {each:.2f}")
    print(f"ensemble: {sum(took.values()):.2f}")
    logs = functools.partial(rhythm.logarithms, around[:BATCH], past=past)
    print(f"distilled, its vectors: {microseconds(logs, len(batch), rounds):.2f}")
    for name, each in FORMATS.items():
        path = stage.folder / "export" / each.file
        if each.run is None or not path.exists():
            continue
        call = functools.partial(each.run(path), made)
        print(f"distilled, {name}: {microseconds(call, len(batch), rounds):.2f}")


if __name__ == "__main__":
    # of this thread, and of those that the runtimes are still to make
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    main(sys.argv[1:])
