"""Synthetic heart beats with the time between them: a loader for configs of tests."""

import numpy as np

from kdjax.data.ecg.intervals import around
from kdjax.data.ecg.synthetic import synthetic_ecg

NAME = "tests.tasks.anomaly.beating:heart_beats"


def heart_beats(*, seed, patients=12, beats=40):
    """S and V come early, at .5 s where others come at .8, and a pause follows V."""
    dataset = synthetic_ecg(seed=seed, patients=patients, beats=beats)
    parts = []
    for part in (dataset.train, dataset.validation, dataset.test):
        known = np.empty((len(part.y), 44), np.float32)
        for group in np.unique(part.group):
            rows = np.flatnonzero(part.group == group)
            step = np.random.default_rng(int(group)).normal(0.8, 0.02, len(rows))
            step[part.y[rows] > 0] = 0.5
            step[1:][part.y[rows][:-1] == 2] += 0.3
            known[rows] = around(np.cumsum(step))
        parts.append(known)
    return dataset._replace(intervals=tuple(parts))
