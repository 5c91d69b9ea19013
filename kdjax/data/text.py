"""Reads text files, and tables of numbers from them, inside zip files too."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kdjax import archives
from kdjax.errors import InputError


def read_table(path: Path | zipfile.Path, *, columns: int) -> NDArray[np.float32]:
    """Numbers between spaces, as many in each line: [rows, columns].

    NaN and Inf are numbers here. The file may stand inside a zip file. An InputError
    names a file that is missing, damaged, empty or no such table.
    """
    text = read_bytes(path)
    if not text or text.isspace():
        raise InputError(f"{path}: expected {columns} columns, found an empty file")
    try:
        lines = io.BytesIO(text)
        table = np.loadtxt(lines, np.float32, comments=None, ndmin=2, encoding="latin1")
    except ValueError as error:
        found = str(error).split(";")[0]
        raise InputError(f"{path}: expected {columns} columns, {found}") from error
    if table.shape[1] != columns:
        raise InputError(
            f"{path}: expected {columns} columns, found {table.shape[1]} columns"
        )
    return table


def read_bytes(path: Path | zipfile.Path) -> bytes:
    """A file's bytes, which may stand inside a zip file.

    An InputError names a file that is missing, damaged or too large.
    """
    try:
        archives.check_size(_size(path), where=str(path))
        return path.read_bytes()
    except (FileNotFoundError, KeyError):
        raise InputError(f"{path}: expected this file, found none") from None
    except InputError:
        raise
    except archives.DAMAGED as error:
        raise InputError(f"{path}: cannot be read ({error})") from error


def folder_or_zip(root: Path, name: str, *, holds: str) -> Path | zipfile.Path | None:
    """The folder `name` that holds a folder `holds`; None where there is none.

    `root` is it, its zip file, or where one of them stands. InputError for a file that
    is no zip file.
    """
    for place in (root, root / name, root / f"{name}.zip"):
        folder: Path | zipfile.Path = place
        if place.is_file():
            try:
                folder = zipfile.Path(place) / name
            except (OSError, zipfile.BadZipFile) as error:
                raise InputError(f"{place}: expected a zip file, {error}") from error
        if (folder / holds).is_dir():
            return folder
    return None


def _size(path: Path | zipfile.Path) -> int:
    """Bytes, unpacked."""
    if isinstance(path, zipfile.Path):
        return path.root.getinfo(path.at).file_size
    return path.stat().st_size
