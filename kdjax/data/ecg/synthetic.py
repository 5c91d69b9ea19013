"""Synthetic heart beats, for tests and smoke runs: never for a claim."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kdjax.checks import integer, number
from kdjax.data.dataset import (
    Dataset,
    Examples,
    check,
    check_made,
    hold_out_groups,
    take,
)
from kdjax.data.ecg.records import BEFORE, RATE, SAMPLES
from kdjax.data.preprocessing import scaled

CLASSES = ("N", "S", "V")
# P, Q, R, S, T of McSharry et al. 2003 at 60 beats a minute: their angles and widths
# are turned into seconds, their a b^2 into the height of the wave, R's being 1.
CENTRE = np.array([-1 / 6, -1 / 24, 0, 1 / 24, 1 / 4])
WIDTH = np.array([0.25, 0.1, 0.1, 0.1, 0.4]) / (2 * np.pi)
HEIGHT = np.array([0.25, -1 / 6, 1, -0.25, 0.4])
# By class: factors of height and width, shift in seconds, and the factors of the
# intervals before and after: S is early with another P; V is early, wide, without P,
# its T inverted, and a pause follows.
HEIGHT_FACTOR = np.array([[1, 1, 1, 1, 1], [-0.6, 1, 1, 1, 1], [0, 0, 1.3, 2, -1.2]])
WIDTH_FACTOR = np.array([[1, 1, 1, 1, 1], [0.7, 1, 1, 1, 1], [1, 1, 3, 3, 1.2]])
SHIFT = np.array([[0, 0, 0, 0, 0], [0.04, 0, 0, 0, 0], [0, 0, 0, 0.05, 0.06]])
INTERVALS = np.array([[1, 1], [0.65, 1.1], [0.7, 1.3]])


def synthetic_ecg(
    *,
    seed: int,
    patients: int = 12,
    beats: int = 40,
    abnormal: int | float = 0.1,
    leads: int = 1,
    noise: int | float = 0.02,
    wander: int | float = 0.05,
    validation_groups: int = 3,
    test_groups: int = 3,
    recording_seed: int = 0,
) -> Dataset:
    """Beats [320, leads] at 360 Hz, R at sample 140, `beats` of each patient.

    x(t) = sum_k h_k exp(-(t - c_k)^2 / (2 w_k^2)), k over P, Q, R, S and T of the beat
    and of its neighbours, which are normal, and then a baseline of height `wander` at
    0.15 to 0.4 Hz and `noise` N(0, 1), both in R's height; each beat and lead is scaled
    to [-1, 1]. A patient has his own rate, 60 to 90 a minute, and his own heights,
    widths and centres. Of his beats, a share `abnormal` is S and as many are V, at
    least one each; the rest are N.

    The recordings depend on `recording_seed` alone. Test: the last `test_groups`
    patients. Validation: `validation_groups` of the others, drawn by `seed`.
    Morphology: McSharry et al., IEEE Trans. Biomed. Eng. 50:289 (2003).
    """
    integer(patients, low=3, where="config.data.patients")
    integer(beats, low=3, where="config.data.beats")
    number(abnormal, low=0, high=0.49, where="config.data.abnormal")
    integer(leads, low=1, where="config.data.leads")
    number(noise, low=0, where="config.data.noise")
    number(wander, low=0, where="config.data.wander")
    integer(test_groups, low=1, high=patients - 2, where="config.data.test_groups")

    integer(recording_seed, low=0, where="config.data.recording_seed")
    check_made(patients * beats * leads * SAMPLES)

    rng = np.random.default_rng(recording_seed)
    odd = min(max(1, round(abnormal * beats)), (beats - 1) // 2)
    one = np.repeat([0, 1, 2], [beats - 2 * odd, odd, odd])
    label = rng.permuted(np.tile(one, (patients, 1)), axis=1).ravel()
    patient = np.repeat(np.arange(patients), beats)
    x = _waves(label, patient, patients, leads, rng)
    x += _wander(len(label), wander, rng)
    x += noise * rng.standard_normal(x.shape)
    examples = Examples(
        x=scaled(x, {"name": "range_of_example"}),
        y=label.astype(np.int32),
        group=patient.astype(np.int32),
        key=np.array([f"{p}/{row:06d}" for row, p in enumerate(patient)]),
    )
    is_test = patient >= patients - test_groups
    pool = take(examples, np.flatnonzero(~is_test))
    rest, held = hold_out_groups(
        pool.group,
        count=validation_groups,
        seed=seed,
        where="config.data.validation_groups",
    )
    dataset = Dataset(
        name="synthetic ECG",
        classes=CLASSES,
        train=take(pool, rest),
        validation=take(pool, held),
        test=take(examples, np.flatnonzero(is_test)),
        synthetic=True,
        preprocessing=({"name": "range_of_example"},),
    )
    return check(dataset, where="synthetic_ecg")


def _waves(
    label: NDArray[np.integer],
    patient: NDArray[np.integer],
    patients: int,
    leads: int,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """The waves of each beat and its neighbours: [n, 320, leads]."""
    n = len(label)
    height = HEIGHT * np.exp(rng.normal(0, 0.15, (patients, leads, 5)))
    width = WIDTH * np.exp(rng.normal(0, 0.1, (patients, 5)))
    centre = CENTRE * np.exp(rng.normal(0, 0.05, (patients, 5)))
    interval = rng.uniform(60 / 90, 60 / 60, patients)[patient]
    interval = interval[:, None] * INTERVALS[label]
    interval *= np.exp(rng.normal(0, 0.03, (n, 2)))
    beat = np.exp(rng.normal(0, 0.03, (n, 5)))  # a patient's own beats differ a little

    time = (np.arange(SAMPLES) - BEFORE) / RATE
    normal = np.zeros_like(label)
    x = np.zeros((n, SAMPLES, leads))
    for c, r in ((normal, -interval[:, 0]), (label, 0.0), (normal, interval[:, 1])):
        where = np.add(centre[patient] + SHIFT[c], np.reshape(r, (-1, 1)))
        spread = width[patient] * WIDTH_FACTOR[c]
        high = height[patient] * (beat * HEIGHT_FACTOR[c])[:, None]
        for k in range(5):
            z = (time - where[:, k, None]) / spread[:, k, None]
            x += np.exp(-(z**2) / 2)[:, :, None] * high[:, None, :, k]
    return x


def _wander(
    n: int, height: int | float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """A slow sine of each beat, the same in all leads: [n, 320, 1]."""
    frequency = rng.uniform(0.15, 0.4, (n, 1, 1))
    phase = rng.uniform(0, 2 * np.pi, (n, 1, 1))
    time = np.arange(SAMPLES)[None, :, None] / RATE
    return height * np.sin(2 * np.pi * frequency * time + phase)
