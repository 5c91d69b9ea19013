"""Heart beats cut from WFDB recordings, cached: MIT-BIH's own files."""

from __future__ import annotations

import hashlib
import json
import math
import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from tqdm import tqdm

from kdjax import archives, files
from kdjax.data.ecg import intervals
from kdjax.data.ecg.annotations import BEAT_SYMBOLS as EVERY_BEAT
from kdjax.data.ecg.choices import pick
from kdjax.data.preprocessing import are_raw, scaled
from kdjax.errors import InputError, MachineError, nearest

GROUPS = {"N": "NLR", "S": "aJASje", "V": "VE", "F": "F", "Q": "/fQ"}
BEAT_SYMBOLS = list("".join(GROUPS.values()))
PACED = ("102", "104", "107", "217")

RATE = 360
BAND = (3.0, 45.0)
BEFORE, SAMPLES = 140, 320
FILTER_ORDER = 108
# biosppy moves an R peak to the largest value so near, and BeatGAN wants it so near.
R_PEAK_AMONG, R_PEAK_WITHIN = 18, 10

DETECTORS = ("gqrs", "xqrs")  # of R peaks
UNITS = {"mV": 1.0, "uV": 1e-3, "V": 1e3}
ADC_GAIN, USUAL_MV = 200, 1.5

CACHE_VERSION = 2
# What wfdb raises on files that are damaged or cut short.
MOST_HERTZ = 1_000_000
UNREADABLE = (
    *(OSError, ValueError, LookupError, TypeError, AttributeError),
    *(ArithmeticError, EOFError),
)


class Beats(NamedTuple):
    """Beats in the order of record and time.

    `x` float32 [n, 320, leads] in [-1, 1]; `symbol` str [n], the annotation; `record`
    str [n]; `sample` int64 [n], where the annotation stands at 360 Hz; `intervals`
    float32 [n, 44], those of `intervals.around`, of all that is annotated as a beat;
    `notes` str, what was left out or changed, a line for each kind.
    """

    x: NDArray[np.float32]
    symbol: NDArray[np.str_]
    record: NDArray[np.str_]
    sample: NDArray[np.int64]
    intervals: NDArray[np.float32]
    notes: NDArray[np.str_]


def read_beats(
    root: str,
    *,
    band: tuple[int | float, int | float] = BAND,
    leads: Sequence[str] = ("MLII",),
    r_peak: bool = False,
    records: Sequence[str | int] = (),
    before: int = BEFORE,
) -> Beats:
    """The beats of every record in `root` but the four paced ones, [n, 320, leads].

    With `records`, of those alone; each must have the leads.

    Each lead, found by its name, is filtered to `band` Hz by a FIR filter of order 108
    (109 taps, Hamming) run forward and backward (`filtfilt`: no delay, and its gain
    squared), as biosppy does for BeatGAN. A beat is [r - 140, r + 180), or of as many
    samples from r - `before` on, around an annotation of one of `BEAT_SYMBOLS`, if
    inside the recording, and scaled to [-1, 1]
    in each lead by its own minimum and maximum; a flat one is 0 (inside `left_raw` it
    is filtered only). Records at another rate are resampled to 360 Hz
    (`resample_poly`). Beats that the filter reaches NaN from, and records without the
    leads, are left out. All this is said on stderr.

    `r_peak` drops beats N, L and R whose R peak is not where they are annotated: the
    first lead, filtered, has its largest value of [r - 17, r + 19] less than 10 samples
    from r + 1. BeatGAN drops those without an R peak so near, after biosppy has moved
    each to the largest value nearby: a choice by shape. Of MIT-BIH's 89,836 this rule
    leaves 86,885, BeatGAN 86,717 (computed with biosppy, 99.8 % of them the same).

    The beats are kept in `cache_folder()`, under a name made of the arguments and the
    files' names, sizes and times. Raises an InputError that names the file at fault.
    """
    if isinstance(leads, str) or not leads:
        raise InputError(f"config.data.leads: expected names, found {leads!r}")
    folder = _record_folder(files.local(root, where="config.data.root").resolve())
    fields = {"band": list(band), "leads": list(leads), "r_peak": r_peak}
    fields["before"] = before
    if are_raw():
        fields["raw"] = True
    chosen = _chosen(folder, records, leads)
    used = [path for path in _files(folder) if not chosen or path.stem in chosen]
    stamps = [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in used]
    text = json.dumps([CACHE_VERSION, fields, stamps])
    name = hashlib.sha256(text.encode()).hexdigest()[:16]
    path = cache_folder() / f"beats_{name}.npz"
    beats = _load(path)
    if beats is None:
        names = {path.stem for path in used}.difference(PACED)
        how = _How(tuple(leads), band, r_peak, before)
        beats = _cut_all(folder, sorted(names), how)
        _save(path, beats)
    for note in beats.notes:
        print(f"kdjax: {folder}: {note}", file=sys.stderr)
    return beats


class _How(NamedTuple):
    """How beats are cut: fields of `read_beats`."""

    leads: tuple[str, ...]
    band: tuple[int | float, int | float]
    r_peak: bool
    before: int


def cache_folder() -> Path:
    """$XDG_CACHE_HOME/kdjax, or ~/.cache/kdjax: where compiled programs are, too."""
    folder = files.cache_folder()
    if folder is None:
        raise MachineError("~/.cache: no such home; set XDG_CACHE_HOME to a folder")
    return folder


def _load(path: Path) -> Beats | None:
    if not path.exists():
        return None
    try:
        return Beats(**archives.read_npz(path, expected="the cached beats"))
    except (InputError, TypeError) as error:
        print(f"kdjax: {path}: damaged, built anew ({error})", file=sys.stderr)
        return None


def _save(path: Path, beats: Beats) -> None:
    arrays: dict[str, Any] = beats._asdict()
    try:
        files.write(path, lambda file: np.savez(file, **arrays))
    except OSError as error:
        print(f"kdjax: {path}: beats are not cached ({error})", file=sys.stderr)


def _files(folder: Path) -> list[Path]:
    suffixes = (".atr", ".dat", ".hea")
    return sorted(path for path in folder.glob("*.*") if path.suffix in suffixes)


def _record_folder(root: Path) -> Path:
    for folder in (root, root / "mitdb"):
        if folder.is_dir() and _files(folder):
            return folder
    raise InputError(
        "config.data.root: expected a folder of .hea, .dat and .atr files, "
        f"found none at {str(root)!r}"
    )


def _chosen(
    folder: Path, wanted: Sequence[str | int], leads: Sequence[str]
) -> tuple[str, ...]:
    """The names of the records wanted, () for all; InputError if one cannot be had."""
    where = "config.data.records"
    names = pick(wanted, {path.stem for path in _files(folder)}, where=where)
    for name in names:
        if name in PACED:
            raise InputError(
                f"{where}: expected records without a pacemaker, found {name!r}"
            )
        known = read_header(folder / name).sig_name
        for lead in leads:
            if lead not in known:
                hint = nearest(lead, filter(None, known))
                raise InputError(
                    f"config.data.leads: expected leads of {folder / name}.hea, found "
                    f"{lead!r}{hint}"
                )
    return names


def _cut_all(folder: Path, names: Sequence[str], how: _How) -> Beats:
    parts: list[Beats] = []
    notes: dict[str, list[str]] = {}
    other_leads: set[str] = set()
    for name in tqdm(names, desc="ECG records", disable=None, leave=False):
        header = read_header(folder / name)
        if missing := set(how.leads).difference(header.sig_name):
            note = f"left out for want of lead {', '.join(sorted(missing))}"
            notes.setdefault(note, []).append(name)
            other_leads.update(filter(None, header.sig_name))
            continue
        part = _cut_record(folder / name, header, how)
        parts.append(part)
        for note in part.notes:
            notes.setdefault(str(note), []).append(name)
    if other_leads and not parts:
        raise InputError(
            f"config.data.leads: expected leads of the records in {folder}, "
            f"found {list(how.leads)}{nearest(how.leads[0], other_leads)}"
        )
    if not sum(len(part.x) for part in parts):
        raise InputError(
            f"{folder}: expected beats, found none in {len(parts)} records"
        )
    lines = [f"{note}: {', '.join(names)}" for note, names in notes.items()]
    joined = Beats(*map(np.concatenate, zip(*parts, strict=True)))
    return joined._replace(notes=np.array(lines, np.str_))


def read_header(path: Path) -> Any:
    """The header of the record `path` (no suffix), with a name for each lead."""
    hea = path.with_name(f"{path.name}.hea")
    header = _read(hea, "rdheader", path)
    _check_record_line(hea, header)
    if segments := getattr(header, "seg_name", None):
        raise InputError(f"{hea}: expected one segment, found {len(segments)}")
    known = getattr(header, "sig_name", None) or []
    if len(known) != header.n_sig:
        raise InputError(f"{hea}: expected {header.n_sig} leads, found {len(known)}")
    return header


def _check_record_line(hea: Path, header: Any) -> None:
    """InputError for a rate or a length that wfdb takes for its own default, or which
    no recording has; signals are read only after that."""
    lines = hea.read_bytes().decode("latin1").splitlines()
    line = next(line for line in lines if line.strip() and not line.startswith("#"))
    fields = line.split()
    stated = fields[2].partition("/")[0] if len(fields) > 2 else str(header.fs)
    try:
        rate = float(stated)
    except ValueError:
        rate = math.nan
    if not 0 < rate <= MOST_HERTZ or rate != header.fs:
        raise InputError(
            f"{hea}: expected a rate in Hz, above 0 and at most {MOST_HERTZ:,}, "
            f"found {stated!r}"
        )
    archives.check_size(8 * (header.n_sig or 0) * (header.sig_len or 0), where=hea)


def read_leads(path: Path, header: Any, leads: Sequence[str]) -> NDArray[np.float64]:
    """The record's `leads`, all of them known to its header: [samples, leads].

    InputError if a lead in the same file is not what the header's checksum was made of.
    """
    wanted = [header.sig_name.index(lead) for lead in leads]
    dats = {header.file_name[column] for column in wanted}
    columns = [i for i, dat in enumerate(header.file_name) if dat in dats]
    # Every sample as it was stored: these are what a checksum counts.
    stored = {"physical": False, "smooth_frames": False}
    dat = signal_file(path, header, leads)
    record = _read(dat, "rdrecord", path, channels=columns, **stored)
    for column, samples in zip(columns, record.e_d_signal, strict=True):
        _check_sum(path, header, column, samples)
    try:
        record.d_signal = record.smooth_frames("digital")
        signal: NDArray[np.float64] = record.dac()
    except UNREADABLE as error:
        raise InputError(f"{dat}: not as its header says ({error!r})") from error
    return signal.take([columns.index(column) for column in wanted], axis=1)


def _check_sum(
    path: Path, header: Any, column: int, samples: NDArray[np.integer]
) -> None:
    """InputError unless the sum of `samples`, in 16 bits, is the one in the header.

    Nothing is checked where the header states no checksum, or 0, which programs write
    that count none, nor in a lead with a skew, which wfdb has taken samples from.
    """
    expected = header.checksum[column]
    if not expected or header.skew[column]:
        return
    found = int(samples.sum(dtype=np.int64))
    if (found - expected) % 2**16:
        raise InputError(
            f"{path.with_name(header.file_name[column])}: lead "
            f"{header.sig_name[column]}: damaged: expected the checksum "
            f"{expected % 2**16}, as in {path.name}.hea, found {found % 2**16}"
        )


def signal_file(path: Path, header: Any, leads: Sequence[str]) -> Path:
    """The .dat that holds the first of these leads, for a message."""
    return path.with_name(header.file_name[header.sig_name.index(leads[0])])


def _read(path: Path, function: str, *arguments: Any, **options: Any) -> Any:
    """What a function of wfdb reads; InputError that names `path` if it cannot."""
    import wfdb  # with SciPy's signal, two seconds that other loaders are spared

    if not path.is_file():
        raise InputError(f"{path}: expected this file, found none")
    try:
        return getattr(wfdb, function)(*map(str, arguments), **options)
    except UNREADABLE as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: damaged or cut short ({reason})") from error


def _cut_record(path: Path, header: Any, how: _How) -> Beats:
    dat = signal_file(path, header, how.leads)
    raw = read_leads(path, header, how.leads)
    sample, symbol = read_annotations(path)
    notes = []
    if header.fs != RATE:
        notes.append(f"resampled from {header.fs:g} to {RATE} Hz")
    raw, sample = resample(raw, sample, rate=header.fs, where=dat)
    keep = np.isin(symbol, BEAT_SYMBOLS) & inside(sample, len(raw), before=how.before)
    clean = filtered(raw, how.band)
    if how.r_peak:
        normal = np.isin(symbol, list(GROUPS["N"]))
        keep &= ~normal | _has_its_r_peak(sample, clean[:, 0])
    x = windows(clean)[sample[keep] - how.before]
    finite = np.isfinite(x).all(axis=(1, 2))
    if len(x) and not finite.any():
        lead = how.leads[int(np.argmin(np.isfinite(raw).all(axis=0)))]
        raise InputError(
            f"{dat}: lead {lead}: expected numbers, found NaN by each of {len(x)} beats"
        )
    if not finite.all():
        notes.append(f"{(~finite).sum()} beats left out for NaN")
    rows = np.flatnonzero(keep)[finite]
    of_beat = np.isin(symbol, EVERY_BEAT)
    place = np.cumsum(of_beat) - 1
    return Beats(
        x=scaled(x[finite], {"name": "range_of_example"}),
        symbol=symbol[rows],
        record=np.full(len(rows), path.name),
        sample=sample[rows],
        intervals=intervals.around(sample[of_beat] / RATE)[place[rows]],
        notes=np.array(notes, np.str_),
    )


def read_annotations(path: Path) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """(sample int64, symbol str) [n] of the record's .atr, beats and others.

    wfdb reads a file that is cut short as far as it goes: its last word is 0.
    """
    atr = path.with_name(f"{path.name}.atr")
    marks = _read(atr, "rdann", path, "atr")
    if not atr.read_bytes().endswith(b"\0\0"):
        raise InputError(f"{atr}: damaged or cut short (its end mark is missing)")
    return np.asarray(marks.sample, np.int64), np.array(marks.symbol, "U1")


def resample(
    raw: NDArray[np.float64],
    sample: NDArray[np.int64],
    *,
    rate: int | float,
    where: str | Path,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """A recording [samples, leads] at `rate` Hz, and places in it, at 360 Hz.

    InputError that names `where` if it is too short to be filtered.
    """
    if rate != RATE:
        from scipy.signal import resample_poly

        ratio = Fraction(RATE / rate).limit_denominator(10_000)
        raw = resample_poly(raw, *ratio.as_integer_ratio(), padtype="line")
        sample = np.rint(sample * float(ratio)).astype(np.int64)
    if len(raw) <= 3 * (FILTER_ORDER + 1):
        raise InputError(
            f"{where}: expected a second or more, found {len(raw)} samples"
        )
    return raw, sample


def inside(
    sample: NDArray[np.int64], samples: int, *, before: int = BEFORE
) -> NDArray[np.bool_]:
    """Which beats, R peaks at 360 Hz, lie inside a recording of so many samples."""
    start = sample - before
    return (start >= 0) & (start + SAMPLES <= samples)


def filtered(
    raw: NDArray[np.float64], band: tuple[int | float, int | float]
) -> NDArray[np.float64]:
    """A recording [samples, leads] at 360 Hz as `read_beats` filters it."""
    from scipy import signal

    taps = signal.firwin(FILTER_ORDER + 1, band, pass_zero=False, fs=RATE)
    found: NDArray[np.float64] = signal.filtfilt(taps, 1.0, raw, axis=0)
    return found


def windows(signal: NDArray[np.float64]) -> NDArray[np.float64]:
    """The windows [samples - 319, 320, leads] of a recording, by their first sample."""
    return sliding_window_view(signal, SAMPLES, axis=0).swapaxes(1, 2)


def r_peaks(
    lead: NDArray[np.float64], *, by: str = DETECTORS[0], unit: str = ""
) -> NDArray[np.int64]:
    """Where wfdb's detector `by` finds R peaks in a lead [samples] at 360 Hz.

    NaN counts as the median. `gqrs` marks where a complex begins, which is moved to the
    filtered lead's largest swing within 50 ms, where beats are annotated. It needs
    millivolts: a lead in no known `unit` is scaled until half of its two-second parts
    span 1.5 mV, as MIT-BIH's do. At the 44 records without a pacemaker gqrs finds
    99.7 % of the beats and 98 % of the ventricular ones, xqrs 99.2 % and 92 %
    (`tests/benchmarks/ecg_beats.py`).
    """
    import wfdb.processing

    lead = np.nan_to_num(lead - np.nanmedian(lead))
    if by == "xqrs":
        found = wfdb.processing.xqrs_detect(lead, RATE, verbose=False)
        return np.sort(np.asarray(found, np.int64))
    in_mv = UNITS.get(unit)
    if in_mv is None:
        whole = lead[: len(lead) // (2 * RATE) * 2 * RATE]
        parts = whole.reshape(-1, 2 * RATE) if len(whole) else lead[None]
        in_mv = USUAL_MV / max(float(np.median(np.ptp(parts, axis=1))), 1e-12)
    stored = np.rint(np.clip(ADC_GAIN * in_mv * lead, -(2**30), 2**30)).astype(np.int64)
    if not stored.any():
        return np.empty(0, np.int64)
    gains = {"adc_gain": ADC_GAIN, "adc_zero": 0}
    found = wfdb.processing.gqrs_detect(d_sig=stored, fs=RATE, **gains)
    early = np.asarray(found, np.int64)
    near = abs(_around(filtered(lead[:, None], BAND)[:, 0], early))
    peaks: NDArray[np.int64] = np.unique(early + near.argmax(axis=1) - R_PEAK_AMONG)
    return peaks


def _has_its_r_peak(
    sample: NDArray[np.int64], lead: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Which annotations have the largest value around them near: see `read_beats`."""
    place = _around(lead, sample + 1, beyond=-np.inf).argmax(axis=1)
    return abs(place - R_PEAK_AMONG) < R_PEAK_WITHIN


def _around(
    lead: NDArray[np.float64], sample: NDArray[np.int64], *, beyond: float = 0.0
) -> NDArray[np.float64]:
    """The lead within 50 ms of each sample: [n, 37]."""
    reach = R_PEAK_AMONG
    padded = np.pad(lead, (reach, reach + 1), constant_values=beyond)
    return sliding_window_view(padded, 2 * reach + 1)[sample]
