"""Reads BIDS events: when what was shown in a run."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import NamedTuple

from kdjax.errors import InputError

ABSENT = ("", "n/a")


class Event(NamedTuple):
    """An event of a run: `onset` and `duration` in seconds from its first volume.

    `label`, the class, and `stimulus`, the image's file, are "" where there is none;
    `line`, where it stands in its file, the first being 1.
    """

    onset: float
    duration: float
    label: str
    stimulus: str
    line: int


def read_events(
    path: str | Path, *, label: str = "trial_type", stimulus: str = "stim_file"
) -> list[Event]:
    """The events of an events.tsv in order of onset.

    Columns between tabs: onset and duration in seconds, `label`, and perhaps
    `stimulus`; others are not read. n/a is no class, no image, and a duration of 0.
    InputError that names the file and the line: a missing column, another number of
    fields, an onset or a duration that is no number, a duration below 0, no event.
    """
    path = Path(path).expanduser()
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            table = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    except FileNotFoundError:
        raise InputError(f"{path}: expected this file, found none") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as a table ({error})") from error
    head = table[0] if table else []
    for name in ("onset", "duration", label):
        if name not in head:
            raise InputError(
                f"{path}: expected a column {name} between tabs, found "
                f"{', '.join(head) or 'none'}"
            )
    events = []
    for line, cells in enumerate(table[1:], start=2):
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(head):
            raise InputError(
                f"{path}: line {line}: expected {len(head)} fields, found {len(cells)}"
            )
        row = dict(zip(head, (cell.strip() for cell in cells), strict=True))
        onset = _seconds(path, line, "onset", row["onset"])
        lasts = "0" if row["duration"] in ABSENT else row["duration"]
        duration = _seconds(path, line, "duration", lasts)
        if duration < 0:
            raise InputError(
                f"{path}: line {line}: duration: expected 0 or more, found {lasts}"
            )
        names = [row.get(name, "") for name in (label, stimulus)]
        known = ["" if name in ABSENT else name for name in names]
        events.append(Event(onset, duration, known[0], known[1], line))
    if not events:
        raise InputError(f"{path}: expected events, found none")
    return sorted(events, key=lambda event: event.onset)


def _seconds(path: Path, line: int, name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(
            f"{path}: line {line}: {name}: expected seconds, found {text!r}"
        )
    return value
