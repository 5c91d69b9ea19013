"""Sessions of one subject: checked to have the same voxels, and concatenated."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kdjax.data.fmri.volumes import NO_CLASS, Volumes
from kdjax.errors import InputError


class Session(NamedTuple):
    """One file's volumes, without their classes, which depend on all the files.

    `label` str [volumes], the class, "" where there is none; `names`, the classes in
    their order; `kinds`, the data types in the file; `voxels`, what must be alike in
    all sessions, [voxels] by name; `stated`, the subject as the file says, or "";
    `runs` and `blocks`, how many the file has, selected or not.
    """

    path: Path

    volumes: Volumes
    label: NDArray[np.str_]
    names: list[str]
    kinds: set[str]
    voxels: dict[str, NDArray[np.float64]]
    stated: str
    runs: int
    blocks: int


def check_same_voxels(one: Session, other: Session) -> None:
    """InputError unless two sessions have the same voxels, of one subject."""
    first, path = one.path, other.path
    if one.stated and other.stated and one.stated != other.stated:
        raise InputError(
            f"{path}: header subject: expected {one.stated!r}, as in {first}, found "
            f"{other.stated!r}: two subjects concatenated"
        )
    for key in [*one.voxels, *other.voxels]:
        expected, found = one.voxels.get(key), other.voxels.get(key)
        if expected is None or found is None:
            said = "no such row" if found is None else "a row that is not there"
        elif expected.shape != found.shape:
            said = f"{len(found)} voxels instead of {len(expected)}"
        elif not np.array_equal(expected, found, equal_nan=True):
            said = (
                f"another value in {np.sum(expected != found)} of {len(found)} voxels"
            )
        else:
            continue
        raise InputError(
            f"{path}: metadata {key}: expected the voxels of {first}, found {said}: "
            "two subjects concatenated"
        )


def concatenate(sessions: list[Session]) -> Volumes:
    """The sessions' volumes, runs and blocks going on, and classes as places."""
    parts = [session.volumes for session in sessions]
    label = np.concatenate([session.label for session in sessions])
    known = dict.fromkeys(name for session in sessions for name in session.names)
    present = set(label.tolist())
    classes = tuple(name for name in known if name in present)
    place = {"": NO_CLASS} | {name: i for i, name in enumerate(classes)}
    runs = np.cumsum([0, *(session.runs for session in sessions[:-1])])
    blocks = np.cumsum([0, *(session.blocks for session in sessions[:-1])])
    pairs = list(zip(parts, runs, blocks, strict=True))
    alone = len(parts) == 1
    return parts[0]._replace(
        x=parts[0].x if alone else np.concatenate([part.x for part in parts]),
        run=np.concatenate([part.run + np.int32(k) for part, k, _ in pairs]),
        block=np.concatenate([part.block + np.int32(k) for part, _, k in pairs]),
        data_type=np.concatenate([part.data_type for part in parts]),
        y=np.array([place[name] for name in label.tolist()], np.int32),
        stimulus=np.concatenate([part.stimulus for part in parts]),
        classes=classes,
        synthetic=any(part.synthetic for part in parts),
    )
