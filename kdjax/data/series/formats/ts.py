"""The .ts files of aeon and sktime: a series a line, its dimensions, its class."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from kdjax.data.series.formats.lines import SHOWN, lines
from kdjax.data.series.formats.opened import Chunk, Opened
from kdjax.errors import InputError

CASE, LABEL = "case", "label"
MARK = "?"  # a value that is missing


def open_ts(path: Path) -> Opened:
    """Columns `dim_0`, ..., `case` (the line's number) and `label`, of every time.

    Lines `#...` are remarks, lines `@...` the header, up to `@data`. In a line the
    values have commas between, the dimensions colons, and the class is last. Lengths
    may differ from line to line, not within one. InputError: time stamps, or no class.
    """
    every = enumerate(lines(path), 1)
    header: dict[str, str] = {}
    for row, line in every:
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        if not text.startswith("@"):
            raise InputError(f"{path}: row {row}: expected a line @..., up to @data")
        field, _, rest = text[1:].partition(" ")
        if field.lower() == "data":
            break
        header[field.lower()] = rest.strip()
    else:
        raise InputError(f"{path}: expected a line @data, found none")
    if header.get("timestamps", "false").lower() != "false":
        raise InputError(f"{path}: expected @timeStamps false, found time stamps")
    given, *classes = header.get("classlabel", "false").split() or ["false"]
    if given.lower() != "true":
        raise InputError(f"{path}: expected @classLabel true and the classes")
    series = (
        _parts(row, line.strip(), classes, path) for row, line in every if line.strip()
    )
    first = next(series, None)
    if first is None:
        raise InputError(f"{path}: expected series after @data, found none")
    width = len(first[1]) - 1
    names = (*(f"dim_{k}" for k in range(width)), CASE, LABEL)

    def chunks() -> Iterator[Chunk]:
        yield _chunk(*first, width=width, path=path)
        for row, parts in series:
            yield _chunk(row, parts, width=width, path=path)

    return Opened(names, chunks())


def _parts(
    row: int, line: str, classes: list[str], path: Path
) -> tuple[int, list[str]]:
    parts = line.split(":")
    label = parts[-1].strip()
    if len(parts) < 2 or not label or (classes and label not in classes):
        raise InputError(
            f"{path}: column {LABEL!r}, row {row}: expected values:label"
            f"{' of ' * bool(classes)}{' or '.join(classes)[:SHOWN]}, "
            f"found {line[-SHOWN:]!r}"
        )
    return row, parts


def _chunk(row: int, parts: list[str], *, width: int, path: Path) -> Chunk:
    """The series of one line: as many rows as it has times."""
    *dimensions, label = parts
    if len(dimensions) != width:
        raise InputError(
            f"{path}: row {row}: expected {width} dimensions, found {len(dimensions)}"
        )
    columns = [
        ["" if cell.strip() == MARK else cell for cell in dimension.split(",")]
        for dimension in dimensions
    ]
    size = len(columns[0])
    for k, column in enumerate(columns):
        if len(column) != size:
            raise InputError(
                f"{path}: column 'dim_{k}', row {row}: expected {size} values, as in "
                f"dim_0, found {len(column)}"
            )
    # the folder too: an archive's files may have one name
    repeated = ([f"{path.parent.name}/{path.name}:{row}"] * size, [label] * size)
    return Chunk(np.full(size, row, np.int64), tuple(map(tuple, (*columns, *repeated))))
