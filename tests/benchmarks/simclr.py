"""Speed of SimCLR's training step: ms per step at batch 256 and 1024.

    python tests/benchmarks/simclr.py [batch ...]
    python tests/benchmarks/simclr.py large CIFAR_FOLDER

The step is the one that training runs, on one device: it gathers its batch of windows
of 320 samples x 2 channels, encodes both views (no augmentation, as the peer's), and
takes SGD with momentum on NT-Xent. The peer is ../shared/peers/simclr_torch.py: run
both in the same minute on a quiet machine and quote the ratio. `large` takes steps of
4,096 CIFAR-10 images, encoded in 16 pieces.
"""

import resource
import statistics
import sys
from itertools import islice

from stepping import run_steps

from kdjax.tasks.contrastive import simclr
from kdjax.training import host, loop

BATCHES = (256, 1024)


def make_task(batch):
    return simclr.make(
        data={
            "name": "synthetic_wearable",
            "subjects": 8,  # 4 to train on
            "windows": 128,
            "samples": 320,
            "channels": 2,
        },
        model={
            "name": "convnet",
            "widths": (32, 64, 128, 256),
            "windows": (7, 5, 5, 3),
            "strides": (2, 2, 2, 2),
            "projection": {"hidden": (256,), "outputs": 128},
        },
        training=loop.Training(epochs=1, batch_size=batch, select="loss"),
        optimizer={"name": "sgd", "schedule": {"name": "constant", "value": 0.1}},
        augment=None,
        seed=0,
    )


def time_steps(batch, repeats=15, warmup=2):
    """ms of each of `repeats` steps."""
    steps = islice(run_steps(make_task(batch), batch), warmup + repeats)
    return [seconds * 1e3 for seconds, _ in steps][warmup:]


def large(root, batch=4096, pieces=16, steps=4):
    """Steps of `batch` CIFAR-10 images in pieces: seconds, loss, memory in all."""
    task = simclr.make(
        data={"name": "cifar10", "root": root},
        model={
            "name": "convnet",
            "widths": (64, 128, 256),
            "windows": (3, 3, 3),
            "strides": (2, 2, 2),
            "projection": {"hidden": (256,), "outputs": 128},
        },
        training=loop.Training(epochs=1, batch_size=batch, select="loss"),
        optimizer={
            "name": "lars",
            "schedule": {"name": "constant", "value": 1.0, "scaling": "linear"},
        },
        augment={"name": "simclr_image", "strength": 0.5, "blur": 0.0},
        contrast={"temperature": 0.5, "pieces": pieces, "chunk_size": 512},
        seed=0,
    )
    for seconds, metrics in islice(run_steps(task, batch), steps):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f"batch {batch} in {pieces} pieces: {seconds:.1f} s, "
            f"loss {metrics['loss']:.4f}, {peak:.0f} MiB in all",
            flush=True,
        )


def main(argv):
    host.keep_freed_memory()
    if argv[:1] == ["large"]:
        large(argv[1])
        return
    for batch in [int(argument) for argument in argv] or BATCHES:
        times = time_steps(batch)
        print(
            f"SimCLR step, batch {batch}: {statistics.median(times):.1f} ms "
            f"(min {min(times):.1f})"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
