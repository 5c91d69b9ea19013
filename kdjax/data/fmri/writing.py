"""Writes BData files that bdpy reads: the same bytes for the same volumes."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kdjax import files
from kdjax.data.fmri import labels
from kdjax.data.fmri.bdata import AXES, REST, VOXELS
from kdjax.data.fmri.volumes import DATA_TYPES, Volumes, check_shapes
from kdjax.errors import InputError

ROWS = 64  # written at once
LARGEST = 2**24  # whole numbers up to here are exact in float32


class _Column(NamedTuple):
    """A column beside the voxels: numbers [volumes], and names of its values."""

    description: str
    values: NDArray[Any]
    vmap: Mapping[float, str] = MappingProxyType({})


def write_bdata(
    path: str | Path, volumes: Volumes, *, header: Mapping[str, str] | None = None
) -> None:
    """Writes volumes as a BData file (.h5), which `read_bdata` reads as they were,
    but for runs and blocks, counted from 1 again, and classes that no volume has.

    Columns: VoxelData; DataType, 1 to 3, if a volume has one; Run; Block; Label, 0 for
    rest, and Stimulus, if any, 0 for none, both named by a vmap; for WordNet classes
    whose images are named after them also stimulus_id, as in GOD's files, and then all
    is float64, otherwise float32. Metadata: each ROI, voxel_x, voxel_y, voxel_z. The
    header has the subject, `synthetic`, yes or no, and what `header` adds.

    Unlike bdpy's `save`, which puts the time and the calling program's text into the
    file, the bytes depend on the arguments alone. Written aside and renamed. InputError
    for a name that does not end in .h5, and volumes whose fields disagree.
    """
    path = Path(path).expanduser()
    if path.suffix != ".h5":
        raise InputError(f"{path}: expected a name that ends in .h5, as bdpy does")
    check_shapes(volumes, where=str(path))
    try:
        import h5py
    except ImportError:
        raise InputError("BData: expected h5py, found none: install it") from None
    columns = _columns(volumes, path)
    facts = {
        "format": "BData",
        "subject": volumes.subject,
        "synthetic": "yes" if volumes.synthetic else "no",
        **(header or {}),
    }

    def fill(aside: Any) -> None:
        with h5py.File(aside.name, "w") as file:
            _fill(file, volumes, columns, facts)

    files.write(path, fill)


def _columns(volumes: Volumes, path: Path) -> dict[str, _Column]:
    """The columns beside the voxels, in the file's order."""
    columns = {}
    if (volumes.data_type != "").any():
        known = np.array(["", *DATA_TYPES])
        if not np.isin(volumes.data_type, known).all():
            raise InputError(
                f"{path}: data_type: expected {', '.join(DATA_TYPES)} or '', found "
                f"{str(volumes.data_type[~np.isin(volumes.data_type, known)][0])!r}"
            )
        codes = np.argmax(volumes.data_type[:, None] == known, axis=1)
        text = "1 = training, 2 = test, 3 = imagery"
        columns["DataType"] = _Column(text, np.where(codes, codes, np.nan))
    columns["Run"] = _Column("Run, from 1", volumes.run)
    columns["Block"] = _Column("Block, from 1", volumes.block)
    for name in (*REST, ""):
        if name in volumes.classes:
            raise InputError(f"{path}: classes: expected no class named {name!r}")
    named = dict(enumerate([REST[0], *volumes.classes]))
    columns["Label"] = _Column(
        "Class, 0 = rest", volumes.y + 1, {float(k): v for k, v in named.items()}
    )
    shown, place = np.unique(volumes.stimulus, return_inverse=True)
    if (shown != "").any():
        shift = int(shown[0] != "")  # 0 stays for volumes without an image
        vmap = {float(k + shift): str(key) for k, key in enumerate(shown)}
        columns["Stimulus"] = _Column("Image, 0 = none", place + shift, vmap)
    label = np.array([*volumes.classes, ""])[volumes.y]
    ids = labels.to_stimulus_id(label, volumes.stimulus)
    if ids is not None and volumes.classes == tuple(sorted(volumes.classes)):
        columns["stimulus_id"] = _Column("WordNet id, image in six decimals", ids)
    return columns


def _fill(
    file: Any, volumes: Volumes, columns: dict[str, _Column], header: dict[str, str]
) -> None:
    n, voxels = volumes.x.shape
    others = np.stack([column.values for column in columns.values()], axis=1)
    wide = "stimulus_id" in columns or np.nanmax(others) > LARGEST
    create = functools.partial(file.create_dataset, track_times=False)
    shape, kind = (n, voxels + len(columns)), np.float64 if wide else np.float32
    dataset = create("dataset", shape=shape, dtype=kind)
    for first in range(0, n, ROWS):
        part = np.s_[first : first + ROWS]
        dataset[part] = np.hstack([volumes.x[part], others[part]])
    keys, texts, value = _metadata(volumes, columns)
    create("metadata/key", data=_texts(keys))
    create("metadata/description", data=_texts(texts))
    create("metadata/value", data=value)
    for name in sorted(header):
        create(f"header/{name}", data=_text(header[name]))
    file.require_group("vmap")
    for name, column in columns.items():
        for code, label in column.vmap.items():
            create(f"vmap/{name}/{code}", data=_text(label))


def _metadata(
    volumes: Volumes, columns: dict[str, _Column]
) -> tuple[list[str], list[str], NDArray[np.float64]]:
    """Key, description and value [columns] of each row of the metadata."""
    voxels = volumes.x.shape[1]
    rows = {VOXELS: ("1 = voxel", np.ones(voxels))}
    for name, member in volumes.rois.items():
        rows[name] = (f"1 = {name}", member.astype(np.float64))
    if volumes.position is not None:
        for axis, along in zip(AXES, volumes.position.T, strict=True):
            rows[axis] = (f"Place of the voxel along {axis[-1]}", along)
    value = np.full((len(rows) + len(columns), voxels + len(columns)), np.nan)
    for row, (_, flags) in enumerate(rows.values()):
        value[row, :voxels] = flags
    for k in range(len(columns)):
        value[len(rows) + k, voxels + k] = 1
    texts = [text for text, _ in rows.values()]
    texts += [column.description for column in columns.values()]
    return [*rows, *columns], texts, value


def _text(text: str) -> np.bytes_:
    # Of fixed length: strings of any length stand in a heap with bytes of no meaning.
    return np.bytes_(text.encode() or b"\0")


def _texts(texts: list[str]) -> NDArray[Any]:
    return np.array([text.encode() for text in texts])
