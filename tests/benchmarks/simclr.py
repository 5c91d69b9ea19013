"""Speed of SimCLR's training step: ms per step at batch 256 and 1024.

    python tests/benchmarks/simclr.py [batch ...]

The step is the one that training runs, on one device: it gathers its batch of windows
of 320 samples x 2 channels, encodes both views (no augmentation, as the peer's), and
takes SGD with momentum on NT-Xent. The peer is ../shared/peers/simclr_torch.py: run
both in the same minute on a quiet machine and quote the ratio.
"""

import statistics
import sys
import time

import jax

from kdjax.tasks import simclr
from kdjax.training import host, loop, parallel

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
        training=loop.Training(epochs=1, batch_size=batch, select="loss", mode="min"),
        optimizer={"name": "sgd", "schedule": {"name": "constant", "value": 0.1}},
        augment=None,
        seed=0,
    )


def time_steps(batch, repeats=15, warmup=2):
    """ms of each of `repeats` steps, waiting for each."""
    task = make_task(batch)
    devices = parallel.make("pmap", devices=1)
    everywhere = devices.replicate((task.constants(), jax.random.key(1)))
    state = devices.replicate(task.init(jax.random.key(0)))
    step, times = loop.compiled_step(task, devices), []
    epochs = (task.data["train"].batches(batch, epoch=e) for e in range(1, 100))
    batches = (each for epoch in epochs for each in epoch)
    for _ in range(warmup + repeats):
        part = devices.shard(next(batches))
        start = time.perf_counter()
        state, metrics = step(state, everywhere, part)
        jax.block_until_ready(metrics)
        times.append((time.perf_counter() - start) * 1e3)
    return times[warmup:]


def main(batches):
    host.keep_freed_memory()
    for batch in batches or BATCHES:
        times = time_steps(batch)
        print(
            f"SimCLR step, batch {batch}: {statistics.median(times):.1f} ms "
            f"(min {min(times):.1f})"
        )


if __name__ == "__main__":
    main([int(batch) for batch in sys.argv[1:]])
