"""The fields of `series`, checked before a file is read."""

from __future__ import annotations

import glob
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from kdjax import files, patterns
from kdjax.checks import integer, number, one_of
from kdjax.data.series.columns import Reading, is_ts
from kdjax.data.series.formats.reading import Form
from kdjax.data.series.labels import RULES
from kdjax.data.series.times import DIGITS
from kdjax.errors import InputError

Paths = str | Mapping[str, str]
FIELD = "config.data."
LEAKING = "random_leaking"
SPLITTINGS = ("group", "time", "random", LEAKING)


class Cutting(NamedTuple):
    """How rows become windows with labels; `horizon` 0: the label is a class.

    `where`: the file and the column of the label, for errors.
    """

    window: int
    step: int
    gap: float | int | None
    rule: str
    horizon: int
    where: str


def find_files(path: Paths, where: str) -> tuple[tuple[str, tuple[Path, ...]], ...]:
    """The files of each source, sorted by name; a single one is called "".

    InputError: none found, or a source that is no text.
    """
    if isinstance(path, str):
        return (("", _matching(path, where)),)
    if not path:
        raise InputError(f"{where}: expected a file or files by name, found none")
    found = []
    for name, pattern in path.items():
        if not isinstance(pattern, str):
            raise InputError(f"{where}.{name}: expected a file, found {pattern!r}")
        found.append((str(name), _matching(pattern, f"{where}.{name}")))
    return tuple(found)


def _matching(pattern: str, where: str) -> tuple[Path, ...]:
    path = files.local(pattern, where=where)
    if os.path.exists(path) or not glob.has_magic(pattern):
        return (path,)
    try:
        found = sorted(Path(name) for name in glob.glob(str(path), recursive=True))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{where}: {pattern!r}: {error}") from error
    found = [path for path in found if path.is_file()]
    if not found:
        raise InputError(f"{where}: expected files {pattern!r}, found none")
    return tuple(found)


def check_other_files(
    learnt: tuple[tuple[str, tuple[Path, ...]], ...],
    tested: tuple[tuple[str, tuple[Path, ...]], ...],
) -> None:
    """InputError for a file that is to be learnt from and tested on."""
    one, other = (
        {path.resolve() for _, files in sources for path in files}
        for sources in (learnt, tested)
    )
    for path in sorted(one & other):
        raise InputError(
            f"config.data.test_path: expected other files than config.data.path, "
            f"found {str(path)!r} in both"
        )


def form_of(delimiter: str, decimal: str, kind: str | None) -> Form:
    """How CSV files are written; InputError for marks that cannot be told apart."""
    where = "config.data.delimiter"
    if len(delimiter) != 1 or delimiter in '"\r\n .0123456789-+':
        raise InputError(
            f"{where}: expected one mark, such as ';', found {delimiter!r}"
        )
    one_of(decimal, (".", ","), where="config.data.decimal")
    if delimiter == decimal:
        raise InputError(
            f"{where}: expected another mark than config.data.decimal, "
            f"found {delimiter!r} for both"
        )
    one_of(kind, (None, "geneactiv"), where="config.data.format")
    return Form(delimiter, decimal, kind)


def check_reading(reading: Reading) -> None:
    """InputError where fields exclude or need one another."""
    for one, other in (("group", "group_pattern"), ("time_unit", "time_format")):
        if None not in (getattr(reading, one), getattr(reading, other)):
            raise InputError(f"config.data.{other}: expected this or {one}, found both")
    if reading.time_unit is not None:
        one_of(reading.time_unit, DIGITS, where="config.data.time_unit")
    if (reading.key is None) != (reading.value is None):
        raise InputError("config.data.value: expected with key, found one of them")
    ordered = reading.time is None
    for where, unordered in (
        ("path", len(reading.sources) > 1),
        ("labels", reading.labels is not None),
        ("key", reading.key is not None),
    ):
        if ordered and unordered:
            raise InputError(
                f"config.data.time: expected a column for config.data.{where}, "
                "found None"
            )
    if reading.group_pattern is not None:
        _check_pattern(reading.group_pattern)
    if reading.channels is not None and len(set(reading.channels)) < max(
        1, len(reading.channels)
    ):
        raise InputError(
            "config.data.channels: expected names, each once, "
            f"found {list(reading.channels)!r}"
        )
    _check_roles(reading)


def _check_pattern(pattern: str) -> None:
    where = "config.data.group_pattern"
    groups = patterns.regular(pattern, where=where).groups
    if groups != 1:
        raise InputError(
            f"{where}: expected one (group) in the pattern, found {groups} in "
            f"{pattern!r}"
        )


def _check_roles(reading: Reading) -> None:
    """InputError where a column has two roles, or the label none or two places."""
    roles: dict[str, str] = {}
    for role in ("time", "group", "key", "value", "label"):
        name = getattr(reading, role)
        if name in roles and (role, roles[name]) != ("label", "group"):
            raise InputError(
                f"config.data.{role}: expected another column than "
                f"config.data.{roles[name]}, found {name!r} for both"
            )
        if name is not None:
            roles[name] = role
    for name in reading.channels or ():
        if name in roles and not (reading.numeric and roles[name] == "label"):
            raise InputError(
                f"config.data.channels: expected other columns than "
                f"config.data.{roles[name]}, found {name!r}"
            )
    given = [reading.label is not None, reading.labels is not None]
    if not any(given) and not is_ts(reading):
        raise InputError(
            "config.data.label: expected a column, or a file config.data.labels, "
            "found neither"
        )
    if all(given):
        raise InputError("config.data.labels: expected this or label, found both")
    if reading.numeric and reading.label is None:
        raise InputError(
            "config.data.horizon: needs config.data.label, a column of numbers"
        )


def cutting_of(
    reading: Reading,
    window: int,
    step: int | None,
    gap: float | int | None,
    rule: str,
    horizon: int | None,
) -> Cutting:
    """How rows become windows; InputError for a wrong size or an unknown rule."""
    integer(window, low=1, where="config.data.window")
    if step is not None:
        integer(step, low=1, where="config.data.step")
    if gap is not None:
        number(gap, low=0, where="config.data.gap")
    if horizon is not None:
        integer(horizon, low=1, where="config.data.horizon")
    one_of(rule, RULES, where="config.data.rule")
    if reading.labels is not None:
        where = f"{reading.labels}: column 'label'"
    else:
        path = reading.sources[0][1][0]
        where = f"{path}: column {reading.label or 'label'!r}"
    return Cutting(window, step or window, gap, rule, horizon or 0, where)


def check_split(split: str | None, reading: Reading, cutting: Cutting) -> str:
    """The way to split, the default's name for None; InputError where windows leak."""
    grouped = is_ts(reading) or reading.group is not None
    grouped |= reading.group_pattern is not None
    if split is None:
        return "group" if grouped else "time"
    where = "config.data.split"
    one_of(split, SPLITTINGS, where=where)
    if split == "group" and not grouped:
        raise InputError(f"{where}: 'group' needs config.data.group or group_pattern")
    # a change is against the row above
    reach = cutting.window + cutting.horizon + reading.relative
    overlap = cutting.step < reach
    if split == "random" and (grouped or overlap):
        why = "windows of one group" if grouped else "windows that overlap"
        raise InputError(
            f"{where}: expected 'group' or 'time', found 'random', which puts {why} "
            f"into training and test alike ({LEAKING!r} does so)"
        )
    return split
