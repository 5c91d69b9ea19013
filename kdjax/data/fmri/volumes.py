"""Volumes: one subject's fMRI responses, what was shown, and the regions of voxels."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kdjax.errors import InputError

DATA_TYPES = ("training", "test", "imagery")  # GOD's DataType is 1, 2 or 3
NO_CLASS = -1


class Volumes(NamedTuple):
    """One subject's volumes in order of time, or, after averaging, of blocks.

    `x` float32 [volumes, voxels]; `run` and `block` int32 [volumes], successive from 1
    over all sessions; `data_type` str [volumes], one of `DATA_TYPES` or "" where the
    file has none; `y` int32 [volumes], a place in `classes`, -1 for rest or no class;
    `stimulus` str [volumes], the key of the image shown, "" if none was; `rois` bool
    [voxels] by name; `position` float32 [voxels, 3] as the file has it, usually in mm,
    or None; `synthetic`: made up, not measured.
    """

    x: NDArray[np.float32]
    run: NDArray[np.int32]
    block: NDArray[np.int32]
    data_type: NDArray[np.str_]
    y: NDArray[np.int32]
    stimulus: NDArray[np.str_]
    classes: tuple[str, ...]
    rois: dict[str, NDArray[np.bool_]]
    position: NDArray[np.float32] | None
    subject: str
    synthetic: bool = False


def take(volumes: Volumes, rows: NDArray[Any]) -> Volumes:
    """The volumes at `rows`, indices or a mask; `classes` stay as they are."""
    return volumes._replace(
        x=volumes.x[rows],
        run=volumes.run[rows],
        block=volumes.block[rows],
        data_type=volumes.data_type[rows],
        y=volumes.y[rows],
        stimulus=volumes.stimulus[rows],
    )


def keep_voxels(volumes: Volumes, columns: NDArray[Any]) -> Volumes:
    """The voxels at `columns`, indices or a mask, with their regions and places."""
    position = volumes.position
    return volumes._replace(
        x=volumes.x[:, columns],
        rois={name: member[columns] for name, member in volumes.rois.items()},
        position=None if position is None else position[columns],
    )


def region(
    rois: dict[str, NDArray[np.bool_]], roi: str | Sequence[str], *, where: str
) -> NDArray[np.bool_]:
    """Which voxels are in `roi`, or in any of several: bool [voxels].

    A name is exact: "ROI_V1" is not ROI_V1d. InputError for one that is not there,
    with those that are, and for a region without voxels.
    """
    names = [roi] if isinstance(roi, str) else list(roi)
    for name in names:
        if name not in rois:
            there = ", ".join(rois) or "none"
            raise InputError(f"{where}: roi: expected one of {there}, found {name!r}")
    if not names:
        raise InputError(f"{where}: roi: expected a name or more, found none")
    inside: NDArray[np.bool_] = np.any([rois[name] for name in names], axis=0)
    if not inside.any():
        raise InputError(
            f"{where}: {', '.join(names)}: expected voxels in it, found none"
        )
    return inside


def check(volumes: Volumes, *, where: str = "", drop_constant: bool = False) -> Volumes:
    """The volumes, if a decoder can learn from them; else an InputError.

    Refused: no volume or voxel, fields that disagree in length, labels outside
    `classes`, a run without any class, voxels with NaN or Inf in some volume, and dead
    voxels, that is of one value in all volumes, or NaN in all: with `drop_constant`
    these are left out, and how many is said on stderr. `where` names the data in
    messages, otherwise `subject` does.
    """
    where = where or volumes.subject
    check_shapes(volumes, where=where)
    empty = np.setdiff1d(volumes.run, volumes.run[volumes.y != NO_CLASS])
    if len(empty):
        raise InputError(
            f"{where}: run {empty[0]}: expected a class in some volume, found none "
            f"({len(empty)} such of {len(np.unique(volumes.run))} runs)"
        )
    x, dead = volumes.x, dead_voxels(volumes.x)
    if dead.any() and not drop_constant:
        raise InputError(
            f"{where}: expected voxels that vary, found {dead.sum()} of {len(dead)} "
            f"constant, the first in column {np.argmax(dead)}"
        )
    if dead.all():
        raise InputError(f"{where}: expected voxels that vary, found none")
    if dead.any():
        print(
            f"kdjax: {where}: {dead.sum()} of {len(dead)} voxels are constant and "
            "left out",
            file=sys.stderr,
        )
        volumes = keep_voxels(volumes, ~dead)
        x = volumes.x
    bad = ~(np.isfinite(x.min(axis=0)) & np.isfinite(x.max(axis=0)))
    if bad.any():
        column = int(np.argmax(bad))
        row = int(np.argmin(np.isfinite(x[:, column])))
        raise InputError(
            f"{where}: expected finite numbers, found NaN or Inf in {bad.sum()} of "
            f"{len(bad)} voxels, the first in column {column}, volume {row}"
        )
    return volumes


def dead_voxels(x: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which columns of [volumes, voxels] hold one value alone, or NaN alone."""
    low, high = np.fmin.reduce(x, axis=0), np.fmax.reduce(x, axis=0)
    whole = ~np.isnan(x.min(axis=0))
    dead: NDArray[np.bool_] = (whole & (low == high)) | np.isnan(low)
    return dead


def check_shapes(volumes: Volumes, *, where: str) -> None:
    """InputError that names `where` unless the fields fit each other."""
    n, voxels = volumes.x.shape
    if not n or not voxels:
        raise InputError(
            f"{where}: x: expected volumes and voxels, found {n} of {voxels} voxels"
        )
    for name in ("run", "block", "data_type", "y", "stimulus"):
        found = getattr(volumes, name).shape
        if found != (n,):
            raise InputError(f"{where}: {name}: expected ({n},), found {found}")
    for name, member in volumes.rois.items():
        if member.shape != (voxels,):
            raise InputError(
                f"{where}: {name}: expected ({voxels},), found {member.shape}"
            )
    if volumes.y.min() < NO_CLASS or volumes.y.max() >= len(volumes.classes):
        raise InputError(
            f"{where}: y: expected -1 to {len(volumes.classes) - 1}, "
            f"found {volumes.y.min()} to {volumes.y.max()}"
        )
