"""Made-up responses of several runs, some voxels of which tell the classes apart."""

import numpy as np
import pytest


def _responses(
    *, seed=0, runs=4, repeats=2, classes=3, voxels=30, signal=1.0, informative=None
):
    """x [n, voxels], y, run: each run shows each class `repeats` times, in any order.

    `signal`: the deviation of the class means in the first `informative` voxels; the
    noise's is 1.
    """
    rng = np.random.default_rng(seed)
    y = np.concatenate(
        [rng.permutation(np.tile(np.arange(classes), repeats)) for _ in range(runs)]
    ).astype(np.int32)
    run = np.repeat(np.arange(1, runs + 1), classes * repeats).astype(np.int32)
    means = signal * rng.normal(size=(classes, voxels))
    if informative is not None:
        means[:, informative:] = 0
    x = 100 + means[y] + rng.normal(size=(len(y), voxels))
    return x.astype(np.float32), y, run


@pytest.fixture(scope="session")
def responses():
    return _responses
