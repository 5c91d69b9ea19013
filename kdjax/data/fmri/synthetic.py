"""Synthetic fMRI in the form of GOD's subjects: the truth is known, no brain is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kdjax.checks import integer, number, numbers
from kdjax.data.dataset import check_once
from kdjax.data.fmri.volumes import Volumes
from kdjax.errors import InputError

# Voxels of a GOD subject. Regions that see the image have a window's standard
# deviation, of the image's height; the others know the class alone.
SIZES = {
    "ROI_V1": 1004,
    "ROI_V2": 1018,
    "ROI_V3": 759,
    "ROI_V4": 740,
    "ROI_LOC": 540,
    "ROI_FFA": 568,
    "ROI_PPA": 356,
    "ROI_NULL": 540,
}
WINDOW = {"ROI_V1": 1 / 16, "ROI_V2": 1 / 10, "ROI_V3": 1 / 8, "ROI_V4": 1 / 5}
UNIONS = {
    "ROI_LVC": ("ROI_V1", "ROI_V2", "ROI_V3"),
    "ROI_HVC": ("ROI_LOC", "ROI_FFA", "ROI_PPA"),
    "ROI_VC": tuple(SIZES)[:-1],
}
PARENT_SHARE = 0.5  # of a class's variance across classes
NEIGHBOURS = 0.3  # correlation of noise
BASELINE, OFFSET, DRIFT = 100.0, 1.0, 0.5
SPACING = 3.0  # mm
AT_ONCE = 128  # voxels
# What a seed is used for: each purpose has its own stream of random numbers.
RESPONSE, SHARE, ORDER, NOISE, RUNS, DEAD = range(6)


class _Trials(NamedTuple):
    """Which image each volume shows, in which run, and in which sort of run."""

    image: NDArray[np.intp]
    run: NDArray[np.int32]
    data_type: NDArray[np.str_]


def synthetic_volumes(
    images: NDArray[Any],
    labels: NDArray[Any],
    keys: NDArray[Any],
    *,
    classes: Sequence[str],
    parents: Sequence[int] | NDArray[Any],
    test: NDArray[np.bool_],
    seed: int,
    session: int = 0,
    scale: float | int = 0.1,
    signal: Sequence[float | int] = (0.03, 0.05),
    images_a_run: int = 50,
    test_runs: int = 35,
    dead: int = 3,
    subject: str = "synthetic",
) -> Volumes:
    """A made-up subject who looks at real images; a pure function of its arguments.

    `images` [n, h, w, 3] in [0, 1], 32 pixels high are enough; `labels` int [n], places
    in `classes`; `keys` str [n], what an image is called in `stimulus`; `parents`, the
    super-category of each class; `test` bool [n], the images of the test runs. `seed`
    is the subject, whose voxels see and hold the same in every `session`: order of
    images, noise and drift are the session's own.

    One volume a trial, which is its own block: the response is as if averaged over the
    trial, without a haemodynamic delay. Training runs show each image that is not in
    `test` once, in random order, `images_a_run` or fewer in a run; then `test_runs`
    runs show each test image once in each. Voxels are GOD's numbers times `scale`:

    - V1 to V4: a local field, whose Gaussian window has a random place and a standard
      deviation near 1/16, 1/10, 1/8, 1/5 of the height. Two in three have the energy of
      a Gabor pair of random orientation, the others the window's contrast, both of the
      luminance.
    - LOC, FFA, PPA: a random value for each class, half of whose variance is that of
      its super-category. Images of a class do not differ.
    - NULL: noise alone, as many voxels as LOC.

    A voxel's signal has mean 0 and variance `share` over the training images, its noise
    N(0, 1 - share), correlated .3 with the voxel before and after it; `share` is drawn
    evenly from `signal`: (0, 0) is no signal, (.5, .5) a clear one. To their sum come a
    baseline of 100, and of each run and voxel an offset N(0, 1) and a line N(0, .5^2)
    at its end, minus that at its beginning, which `preprocessing.clean` takes out. So
    `share` is of a single volume's variance after cleaning. `dead` voxels are 0.

    Neighbouring columns are 3 mm apart. `synthetic` is True, and written into a file.
    ROI_LVC is V1 to V3, ROI_HVC is LOC, FFA and PPA, ROI_VC all but NULL, as in GOD.
    InputError that names the argument.
    """
    low, high = _check_settings(seed, scale, signal, images_a_run, test_runs, dead)
    integer(session, low=0, high=2**32 - 1, where="synthetic_volumes.session")
    _check_images(images, labels, keys, classes, parents, test)
    trials = _trials(test, seed, session, images_a_run, test_runs)
    sizes = {name: max(1, round(scale * size)) for name, size in SIZES.items()}
    regions = np.repeat(list(sizes), list(sizes.values()))
    voxels = len(regions)
    if dead >= voxels:
        raise InputError(
            f"synthetic_volumes.dead: expected less than {voxels}, the voxels, found "
            f"{dead}"
        )
    response = _responses(images, labels, np.asarray(parents), sizes, seed)
    response = _standardised(response, ~test)
    share = np.random.default_rng([seed, SHARE]).uniform(low, high, (voxels, 1))
    share[regions == "ROI_NULL"] = 0
    x = _noise(voxels, len(trials.run), seed, session)
    x *= np.sqrt(1 - share).astype(np.float32)
    x += (np.sqrt(share) * response).astype(np.float32)[:, trials.image]
    _add_drift(x, trials.run, seed, session)
    x[np.random.default_rng([seed, DEAD]).permutation(voxels)[:dead]] = 0
    rois = {name: regions == name for name in sizes}
    rois |= {name: np.isin(regions, parts) for name, parts in UNIONS.items()}
    return Volumes(
        x=np.ascontiguousarray(x.T),
        run=trials.run,
        block=np.arange(1, len(trials.run) + 1, dtype=np.int32),
        data_type=trials.data_type,
        y=np.asarray(labels, np.int32)[trials.image],
        stimulus=np.asarray(keys, np.str_)[trials.image],
        classes=tuple(classes),
        rois=rois,
        position=_snake(voxels),
        subject=subject,
        synthetic=True,
    )


def _check_settings(
    seed: int,
    scale: float | int,
    signal: Sequence[float | int],
    images_a_run: int,
    test_runs: int,
    dead: int,
) -> tuple[float, float]:
    """The bounds of `signal`; InputError for a setting that is impossible."""
    where = "synthetic_volumes."
    integer(seed, low=0, high=2**32 - 1, where=f"{where}seed")
    number(scale, above=0, high=4, where=f"{where}scale")
    integer(images_a_run, low=3, where=f"{where}images_a_run")
    integer(test_runs, low=0, where=f"{where}test_runs")
    integer(dead, low=0, where=f"{where}dead")
    low, high = numbers(signal, length=2, low=0, high=1, where=f"{where}signal")
    if low > high:
        raise InputError(
            f"{where}signal: expected low to high, found {low:g}, {high:g}"
        )
    return low, high


def _check_images(
    images: NDArray[Any],
    labels: NDArray[Any],
    keys: NDArray[Any],
    classes: Sequence[str],
    parents: Sequence[int] | NDArray[Any],
    test: NDArray[np.bool_],
) -> None:
    where = "synthetic_volumes."
    if images.ndim != 4 or images.shape[3] != 3 or images.dtype.kind != "f":
        raise InputError(
            f"{where}images: expected floats [n, h, w, 3], found {images.dtype} "
            f"{images.shape}"
        )
    n = len(images)
    for name, values in (("labels", labels), ("keys", keys), ("test", test)):
        if values.shape != (n,):
            raise InputError(
                f"{where}{name}: expected ({n},), one for each image, "
                f"found {values.shape}"
            )
    if len(parents) != len(classes):
        raise InputError(
            f"{where}parents: expected {len(classes)}, one for each class, "
            f"found {len(parents)}"
        )
    if labels.min(initial=0) < 0 or labels.max(initial=0) >= len(classes):
        raise InputError(
            f"{where}labels: expected 0 to {len(classes) - 1}, "
            f"found {labels.min()} to {labels.max()}"
        )
    check_once(keys, "each once", where=f"{where}keys")
    for name, count in (("training", (~test).sum()), ("test", test.sum())):
        if count < 3 and (count or name == "training"):
            raise InputError(
                f"{where}test: expected three {name} images or more, found {count}"
            )
    if not (images.min() >= 0 and images.max() <= 1):
        raise InputError(
            f"{where}images: expected values in [0, 1], "
            f"found {images.min():g} to {images.max():g}"
        )


def _trials(
    test: NDArray[np.bool_],
    seed: int,
    session: int,
    images_a_run: int,
    test_runs: int,
) -> _Trials:
    rng = np.random.default_rng([seed, ORDER, session])
    order = rng.permutation(np.flatnonzero(~test))
    runs = np.array_split(order, -(-len(order) // images_a_run))
    kinds = ["training"] * len(runs)
    if test.any():
        runs += [rng.permutation(np.flatnonzero(test)) for _ in range(test_runs)]
        kinds += ["test"] * test_runs
    lengths = [len(run) for run in runs]
    return _Trials(
        np.concatenate(runs),
        np.repeat(np.arange(1, len(runs) + 1), lengths).astype(np.int32),
        np.repeat(np.array(kinds), lengths),
    )


def _responses(
    images: NDArray[Any],
    labels: NDArray[Any],
    parents: NDArray[Any],
    sizes: dict[str, int],
    seed: int,
) -> NDArray[np.float64]:
    """Each voxel's response to each image, in units of its own: [voxels, n]."""
    luminance = (images @ np.array([0.299, 0.587, 0.114])).astype(np.float32)
    parts = []
    for k, (name, count) in enumerate(sizes.items()):
        rng = np.random.default_rng([seed, RESPONSE, k])
        if name in WINDOW:
            parts.append(_local_fields(luminance, count, WINDOW[name], rng))
        elif name == "ROI_NULL":
            parts.append(np.zeros((count, len(images))))
        else:
            above = np.unique(parents, return_inverse=True)[1]
            common = rng.standard_normal((count, above.max() + 1))[:, above]
            own = rng.standard_normal((count, len(parents)))
            both = np.sqrt(PARENT_SHARE) * common + np.sqrt(1 - PARENT_SHARE) * own
            parts.append(both[:, labels])
    return np.concatenate(parts)


def _local_fields(
    luminance: NDArray[np.float32], count: int, window: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Energy or contrast in `count` windows of images [n, h, w]: [count, n]."""
    n, height, width = luminance.shape
    pixels = luminance.reshape(n, -1).T
    squares = np.square(pixels)
    row, column = np.divmod(np.arange(height * width, dtype=np.float32), width)
    place = rng.uniform(0, 1, (count, 2)) * (height - 1, width - 1)
    sigma = window * height * np.exp(rng.normal(0, 0.2, count))
    angle = rng.uniform(0, np.pi, count)
    wave = np.maximum(rng.uniform(2, 4, count) * sigma, 2.0)
    contrast = np.arange(count) % 3 == 2
    out = np.empty((count, n))
    for first in range(0, count, AT_ONCE):
        part = np.s_[first : first + AT_ONCE]
        down = row - place[part, :1]
        right = column - place[part, 1:]
        weight = np.exp(-(down**2 + right**2) / (2 * sigma[part, None] ** 2))
        weight /= weight.sum(axis=1, keepdims=True)
        along = np.cos(angle[part, None]) * right + np.sin(angle[part, None]) * down
        phase = 2 * np.pi * along / wave[part, None]
        energy = np.zeros((len(weight), n))
        for pattern in (np.cos(phase), np.sin(phase)):
            pattern = weight * (pattern - (weight * pattern).sum(axis=1, keepdims=True))
            energy += np.square(pattern.astype(np.float32) @ pixels)
        weight = weight.astype(np.float32)
        variance = np.maximum(weight @ squares - np.square(weight @ pixels), 0)
        out[part] = np.sqrt(np.where(contrast[part, None], variance, energy))
    return out


def _standardised(
    response: NDArray[np.float64], training: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Mean 0 and variance 1 over the training images; constant responses are 0."""
    mean = response[:, training].mean(axis=1, keepdims=True)
    std = response[:, training].std(axis=1, keepdims=True)
    return np.where(std > 1e-6, (response - mean) / np.where(std > 1e-6, std, 1), 0)


def _noise(voxels: int, volumes: int, seed: int, session: int) -> NDArray[np.float32]:
    """N(0, 1) [voxels, volumes], each voxel correlated with the one before."""
    rng = np.random.default_rng([seed, NOISE, session])
    noise = rng.standard_normal((voxels, volumes), np.float32)
    fresh = np.float32(np.sqrt(1 - NEIGHBOURS**2))
    for voxel in range(1, voxels):
        noise[voxel] *= fresh
        noise[voxel] += np.float32(NEIGHBOURS) * noise[voxel - 1]
    return noise


def _add_drift(
    x: NDArray[np.float32], run: NDArray[np.int32], seed: int, session: int
) -> None:
    """Adds the baseline, and each run's offset and line, to [voxels, volumes]."""
    rng = np.random.default_rng([seed, RUNS, session])
    for place in np.unique(run):
        rows = np.flatnonzero(run == place)
        level = BASELINE + rng.normal(0, OFFSET, (len(x), 1))
        line = rng.normal(0, DRIFT, (len(x), 1)) * np.linspace(-1, 1, len(rows))
        x[:, rows[0] : rows[-1] + 1] += (level + line).astype(np.float32)


def _snake(count: int) -> NDArray[np.float32]:
    """Places in mm [count, 3] on a grid, each one step from the one before."""
    side = int(np.ceil(count ** (1 / 3)))
    line, x = np.divmod(np.arange(count), side)
    z, y = np.divmod(line, side)
    x = np.where(line % 2, side - 1 - x, x)
    y = np.where(z % 2, side - 1 - y, y)
    return (SPACING * np.stack([x, y, z], axis=1)).astype(np.float32)
