"""Reads BData files, the format of the Kamitani lab: GOD, and anything bdpy wrote."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.io.matlab import MatReadError

from kdjax.data.fmri import contents, labels
from kdjax.data.fmri.sessions import Session, check_same_voxels, concatenate
from kdjax.data.fmri.volumes import DATA_TYPES, NO_CLASS, Volumes, region
from kdjax.errors import InputError

VOXELS = "VoxelData"
AXES = ("voxel_x", "voxel_y", "voxel_z")
REST = ("rest",)
ROWS = 64  # converted to float32 at once
# What bdpy, h5py and SciPy raise on a file that is damaged or another kind of file.
UNREADABLE = (
    *(OSError, ValueError, LookupError, TypeError, RuntimeError, AttributeError),
    *(ArithmeticError, EOFError, MatReadError, zlib.error),
)


class _File(NamedTuple):
    """What a file holds: `value` [keys, columns] says which column is what."""

    path: Path
    dataset: NDArray[np.float64]
    value: dict[str, NDArray[np.float64]]
    vmap: dict[str, dict[float, str]]
    header: dict[str, Any]


def read_bdata(
    paths: str | Path | Sequence[str | Path],
    *,
    roi: str | Sequence[str] | None = None,
    data_type: str | Sequence[str] | None = None,
    rest: Sequence[str] = REST,
) -> Volumes:
    """One subject's volumes from a BData file, or from several, one a session.

    The sessions' volumes follow each other. Runs are counted from 1 in their order in
    the files, over all sessions, a run of each DataType being its own; so are blocks
    (without a column Block each volume is one). What is selected does not change these
    numbers. `roi`: exact names, as ROI_V1; several are their union. `data_type`: one or
    several of training, test, imagery.

    The class is that of `stimulus_id` where the file has it, as GOD's: its integer part
    is a WordNet id, class n01443537, six decimals the image's number, key
    n01443537_22563, no decimals no image; classes are in rising order. Elsewhere it is
    that of `Label`, named by its vmap, in the order of its values, and the key that of
    a column `Stimulus` with a vmap, if there. `rest`, NaN, and in stimulus_id 0 are no
    class. Nothing was shown in imagery, whatever the file names. Classes that no volume
    has are left out. GOD's `category_index` is not used: before version 5 it was wrong,
    which is said on stderr where it is no renaming of the classes.

    In memory there are one file's numbers in float64 and the voxels in float32. Raises
    an InputError that names the file and the column, and for sessions whose voxels
    differ.
    """
    files = [Path(p) for p in ([paths] if isinstance(paths, str | Path) else paths)]
    if not files:
        raise InputError("BData: expected a file or more, found none")
    types = _data_types(data_type)
    sessions: list[Session] = []
    for path in files:
        session = _read_session(path.expanduser(), roi, types, tuple(rest))
        if sessions:
            check_same_voxels(sessions[0], session)
        sessions.append(session)
    if types and not any(len(session.label) for session in sessions):
        there = sorted({name for session in sessions for name in session.kinds})
        raise InputError(
            f"{files[0]}: DataType: expected volumes of {' or '.join(types)}, "
            f"found {', '.join(there) or 'none with a type'}"
        )
    return concatenate(sessions)


def _data_types(data_type: str | Sequence[str] | None) -> tuple[str, ...] | None:
    if data_type is None:
        return None
    types = (data_type,) if isinstance(data_type, str) else tuple(data_type)
    for name in types:
        if name not in DATA_TYPES:
            raise InputError(
                f"data_type: expected one of {', '.join(DATA_TYPES)}, found {name!r}"
            )
    return types


def _open(path: Path) -> _File:
    read = contents.reader()
    if not path.is_file():
        raise InputError(f"{path}: expected this file, found none")
    try:
        found = read(path)
        value = dict(zip(found.keys, found.value, strict=True))
    except UNREADABLE as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: expected a BData file ({reason})") from error
    dataset = found.dataset
    if np.ndim(dataset) != 2 or dataset.dtype.kind not in "fiu":
        raise InputError(
            f"{path}: dataset: expected numbers [volumes, columns], "
            f"found {np.asarray(dataset).dtype} {np.shape(dataset)}"
        )
    columns = dataset.shape[-1]
    for key, row in value.items():
        if row.shape != (columns,):
            raise InputError(
                f"{path}: metadata {key}: expected {columns} entries, one a column, "
                f"found {len(row)}"
            )
    return _File(path, dataset, value, found.vmap, found.header)


def _read_session(
    path: Path,
    roi: str | Sequence[str] | None,
    types: tuple[str, ...] | None,
    rest: tuple[str, ...],
) -> Session:
    file = _open(path)
    columns = np.flatnonzero(file.value.get(VOXELS, np.empty(0)) == 1)
    if not len(columns):
        there = ", ".join(file.value) or "none"
        raise InputError(f"{path}: expected columns {VOXELS}, found {there}")
    voxels = _voxels(file, columns)
    rois = {k: row == 1 for k, row in voxels.items() if k not in (VOXELS, *AXES)}
    inside = np.ones(len(columns), bool)
    if roi is not None:
        inside = region(rois, roi, where=str(path))
    kind = _kinds(file)
    rows = np.flatnonzero(np.isin(kind, types)) if types else np.arange(len(kind))
    run, block = _runs(file, kind)
    label, stimulus, names = _labels(file, kind, rest)
    position = None
    if all(axis in voxels for axis in AXES):
        position = np.stack([voxels[a][inside] for a in AXES], 1).astype(np.float32)
    stated = str(file.header.get("subject", ""))
    volumes = Volumes(
        x=_float32(file.dataset, rows, columns[inside]),
        run=run[rows],
        block=block[rows],
        data_type=kind[rows],
        y=np.full(len(rows), NO_CLASS, np.int32),
        stimulus=stimulus[rows],
        classes=(),
        rois={name: member[inside] for name, member in rois.items()},
        position=position,
        subject=stated or path.stem,
        synthetic=str(file.header.get("synthetic", "")) == "yes",
    )
    return Session(
        path=path,
        volumes=volumes,
        label=label[rows],
        names=names,
        kinds={str(name) for name in kind} - {""},
        voxels=voxels,
        stated=stated,
        runs=int(run.max(initial=0)),
        blocks=int(block.max(initial=0)),
    )


def _voxels(file: _File, columns: NDArray[np.intp]) -> dict[str, NDArray[np.float64]]:
    """What the file says of its voxels: where they are, and each region's flags."""
    voxels = {VOXELS: file.value[VOXELS][columns]}
    for key, row in file.value.items():
        flags = row[columns]
        is_region = bool(
            (flags == 1).any() and np.isin(flags[~np.isnan(flags)], (0, 1)).all()
        )
        if key in AXES or key.startswith("ROI_") or (is_region and key != VOXELS):
            voxels[key] = flags
    return voxels


def _float32(
    dataset: NDArray[np.float64], rows: NDArray[np.intp], columns: NDArray[np.intp]
) -> NDArray[np.float32]:
    """Some rows and columns, without a copy of them in float64."""
    x = np.empty((len(rows), len(columns)), np.float32)
    for first in range(0, len(rows), ROWS):
        part = np.s_[first : first + ROWS]
        x[part] = dataset[np.ix_(rows[part], columns)]
    return x


def _column(file: _File, key: str) -> NDArray[np.float64] | None:
    """The values [volumes] of the column that `key` marks; None without one."""
    if key not in file.value:
        return None
    where = np.flatnonzero(file.value[key] == 1)
    if len(where) != 1:
        raise InputError(
            f"{file.path}: {key}: expected one column, found {len(where)} marked by it"
        )
    return file.dataset[:, where[0]]


def _kinds(file: _File) -> NDArray[Any]:
    column = _column(file, "DataType")
    if column is None:
        return np.full(len(file.dataset), "", "U8")
    codes = np.where(np.isnan(column), 0, column)
    wrong = ~np.isin(codes, np.arange(len(DATA_TYPES) + 1))
    if wrong.any():
        raise InputError(
            f"{file.path}: DataType: expected 1, 2 or 3, found {column[wrong][0]:g} "
            f"in row {np.argmax(wrong)}"
        )
    return np.array(["", *DATA_TYPES], "U8")[codes.astype(int)]


def _runs(
    file: _File, kind: NDArray[Any]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Runs and blocks [volumes], each counted from 1 as they first appear."""
    column = _column(file, "Run")
    if column is None:
        there = ", ".join(file.value)
        raise InputError(f"{file.path}: expected a column Run, found {there}")
    session = _column(file, "Session")
    parts = [column, np.unique(kind, return_inverse=True)[1]]
    run = _count(file, "Run", *parts, *([] if session is None else [session]))
    block = _column(file, "Block")
    if block is None:
        return run, np.arange(1, len(run) + 1, dtype=np.int32)
    return run, _count(file, "Block", block, run)


def _count(file: _File, key: str, *columns: NDArray[Any]) -> NDArray[np.int32]:
    """Each combination of the columns' values becomes its place among them, from 1."""
    table = np.stack(columns, axis=1).astype(np.float64)
    if not np.isfinite(table).all():
        row = int(np.argmin(np.isfinite(table).all(axis=1)))
        raise InputError(
            f"{file.path}: {key}: expected numbers, found NaN in row {row}"
        )
    _, first, place = np.unique(table, axis=0, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int32)
    rank[np.argsort(first)] = np.arange(1, len(first) + 1)
    return rank[place.reshape(-1)]


def _labels(
    file: _File, kind: NDArray[Any], rest: tuple[str, ...]
) -> tuple[NDArray[Any], NDArray[Any], list[str]]:
    """(class, key of the image) str [volumes], and the classes in their order."""
    where = str(file.path)
    ids = _column(file, "stimulus_id")
    if ids is not None:
        _check_is_double(file.path)
        label, stimulus = labels.from_stimulus_id(ids, where=where)
        names = sorted({str(name) for name in label} - {""})
        index = _column(file, "category_index")
        if index is not None:
            labels.warn_of_category_index(index, label, kind, where=where)
    else:
        label = _named(file, "Label")
        names = labels.in_order_of_value(file.vmap["Label"], rest)
        label = np.where(np.isin(label, names), label, "")
        stimulus = np.full(len(label), "")
        if "Stimulus" in file.value:
            stimulus = _named(file, "Stimulus")
    return label, np.where(kind == "imagery", "", stimulus), names


def _named(file: _File, key: str) -> NDArray[Any]:
    values = _column(file, key)
    if values is None:
        there = ", ".join(file.value)
        raise InputError(
            f"{file.path}: expected a column stimulus_id or {key}, found {there}"
        )
    if key not in file.vmap:
        raise InputError(
            f"{file.path}: {key}: expected a vmap that names its values, found none"
        )
    return labels.from_vmap(values, file.vmap[key], key=key, where=str(file.path))


def _check_is_double(path: Path) -> None:
    """InputError for numbers in float32, in which stimulus_id loses its decimals."""
    if path.suffix != ".h5":
        return
    import h5py

    with h5py.File(path, "r") as stored:
        found = stored["dataSet" if "dataSet" in stored else "dataset"].dtype
    if found != np.float64:
        raise InputError(
            f"{path}: stimulus_id: expected float64, which holds its six decimals, "
            f"found {found}"
        )
