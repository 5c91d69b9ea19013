"""NIfTI runs, BIDS events and region masks, turned into one subject's BData file."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kdjax.checks import number
from kdjax.data.fmri.bdata import REST
from kdjax.data.fmri.events import Event, read_events
from kdjax.data.fmri.volumes import DATA_TYPES, NO_CLASS, Volumes, check_shapes
from kdjax.data.fmri.writing import write_bdata
from kdjax.errors import InputError

AFFINE_WITHIN = 1e-3  # mm and its like, between files of one subject


class _Grid(NamedTuple):
    """A file's voxel grid: shape of its space and its affine to mm [4, 4]."""

    path: Path
    shape: tuple[int, ...]
    affine: NDArray[np.float64]


class _Design(NamedTuple):
    """What a run's volumes are: block from 1, class and image by name, [volumes]."""

    block: NDArray[np.int32]
    label: NDArray[Any]
    stimulus: NDArray[Any]


def nifti_to_bdata(
    images: Sequence[str | Path],
    events: Sequence[str | Path],
    masks: Mapping[str, str | Path],
    out: str | Path,
    *,
    tr: float | int | None = None,
    subject: str = "",
    data_type: Sequence[str] | None = None,
    label: str = "trial_type",
    stimulus: str = "stim_file",
    rest: Sequence[str] = REST,
) -> Volumes:
    """Writes a BData file of 4-D NIfTI runs of one subject, and returns its volumes.

    `images` and `events`: a 4-D file and a BIDS events.tsv for each run, in order.
    `masks`: a 3-D file by region, whose name becomes ROI_<name>; the voxels are those
    above 0 in any, in order of x, y and z. Places are in mm by the affine. `tr`,
    seconds between volumes, else as the images say. `data_type`: training, test or
    imagery of each run. Responses are as recorded: `preprocessing` cleans them.

    A volume belongs to the event that covers its middle, volume k's being (k + 1/2) tr
    after the run's first; an event too short for any has the volume of its onset. Each
    event is a block, and so is each stretch without one. The class is in the column
    `label`; `rest`, n/a, and no event are none. The image's key is in the column
    `stimulus`, if there, without a suffix.

    Raises an InputError that names the file: no nibabel; other counts of files; another
    shape or affine; an empty mask; and of events, what `read_events` refuses, two in
    one volume, and one that begins before the run or ends after it.
    """
    if tr is not None:
        number(tr, above=0, where="tr")
    runs = _checked_runs(images, events, data_type)
    nibabel = import_nibabel()
    grid = _open(nibabel, runs[0][0], axes=4)[0]
    rois, inside = _regions(nibabel, masks, grid)
    parts: list[NDArray[np.float32]] = []
    designs: list[_Design] = []
    for path, table, _ in runs:
        found, shape, stored = _open(nibabel, path, axes=4)
        _check_grid(found, grid)
        seconds = tr if tr is not None else _stated_tr(stored, path)
        listed = read_events(table, label=label, stimulus=stimulus)
        designs.append(_design(listed, shape[3], seconds, tuple(rest), table))
        parts.append(_numbers(path, stored)[inside].T)
    volumes = _volumes(parts, designs, [kind for *_, kind in runs])._replace(
        rois=rois,
        position=_position(inside, grid.affine),
        subject=subject or Path(out).stem,
    )
    check_shapes(volumes, where=str(out))
    write_bdata(out, volumes)
    return volumes


def import_nibabel() -> Any:
    """The package nibabel; InputError that says how to install it."""
    try:
        import nibabel
    except ImportError:
        raise InputError(
            'NIfTI: expected nibabel, found none: pip install "kdjax[fmri]"'
        ) from None
    return nibabel


def _checked_runs(
    images: Sequence[str | Path],
    events: Sequence[str | Path],
    data_type: Sequence[str] | None,
) -> list[tuple[Path, Path, str]]:
    """(image, events, data type or "") of each run."""
    kinds = [""] * len(images) if data_type is None else list(data_type)
    if not images:
        raise InputError("images: expected a file or more, found none")
    for name, values in (("events", events), ("data_type", kinds)):
        if len(values) != len(images):
            raise InputError(
                f"{name}: expected {len(images)}, one for each image, "
                f"found {len(values)}"
            )
    for kind in kinds:
        if data_type is not None and kind not in DATA_TYPES:
            raise InputError(
                f"data_type: expected {', '.join(DATA_TYPES)}, found {kind!r}"
            )
    pairs = zip(images, events, kinds, strict=True)
    return [(Path(i).expanduser(), Path(e).expanduser(), k) for i, e, k in pairs]


def _open(nibabel: Any, path: Path, *, axes: int) -> tuple[_Grid, tuple[int, ...], Any]:
    """A file's grid, its whole shape, and the image, its numbers not yet read."""
    if not path.is_file():
        raise InputError(f"{path}: expected this file, found none")
    try:
        image = nibabel.load(path)
        affine = np.asarray(image.affine, np.float64)
    except (nibabel.filebasedimages.ImageFileError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: expected a NIfTI file ({reason})") from error
    shape = tuple(map(int, image.shape))
    if axes == 3 and len(shape) == 4 and shape[3] == 1:
        shape = shape[:3]
    if len(shape) != axes:
        raise InputError(f"{path}: expected {axes} axes, found shape {shape}")
    return _Grid(path, shape[:3], affine), shape, image


def _numbers(path: Path, image: Any) -> NDArray[np.float32]:
    try:
        return np.asarray(image.dataobj, dtype=np.float32)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: damaged or cut short ({reason})") from error


def _check_grid(found: _Grid, expected: _Grid) -> None:
    if found.shape != expected.shape:
        raise InputError(
            f"{found.path}: expected shape {expected.shape}, as in {expected.path}, "
            f"found {found.shape}"
        )
    distance = float(abs(found.affine - expected.affine).max())
    if not distance <= AFFINE_WITHIN:
        raise InputError(
            f"{found.path}: expected the affine of {expected.path}, found another "
            f"(by up to {distance:.3g})"
        )


def _stated_tr(image: Any, path: Path) -> float:
    """Seconds between volumes by the header."""
    zoom = float(image.header.get_zooms()[3])
    unit = image.header.get_xyzt_units()[1]
    seconds = zoom * {"msec": 1e-3, "usec": 1e-6}.get(unit, 1.0)
    if not 0 < seconds < np.inf:
        raise InputError(f"{path}: expected a TR above 0, found {zoom:g}: give tr")
    return seconds


def _regions(
    nibabel: Any, masks: Mapping[str, str | Path], grid: _Grid
) -> tuple[dict[str, NDArray[np.bool_]], NDArray[np.bool_]]:
    """The regions by name [voxels], and which places of the grid are voxels."""
    if not masks:
        raise InputError("masks: expected a file or more, found none")
    members = {}
    for name, given in masks.items():
        path = Path(given).expanduser()
        found, shape, image = _open(nibabel, path, axes=3)
        _check_grid(found, grid)
        member = _numbers(path, image).reshape(shape) > 0
        if not member.any():
            raise InputError(f"{path}: expected voxels above 0, found none")
        members[f"ROI_{name.removeprefix('ROI_')}"] = member
    inside: NDArray[np.bool_] = np.any(list(members.values()), axis=0)
    return {name: member[inside] for name, member in members.items()}, inside


def _position(
    inside: NDArray[np.bool_], affine: NDArray[np.float64]
) -> NDArray[np.float32]:
    places = np.argwhere(inside) @ affine[:3, :3].T + affine[:3, 3]
    return places.astype(np.float32)


def _design(
    events: list[Event], volumes: int, tr: float, rest: tuple[str, ...], path: Path
) -> _Design:
    """Which event each of a run's volumes belongs to."""
    owner = np.full(volumes, -1)
    for k, event in enumerate(events):
        # Within a millionth of a volume of its middle is at it: onsets are rounded.
        first, end = (
            int(np.ceil(time / tr - 0.5 - 1e-6))
            for time in (event.onset, event.onset + event.duration)
        )
        if end <= first:
            first = int(np.floor(event.onset / tr + 1e-6))
            end = first + 1
        if event.onset < 0 or end > volumes:
            raise InputError(
                f"{path}: line {event.line}: expected an event in the run's "
                f"{volumes * tr:g} s, found {event.onset:g} to "
                f"{event.onset + event.duration:g}"
            )
        taken = owner[first:end] >= 0
        if taken.any():
            volume = first + int(np.argmax(taken))
            raise InputError(
                f"{path}: line {event.line}: expected one event in a volume, found "
                f"two in volume {volume}, the other of line "
                f"{events[owner[volume]].line}"
            )
        owner[first:end] = k
    label = np.array([*(e.label for e in events), ""])[owner]
    shown = [_key(event.stimulus) for event in events]
    stimulus = np.array([*shown, ""])[owner]
    label = np.where(np.isin(label, rest), "", label)
    block = 1 + np.cumsum(np.diff(owner, prepend=owner[:1]) != 0)
    return _Design(block.astype(np.int32), label, stimulus)


def _key(file: str) -> str:
    """An image file's path without its suffix."""
    return str(PurePosixPath(file).with_suffix("")) if file else ""


def _volumes(
    parts: list[NDArray[np.float32]], designs: list[_Design], kinds: list[str]
) -> Volumes:
    """The runs one after another; regions, places and the name are still to come."""
    lengths = [len(part) for part in parts]
    label = np.concatenate([design.label for design in designs])
    classes = tuple(sorted({str(name) for name in label} - {""}))
    place = {"": NO_CLASS} | {name: k for k, name in enumerate(classes)}
    before = np.cumsum([0, *(int(design.block.max()) for design in designs[:-1])])
    blocks = [d.block + k for d, k in zip(designs, before, strict=True)]
    return Volumes(
        x=np.concatenate(parts),
        run=np.repeat(np.arange(1, len(parts) + 1), lengths).astype(np.int32),
        block=np.concatenate(blocks).astype(np.int32),
        data_type=np.repeat(np.array(kinds, np.str_), lengths),
        y=np.array([place[name] for name in label.tolist()], np.int32),
        stimulus=np.concatenate([design.stimulus for design in designs]),
        classes=classes,
        rois={},
        position=None,
        subject="",
    )
