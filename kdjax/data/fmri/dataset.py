"""One subject's fMRI responses, from files or made up: splits of whole runs."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdjax import files
from kdjax.checks import boolean, integer, integers, numbers
from kdjax.data.dataset import (
    Dataset,
    Examples,
    as_float,
    check,
    hold_out_groups,
    take,
)
from kdjax.data.fmri import preprocessing, volumes
from kdjax.data.fmri.bdata import read_bdata
from kdjax.data.fmri.stimuli import find_images
from kdjax.data.fmri.synthetic import synthetic_volumes
from kdjax.data.fmri.volumes import NO_CLASS, Volumes
from kdjax.data.tables import digits
from kdjax.errors import InputError

# Of each digit: 0, with a loop, 1, of straight lines, or 2, of open curves.
PARENTS = (0, 1, 2, 2, 1, 2, 0, 1, 0, 0)
ENLARGED = 4  # times 8 pixels


def bdata(
    *,
    paths: str | Sequence[str] | None,
    seed: int,
    roi: str | Sequence[str] | None = None,
    order: int = 1,
    lag: int = 2,
    validation: int = 1,
    test: Sequence[int] | None = None,
    series: bool = False,
    images: str | None = None,
) -> Dataset:
    """fMRI of one subject from BData files, a row for each block that has a class.

    `x` float32 [voxels], or with `series` [voxels, 1], as for a network that is
    convolved over voxels. Each run is freed of its polynomial trend of `order` and
    scaled to deviation 1 by its own volumes (`preprocessing.clean`), then each block is
    the mean of its volumes moved by `lag` volumes (`preprocessing.block_means`; where a
    file's volumes are averages already, as GOD's, 0). Constant voxels are left out,
    which is said on stderr.

    paths: a file, or several, a session each. roi: exact names, as "ROI_V1"; several
      are their union; None: all voxels. test: the runs to test on, counted from 1 over
      all sessions; None: those of DataType test. Imagery is left out. validation: how
      many of the other runs are held out, drawn by `seed`. images: a folder; rows are
      then the blocks of DataType training alone, of the classes that these show, and a
      row's key is the path in that folder of the image that was shown, as the loader
      `image_folder` has it: soft labels decoded from it join those images.

    Keys are SUBJECT/run_01/block_001; a group is a run. The files are read once in a
    process. Raises InputError that names the file or the field; with `images` for an
    image that was shown twice, is not there, or stands in two places.
    """
    names = (paths,) if isinstance(paths, str) else tuple(paths or ())
    if not names:
        raise InputError(
            f"config.data.paths: expected a BData file or several, found {paths!r}"
        )
    regions = tuple(roi) if isinstance(roi, list | tuple) else roi
    boolean(series, where="config.data.series")
    integer(order, low=0, where="config.data.order")
    integer(lag, low=0, where="config.data.lag")
    blocks = _read(
        tuple(files.local(n, where="config.data.paths").resolve() for n in names),
        regions,
        order,
    )
    means = _with_class(preprocessing.block_means(blocks, lag=lag))
    if images is None:
        pairs = zip(means.run, means.block, strict=True)
        key = np.array([f"{means.subject}/run_{r:02d}/block_{b:03d}" for r, b in pairs])
    else:
        means = _of_training(means, where=str(names[0]))
        key = _keys_in(files.local(images, where="config.data.images").resolve(), means)
    tested, where = _tested(means, test), str(names[0])
    region = regions if isinstance(regions, str) else ", ".join(regions or ("all",))
    name = f"fMRI of {means.subject} ({region}, {means.x.shape[1]:,} voxels)"
    splits = _splits(_examples(means, key, series), tested, validation, seed)
    dataset = Dataset(name, means.classes, *splits, synthetic=means.synthetic)
    return check(dataset, where=where)


def synthetic_fmri(
    *,
    seed: int,
    roi: str | Sequence[str] = "ROI_LOC",
    signal: Sequence[float | int] = (0.03, 0.05),
    scale: float | int = 0.1,
    images_a_run: int = 50,
    subject: int = 0,
    order: int = 1,
    validation: int = 1,
    test: int = 1,
    series: bool = False,
) -> Dataset:
    """A made-up subject who looks at scikit-learn's digits, a row for each image.

    The images are the training split of `digits` of the same `seed`, and no others: a
    student of those digits is tested, and validated, on what no teacher has seen. A
    row's key is its image's in `digits`, so soft labels join by it. Images are enlarged
    to 32 x 32 pixels. Each is shown once, `images_a_run` or fewer in a run.

    roi, signal, scale: of `synthetic_volumes`, which says what each region knows: V1 to
      V4 the image, LOC, FFA and PPA the class alone, so that what a student gains from
      these is labels and nothing about images. subject: the number of the subject, so
      that all seeds have the same voxels; each `seed` is a session of its own, for an
      interval over seeds is to cover the noise of the measurement, too. order: as in
      `bdata`. validation: how many runs are held out, drawn by `seed`. test: the last
      so many runs; a decoder that leaves out every run needs neither.

    The super-categories of the ten classes are ours and arbitrary: digits with a loop
    (0, 6, 8, 9), of straight lines (1, 4, 7), of open curves (2, 3, 5). No voxel is
    dead. Raises InputError that names the field.
    """
    boolean(series, where="config.data.series")
    integer(order, low=0, where="config.data.order")
    integer(subject, low=0, high=2**32 - 1, where="config.data.subject")
    regions = roi if isinstance(roi, str) else tuple(roi)
    share = numbers(signal, length=2, low=0, high=1, where="config.data.signal")
    made = _look_at_digits(seed, subject, share, scale, images_a_run, order)
    inside = volumes.region(made.rois, regions, where="config.data")
    made = volumes.keep_voxels(made, inside)
    runs = int(made.run.max())
    integer(test, low=1, high=runs - 2, where="config.data.test")
    every = _examples(made, made.stimulus, series)
    splits = _splits(every, made.run > runs - test, validation, seed)
    name = f"{made.subject} fMRI of digits"
    return check(Dataset(name, made.classes, *splits, synthetic=True), where=name)


@functools.lru_cache(maxsize=2)
def _read(
    paths: tuple[Path, ...], roi: str | tuple[str, ...] | None, order: int
) -> Volumes:
    """The files' volumes without imagery, each run cleaned."""
    found = read_bdata(paths, roi=roi)
    return _cleaned(volumes.take(found, found.data_type != "imagery"), order)


@functools.lru_cache(maxsize=4)
def _look_at_digits(
    seed: int,
    subject: int,
    signal: tuple[float, ...],
    scale: float | int,
    images_a_run: int,
    order: int,
) -> Volumes:
    """A subject's cleaned responses to the training digits of a seed, all regions'."""
    shown = digits(seed=seed)
    images = as_float(shown.train.x).repeat(ENLARGED, axis=1).repeat(ENLARGED, axis=2)
    made = synthetic_volumes(
        images.repeat(3, axis=3),
        shown.train.y,
        shown.train.key,
        classes=shown.classes,
        parents=PARENTS,
        test=np.zeros(len(shown.train.y), bool),
        seed=subject,
        session=seed,
        scale=scale,
        signal=signal,
        images_a_run=images_a_run,
        dead=0,
    )
    return _cleaned(made, order)


def _cleaned(found: Volumes, order: int) -> Volumes:
    """The voxels that vary, each run freed of its trend and scaled."""
    found = volumes.check(found, drop_constant=True)
    return found._replace(x=preprocessing.clean(found.x, found.run, order=order))


def _with_class(means: Volumes) -> Volumes:
    return volumes.take(means, means.y != NO_CLASS)


def _of_training(means: Volumes, *, where: str) -> Volumes:
    """The rows of DataType training, and the classes that are among them."""
    means = volumes.take(means, means.data_type == "training")
    if not len(means.y):
        raise InputError(
            f"{where}: DataType: expected training volumes of a class, found none"
        )
    there, y = np.unique(means.y, return_inverse=True)
    classes = tuple(means.classes[label] for label in there)
    return means._replace(y=y.astype(np.int32), classes=classes)


def _keys_in(folder: Path, means: Volumes) -> NDArray[Any]:
    """The path in a folder of the image that each row showed."""
    if (means.stimulus == "").any():
        run = means.run[means.stimulus == ""][0]
        raise InputError(
            f"config.data.images: expected an image for every row of {means.subject}, "
            f"found none for one of run {run}"
        )
    found = find_images(means.stimulus.tolist(), folder)
    return np.array([found[k].relative_to(folder).as_posix() for k in means.stimulus])


def _examples(means: Volumes, key: NDArray[Any], series: bool) -> Examples:
    x = means.x[..., None] if series else means.x
    return Examples(x, means.y, means.run, key)


def _splits(
    every: Examples, tested: NDArray[np.bool_], validation: int, seed: int
) -> tuple[Examples, Examples, Examples]:
    """Training, validation and test rows: of whole runs."""
    rest = take(every, np.flatnonzero(~tested))
    train, held = hold_out_groups(
        rest.group, count=validation, seed=seed, where="config.data.validation"
    )
    return take(rest, train), take(rest, held), take(every, np.flatnonzero(tested))


def _tested(means: Volumes, test: Sequence[int] | None) -> NDArray[np.bool_]:
    """Which rows are tested on: bool [blocks]."""
    where = "config.data.test"
    if test is None:
        tested: NDArray[np.bool_] = means.data_type == "test"
        if not tested.any():
            raise InputError(
                f"{where}: expected the runs to test on, for {means.subject} has no "
                "volumes of DataType test; found None"
            )
        return tested
    runs = integers(test, low=1, where=where)
    absent = np.setdiff1d(runs, means.run)
    if absent.size or not runs:
        raise InputError(
            f"{where}: expected runs of 1 to {means.run.max()}, found {list(runs)}"
        )
    return np.isin(means.run, runs)
