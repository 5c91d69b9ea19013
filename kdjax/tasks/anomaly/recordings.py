"""Scoring a whole ECG recording with a trained detector: a CSV line a beat, figures."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from tqdm import tqdm

from kdjax import files
from kdjax.data.ecg import records
from kdjax.data.ecg.recording import WFDB_SUFFIXES, Cut, Recording, cut, read_recording
from kdjax.errors import InputError
from kdjax.stages.predictor import Predictor
from kdjax.tasks.anomaly import metrics
from kdjax.tasks.anomaly.figures import heat_map, record_strip
from kdjax.tasks.anomaly.scoring import SCORES, scores_in

# The data whose beats are filtered, cut and scaled as those of a recording are.
RECORDED = ("mitbih",)
SHOWN = 6  # beats with the highest scores that are drawn


class Scored(NamedTuple):
    """A recording's beats that can be scored, their scores and flags [n], and the
    threshold above which a beat is flagged."""

    recording: Recording
    beats: Cut
    scores: np.ndarray
    flags: np.ndarray
    threshold: float


def score_recording(
    predictor: Predictor,
    folder: Path,
    source: Path,
    output: Path,
    *,
    which: str = "last",
    leads: Sequence[str] | None = None,
    rate: int | float | None = None,
    false_alarms: float = 0.05,
    relative: bool = False,
    figures: Path | None = None,
) -> None:
    """Scores a recording, as the command does; see `cli.score` and `read_recording`.

    Args:
      predictor: the stage's in `folder`, by the checkpoint `which`.
      source: a WFDB record or a CSV file.
      output: the CSV file to write.

    InputError if a file, the stage or an argument does not fit; what is in the
    recording and left out is said on stderr.
    """
    started = time.monotonic()
    check_detector(predictor, folder)
    threshold = _threshold(folder, which, false_alarms, relative)
    wanted = _leads(predictor, leads)
    recording = read_recording(source, leads=wanted, rate=rate)
    beats = cut(recording)
    for note in (*recording.notes, *beats.notes):
        print(f"kdjax: {source}: {note}", file=sys.stderr)
    scores = _scores(predictor, beats)
    if relative:
        scores = metrics.relative(scores, np.zeros(len(scores), np.int32))
    flags = metrics.flags(scores, threshold)
    scored = Scored(recording, beats, scores, flags, threshold)
    _write(output, scored)
    print(
        f"{source}: {len(scores)} beats, {flags.sum()} flagged "
        f"(score above {threshold:.4g}, as {false_alarms:.3g} of the normal validation "
        f"beats have), {time.monotonic() - started:.1f} s: {output}"
    )
    if figures is not None:
        _draw(figures, predictor, scored)


def check_paths(source: Path, output: Path, figures: Path | None) -> None:
    """InputError for what cannot be written, before the work."""
    if output.resolve() == source.resolve() or output.suffix in WFDB_SUFFIXES:
        raise InputError(
            f"--output: expected another file than --input, found {output}"
        )
    if output.is_dir():
        raise InputError(f"--output: expected a file, found the folder {output}")
    own: Path | None = output.parent
    if output.exists() and not output.is_file():  # a device or a pipe
        own = None
        if not os.access(output, os.W_OK):
            raise InputError(f"--output: {output}: expected a file to write")
    for flag, folder in (("output", own), ("figures", figures)):
        if folder is None:
            continue
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


def _leads(predictor: Predictor, given: Sequence[str] | None) -> tuple[str, ...]:
    learnt = predictor.channels
    if given is not None and len(given) != len(learnt):
        raise InputError(
            f"--leads: expected {len(learnt)}, as the detector learnt from, "
            f"found {given}"
        )
    return tuple(given or learnt)


def _threshold(folder: Path, which: str, false_alarms: float, relative: bool) -> float:
    """See kdjax.tasks.anomaly.metrics.threshold."""
    if not 0 < false_alarms < 1:
        raise InputError(
            f"--false_alarms: expected a fraction between 0 and 1, found {false_alarms}"
        )
    stored = scores_in(folder)
    if stored is None:
        path = folder / SCORES
        raise InputError(f"{path}: expected this file, found none; is the stage done?")
    held = stored.split == "validation"
    scores = getattr(stored, which)[held]
    if relative:
        group = stored.group[held]
        if len(np.unique(group)) == len(group):
            raise InputError(
                f"--relative: {folder}: expected several validation beats a patient, "
                "found each alone, as by the paper's protocol"
            )
        scores = metrics.relative(scores, group)
    normal = stored.label[held] == metrics.NORMAL
    return metrics.threshold(scores[normal], false_alarms)


def _scores(predictor: Predictor, beats: Cut) -> np.ndarray:
    """The beats' scores [n], as many at once as the predictor takes."""
    size = predictor.record["settings"]["config.training"]["eval_batch_size"]
    scores = np.empty(len(beats.row), np.float32)
    with tqdm(total=len(scores), desc="beats", disable=None, leave=False) as bar:
        for first, x in beats.batches(size):
            scores[first : first + len(x)] = predictor(x)
            bar.update(len(x))
    return scores


def _write(output: Path, scored: Scored) -> None:
    """A line for each beat, in a file aside that is then renamed."""
    recording, row = scored.recording, scored.beats.row
    columns = recording.time[row], recording.beat[row], scored.scores, scored.flags

    def fill(file: BinaryIO) -> None:
        file.write(b"time,sample,score,flag\n")
        for when, sample, score, flag in zip(*columns, strict=True):
            file.write(f"{when:.6f},{sample},{score:.9g},{flag:d}\n".encode())

    try:
        files.write(output, fill)
    except OSError as error:
        raise InputError(f"--output: {output}: cannot be written ({error})") from error


def _draw(folder: Path, predictor: Predictor, scored: Scored) -> None:
    """record.png, the recording with its beats, and beats.png, the highest scores."""
    recording, beats, scores = scored.recording, scored.beats, scored.scores
    record_strip(
        folder / "record.png",
        name=f"{recording.path.stem}, lead {recording.leads[0]}",
        rate=float(recording.rate),
        signal=recording.signal[:, 0],
        beats=recording.beat[beats.row],
        scores=scores,
        flags=scored.flags,
        threshold=scored.threshold,
        begin=recording.begin,
        unit=recording.unit,
    )
    top = np.argsort(-metrics.ordered(scores), kind="stable")[:SHOWN]
    when = recording.time[beats.row[top]]
    titles = [
        f"{t:.2f} s, score {s:.3g}" for t, s in zip(when, scores[top], strict=True)
    ]
    heat_map(
        folder / "beats.png",
        beats=beats.beats(top),
        reconstruction=predictor.reconstruct(beats.raw_beats(top)),
        titles=titles,
        rate=records.RATE,
        title=f"{recording.path.stem}: the highest scores",
    )
    print(f"figures: {folder}")
