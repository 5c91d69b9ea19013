"""Which image file each volume's stimulus is: stimuli.csv, and files found by key."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kdjax import files
from kdjax.data.fmri.volumes import NO_CLASS, Volumes
from kdjax.errors import InputError

FIELDS = ["row", "key", "class", "image"]
SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")


class Stimuli(NamedTuple):
    """What was shown in the volumes that had an image, in order of row.

    `row` int64 [n], the volume, counted from 0 in its file or `Volumes`; `key` str [n];
    `label` str [n], the class, "" if it has none; `image`, a file for each, as the
    table has it, or found from the table's folder if that is no absolute path.
    """

    row: NDArray[np.int64]
    key: NDArray[np.str_]
    label: NDArray[np.str_]
    image: tuple[Path, ...]


def find_images(keys: Iterable[str], folder: str | Path) -> dict[str, Path]:
    """The image file in `folder`, at any depth, that each key names.

    A key is a file's path from the folder, with or without its suffix, or its name
    alone: n01443537_22563 is n01443537/n01443537_22563.JPEG. InputError for a key that
    no file has, or two have, unless one of them alone has it as its path.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise InputError(f"{folder}: expected a folder of images, found none")
    paths: dict[str, list[Path]] = {}
    names: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in SUFFIXES:
            continue
        inside = path.relative_to(folder)
        paths.setdefault(inside.as_posix(), []).append(path)
        paths.setdefault(inside.with_suffix("").as_posix(), []).append(path)
        names.setdefault(path.name, []).append(path)
        names.setdefault(path.stem, []).append(path)
    found = {}
    for key in dict.fromkeys(keys):
        known = paths.get(key) or names.get(key) or []
        if not known:
            raise InputError(f"{folder}: key {key!r}: expected an image, found none")
        if len(known) > 1:
            some = ", ".join(str(path.relative_to(folder)) for path in known[:2])
            raise InputError(
                f"{folder}: key {key!r}: expected one image, found {len(known)}: {some}"
            )
        found[key] = known[0]
    return found


def write_stimuli(
    path: str | Path, volumes: Volumes, images: Mapping[str, str | Path]
) -> None:
    """Writes stimuli.csv: row, key, class and image file of each volume with an image.

    Rows count from 0 and are those of the BData file that `volumes` is written to.
    `images`: the file by key, as `find_images` gives; a file in the table's own folder
    is written without that folder. InputError for a key without a file.
    """
    path = Path(path).expanduser()
    here = Path(os.path.abspath(path.parent))
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(FIELDS)
    for row in np.flatnonzero(volumes.stimulus != ""):
        key, label = str(volumes.stimulus[row]), int(volumes.y[row])
        if key not in images:
            raise InputError(f"{path}: key {key!r}: expected an image, found none")
        image = Path(os.path.abspath(Path(images[key]).expanduser()))
        if image.is_relative_to(here):
            image = image.relative_to(here)
        name = "" if label == NO_CLASS else volumes.classes[label]
        table.writerow([row, key, name, image.as_posix()])
    files.write_text(path, text.getvalue())


def read_stimuli(path: str | Path, *, volumes: Volumes | None = None) -> Stimuli:
    """The table of a stimuli.csv, its image files found to exist.

    With `volumes`, each row's key and class must be that volume's, and each volume with
    an image must have its row. InputError that names the line or the key: columns other
    than row, key, class and image; a row that is no number or stands twice; a key of
    two classes or two images, two keys of one image; a missing file.
    """
    path = Path(path).expanduser()
    lines = _read_lines(path)
    rows, keys, labels, names = zip(*lines, strict=True) if lines else ((),) * 4
    row = np.array(rows, np.int64)
    _check_once(path, rows)
    _check_pairs(path, "key", "class", keys, labels)
    _check_pairs(path, "key", "image", keys, names)
    _check_pairs(path, "image", "key", names, keys)
    files_by_name = {name: path.parent / Path(name).expanduser() for name in names}
    for key, name in zip(keys, names, strict=True):
        if not files_by_name[name].is_file():
            raise InputError(
                f"{path}: key {key!r}: expected the image {name}, found none"
            )
    order = np.argsort(row)
    found = Stimuli(
        row[order],
        np.array(keys, np.str_)[order],
        np.array(labels, np.str_)[order],
        tuple(files_by_name[names[k]] for k in order),
    )
    if volumes is not None:
        _check_volumes(path, found, volumes)
    return found


def _read_lines(path: Path) -> list[tuple[int, str, str, str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            table = list(csv.reader(file))
    except FileNotFoundError:
        raise InputError(f"{path}: expected this file, found none") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as CSV ({error})") from error
    head = table[0] if table else []
    if head != FIELDS:
        raise InputError(
            f"{path}: expected the columns {','.join(FIELDS)}, found {','.join(head)}"
        )
    lines = []
    for number, cells in enumerate(table[1:], start=2):
        if not cells:
            continue
        if len(cells) != len(FIELDS):
            raise InputError(
                f"{path}: line {number}: expected {len(FIELDS)} fields, "
                f"found {len(cells)}"
            )
        row, key, label, image = cells
        if not (row.isascii() and row.isdigit()):
            raise InputError(
                f"{path}: line {number}: row: expected a number from 0, found {row!r}"
            )
        for name, cell in (("key", key), ("image", image)):
            if not cell:
                raise InputError(
                    f"{path}: line {number}: {name}: expected a name, found none"
                )
        lines.append((int(row), key, label, image))
    return lines


def _check_once(path: Path, rows: Iterable[int]) -> None:
    seen = set()
    for row in rows:
        if row in seen:
            raise InputError(f"{path}: row {row}: expected it once, found it twice")
        seen.add(row)


def _check_pairs(
    path: Path, one: str, other: str, names: Iterable[str], values: Iterable[str]
) -> None:
    """InputError that says which of `names` has two of `values`."""
    known: dict[str, str] = {}
    for name, value in zip(names, values, strict=True):
        if known.setdefault(name, value) != value:
            raise InputError(
                f"{path}: {one} {name!r}: expected one {other}, found "
                f"{known[name]!r} and {value!r}"
            )


def _check_volumes(path: Path, stimuli: Stimuli, volumes: Volumes) -> None:
    n = len(volumes.stimulus)
    listed = dict(zip(stimuli.row.tolist(), range(len(stimuli.row)), strict=True))
    if len(stimuli.row) and stimuli.row[-1] >= n:
        raise InputError(
            f"{path}: row {stimuli.row[-1]}: expected rows 0 to {n - 1}, the volumes "
            f"of {volumes.subject}"
        )
    for row in range(n):
        key, place = str(volumes.stimulus[row]), listed.get(row)
        name = "" if volumes.y[row] == NO_CLASS else volumes.classes[volumes.y[row]]
        found = "" if place is None else str(stimuli.key[place])
        if key != found:
            raise InputError(
                f"{path}: row {row}: expected key {key!r}, which {volumes.subject} was "
                f"shown, found {found!r}"
            )
        if place is not None and str(stimuli.label[place]) != name:
            raise InputError(
                f"{path}: key {key!r}: expected class {name!r}, as in the volumes, "
                f"found {str(stimuli.label[place])!r}"
            )
