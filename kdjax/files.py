"""Files: written so that a reader never sees half of one; read with clear errors."""

from __future__ import annotations

import functools
import json
import os
import re
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np

from kdjax import archives
from kdjax.errors import InputError

Arrays = TypeVar("Arrays")  # a NamedTuple of arrays


def local(path: str | os.PathLike[str], *, where: str) -> Path:
    """A path of this machine, "~" expanded; InputError, which names `where`, if none.

    Refused: "", a URL such as gs://, the home of an unknown user, a loop of links, and
    a name that is not UTF-8, which orbax cannot write to.
    """
    text = os.fspath(path)
    if not text or re.match(r"[A-Za-z][\w+.-]+:/", text):
        raise InputError(
            f"{where}: expected a path of this machine, found {text!r}"
            + (": mount the bucket, or copy the folder there" if text else "")
        )
    try:
        found = Path(text).expanduser()
        str(found.resolve()).encode()
    except UnicodeEncodeError:
        raise InputError(
            f"{where}: expected a path in UTF-8 (PYTHONUTF8=1 where the locale is "
            f"another), found {text!a}"
        ) from None
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(f"{where}: {text!r}: {error}") from error
    return found


def cache_folder() -> Path | None:
    """$XDG_CACHE_HOME/kdjax, or ~/.cache/kdjax; None for a user without a home."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(home) / "kdjax" if os.path.isabs(home) else None


def write(path: Path, fill: Callable[[BinaryIO], Any]) -> None:
    """Calls `fill` with a file beside `path`, then renames it to `path`.

    A link stays one; a device or a pipe is written to. What a killed process left of
    writing the same file is removed. An OSError names the file.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        with path.open("wb") as file:
            fill(file)
        return
    path = Path(os.path.realpath(path)) if path.is_symlink() else path
    path.parent.mkdir(parents=True, exist_ok=True)
    _clear_left(path)
    aside = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.tmp")
    try:
        with aside.open("wb") as file:
            fill(file)
        aside.replace(path)
    except OSError as error:
        if error.errno is not None:
            error.filename = str(path)
        raise
    finally:
        aside.unlink(missing_ok=True)


def _clear_left(path: Path) -> None:
    """Removes the temporary files of processes that are gone.

    Of another host's nothing is known: theirs are when they are an hour old.
    """
    begin = f".{path.name}."
    for left in path.parent.iterdir():
        if not (left.name.startswith(begin) and left.name.endswith(".tmp")):
            continue
        host, _, pid = left.name[len(begin) : -len(".tmp")].rpartition(".")
        if host == socket.gethostname() and pid.isdecimal():
            gone = not _is_running(int(pid))
        else:
            gone = time.time() - left.stat().st_mtime > 3600
        if gone:
            left.unlink(missing_ok=True)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # of another user
        return True
    return True


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text, aside and renamed."""
    write(path, lambda file: file.write(text.encode(errors="backslashreplace")))


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
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (ValueError, OSError, RecursionError) as error:
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
    expected = f"arrays {', '.join(needed)}"
    stored = archives.read_npz(path, expected=expected)
    for name in needed:
        if name not in stored:
            found = ", ".join(stored) or "none"
            raise InputError(f"{path}: expected {expected}, found {found}")
    names = dict.fromkeys([*needed, *stored]) if others else needed
    return {name: stored[name] for name in names}
