"""Reads tables of numbers from text files."""

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
    try:
        archives.check_size(_size(path), where=str(path))
        text = path.read_bytes()
    except (FileNotFoundError, KeyError):
        raise InputError(f"{path}: expected this file, found none") from None
    except InputError:
        raise
    except archives.DAMAGED as error:
        raise InputError(f"{path}: cannot be read ({error})") from error
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


def _size(path: Path | zipfile.Path) -> int:
    """Bytes, unpacked."""
    if isinstance(path, zipfile.Path):
        return path.root.getinfo(path.at).file_size
    return path.stat().st_size
