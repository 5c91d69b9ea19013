"""Images that stay in their files: decoded when needed, or ahead in other processes.

The processes import this file and NumPy and Pillow, never jax.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kdjax.errors import InputError, MachineError


@dataclasses.dataclass(frozen=True)
class ImageFiles:
    """Images in files, indexed like the array uint8 [n, size, size, 3] they decode to.

    `names` str [n] are paths below `root`. Nothing is decoded before `read`.
    """

    root: Path
    names: NDArray[Any]
    size: int

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return len(self.names), self.size, self.size, 3

    @property
    def dtype(self) -> np.dtype[np.uint8]:
        return np.dtype(np.uint8)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: NDArray[np.integer] | slice) -> ImageFiles:
        return dataclasses.replace(self, names=self.names[index])

    def fingerprint(self) -> str:
        """SHA-256 of the files' names, sizes and times of change; none is read."""
        sha = hashlib.sha256()
        for name in self.names:
            stat = (self.root / name).stat()
            sha.update(f"{name} {stat.st_size} {stat.st_mtime_ns}\n".encode())
        return sha.hexdigest()

    def read(self) -> NDArray[np.uint8]:
        """The images, by `read_image`; InputError that names a file it cannot read."""
        images = np.empty(self.shape, np.uint8)
        for row, name in enumerate(self.names):
            images[row] = read_image(self.root / name, size=self.size)
        return images


def read_image(path: Path, *, size: int) -> NDArray[np.uint8]:
    """A JPEG or PNG file as RGB, uint8 [size, size, 3].

    The shorter side is resized to `size` (bilinear, antialiased), then the centre cut
    out. Raises an InputError that names the file if it is damaged.
    """
    try:
        with Image.open(path, formats=("JPEG", "PNG")) as image:
            # A JPEG decodes faster at 1/2, 1/4 or 1/8 of its size, if that will do.
            image.draft("RGB", (size, size))
            width, height = image.size
            side = min(width, height)
            left, top = (width - side) / 2, (height - side) / 2
            square = image.convert("RGB").resize(
                (size, size),
                Image.Resampling.BILINEAR,
                box=(left, top, left + side, top + side),
            )
    except Exception as error:  # Pillow's decoders raise a dozen kinds at damage
        raise InputError(f"{path}: expected a JPEG or PNG image ({error})") from error
    return np.asarray(square)


def read_ahead(
    batches: Iterable[dict[str, NDArray]],
    images: ImageFiles,
    *,
    workers: int | None = None,
    ahead: int = 2,
) -> Iterator[dict[str, NDArray]]:
    """The batches, in order, each with "x": `images[batch["index"]]`, decoded.

    Each batch [B] is cut into `workers` parts (one for each CPU, if not given), decoded
    by as many processes to uint8 [B, size, size, 3]. While one batch is in use, at most
    `ahead` more are taken from `batches`. The processes are started once and end with
    this one; a script that starts them needs its `if __name__ == "__main__"`.

    Raises an InputError that names a damaged file, in its batch's turn, and a
    MachineError if a process dies.
    """
    workers = workers or os.cpu_count() or 1
    pool = _pool(workers)
    queue: deque[tuple[dict[str, NDArray], list[Future[NDArray[np.uint8]]]]] = deque()
    try:
        for batch in batches:
            parts = np.array_split(batch["index"], workers)
            queue.append((batch, [pool.submit(images[part].read) for part in parts]))
            if len(queue) > ahead:
                yield _decoded(*queue.popleft())
        while queue:
            yield _decoded(*queue.popleft())
    except BrokenProcessPool as error:
        _pool.cache_clear()
        raise MachineError(
            "a process that decodes images died: killed, or out of memory"
        ) from error
    finally:
        for _, waiting in queue:
            for part in waiting:
                part.cancel()


@functools.cache
def _pool(workers: int) -> ProcessPoolExecutor:
    """The processes that decode: to start them takes a second, at every pass."""
    return ProcessPoolExecutor(
        workers,
        # jax runs threads, and a fork of them can hang.
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
    )


def _decoded(
    batch: dict[str, NDArray], parts: list[Future[NDArray[np.uint8]]]
) -> dict[str, NDArray]:
    return batch | {"x": np.concatenate([part.result() for part in parts])}


def _start_worker() -> None:
    # Ctrl-C reaches every process of the terminal: the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
