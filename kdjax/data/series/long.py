"""The long format: from a row for each value to a row for each time."""

from __future__ import annotations

import numpy as np

from kdjax.data.series.columns import Reading, Source, name_channels
from kdjax.data.series.formats.lines import Column
from kdjax.data.series.rows import pivot
from kdjax.data.series.typed import Shared, Table, known
from kdjax.errors import InputError


def widened(
    sources: list[Source], tables: list[Table], reading: Reading, shared: Shared
) -> tuple[list[Source], list[Table]]:
    """The sources with their keys as channels, and rows that have a value of each.

    InputError: no complete row, a key twice at a time, labels of a time that differ.
    """
    names, place = shared.keys.ranked()
    keyed = [Table(table.rows, place[table.key]) for table in tables]
    found = [
        _with_keys(source, table, names, reading)
        for source, table in zip(sources, keyed, strict=True)
    ]
    named = name_channels(
        [source._replace(label=None) for source in found], reading.channels
    )
    sources = [
        source._replace(label=old.label)
        for source, old in zip(named, sources, strict=True)
    ]
    return sources, [
        _wide(source, table, names, shared)
        for source, table in zip(sources, keyed, strict=True)
    ]


def _with_keys(
    source: Source, table: Table, names: tuple[str, ...], reading: Reading
) -> Source:
    keys = np.unique(table.key[known(source, table.rows) & (table.key >= 0)])
    if not len(keys):
        raise InputError(
            f"{source.files[0]}: column {reading.key!r}: expected rows without an "
            "empty cell, found none"
        )
    return source._replace(columns=tuple(names[key] for key in keys))


def _wide(
    source: Source, table: Table, names: tuple[str, ...], shared: Shared
) -> Table:
    """A row for each time at which every channel has a value; others are counted."""
    kept = known(source, table.rows) & (table.key >= 0)
    shared.count("incomplete", table.rows.file[~kept, 0])
    channel = np.full(len(names), -1, np.int32)
    channel[[names.index(name) for name in source.columns]] = np.arange(
        len(source.columns)
    )
    kept &= channel[table.key] >= 0
    rows, key = table.rows.take(kept), channel[table.key[kept]]
    first, values, went, twice = pivot(
        rows.group, rows.time, key, rows.values[:, 0], keys=len(source.columns)
    )

    def at(row: int, column: str) -> Column:
        return Column(shared.files[rows.file[row, 0]], column, rows.line[:, 0])

    if twice is not None:
        column = source.columns[key[twice]]
        raise at(twice, column).fault(twice, "each key once at a time", column)
    label = rows.label[first]
    same = (rows.label == label[went]) | np.isnan(rows.label)
    if not same.all():
        row = int(np.argmin(same))
        above = rows.line[first[went[row]], 0]
        raise InputError(
            f"{at(row, '').path}: column {source.label!r}, row {rows.line[row, 0]}: "
            f"expected the label of row {above}, of the same time, found another"
        )
    whole = np.isnan(values).sum(axis=1) == 0
    shared.count("incomplete", rows.file[~whole[went], 0])
    wide = rows.take(first)._replace(values=values)
    return Table(wide.take(whole), key[first[whole]])
