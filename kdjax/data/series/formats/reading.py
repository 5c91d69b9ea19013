"""Files of rows as their columns' names and chunks of text: CSV, GENEActiv, others."""

from __future__ import annotations

import csv
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kdjax.data.series.formats.lines import SHOWN, lines
from kdjax.data.series.formats.opened import CHUNK, Chunk, Opened, check_names
from kdjax.data.series.formats.parquet import open_parquet
from kdjax.data.series.formats.ts import open_ts
from kdjax.errors import InputError

SUFFIXES = (".csv", ".csv.gz", ".ts", ".parquet")
DELIMITERS = (",", ";", "\t", "|")
GENEACTIV_HEADER = 100  # lines
GENEACTIV = ("time", "x", "y", "z", "lux", "button", "temperature")


class Form(NamedTuple):
    """How a CSV file is written; `format` is None or "geneactiv"."""

    delimiter: str = ","
    decimal: str = "."
    format: str | None = None


def open_rows(path: Path, form: Form) -> Opened:
    """The file, read as its name's end says; InputError with file, column and row."""
    name = path.name.lower()
    if not os.path.isfile(path):  # which never raises
        found = "a folder" if os.path.isdir(path) else "none"
        raise InputError(f"{path}: expected this file, found {found}")
    if not name.endswith(SUFFIXES):
        raise InputError(f"{path}: expected a file {', '.join(SUFFIXES)}")
    if name.endswith(".ts"):
        return open_ts(path)
    if name.endswith(".parquet"):
        return open_parquet(path)
    if form.format == "geneactiv":
        return _open_geneactiv(path, form)
    records = _Records(path, form.delimiter)
    names = tuple(name.strip() for name in records.header())
    check_names(names, path)
    return Opened(names, records.chunks(len(names)))


def _open_geneactiv(path: Path, form: Form) -> Opened:
    """GENEActiv's export: 100 lines about the device, then rows without names."""
    records = _Records(path, form.delimiter, skip=GENEACTIV_HEADER)

    def chunks() -> Iterator[Chunk]:
        for line, (time, *others) in records.chunks(len(GENEACTIV)):
            yield Chunk(line, (tuple(map(_with_point, time)), *others))

    return Opened(GENEACTIV, chunks())


def _with_point(cell: str) -> str:
    """2012-05-23 16:47:50:000, GENEActiv's way, as ISO 8601 has it."""
    return f"{cell[:19]}.{cell[20:]}" if cell[19:20] == ":" else cell


class _Records:
    """The rows of a CSV file, some at a time, each with its line's number."""

    def __init__(self, path: Path, delimiter: str, skip: int = 0) -> None:
        self.path, self.delimiter, self.before = path, delimiter, skip
        every = lines(path)
        if len(list(itertools.islice(every, skip))) < skip:
            raise InputError(f"{path}: expected a header of {skip} lines, found fewer")
        self.reader = csv.reader(every, delimiter=delimiter, strict=True)

    def header(self) -> list[str]:
        """The first row that is not empty; InputError where it has other delimiters."""
        found: list[str] = []
        while not found:
            rows = self._take(1)
            if not rows:
                raise InputError(
                    f"{self.path}: row 1: expected the columns' names, found no row"
                )
            (found,) = rows
        other = [mark for mark in DELIMITERS if mark in found[0]]
        if len(found) == 1 and other:
            raise InputError(
                f"{self.path}: row 1: expected columns with {self.delimiter!r} between,"
                f" found {found[0].strip()[:SHOWN]!r}: set config.data.delimiter="
                f"{other[0]!r}"
            )
        return found

    def chunks(self, width: int) -> Iterator[Chunk]:
        """The rows that are not empty; InputError for one of other than `width`."""
        while True:
            before = self.before + self.reader.line_num
            rows = self._take(CHUNK)
            if not rows:
                return
            line = before + 1 + np.arange(len(rows))
            if self.before + self.reader.line_num - before != len(rows):
                # line breaks inside quotes
                more = np.array([sum(c.count("\n") for c in row) for row in rows])
                line += np.cumsum(more) - more
            sizes = np.fromiter(map(len, rows), np.int64, len(rows))
            wrong = (sizes != width) & (sizes > 0)
            if wrong.any():
                i = int(np.argmax(wrong))
                raise InputError(
                    f"{self.path}: row {line[i]}: expected {width} columns, "
                    f"found {sizes[i]}"
                )
            if not sizes.all():
                line, rows = line[sizes > 0], [row for row in rows if row]
            if rows:
                yield Chunk(line, tuple(zip(*rows, strict=True)))

    def _take(self, count: int) -> list[list[str]]:
        try:
            return list(itertools.islice(self.reader, count))
        except csv.Error as error:
            row = self.before + self.reader.line_num
            raise InputError(
                f"{self.path}: row {row}: expected CSV, found {error}"
            ) from error
