"""`bdata`: one subject's fMRI responses as a dataset, its splits of whole runs."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kdjax.checks import boolean, integer, integers
from kdjax.data.dataset import Dataset, Examples, check, hold_out_groups, take
from kdjax.data.fmri import preprocessing, volumes
from kdjax.data.fmri.bdata import read_bdata
from kdjax.data.fmri.volumes import NO_CLASS, Volumes
from kdjax.errors import InputError


def bdata(
    *,
    paths: str | Sequence[str],
    seed: int,
    roi: str | Sequence[str] | None = None,
    order: int = 1,
    lag: int = 2,
    validation: int = 1,
    test: Sequence[int] | None = None,
    series: bool = False,
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
      many of the other runs are held out, drawn by `seed`.

    Keys are SUBJECT/run_01/block_001; a group is a run. The files are read once in a
    process. Raises InputError that names the file or the field.
    """
    names = (paths,) if isinstance(paths, str) else tuple(paths)
    regions = tuple(roi) if isinstance(roi, list | tuple) else roi
    boolean(series, where="config.data.series")
    integer(order, low=0, where="config.data.order")
    integer(lag, low=0, where="config.data.lag")
    blocks = _read(tuple(Path(n).expanduser().resolve() for n in names), regions, order)
    means = _with_class(preprocessing.block_means(blocks, lag=lag))
    every = _examples(means, series)
    tested = _tested(means, test)
    rest = take(every, np.flatnonzero(~tested))
    train, held = hold_out_groups(
        rest.group, count=validation, seed=seed, where="config.data.validation"
    )
    where = regions if isinstance(regions, str) else ", ".join(regions or ("all",))
    dataset = Dataset(
        name=f"fMRI of {means.subject} ({where}, {means.x.shape[1]:,} voxels)",
        classes=means.classes,
        train=take(rest, train),
        validation=take(rest, held),
        test=take(every, np.flatnonzero(tested)),
        synthetic=means.synthetic,
    )
    return check(dataset, where=str(names[0]))


@functools.lru_cache(maxsize=2)
def _read(
    paths: tuple[Path, ...], roi: str | tuple[str, ...] | None, order: int
) -> Volumes:
    """The files' volumes without imagery, each run cleaned."""
    found = read_bdata(paths, roi=roi)
    found = volumes.take(found, found.data_type != "imagery")
    found = volumes.check(found, drop_constant=True)
    return found._replace(x=preprocessing.clean(found.x, found.run, order=order))


def _with_class(means: Volumes) -> Volumes:
    return volumes.take(means, means.y != NO_CLASS)


def _examples(means: Volumes, series: bool) -> Examples:
    pairs = zip(means.run, means.block, strict=True)
    return Examples(
        x=means.x[..., None] if series else means.x,
        y=means.y,
        group=means.run,
        key=np.array([f"{means.subject}/run_{r:02d}/block_{b:03d}" for r, b in pairs]),
    )


def _tested(means: Volumes, test: Sequence[int] | None) -> np.ndarray:
    """Which rows are tested on: bool [blocks]."""
    where = "config.data.test"
    if test is None:
        tested: np.ndarray = means.data_type == "test"
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
