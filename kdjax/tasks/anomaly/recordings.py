"""Scoring a whole ECG recording with a trained detector: a CSV line a beat, a summary
of what is flagged, figures."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from tqdm import tqdm

from kdjax import checks, console, files
from kdjax.data.ecg import intervals, mitbih, records
from kdjax.data.ecg.annotations import WITHIN_MS, match, with_others
from kdjax.data.ecg.recording import WFDB_SUFFIXES, Cut, Recording, cut, read_recording
from kdjax.errors import InputError
from kdjax.stages.predictor import Predictor
from kdjax.tasks.anomaly import alarms, metrics
from kdjax.tasks.anomaly.alarms import Marked, Threshold
from kdjax.tasks.anomaly.figures import heat_map
from kdjax.tasks.anomaly.own_median import OfRecording
from kdjax.tasks.anomaly.strips import record_strip

# The data whose beats are filtered, cut and scaled as those of a recording are.
RECORDED = ("mitbih",)
SHOWN = 6  # beats with the highest scores that are drawn
SUMMARY = ".summary.json"  # in the place of the output's suffix
FIGURES = "record.png", "beats.png"


class Scored(NamedTuple):
    """A recording's beats that can be scored, their scores, flags and annotated symbols
    [n] ("" where none matches), and the threshold above which a beat is flagged.
    `marked`: its annotated beats, None where there are none."""

    recording: Recording
    beats: Cut
    scores: np.ndarray
    flags: np.ndarray
    symbol: np.ndarray
    threshold: Threshold
    marked: Marked | None


def score_recording(
    predictor: Predictor,
    folder: Path,
    source: Path,
    output: Path,
    *,
    which: str = "last",
    leads: Sequence[str] | None = None,
    rate: int | float | None = None,
    threshold: int | float | None = None,
    false_alarms: int | float | None = None,
    relative: bool = False,
    rhythm: str | None = None,
    detect: bool = False,
    detector: str = records.DETECTORS[0],
    within_ms: int | float = WITHIN_MS,
    figures: Path | None = None,
) -> None:
    """Scores a recording, as the command does; see `cli.score` and `read_recording`.

    Args:
      predictor: the stage's in `folder`, by the checkpoint `which`.
      source: a WFDB record or a CSV file.
      output: the CSV file to write; beside it goes `summary_path(output)`.
      threshold: the score above which a beat is flagged, or, but not both,
      false_alarms: the fraction of the stage's normal validation beats above it; .05.
      rhythm: "whole" or "past", to add the rhythm of the beats, or None.
      within_ms: how far at most an annotation is from its beat.

    InputError if a file, the stage or an argument does not fit; what is in the
    recording and left out is said on stderr.
    """
    started = time.monotonic()
    alarms.check(threshold, false_alarms)
    within_ms = checks.number(within_ms, low=0, where="--within_ms")
    check_detector(predictor, folder)
    normal = alarms.normal_scores(folder, which, relative=relative, by_rhythm=rhythm)
    limit = alarms.choose(normal.scores, threshold, false_alarms)
    wanted = _leads(predictor, leads)
    recording = read_recording(
        source, leads=wanted, rate=rate, detect=detect, detector=detector
    )
    beats = cut(recording, before=_before(predictor))
    around = intervals.around(recording.beat / float(recording.rate))[beats.row]
    scores, doubts = _scores(predictor, beats, around)
    notes = [*recording.notes, *beats.notes, *doubts]
    for note in notes:
        print(f"kdjax: {source}: {note}", file=sys.stderr)
    if relative:
        scores = metrics.relative(scores, np.zeros(len(scores), np.int32))
    scores = normal.with_rhythm(scores, around)
    flags = metrics.flags(scores, limit.value)
    symbol, marked = _annotated(predictor, recording, beats, within_ms=within_ms)
    scored = Scored(recording, beats, scores, flags, symbol, limit, marked)
    hours = len(recording.signal) / float(recording.rate) / 3600
    counts = alarms.summary(scores, limit, normal.scores, hours=hours, marked=marked)
    about = {
        "recording": str(source),
        "leads": list(recording.leads),
        "stage": str(folder),
        "checkpoint": which,
        "relative": relative,
        "rhythm": rhythm,
        "notes": notes,
        "within_ms": None if marked is None else within_ms,
    }
    _write(output, scored, about | counts)
    console.say(
        f"{source}: {len(scores)} beats, {flags.sum()} flagged (score above "
        f"{limit.value:.4g}, as {counts['validation_false_alarms']:.3g} of the "
        f"{len(normal.scores)} normal validation beats have), "
        f"{time.monotonic() - started:.1f} s: {output}, {summary_path(output)}"
    )
    console.say(alarms.said(counts))
    if figures is not None:
        _draw(figures, predictor, scored)


def summary_path(output: Path) -> Path:
    """`scores.summary.json` beside `scores.csv`."""
    return output.with_suffix(SUMMARY)


def check_paths(source: Path, output: Path, figures: Path | None) -> None:
    """InputError for what cannot be written, before the work.

    Nor is anything written over the input, or to what is no plain file: a folder, a
    device, a pipe, or a link to one.
    """
    if output.resolve() == source.resolve() or output.suffix in WFDB_SUFFIXES:
        raise InputError(
            f"--output: expected another file than --input, found {output}"
        )
    target = Path(os.path.realpath(output)) if output.is_symlink() else output
    folders = [("output", target.parent)]
    written = [("output", output), ("output", summary_path(output))]
    if figures is not None:
        folders.append(("figures", figures))
        written += [("figures", figures / name) for name in FIGURES]
    for flag, path in written:
        if path.exists() and not path.is_file():
            kind = "the folder" if path.is_dir() else "a device or a pipe,"
            raise InputError(f"--{flag}: expected a file, found {kind} {path}")
    for flag, folder in folders:
        known = next(p for p in (folder, *folder.absolute().parents) if p.exists())
        if not (known.is_dir() and os.access(known, os.W_OK)):
            raise InputError(f"--{flag}: {known}: expected a folder to write in")


def check_detector(predictor: Predictor, folder: Path) -> None:
    """InputError unless the stage scores beats that were cut as a recording's are."""
    record = predictor.record
    if predictor.kind != "scores":
        raise InputError(
            f"{folder}: expected a stage that scores beats, found one of the task "
            f"{record['task']!r}, which gives {predictor.kind}"
        )
    data = record["settings"]["config.data"]["name"]
    if data not in RECORDED:
        made_up = " made-up" if record["synthetic"] else ""
        raise InputError(
            f"{folder}: expected a stage trained on beats of recordings "
            f"({', '.join(RECORDED)}), found one trained on{made_up} {data!r}"
        )


def _before(predictor: Predictor) -> int:
    """How many samples of a beat, as the stage's were cut, are before its R peak."""
    data = predictor.record["settings"]["config.data"]
    return mitbih.WINDOWS[data.get("window", "standard")]


def _leads(predictor: Predictor, given: Sequence[str] | None) -> tuple[str, ...]:
    learnt = predictor.channels
    if given is not None and len(given) != len(learnt):
        raise InputError(
            f"--leads: expected {len(learnt)}, as the detector learnt from, "
            f"found {given}"
        )
    return tuple(given or learnt)


def _scores(
    predictor: Predictor, beats: Cut, around: np.ndarray
) -> tuple[np.ndarray, tuple[str, ...]]:
    """The beats' scores [n], as many at once as the predictor takes, and doubts."""
    if isinstance(predictor, OfRecording):
        x = beats.raw_beats(np.s_[:])
        return predictor.of_recording(x, around), predictor.doubts(x)
    size = predictor.record["settings"]["config.training"]["eval_batch_size"]
    scores = np.empty(len(beats.row), np.float32)
    with tqdm(total=len(scores), desc="beats", disable=None, leave=False) as bar:
        for first, x in beats.batches(size):
            scores[first : first + len(x)] = predictor(x)
            bar.update(len(x))
    return scores, ()


def _annotated(
    predictor: Predictor, recording: Recording, beats: Cut, *, within_ms: float
) -> tuple[np.ndarray, Marked | None]:
    """The symbol of each scored beat, "" where none matches, and all annotations."""
    annotated = recording.annotated
    if annotated is None:
        return np.full(len(beats.row), "", "U1"), None
    within = within_ms / 1000 * float(recording.rate) + 1e-6
    every = match(recording.beat, annotated.sample, within=within)
    place = every[beats.row]
    known = place >= 0
    row = np.full(len(annotated.symbol), -1, np.int64)
    row[place[known]] = np.flatnonzero(known)
    found = np.isin(np.arange(len(row)), every)
    strict = predictor.record["settings"]["config.data"].get("strict", False)
    groups = with_others(mitbih.STRICT_GROUPS if strict else records.GROUPS)
    symbol = np.where(known, annotated.symbol[place], "")
    more = int((every < 0).sum())
    return symbol, Marked(annotated.symbol, row, groups, found, more)


def _write(output: Path, scored: Scored, summary: Mapping[str, Any]) -> None:
    """A line for each beat, and the summary, each in a file aside that is renamed."""
    recording, row = scored.recording, scored.beats.row
    columns = recording.time[row], recording.beat[row], scored.scores, scored.flags

    def fill(file: BinaryIO) -> None:
        file.write(b"time,sample,score,flag,symbol\n")
        for *numbers, symbol in zip(*columns, scored.symbol, strict=True):
            when, sample, score, flag = numbers
            line = f"{when:.6f},{sample},{score:.9g},{flag:d},{symbol}\n"
            file.write(line.encode())

    path = output
    try:
        files.write(path, fill)
        path = summary_path(output)
        files.write_json(path, summary)
    except OSError as error:
        raise InputError(f"--output: {path}: cannot be written ({error})") from error


def _draw(folder: Path, predictor: Predictor, scored: Scored) -> None:
    """record.png, the recording with its beats, and beats.png, the highest scores."""
    recording, beats, scores = scored.recording, scored.beats, scored.scores
    record_strip(
        folder / FIGURES[0],
        name=f"{recording.path.stem}, lead {recording.leads[0]}",
        rate=float(recording.rate),
        signal=recording.signal[:, 0],
        beats=recording.beat[beats.row],
        scores=scores,
        flags=scored.flags,
        threshold=scored.threshold.value,
        symbols=_abnormal(scored),
        begin=recording.begin,
        unit=recording.unit,
    )
    top = np.argsort(-metrics.ordered(scores), kind="stable")[:SHOWN]
    when = recording.time[beats.row[top]]
    titles = [
        f"{t:.2f} s, score {s:.3g}{symbol and f', {symbol}'}"
        for t, s, symbol in zip(when, scores[top], scored.symbol[top], strict=True)
    ]
    heat_map(
        folder / FIGURES[1],
        beats=beats.beats(top),
        reconstruction=_rebuilt(predictor, beats, top),
        titles=titles,
        rate=records.RATE,
        title=f"{recording.path.stem}: the highest scores",
    )
    console.say(f"figures: {folder}")


def _rebuilt(predictor: Predictor, beats: Cut, which: np.ndarray) -> np.ndarray:
    if isinstance(predictor, OfRecording):
        return predictor.reconstruct(beats.raw_beats(np.s_[:]))[which]
    return predictor.reconstruct(beats.raw_beats(which))


def _abnormal(scored: Scored) -> np.ndarray:
    """The annotated symbol of each scored beat, "" where it is of the normal class."""
    if scored.marked is None:
        return scored.symbol
    normal = next(iter(scored.marked.groups.values()))
    return np.where(np.isin(scored.symbol, list(normal)), "", scored.symbol)
