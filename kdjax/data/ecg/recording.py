"""One ECG recording to be scored: a WFDB record or a CSV file, and its beats."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kdjax.data.ecg import records
from kdjax.data.ecg.annotations import BEAT_SYMBOLS, Annotations
from kdjax.data.ecg.tables import read_table
from kdjax.data.preprocessing import range_of_example
from kdjax.errors import InputError, nearest

WFDB_SUFFIXES = (".atr", ".dat", ".hea")
TIME, BEAT = "time", "beat"
LOWEST_RATE = 2 * records.BAND[1]
PACED_BEATS = ("/", "f")
# At its beats a lead swings 6 to 28 times as much as elsewhere in MIT-BIH's records, at
# another record's .65 to 1.3 times.
LEAST_SWING, SWING = 2.0, 18
CHECKED = 4096  # beats looked at for NaN at once


class Recording(NamedTuple):
    """A recording as its file has it, and at 360 Hz.

    `signal` float64 [samples, leads] at `rate` Hz, `leads` their names; `beat` int64
    [n], the samples of the R peaks, and `time` float64 [n], when they are, in seconds;
    `begin`, when the first sample is. `resampled` and `peak` are `signal` and `beat` at
    360 Hz. `notes`: what was changed or supposed. `unit`: of the first lead, such as
    mV, "" where the file does not say. `annotated`: the beats that a WFDB record's .atr
    marks, None where it marks none.
    """

    path: Path
    rate: int | float
    leads: tuple[str, ...]
    signal: NDArray[np.float64]
    beat: NDArray[np.int64]
    time: NDArray[np.float64]
    begin: float
    resampled: NDArray[np.float64]
    peak: NDArray[np.int64]
    notes: tuple[str, ...]
    unit: str
    annotated: Annotations | None


class _File(NamedTuple):
    """What a file says; `beat` and `time` [samples] may be None."""

    rate: int | float
    leads: tuple[str, ...]
    signal: NDArray[np.float64]
    beat: NDArray[np.int64] | None
    time: NDArray[np.float64] | None = None
    notes: tuple[str, ...] = ()
    unit: str = ""
    annotated: Annotations | None = None


class Cut(NamedTuple):
    """The beats of a recording that can be scored.

    `windows` [samples - 319, 320, leads], filtered, is a view by first sample at 360
    Hz; `start` int64 [n], the beats' first samples; `row` int64 [n], their places in
    `Recording.beat`. `notes`: what was left out.
    """

    windows: NDArray[np.float64]
    start: NDArray[np.int64]
    row: NDArray[np.int64]
    notes: tuple[str, ...]

    def batches(self, size: int) -> Iterator[tuple[int, NDArray[np.float64]]]:
        """(place of the first, `raw_beats` of `size` or fewer), made one by one."""
        for first in range(0, len(self.start), size):
            yield first, self.raw_beats(np.s_[first : first + size])

    def raw_beats(self, which: slice | NDArray[np.intp]) -> NDArray[np.float64]:
        """Some of the beats, [n, 320, leads], filtered but not scaled."""
        return self.windows[self.start[which]]

    def beats(self, which: slice | NDArray[np.intp]) -> NDArray[np.float32]:
        """Some of the beats, [n, 320, leads], scaled as `records.read_beats` does."""
        return range_of_example(self.raw_beats(which))


def read_recording(
    path: Path,
    *,
    leads: Sequence[str],
    rate: int | float | None = None,
    detect: bool = False,
    detector: str = records.DETECTORS[0],
) -> Recording:
    """A CSV file, if the name ends in .csv, else the WFDB record of that name.

    Raises an InputError that names the file at fault.

    A WFDB record is named with or without its suffix. Its beats are those of its .atr,
    of any of WFDB's symbols for beats, or, where none is marked or with `detect`, what
    wfdb's `detector`, gqrs or xqrs, finds in the first lead.

    A CSV file has a line of names and then numbers; an empty field is NaN, as is an
    empty line of a file of one column; blank lines at the end are left out. Column
    `time` holds seconds, evenly spaced; without it, `rate` is needed. Column `beat`, if
    there, is 1 at R peaks and 0 (or empty) elsewhere; without it the detector is asked.
    The others are leads; one lead alone is taken for the lead meant, whatever its name.
    """
    path = path.expanduser()
    if path.suffix.lower() == ".csv":
        found = _read_csv(path, leads, rate)
    elif rate is not None:
        raise InputError(f"--rate: {path}: a WFDB record states its own rate")
    else:
        found = _read_record(path, leads)
    for lead, column in zip(found.leads, found.signal.T, strict=True):
        if not np.isfinite(column).any():
            raise InputError(f"{path}: lead {lead}: expected numbers, found none")
    return _at_360(path, found, detect=detect, detector=detector)


def _at_360(path: Path, found: _File, *, detect: bool, detector: str) -> Recording:
    rate, notes = found.rate, found.notes
    beat = None if detect else found.beat
    if not LOWEST_RATE <= rate <= records.MOST_HERTZ:
        raise InputError(
            f"{path}: expected {LOWEST_RATE:g} Hz or more, which the filter needs, and "
            f"at most {records.MOST_HERTZ:,}, found {rate:g}"
        )
    if rate != records.RATE:
        notes += (f"resampled from {rate:g} to {records.RATE} Hz",)
    given = np.empty(0, np.int64) if beat is None else beat
    raw, peak = records.resample(found.signal, given, rate=rate, where=path)
    if beat is None:
        peak = records.r_peaks(raw[:, 0], by=detector, unit=found.unit)
        beat = np.rint(peak * rate / records.RATE).astype(np.int64)
        beat = np.minimum(beat, len(found.signal) - 1)
        why = "not marked" if found.beat is None else "looked for, though marked"
        notes += (f"beats are {why}: {len(beat)} detected ({detector})",)
    if together := int((np.diff(beat) == 0).sum()):
        notes += (f"{together} beats stand where another does: no interval of theirs",)
    if found.annotated is not None:
        paced = np.isin(found.annotated.symbol, PACED_BEATS)
        if paced.any():
            notes += (f"{paced.sum()} of {len(paced)} annotated beats are paced",)
    time = beat / rate if found.time is None else found.time[beat]
    begin = 0.0 if found.time is None else float(found.time[0])
    return Recording(
        *(path, rate, found.leads, found.signal, beat, time, begin, raw, peak, notes),
        unit=found.unit,
        annotated=found.annotated,
    )


def cut(recording: Recording, *, before: int = records.BEFORE) -> Cut:
    """The beats inside the recording that no NaN reaches, cut as `read_beats` does.

    InputError if there are none.
    """
    path, raw, peak = recording.path, recording.resampled, recording.peak
    row = np.flatnonzero(records.inside(peak, len(raw), before=before))
    if not len(row):
        raise InputError(
            f"{path}: expected beats, found none that lie inside the recording "
            f"(of {len(peak)})"
        )
    clean = records.filtered(raw, records.BAND)
    windows, start = records.windows(clean), peak[row] - before
    parts = [start[k : k + CHECKED] for k in range(0, len(start), CHECKED)]
    finite = np.concatenate([np.isfinite(windows[p]).all(axis=(1, 2)) for p in parts])
    if not finite.any():
        lead = recording.leads[int(np.argmin(np.isfinite(raw).all(axis=0)))]
        raise InputError(
            f"{path}: lead {lead}: expected numbers, found NaN by each of {len(row)} "
            "beats"
        )
    left_out = {"at its ends": len(peak) - len(row), "for NaN": int((~finite).sum())}
    notes = tuple(f"{n} beats left out {why}" for why, n in left_out.items() if n)
    swing = _swing(clean[:, 0], peak[row])
    if swing < LEAST_SWING:
        notes += (
            f"its marks do not stand at beats: the lead swings {swing:.2g} times as "
            "much there as elsewhere; are they another recording's?",
        )
    return Cut(windows, start[finite], row[finite], notes)


def _swing(lead: NDArray[np.float64], peak: NDArray[np.int64]) -> float:
    """The median range of the lead within 50 ms of these peaks, by that anywhere.

    Infinite where neither can be said: of few beats, or in a lead that is mostly flat.
    """
    anywhere = np.arange(SWING, len(lead) - SWING, 5 * SWING)
    near = np.arange(-SWING, SWING + 1)
    there, all_over = (
        np.ptp(lead[np.clip(at[:, None] + near, 0, len(lead) - 1)], axis=1)
        for at in (peak, anywhere)
    )
    if len(peak) < 10 or not np.nanmedian(all_over) > 0:
        return float("inf")
    return float(np.nanmedian(there) / np.nanmedian(all_over))


def _read_record(path: Path, leads: Sequence[str]) -> _File:
    if path.suffix in WFDB_SUFFIXES:
        path = path.with_suffix("")
    header = records.read_header(path)
    names = _choose(tuple(header.sig_name), leads, where=f"{path}.hea")
    signal = records.read_leads(path, header, names)
    unit = header.units[header.sig_name.index(names[0])] or ""
    if not path.with_name(f"{path.name}.atr").exists():
        return _File(header.fs, names, signal, None, unit=unit)
    sample, symbol = records.read_annotations(path)
    of_beat = np.isin(symbol, BEAT_SYMBOLS)
    beat = sample[of_beat]
    if not len(beat):
        notes = (f"no beat among the {len(sample)} annotations of its .atr",)
        return _File(header.fs, names, signal, None, notes=notes, unit=unit)
    annotated = Annotations(beat, symbol[of_beat])
    return _File(header.fs, names, signal, beat, unit=unit, annotated=annotated)


def _read_csv(path: Path, leads: Sequence[str], rate: int | float | None) -> _File:
    table = read_table(path)
    time, marks = table.pop(TIME, None), table.pop(BEAT, None)
    notes: tuple[str, ...] = ()
    if len(leads) == len(table) == 1:
        (name,) = table
        if name != leads[0]:
            notes = (f"column {name!r} is taken for lead {leads[0]}",)
        leads = (name,)
    names = _choose(tuple(table), leads, where=str(path))
    signal = np.stack([table[name] for name in names], axis=1)
    if time is not None and rate is not None:
        raise InputError(f"--rate: {path} has a column {TIME!r} that says it")
    if time is not None:
        rate = _rate_of(time, where=path)
    if rate is None:
        raise InputError(f"{path}: expected a column {TIME!r}, or --rate=HZ")
    beat = None if marks is None else _marked(marks, path)
    return _File(rate, names, signal, beat, time, notes)


def _choose(
    known: tuple[str, ...], leads: Sequence[str], *, where: str
) -> tuple[str, ...]:
    for lead in leads:
        if lead not in known:
            hint = nearest(lead, filter(None, known))
            raise InputError(f"{where}: expected lead {lead}, found none{hint}")
    return tuple(leads)


def _rate_of(time: NDArray[np.float64], *, where: Path) -> float:
    """The rate of even times, which may be rounded to a fraction of a sample."""
    span = time[-1] - time[0] if len(time) > 1 else np.nan
    rate = (len(time) - 1) / span if span > 0 else np.nan
    steps = np.diff(time) * rate
    even = (steps > 0) & (steps < 1.5)
    if not even.all() or not len(even):
        row = int(np.argmin(even)) if len(even) else 0
        found = time[row : row + 2].tolist()
        raise InputError(
            f"{where}: column {TIME!r}: expected evenly spaced seconds, "
            f"found {found} from row {row} on"
        )
    whole = round(rate)
    return float(whole if abs(rate - whole) <= 1e-3 * rate else rate)


def _marked(marks: NDArray[np.float64], where: Path) -> NDArray[np.int64]:
    if not (np.isin(marks, (0, 1)) | np.isnan(marks)).all():
        raise InputError(f"{where}: column {BEAT!r}: expected 0 and 1, found others")
    return np.flatnonzero(marks == 1).astype(np.int64)
