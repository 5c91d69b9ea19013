"""Time stamps in whole nanoseconds, exactly: ISO 8601, numbers, or by a format."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation

import numpy as np
from numpy.typing import NDArray

from kdjax.data.series.formats.lines import MISSING, Column, comma_hint, with_points

DIGITS = {"s": 9, "ms": 6, "us": 3, "ns": 0}  # of a unit's nanoseconds
NONE = -(2**63)  # where a cell is empty
SECONDS = 9_223_372_036  # about as many are 2^63 ns, 292 years
LONGEST = 60  # characters of a number

ISO = re.compile(
    r"(\d{4}-\d\d-\d\d(?:[ T]\d\d:\d\d(?::\d\d)?)?)"
    r"(?:(?<=:\d\d:\d\d)[.,](\d{1,9}))?"
    r"(?:(?<!-\d\d)\s?(Z|[+-](?:0\d|1[0-4])(?::?[0-5]\d)?))?",
    re.ASCII,
)
EXPECTED = "an ISO 8601 time such as 2012-05-23T16:47:50.125+01:00"
SHAPE = str.maketrans("123456789", "0" * 9)
EPOCH = datetime(1970, 1, 1)


class Clock:
    """Reads the time stamps of several files, which must all have a zone or all none.

    `unit`: they are numbers of it ("s", "ms", "us", "ns"), finer than ns rounded;
    `form`: they are as strptime's format says; without both ISO 8601. With a zone they
    become UTC.
    """

    def __init__(
        self, unit: str | None = None, form: str | None = None, decimal: str = "."
    ) -> None:
        self.unit, self.form, self.decimal = unit, form, decimal
        self.zoned: bool | None = None  # not known yet
        self.first = ""  # where it was known from

    @property
    def nanoseconds(self) -> int:
        """Of the unit in which steps are said: `unit`, or a second."""
        return int(10 ** DIGITS[self.unit or "s"])

    def read(self, cells: Sequence[str], at: Column) -> NDArray[np.int64]:
        """The nanoseconds of each cell, `NONE` where it is empty or NaN.

        InputError: the first that cannot be read, or is more than 292 years from 1970.
        """
        empty = [cell.strip().lower() in (*MISSING, "nat") for cell in cells]
        found = np.full(len(cells), NONE)
        full = np.flatnonzero(~np.array(empty, bool))
        if not len(full):
            return found
        if len(full) < len(cells):
            cells = [cells[int(i)] for i in full]
            at = at._replace(line=at.line[full])
        if self.unit is not None:
            if self.decimal != ".":
                cells = with_points(cells, at)
            found[full] = _from_numbers(cells, at, DIGITS[self.unit])
        elif self.form is not None:
            found[full] = self._by_format(cells, at, self.form)
        else:
            found[full] = self._from_iso(cells, at)
        return found

    def _from_iso(self, cells: Sequence[str], at: Column) -> NDArray[np.int64]:
        days, fractions, zones = _parts(cells, at)
        self._check_zone([zone is not None for zone in zones], cells, at)
        try:
            seconds = np.array(days, "datetime64[s]").astype(np.int64)
        except ValueError:  # such as a 30th of February
            seconds = np.array([_seconds(i, days[i], at) for i in range(len(days))])
        offset = {zone: _offset(zone) for zone in set(zones)}
        known = {part: int((part or "0").ljust(9, "0")) for part in set(fractions)}
        seconds = seconds - np.array([offset[zone] for zone in zones])
        beyond = abs(seconds) >= SECONDS
        if beyond.any():
            i = int(np.argmax(beyond))
            raise at.fault(i, "a time from 1678 to 2262", cells[i])
        return seconds * 10**9 + np.array([known[part] for part in fractions])

    def _by_format(
        self, cells: Sequence[str], at: Column, form: str
    ) -> NDArray[np.int64]:
        found, zoned = [], []
        for i, cell in enumerate(cells):
            try:
                time = datetime.strptime(cell.strip(), form)
            except (ValueError, OverflowError, re.error):
                expected = f"a time as config.data.time_format={form!r} says"
                raise at.fault(i, expected, cell) from None
            zoned.append(time.tzinfo is not None)
            offset = time.utcoffset() or timedelta(0)
            step = time.replace(tzinfo=None) - EPOCH - offset
            seconds = step.days * 86_400 + step.seconds
            if abs(seconds) >= SECONDS:
                raise at.fault(i, "a time from 1678 to 2262", cell)
            found.append(seconds * 10**9 + step.microseconds * 1000)
        self._check_zone(zoned, cells, at)
        return np.array(found, np.int64)

    def _check_zone(self, zoned: list[bool], cells: Sequence[str], at: Column) -> None:
        if self.zoned is None:
            self.zoned = zoned[0]
            self.first = f"row {at.line[0]} of {at.path.name}"
        if (not self.zoned) in zoned:
            i = zoned.index(not self.zoned)
            expected = "a time zone" if self.zoned else "no time zone"
            raise at.fault(i, f"{expected}, as in {self.first}", cells[i])


def _parts(
    cells: Sequence[str], at: Column
) -> tuple[Sequence[str], Sequence[str | None], Sequence[str | None]]:
    """Of each cell: to the second, the fraction's digits, the zone."""
    first = ISO.fullmatch(cells[0])
    if first is not None:
        shape = "\n".join(cells).translate(SHAPE)
        if shape == "\n".join([cells[0].translate(SHAPE)] * len(cells)):
            # all are written as the first is
            day, fraction, zone = (slice(*first.span(k)) for k in (1, 2, 3))
            return (
                [cell[day] for cell in cells],
                [cell[fraction] for cell in cells] if first[2] else [None] * len(cells),
                [cell[zone] for cell in cells] if first[3] else [None] * len(cells),
            )
    parts = [ISO.fullmatch(cell.strip()) for cell in cells]
    for i, part in enumerate(parts):
        if part is None:
            raise at.fault(i, EXPECTED + _unit_hint(cells[i]), cells[i])
    split = [part.groups() for part in parts if part is not None]
    days, fractions, zones = zip(*split, strict=True)
    return days, fractions, zones


def _seconds(i: int, day: str, at: Column) -> int:
    try:
        return int(np.datetime64(day, "s").astype(np.int64))
    except ValueError:
        raise at.fault(i, EXPECTED, day) from None


def _offset(zone: str | None) -> int:
    """Seconds east of UTC: of +01:00, +0100, +01, Z."""
    if zone is None or zone == "Z":
        return 0
    digits = zone[1:].replace(":", "").ljust(4, "0")
    sign = -1 if zone[0] == "-" else 1
    return sign * (int(digits[:2]) * 3600 + int(digits[2:]) * 60)


def _unit_hint(cell: str) -> str:
    number = cell.strip().removeprefix("-").replace(".", "", 1)
    return " (a number needs config.data.time_unit)" if number.isdecimal() else ""


def _from_numbers(cells: Sequence[str], at: Column, digits: int) -> NDArray[np.int64]:
    """Decimal numbers times 10^digits, in whole numbers."""
    try:
        if digits:
            parts = [cell.partition(".") for cell in cells]
            if max(len(rest) for _, _, rest in parts) > digits:
                raise ValueError
            whole = [int(first + rest.ljust(digits, "0")) for first, _, rest in parts]
        else:
            whole = list(map(int, cells))
        if "_" in "".join(cells) or not all(cell[-1].isdigit() for cell in cells):
            raise ValueError
    except ValueError:  # more digits, an exponent, or a wrong one
        whole = [_whole(i, cells[i], at, digits) for i in range(len(cells))]
    if max(whole) >= -NONE or min(whole) <= NONE:
        i = next(i for i, value in enumerate(whole) if abs(value) >= -NONE)
        raise at.fault(i, "a time within 292 years of 0", cells[i])
    return np.array(whole, np.int64)


def _whole(i: int, cell: str, at: Column, digits: int) -> int:
    text = cell.strip()
    try:
        if "_" not in text and len(text) <= LONGEST:
            value = Decimal(text)
            if value.is_finite() and value.adjusted() <= 20:
                return int(value.scaleb(digits).to_integral_value())
    except InvalidOperation:
        pass
    raise at.fault(i, f"a number{comma_hint(text)}", cell)
