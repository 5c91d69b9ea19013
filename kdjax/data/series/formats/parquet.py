"""Parquet files, where pyarrow is installed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from kdjax import archives
from kdjax.data.series.formats.opened import CHUNK, Chunk, Opened, check_names
from kdjax.errors import InputError


def open_parquet(path: Path) -> Opened:
    """The columns as the text that a CSV file would have; row 1 is the first.

    InputError where pyarrow is not installed, or the file is damaged or too large.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise InputError(
            f"{path}: Parquet needs pyarrow (pip install pyarrow), or save it as CSV"
        ) from None
    damaged = (*archives.DAMAGED, pyarrow.ArrowException)
    try:
        file = pyarrow.parquet.ParquetFile(path)
        metadata = file.metadata
        size = sum(
            metadata.row_group(k).total_byte_size
            for k in range(metadata.num_row_groups)
        )
    except damaged as error:
        raise _unreadable(path, error) from error
    archives.check_size(size, where=path)
    names = tuple(str(name) for name in file.schema_arrow.names)
    check_names(names, path)

    def chunks() -> Iterator[Chunk]:
        before = 0
        try:
            for batch in file.iter_batches(batch_size=CHUNK):
                line = before + 1 + np.arange(batch.num_rows)
                before += batch.num_rows
                yield Chunk(line, tuple(map(_texts, batch.columns)))
        except damaged as error:
            raise _unreadable(path, error) from error

    return Opened(names, chunks())


def _texts(column: Any) -> tuple[str, ...]:
    """A column's cells as text, "" for null; lists and the like are no numbers."""
    import pyarrow

    try:
        texts = column.cast(pyarrow.string()).fill_null("").to_pylist()
    except pyarrow.ArrowNotImplementedError:
        texts = map(str, column.to_pylist())
    return tuple(texts)


def _unreadable(path: Path, error: BaseException) -> InputError:
    return InputError(f"{path}: cannot be read ({' '.join(str(error).split())[:200]})")
