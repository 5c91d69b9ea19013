"""Files: written so that a reader never sees half of one; read with clear errors."""

from __future__ import annotations

import functools
import json
import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np

from kdjax.errors import InputError

Arrays = TypeVar("Arrays")  # a NamedTuple of arrays
# What NumPy raises on a file of arrays that is damaged or cut short.
DAMAGED = (OSError, ValueError, LookupError, EOFError, zipfile.BadZipFile)


def write(path: Path, fill: Callable[[BinaryIO], Any]) -> None:
    """Calls `fill` with a file beside `path`, then renames it to `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with aside.open("wb") as file:
            fill(file)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text, aside and renamed."""
    write(path, lambda file: file.write(text.encode()))


def write_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Writes an .npz of arrays by name, aside and renamed."""
    fill: Any = functools.partial(np.savez_compressed, **arrays)
    write(path, fill)


def write_json(path: Path, value: Any) -> None:
    """Writes indented JSON, aside and renamed."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def read_json(path: Path) -> Any:
    """The JSON in a file; InputError with its name if it is absent or malformed."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (ValueError, OSError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error})") from None


def read_arrays(path: Path, kind: type[Arrays]) -> Arrays:
    """An .npz file's arrays as the fields of a NamedTuple; nothing is unpickled.

    InputError with the file's name if it is absent, damaged, or lacks one of them.
    """
    fields: tuple[str, ...] = kind._fields  # type: ignore[attr-defined]
    return kind(**_read(path, fields))


def read_all_arrays(path: Path, *needed: str) -> dict[str, np.ndarray]:
    """Every array of an .npz file by name; nothing is unpickled.

    InputError with the file's name if it is absent, damaged, or lacks a `needed` one.
    """
    return _read(path, needed, others=True)


def _read(
    path: Path, needed: tuple[str, ...], *, others: bool = False
) -> dict[str, np.ndarray]:
    try:
        with path.open("rb") as file:
            stored = np.load(file, allow_pickle=False)
            if isinstance(stored, np.ndarray):
                raise ValueError("one array, as of a .npy")
            names = dict.fromkeys([*needed, *stored.files]) if others else needed
            return {name: stored[name] for name in names}
    except DAMAGED as error:
        raise InputError(
            f"{path}: expected arrays {', '.join(needed)}, found {error}"
        ) from error
