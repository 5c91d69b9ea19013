"""NumPy's files and zip files of strangers: nothing unpickled, nothing too large.

What a file says it unpacks to is held against the machine's memory (`most_bytes`), and
what an array's header says against the bytes that are there, before either is believed.
"""

from __future__ import annotations

import math
import os
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from kdjax.errors import InputError

# What NumPy and zipfile raise on a file that is damaged or cut short.
DAMAGED = (
    *(OSError, ValueError, TypeError, LookupError, EOFError, RuntimeError),
    *(SyntaxError, MemoryError, NotImplementedError),
    *(zipfile.BadZipFile, zlib.error, tokenize.TokenError),
)


def most_bytes() -> int:
    """The most that one file may unpack to: half of this machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def check_size(size: int, *, where: str | Path) -> None:
    """InputError for so many bytes that they are not read."""
    most = most_bytes()
    if size > most:
        raise InputError(
            f"{where}: expected at most {most / 2**30:.3g} GiB, half of this machine's "
            f"memory, found {size / 2**30:.3g} GiB"
        )


def read_npz(path: Path, *, expected: str) -> dict[str, np.ndarray]:
    """The arrays of an .npz file by name, in its order.

    InputError, which names the file and what was `expected`, if it is absent, damaged,
    no .npz file, too large (`most_bytes`), or holds what would have to be unpickled.
    """
    if not path.is_file():
        raise InputError(f"{path}: expected {expected}, found no such file")
    try:
        with path.open("rb") as file:
            with zipfile.ZipFile(file) as archive:
                _check_members(archive, path)
            file.seek(0)
            with np.load(file, allow_pickle=False) as stored:
                return {name: stored[name] for name in stored.files}
    except InputError:
        raise
    except DAMAGED as error:
        raise InputError(
            f"{path}: expected {expected}, found {_reason(error)}"
        ) from error


def read_npy(path: Path) -> np.ndarray:
    """The array of an .npy file; InputError as `read_npz`."""
    if not path.is_file():
        raise InputError(f"{path}: expected this file, found none")
    try:
        with path.open("rb") as file:
            _check_header(file, path.stat().st_size, path)
            file.seek(0)
            found: np.ndarray = np.load(file, allow_pickle=False)
            return found
    except InputError:
        raise
    except DAMAGED as error:
        message = f"{path}: expected an .npy file, found {_reason(error)}"
        raise InputError(message) from error


def _check_members(archive: zipfile.ZipFile, path: Path) -> None:
    members = archive.infolist()
    check_size(sum(member.file_size for member in members), where=path)
    for member in members:
        if member.filename.endswith(".npy"):
            name = member.filename.removesuffix(".npy")
            with archive.open(member) as file:
                _check_header(file, member.file_size, f"{path}: {name}")


def _check_header(file: Any, size: int, where: str | Path) -> None:
    """InputError unless the bytes of a file are those that its header says."""
    shape, dtype = _header(file)
    if dtype.hasobject:
        raise InputError(f"{where}: expected plain numbers or text, found objects")
    expected = file.tell() + math.prod(shape) * dtype.itemsize
    if expected != size:
        raise InputError(
            f"{where}: damaged: expected {expected:,} bytes for {dtype} {shape}, "
            f"found {size:,}"
        )


def _header(file: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in readers:
        raise ValueError(f"an array of format {version}")
    shape, _, dtype = readers[version](file)
    return shape, dtype


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text or type(error).__name__
