"""Synthetic recordings, for tests and smoke runs: never for a claim."""

from __future__ import annotations

import numpy as np

from kdjax.checks import integer, number
from kdjax.data.dataset import (
    Dataset,
    Examples,
    check,
    check_made,
    hold_out_groups,
    standardise,
    take,
)


def synthetic_wearable(
    *,
    seed: int,
    subjects: int = 8,
    classes: int = 4,
    windows: int = 10,
    samples: int = 64,
    channels: int = 3,
    noise: float = 0.5,
    validation_groups: int = 2,
    test_groups: int = 2,
    recording_seed: int = 0,
) -> Dataset:
    """Windows [samples, channels], `windows` for each subject and class; standardised.

    x = gain_s a_c sin(2 pi f_c t + phase) + offset_s + noise N(0, 1), where class c has
    f_c = 2 + c cycles a window and a_c = 1 + c / C, and subject s its own gain in
    [0.7, 1.3] and offset N(0, 0.5^2) in each channel; the phase is random.

    The recordings depend on `recording_seed` alone. Test: the last `test_groups`
    subjects. Validation: `validation_groups` of the others, drawn by `seed`.
    """
    sizes = {"classes": classes, "windows": windows, "samples": samples}
    for name, value in (sizes | {"channels": channels}).items():
        low = 2 if name in ("classes", "samples") else 1
        integer(value, low=low, where=f"config.data.{name}")
    integer(subjects, low=3, where="config.data.subjects")
    integer(test_groups, low=1, high=subjects - 2, where="config.data.test_groups")
    number(noise, low=0, where="config.data.noise")

    integer(recording_seed, low=0, where="config.data.recording_seed")
    check_made(subjects * classes * windows * samples * channels)

    rng = np.random.default_rng(recording_seed)
    subject, label = np.divmod(
        np.repeat(np.arange(subjects * classes), windows), classes
    )
    gain = rng.uniform(0.7, 1.3, (subjects, 1, channels))[subject]
    offset = rng.normal(0, 0.5, (subjects, 1, channels))[subject]
    phase = rng.uniform(0, 2 * np.pi, (len(label), 1, channels))
    time = np.arange(samples)[None, :, None] / samples
    amplitude, frequency = (1 + label / classes, 2 + label)
    wave = np.sin(2 * np.pi * frequency[:, None, None] * time + phase)
    x = gain * amplitude[:, None, None] * wave + offset
    x += noise * rng.standard_normal(x.shape)
    examples = Examples(
        x=x.astype(np.float32),
        y=label.astype(np.int32),
        group=subject.astype(np.int32),
        key=np.array([f"{s}/{row:05d}" for row, s in enumerate(subject)]),
    )
    is_test = subject >= subjects - test_groups
    pool = take(examples, np.flatnonzero(~is_test))
    rest, held = hold_out_groups(
        pool.group,
        count=validation_groups,
        seed=seed,
        where="config.data.validation_groups",
    )
    dataset = Dataset(
        name="synthetic wearable",
        classes=tuple(f"class_{c}" for c in range(classes)),
        train=take(pool, rest),
        validation=take(pool, held),
        test=take(examples, np.flatnonzero(is_test)),
        synthetic=True,
    )
    return standardise(check(dataset, where="synthetic_wearable"))
