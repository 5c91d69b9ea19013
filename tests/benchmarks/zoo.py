"""Speed of the networks for series: ms per training step of each family.

    python tests/benchmarks/zoo.py [--rounds=N] [--peer=PYTHON_WITH_TORCH]
        [--into=FILE] [--tiny]

The step is the one that training runs: the batch is gathered from windows of 128
samples x 9 channels on the device; batch 64, 6 classes, SGD with momentum and weight
decay. The peer is ../shared/peers/zoo_torch.py, which is given its batch; `--peer` runs
it in turn with it, one family a process. `--into` writes the table
between the marks of a Markdown file. `--tiny` is what the tests run.
"""

import sys
from typing import NamedTuple

from stepping import Case, parser, print_machine, report, steps

from kdjax.tasks.distillation import distill
from kdjax.training.task import Training

# ours, and the peer's
NAMES = {
    "fcn": "fcn",
    "resnet_time": "resnet",
    "inception_time": "inception_time",
    "lstm": "lstm",
    "lstm_fcn": "lstm_fcn",
    "transformer": "transformer",
}


class Sizes(NamedTuple):
    """`fields`: of every model by name, where not those of the peer."""

    windows: int = 100
    samples: int = 128
    batch: int = 64
    steps: int = 15
    fields: dict | None = None


FULL = Sizes()
TINY = Sizes(windows=2, samples=8, batch=8, steps=2, fields={"lstm": {"units": 4}})


def make_task(sizes, name):
    return distill.make(
        data={
            "name": "synthetic_wearable",
            "subjects": 8,  # 4 to train on
            "classes": 6,
            "windows": sizes.windows,
            "samples": sizes.samples,
            "channels": 9,
        },
        model={"name": name} | (sizes.fields or {}).get(name, {}),
        training=Training(epochs=1, batch_size=sizes.batch),
        optimizer={
            "name": "sgd",
            "weight_decay": 1e-4,
            "schedule": {"name": "constant", "value": 0.05},
        },
        losses={"cross_entropy": {"weight": 1.0}},
        seed=0,
    )


def cases(sizes):
    for name in sizes.fields or NAMES:
        yield Case(
            name=f"{name} step",
            prepare=steps(
                lambda name=name: make_task(sizes, name),
                sizes.batch,
                repeats=sizes.steps,
            ),
            peer=("zoo_torch.py", f"torch {NAMES[name]} step", NAMES[name]),
        )


def main(arguments):
    given = parser(__doc__, into=True).parse_args(arguments)
    print_machine()
    sizes = TINY if given.tiny else FULL
    report(
        cases(sizes), rounds=given.rounds, peer=given.peer, into=given.into, name="zoo"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
