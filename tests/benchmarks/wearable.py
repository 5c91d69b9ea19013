"""Speed of the wearable experiment: ms per training step, and of a whole epoch.

    python tests/benchmarks/wearable.py [case ...]

The step is the one that training runs: the batch is gathered and augmented (Mix1) from
5,504 windows of 128 samples x 9 channels on the device; batch 64, 6 classes, SGD with
momentum and weight decay. The peers are ../shared/peers/wrn_torch.py (whose data and
augmentation are not in its step), kd_torch.py and epoch_torch.py: run both in the same
minute on a quiet machine and quote the ratio.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

import jax
import numpy as np

from kdjax import models
from kdjax.tasks.distillation import distill
from kdjax.training import host, loop, parallel

DATA = {
    "name": "synthetic_wearable",
    "subjects": 8,  # 4 to train on
    "classes": 6,
    "windows": 230,
    "samples": 128,
    "channels": 9,
}
KD = {"cross_entropy": {"weight": 0.3}, "kd": {"weight": 0.7, "temperature": 4.0}}
# name: (depth, width) of the student, and of a frozen teacher or None
CASES = {
    "WRN16-1": ((16, 1), None),
    "WRN16-3": ((16, 3), None),
    "WRN28-1": ((28, 1), None),
    "KD WRN16-3 -> WRN16-1": ((16, 1), (16, 3)),
}
EPOCH = "epoch of KD WRN16-3 -> WRN16-1"


def wide_resnet(size):
    return {"name": "wide_resnet", "depth": size[0], "width": size[1]}


def make_task(student, teacher, training):
    """The task, with an untrained teacher: it costs what a trained one does."""
    frozen = None
    if teacher:
        config = {"model": wide_resnet(teacher), "data": DATA, "seed": 0}
        frozen = {"folder": "untrained", "config": config}
    task = distill.make(
        data=DATA,
        model=wide_resnet(student),
        training=training,
        optimizer={
            "name": "sgd",
            "weight_decay": 1e-4,
            "schedule": {"name": "constant", "value": 0.05},
        },
        losses=KD if teacher else {"cross_entropy": {"weight": 1.0}},
        teacher=frozen,
        augment={"name": "mix1"},
        seed=0,
    )
    return task._replace(constants=lambda: constants(teacher))


def constants(teacher):
    dataset = distill.datasets.load(DATA["name"], seed=0, **fields(DATA))
    splits = (dataset.train, dataset.validation, dataset.test)
    x = np.concatenate([split.x for split in splits])
    y = np.concatenate([split.y for split in splits])
    variables = {}
    if teacher:
        module = models.build(classes=6, **wide_resnet(teacher))
        found = module.init(jax.random.key(1), jax.numpy.asarray(x[:1]), train=False)
        stats = {k: v for k, v in found.items() if k != "params"}
        variables = {"params": found["params"], "model_state": stats}
    return {"x": x, "y": y, "teacher": variables}


def fields(section):
    return {key: value for key, value in section.items() if key != "name"}


def time_steps(case, repeats=60, warmup=5):
    """ms of each of `repeats` steps, waiting for each."""
    task = make_task(*CASES[case], loop.Training(epochs=1, batch_size=64))
    devices = parallel.make("pmap", devices=1)
    everywhere = devices.replicate((task.constants(), jax.random.key(1)))
    state = devices.replicate(jax.jit(task.init)(jax.random.key(0)))
    step, times = loop.compiled_step(task, devices), []
    for batch in list(task.data["train"].batches(64, epoch=1))[: warmup + repeats]:
        start = time.perf_counter()
        state, metrics = step(state, everywhere, devices.shard(batch))
        jax.block_until_ready(metrics)
        times.append((time.perf_counter() - start) * 1e3)
    return times[warmup:]


def time_epochs(epochs=4):
    """ms of each epoch but the first, in the training loop, logging included."""
    training = loop.Training(epochs=epochs, batch_size=64, eval_batch_size=512)
    task = make_task(*CASES["KD WRN16-3 -> WRN16-1"], training)
    begins, ends = [], []

    def noting(source, times):
        def batches(batch_size, *, epoch):
            times.append(time.perf_counter())
            yield from source.batches(batch_size, epoch=epoch)

        return source._replace(batches=batches)

    data = dict(task.data)
    data["train"] = noting(data["train"], begins)
    data["validation"] = noting(data["validation"], ends)
    with tempfile.TemporaryDirectory() as folder:
        loop.run(
            task._replace(data=data),
            training,
            folder=Path(folder),
            seed=0,
            devices=parallel.make("pmap", devices=1),
            label="benchmark",
        )
    pairs = zip(begins, ends[:epochs], strict=True)
    return [(end - begin) * 1e3 for begin, end in pairs][1:]


def main(cases):
    host.keep_freed_memory()
    for case in cases or [*CASES, EPOCH]:
        times = time_epochs() if case == EPOCH else time_steps(case)
        print(f"{case}: {statistics.median(times):.2f} ms (min {min(times):.2f})")


if __name__ == "__main__":
    main(sys.argv[1:])
