"""Motion capture as BeatGAN uses it: four joint angles of CMU recordings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from kdjax import files
from kdjax.checks import integer, one_of
from kdjax.data.dataset import (
    TEST_SEED,
    Dataset,
    Examples,
    check,
    concatenate,
    hold_out_groups,
    take,
)
from kdjax.data.preprocessing import Step, scaled, to_range
from kdjax.data.text import read_table
from kdjax.errors import InputError

CLASSES = ("walk", "run", "other")
SUFFIX = ".amc.4d"
ANGLES = ("lhumerus", "rhumerus", "lfemur", "rfemur")
PROTOCOLS = ("file", "paper")
PAPER_TEST_FILES = 2


def mocap(
    *,
    root: str,
    seed: int,
    protocol: str = "file",
    window: int = 64,
    stride: int = 5,
    validation_files: int = 2,
    test_files: int = 3,
) -> Dataset:
    """Windows [window, 4] of walk, run and other; walk is the normal class.

    `root` holds the folders walk, run and other of *.amc.4d files, or is the parent of
    `mocap`. A row of a file is four angles in degrees (lhumerus, rhumerus, lfemur,
    rfemur); windows, every `stride` rows, lie inside one file. A file is a group.

    `protocol="file"`: test is `test_files` walk files, the same for every seed, with
    all of run and other; validation `validation_files` of the other walk files, drawn
    by `seed`; training the rest of walk. The training rows' range of each angle is
    scaled to [-1, 1], and so other rows may leave it.

    `protocol="paper"`, as BeatGAN's published code: test has the last two walk files,
    and each file is scaled to [-1, 1] by its own range, which hides how far a joint
    moves. Validation, which the original lacks, is drawn as above.

    All walks and runs are of one person, CMU's subject 35, and `other` is of another,
    subject 49, as the files' names say: an AUC of `other` against walk is partly that
    of telling persons apart. Run against walk is the comparison within a person.

    Raises an InputError that names the file. Zhou et al., IJCAI 2019.
    """
    one_of(protocol, PROTOCOLS, where="config.data.protocol")
    integer(window, low=2, where="config.data.window")
    integer(stride, low=1, where="config.data.stride")
    paths = _find(files.local(root, where="config.data.root").resolve())
    tables = [_read_file(path, window) for path in paths]
    label = np.array([CLASSES.index(path.parent.name) for path in paths], np.int32)

    walk = np.flatnonzero(label == 0).astype(np.int32)
    where = "config.data.test_files"
    if protocol == "paper":
        integer(len(walk), low=PAPER_TEST_FILES + 2, where=f"{root}: walk files")
        pool, test = np.split(walk, [-PAPER_TEST_FILES])
    else:
        others, held = hold_out_groups(
            walk, count=test_files, seed=TEST_SEED, where=where
        )
        pool, test = walk[others], walk[held]
    rest, held = hold_out_groups(
        pool, count=validation_files, seed=seed, where="config.data.validation_files"
    )
    step: Step
    if protocol == "paper":
        tables = [to_range(table, **_limits(table)) for table in tables]
        step = {"name": "by_file", "what": "each file's range of each angle to [-1, 1]"}
    else:
        limits = _limits(np.concatenate([tables[i] for i in pool[rest]]))
        step = {"name": "to_range", **limits}
        tables = [scaled(table, step) for table in tables]
    examples = concatenate(
        [
            _cut(table, path, label=y, group=i, window=window, stride=stride)
            for i, (table, path, y) in enumerate(
                zip(tables, paths, label.tolist(), strict=True)
            )
        ]
    )

    def of(groups: NDArray[np.integer]) -> Examples:
        return take(examples, np.flatnonzero(np.isin(examples.group, groups)))

    dataset = Dataset(
        name=f"CMU motion capture ({len(paths)} files, {protocol} protocol)",
        classes=CLASSES,
        train=of(pool[rest]),
        validation=of(pool[held]),
        test=of(np.concatenate([test, np.flatnonzero(label != 0)])),
        synthetic=False,
        preprocessing=(step,),
        channels=ANGLES,
    )
    return check(dataset, where=root, one_class=("train", "validation"))


def _find(root: Path) -> list[Path]:
    """The files of walk, then of run, then of other, each sorted by name."""
    folder = root if (root / CLASSES[0]).is_dir() else root / "mocap"
    paths: list[Path] = []
    for name in CLASSES:
        found = sorted((folder / name).glob(f"*{SUFFIX}"))
        if not found:
            raise InputError(
                f"config.data.root: expected {name}/*{SUFFIX}, "
                f"found none at {str(root)!r}"
            )
        paths += found
    return paths


def _read_file(path: Path, window: int) -> NDArray[np.float32]:
    table = read_table(path, columns=len(ANGLES))
    if len(table) < window:
        raise InputError(
            f"{path}: expected {window} rows or more, a window, found {len(table)}"
        )
    if not np.isfinite(table).all():
        row = int(np.argmin(np.isfinite(table).all(axis=1)))
        raise InputError(f"{path}: expected numbers, found NaN or Inf in row {row + 1}")
    return table


def _limits(table: NDArray[np.float32]) -> dict[str, list[float]]:
    """The least and the largest of each angle, plain numbers for a record."""
    return {"low": table.min(axis=0).tolist(), "high": table.max(axis=0).tolist()}


def _cut(
    table: NDArray[np.float32],
    path: Path,
    *,
    label: int,
    group: int,
    window: int,
    stride: int,
) -> Examples:
    windows = sliding_window_view(table, window, axis=0)[::stride].swapaxes(1, 2)
    n, name = len(windows), path.name.removesuffix(SUFFIX)
    return Examples(
        x=np.ascontiguousarray(windows),
        y=np.full(n, label, np.int32),
        group=np.full(n, group, np.int32),
        key=np.array([f"{path.parent.name}/{name}/{i * stride:05d}" for i in range(n)]),
    )
