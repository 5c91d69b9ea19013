"""Speed of the wearable experiment: ms per training step, and of a whole epoch.

    python tests/benchmarks/wearable.py [--rounds=N] [--peer=PYTHON_WITH_TORCH] [--tiny]

The step is the one that training runs: the batch is gathered and augmented (Mix1) from
5,504 windows of 128 samples x 9 channels on the device; batch 64, 6 classes, SGD with
momentum and weight decay. The peers are ../shared/peers/wrn_torch.py (whose data and
augmentation are not in its step), kd_torch.py and epoch_torch.py; `--peer` runs them in
turn with it. `--tiny` is what the tests run.
"""

import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import jax
from stepping import Case, median_ms, parser, print_machine, report, steps

from kdjax.stages import batches, networks
from kdjax.tasks.distillation import distill
from kdjax.training import host, loop, parallel
from kdjax.training.task import Training

LOSSES = {"cross_entropy": {"weight": 0.3}, "kd": {"weight": 0.7, "temperature": 4.0}}


class Sizes(NamedTuple):
    """`networks`: (depth, width), the last two the teacher and its student."""

    networks: tuple
    windows: int = 230
    samples: int = 128
    batch: int = 64
    steps: int = 60
    epochs: int = 4


FULL = Sizes(networks=((28, 1), (16, 3), (16, 1)))
TINY = Sizes(((10, 1), (10, 1)), windows=4, samples=16, batch=8, steps=2, epochs=2)


def data(sizes):
    return {
        "name": "synthetic_wearable",
        "subjects": 8,  # 4 to train on
        "classes": 6,
        "windows": sizes.windows,
        "samples": sizes.samples,
        "channels": 9,
    }


def model(network):
    return {"name": "wide_resnet", "depth": network[0], "width": network[1]}


def make_task(sizes, student, teacher=None, losses=LOSSES, augment="mix1"):
    """The task, with an untrained teacher: it costs what a trained one does."""
    frozen = None
    if teacher:
        config = {"model": model(teacher), "data": data(sizes), "seed": 0}
        frozen = {"folder": "untrained", "config": config}
    task = distill.make(
        data=data(sizes),
        model=model(student),
        training=training(sizes),
        optimizer={
            "name": "sgd",
            "weight_decay": 1e-4,
            "schedule": {"name": "constant", "value": 0.05},
        },
        losses=losses if teacher else {"cross_entropy": {"weight": 1.0}},
        teacher=frozen,
        augment=augment and {"name": augment},
        seed=0,
    )
    if not teacher:
        return task
    dataset = batches.load(data(sizes), 0)
    module = networks.build(model(teacher), dataset.classes)
    example = batches.first(dataset)
    init = host.compile_once(lambda key: module.init(key, example, train=False))
    made = dict(init(jax.random.key(1)))
    variables = {"params": made.pop("params"), "model_state": made}
    constants = batches.inputs(dataset, 0).constants() | {"teacher": variables}
    return task._replace(constants=lambda: constants)


def training(sizes):
    return Training(epochs=sizes.epochs, batch_size=sizes.batch, eval_batch_size=512)


def time_epochs(sizes, teacher, student):
    """ms of an epoch in the training loop, logging included: the first is left out."""
    task = make_task(sizes, student, teacher)
    begins, ends = [], []

    def noting(source, times):
        def batches(batch_size, *, epoch):
            times.append(time.perf_counter())
            yield from source.batches(batch_size, epoch=epoch)

        return source._replace(batches=batches)

    sources = dict(task.data)
    sources["train"] = noting(sources["train"], begins)
    sources["validation"] = noting(sources["validation"], ends)
    with tempfile.TemporaryDirectory() as folder:
        loop.run(
            task._replace(data=sources),
            training(sizes),
            folder=Path(folder),
            seed=0,
            devices=parallel.make("pmap", devices=1),
            label="benchmark",
        )
    pairs = zip(begins, ends[: sizes.epochs], strict=True)
    return median_ms([end - begin for begin, end in pairs][1:])


def name(network):
    return f"WRN{network[0]}-{network[1]}"


def cases(sizes):
    for student in dict.fromkeys(reversed(sizes.networks)):
        yield Case(
            name=f"{name(student)} step",
            prepare=steps(
                lambda student=student: make_task(sizes, student),
                sizes.batch,
                repeats=sizes.steps,
            ),
            peer=("wrn_torch.py", f"torch {name(student)} step"),
        )
    teacher, student = sizes.networks[-2:]
    taught = f"KD {name(teacher)} -> {name(student)}"
    yield Case(
        name=f"{taught} step",
        prepare=steps(
            lambda: make_task(sizes, student, teacher), sizes.batch, repeats=sizes.steps
        ),
        peer=("kd_torch.py", f"torch {taught} step"),
    )
    yield Case(
        name=f"{taught} epoch",
        prepare=lambda: lambda: time_epochs(sizes, teacher, student),
        peer=("epoch_torch.py", "torch ESKD epoch"),
    )


def main(arguments):
    given = parser(__doc__).parse_args(arguments)
    print_machine()
    sizes = TINY if given.tiny else FULL
    report(cases(sizes), rounds=given.rounds, peer=given.peer)


if __name__ == "__main__":
    main(sys.argv[1:])
