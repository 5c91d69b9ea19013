"""Speed of SimCLR's training step: ms per step at batch 256 and 1024.

    python tests/benchmarks/simclr.py [--rounds=N] [--peer=PYTHON_WITH_TORCH] [--tiny]
    python tests/benchmarks/simclr.py --large=CIFAR_FOLDER

The step is the one that training runs, on one device: it gathers its batch of windows
of 320 samples x 2 channels, encodes both views (no augmentation, as the peer's), and
takes SGD with momentum on NT-Xent. The peer is ../shared/peers/simclr_torch.py;
`--peer` runs it in turn with it. `--large` takes steps of 4,096 CIFAR-10 images,
encoded in 16 microbatches. `--tiny` is what the tests run.
"""

import resource
import sys
from itertools import islice

from stepping import Case, parser, print_machine, report, run_steps, steps

from kdjax.tasks.contrastive import simclr
from kdjax.training import host
from kdjax.training.task import Training


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
        training=Training(epochs=1, batch_size=batch, select="loss"),
        optimizer={"name": "sgd", "schedule": {"name": "constant", "value": 0.1}},
        augment=None,
        seed=0,
    )


def cases(batches, repeats):
    for batch in batches:
        yield Case(
            name=f"SimCLR step, batch {batch}",
            prepare=steps(
                lambda batch=batch: make_task(batch), batch, repeats=repeats, warmup=2
            ),
            peer=("simclr_torch.py", f"torch SimCLR step, batch {batch}"),
        )


def large(root, *, batch, microbatches, steps=4):
    """Steps of `batch` CIFAR-10 images in parts: seconds, loss, memory in all."""
    task = simclr.make(
        data={"name": "cifar10", "root": root},
        model={
            "name": "convnet",
            "widths": (64, 128, 256),
            "windows": (3, 3, 3),
            "strides": (2, 2, 2),
            "projection": {"hidden": (256,), "outputs": 128},
        },
        training=Training(epochs=1, batch_size=batch, select="loss"),
        optimizer={
            "name": "lars",
            "schedule": {"name": "constant", "value": 1.0, "scaling": "linear"},
        },
        augment={"name": "simclr_image", "strength": 0.5, "blur": 0.0},
        contrast={"temperature": 0.5, "microbatches": microbatches},
        seed=0,
    )
    for seconds, metrics in islice(run_steps(task, batch), steps):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f"batch {batch} in {microbatches} microbatches: {seconds:.3g} s, "
            f"loss {metrics['loss']:.4f}, {peak:.0f} MiB in all",
            flush=True,
        )


def main(arguments):
    flags = parser(__doc__)
    flags.add_argument("--large", metavar="CIFAR_FOLDER")
    given = flags.parse_args(arguments)
    print_machine()
    if given.large:
        host.keep_freed_memory()
        batch, microbatches = (8, 2) if given.tiny else (4096, 16)
        large(given.large, batch=batch, microbatches=microbatches)
        return
    batches, repeats = ((8,), 2) if given.tiny else ((256, 1024), 15)
    report(cases(batches, repeats), rounds=given.rounds, peer=given.peer)


if __name__ == "__main__":
    main(sys.argv[1:])
