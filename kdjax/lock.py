"""The lock of a folder: one run at a time writes into it."""

from __future__ import annotations

import contextlib
import datetime
import errno
import fcntl
import itertools
import json
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from kdjax.errors import InputError, MachineError

NAME = ".lock"  # in the folder: who writes there, and since when
# What stands in the folder's place, or in that of one of its parents.
_NO_FOLDER = (errno.EEXIST, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP)


@contextlib.contextmanager
def held(folder: Path, *, shared: bool = False) -> Iterator[None]:
    """Makes the folder, if it is absent, and holds its lock.

    `shared`: beside others that share it, too; each locks what it writes of the folder.
    The operating system drops the lock of a process that is gone, however it ended;
    that its file is still there is said. What was made is removed again where nothing
    was written into the folder. Of the processes of a distributed run one holds it.

    MachineError, which names host and process, if another run holds it. InputError
    where there is something else than a folder; OSError if it cannot be made.
    """
    made = [path for path in (folder, *folder.parents) if not os.path.exists(path)]
    path = folder / NAME
    file = _acquire(path, shared)
    try:
        yield
    finally:
        if _is_last(file):
            path.unlink(missing_ok=True)
        file.close()
        for parent in made:
            with contextlib.suppress(OSError):  # it is not empty: the usual case
                parent.rmdir()


def _acquire(path: Path, shared: bool) -> TextIO:
    """The open lock file, which now says who holds it."""
    alone = True
    for attempt in itertools.count():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("a+", encoding="utf-8")
        except OSError as error:
            # another, done with the folder, has just removed it
            here = path.parent
            removed = os.path.isdir(here) or not os.path.lexists(here)
            if isinstance(error, FileNotFoundError | FileExistsError) and removed:
                if attempt < 100:
                    continue
                raise
            if error.errno in _NO_FOLDER:
                message = f"{path.parent}: no folder can be here ({error.strerror})"
                raise InputError(message) from error
            raise
        try:
            alone = _lock(file, shared)
        except BlockingIOError:
            with file:
                holder = _holder(file)
            raise MachineError(
                f"{path.parent} is in use: {holder} writes into it; wait for it, stop "
                "it, or choose another --workdir"
            ) from None
        except OSError as error:  # some network file systems
            print(f"kdjax: {path}: not locked: {error.strerror}", file=sys.stderr)
        if _is_at(path, file):
            break
        file.close()  # its last holder removed it after we had opened it
    if alone and path.stat().st_size:
        print(
            f"kdjax: {path.parent}: taken over from {_holder(file)}, which is gone",
            file=sys.stderr,
        )
    if alone:
        file.truncate(0)
    now = datetime.datetime.now().astimezone().isoformat(" ", "seconds")
    own = {"host": socket.gethostname(), "pid": os.getpid(), "since": now}
    file.write(json.dumps(own) + "\n")
    file.flush()
    if shared:
        with contextlib.suppress(OSError):  # not locked: that was said above
            fcntl.flock(file, fcntl.LOCK_SH)
    return file


def _lock(file: TextIO, shared: bool) -> bool:
    """Locks a file, and says whether nobody else holds it; else a BlockingIOError."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if not shared:
            raise
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    return True


def _is_last(file: TextIO) -> bool:
    """Whether no other process holds the lock as well, as far as it can be known."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # some network file systems
        return True
    return True


def _is_at(path: Path, file: TextIO) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _holder(file: TextIO) -> str:
    """Who holds the lock, for people; its file may be empty for a moment."""
    file.seek(0)
    try:
        known = json.loads(file.readline())
        host, pid, since = known["host"], known["pid"], known["since"]
    except (ValueError, LookupError, TypeError):
        return "another process"
    return f"process {pid} on host {host} (since {since})"
