"""Scores the beats of a new recording with a trained detector.

    python -m kdjax.score --checkpoint=DIR --input=RECORD_OR_CSV --output=scores.csv
        [--figures=DIR] [--which=last|best] [--leads=V5,...] [--rate=HZ]
        [--false_alarms=0.05] [--relative]

DIR is a stage's folder. The output has a line for each beat: `time` in seconds and
`sample` of its R peak in the input, `score`, and `flag`, 1 where the score is above the
one that the share `false_alarms` of the stage's normal validation beats exceed. With
`--relative` a score is divided by the first quartile of its recording's, as those of
the validation beats are by their patient's: for recordings that are mostly normal.

Exit codes: 0 done; 2 the input is wrong, said in one line; 130 interrupted. There is
either the whole output or none.
"""

from __future__ import annotations

import functools
import inspect
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np
from absl import flags
from tqdm import tqdm

from kdjax import command, files
from kdjax.errors import InputError

# jax and wfdb take seconds: they are imported after the flags have been checked.
if TYPE_CHECKING:
    import flax.linen as nn

    from kdjax.data.ecg.recording import Cut, Recording
    from kdjax.tasks.anomaly.scoring import Rebuild

_CHECKPOINT = flags.DEFINE_string("checkpoint", None, "The folder of a trained stage.")
_INPUT = flags.DEFINE_string("input", None, "A WFDB record, or a CSV file.")
_OUTPUT = flags.DEFINE_string("output", None, "The CSV file to write.")
_FIGURES = flags.DEFINE_string("figures", None, "A folder for pictures. Default: none.")
_WHICH = flags.DEFINE_enum("which", "last", ["last", "best"], "Which checkpoint.")
_LEADS = flags.DEFINE_list("leads", None, "Leads. Default: those learnt from.")
_RATE = flags.DEFINE_float("rate", None, "Hz, of a CSV file without times.")
_FALSE_ALARMS = flags.DEFINE_float(
    "false_alarms", 0.05, "The share of normal validation beats above the threshold."
)
_RELATIVE = flags.DEFINE_bool(
    "relative", False, "Divide scores by the first quartile of the recording's."
)

# The data whose beats are filtered, cut and scaled as those of a recording are.
RECORDED = ("mitbih",)
SHOWN = 6  # beats with the highest scores that are drawn


class Scorer(NamedTuple):
    """Functions of beats [n, 320, leads]: their scores [n], and the beats rebuilt."""

    score: Callable[[np.ndarray], np.ndarray]
    rebuild: Callable[[np.ndarray], np.ndarray]


def score(
    checkpoint: Path,
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
    """Scores a recording, as the command does; see the module and `read_recording`.

    InputError if a file, a field of the stage's config or an argument does not fit;
    what is in the recording and left out is said on stderr.
    """
    started = time.monotonic()
    _check_paths(source, output, figures)
    config = _read_config(checkpoint)
    threshold = _threshold(checkpoint, which, false_alarms, relative)
    from kdjax.data.ecg.recording import cut, read_recording
    from kdjax.tasks.anomaly import metrics

    wanted = _leads(config, leads)
    recording = read_recording(source, leads=wanted, rate=rate)
    beats = cut(recording)
    for note in (*recording.notes, *beats.notes):
        print(f"kdjax: {source}: {note}", file=sys.stderr)
    scorer = _scorer(checkpoint, config, which, beats.beats(np.s_[:1]))
    scores = _scores(scorer, beats)
    if relative:
        scores = metrics.relative(scores, np.zeros(len(scores), np.int32))
    flagged = metrics.flags(scores, threshold)
    _write(output, recording, beats, scores, flagged)
    print(
        f"{source}: {len(scores)} beats, {flagged.sum()} flagged "
        f"(score above {threshold:.4g}, as {false_alarms:.3g} of the normal validation "
        f"beats have), {time.monotonic() - started:.1f} s: {output}"
    )
    if figures is not None:
        _draw(figures, scorer, recording, beats, scores, flagged, threshold)


def _check_paths(source: Path, output: Path, figures: Path | None) -> None:
    """What cannot be written is said before the work."""
    from kdjax.data.ecg.recording import WFDB_SUFFIXES

    if output.resolve() == source.resolve() or output.suffix in WFDB_SUFFIXES:
        raise InputError(f"--output: expected another file than --input, got {output}")
    if output.is_dir():
        raise InputError(f"--output: expected a file, found the folder {output}")
    for flag, folder in (("output", output.parent), ("figures", figures)):
        if folder is None:
            continue
        known = next(p for p in (folder, *folder.absolute().parents) if p.exists())
        if not (known.is_dir() and os.access(known, os.W_OK)):
            raise InputError(f"--{flag}: {known}: expected a folder to write in")


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    config: dict[str, Any] = files.read_json(path)
    if "stages" in config:
        raise InputError(
            f"{path}: expected the config of one stage, found a whole run's; "
            "--checkpoint is a stage's folder, such as RUN/seed_0/STAGE"
        )
    for field, name, known in (
        ("task", config.get("task"), TASKS),
        ("data.name", config.get("data", {}).get("name"), RECORDED),
    ):
        if name not in known:
            made_up = name == "synthetic_ecg"  # and not filtered
            fault = "trained on made-up beats" if made_up else "does not score beats"
            raise InputError(
                f"{path}: config.{field}: {name!r} {fault} (known: {', '.join(known)})"
            )
    return config


def _leads(config: Mapping[str, Any], given: Sequence[str] | None) -> tuple[str, ...]:
    from kdjax.data.ecg.mitbih import mitbih

    default = inspect.signature(mitbih).parameters["leads"].default
    learnt = config["data"].get("leads", default)
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
            f"--false_alarms: expected a share between 0 and 1, got {false_alarms}"
        )
    from kdjax.tasks.anomaly import metrics
    from kdjax.tasks.anomaly.stored import scores_in

    found = scores_in(folder)
    if found is None:
        path = folder / "scores.npz"
        raise InputError(f"{path}: expected this file, found none; is the stage done?")
    held = found.split == "validation"
    scores = getattr(found, which)[held]
    if relative:
        group = found.group[held]
        if len(np.unique(group)) == len(group):
            raise InputError(
                f"--relative: {folder}: expected several validation beats a patient, "
                "found each alone, as by the paper's protocol"
            )
        scores = metrics.relative(scores, group)
    normal = found.label[held] == metrics.NORMAL
    return metrics.threshold(scores[normal], false_alarms)


def _beatgan(config: Mapping[str, Any]) -> tuple[nn.Module, Rebuild]:
    from kdjax.tasks.anomaly import beatgan, scoring

    module = scoring.gan(config["model"])
    return module, functools.partial(beatgan.reconstruct, module)


def _autoencoder(config: Mapping[str, Any]) -> tuple[nn.Module, Rebuild]:
    from kdjax.tasks.anomaly import autoencoder, scoring

    module = scoring.gan(config["model"]).generator
    return module, functools.partial(autoencoder.reconstruct, module)


# By task: config -> (module, its function (model, x) -> x rebuilt).
TASKS = {"beatgan": _beatgan, "autoencoder": _autoencoder}


def _scorer(
    folder: Path, config: Mapping[str, Any], which: str, example: np.ndarray
) -> Scorer:
    """The stage's network, which must take `example` [1, 320, leads]."""
    import jax
    import jax.numpy as jnp

    from kdjax.stages import networks
    from kdjax.tasks.anomaly import scoring
    from kdjax.training import host
    from kdjax.training.checkpoint import load_model

    host.cache_compilation()
    module, rebuild = TASKS[config["task"]](config)
    template = networks.shapes(module, jnp.asarray(example))
    model = jax.device_put(load_model(folder, which, template))
    in_batches = [
        functools.partial(scoring.in_batches, functools.partial(jax.jit(f), model))
        for f in (scoring.squared_error(rebuild), rebuild)
    ]
    return Scorer(*in_batches)


def _scores(scorer: Scorer, beats: Cut) -> np.ndarray:
    """The beats' scores [n], a batch at a time."""
    from kdjax.tasks.anomaly.scoring import BATCH

    scores = np.empty(len(beats.row), np.float32)
    with tqdm(total=len(scores), desc="beats", disable=None, leave=False) as bar:
        for first, x in beats.batches(BATCH):
            scores[first : first + len(x)] = scorer.score(x)
            bar.update(len(x))
    return scores


def _write(
    output: Path,
    recording: Recording,
    beats: Cut,
    scores: np.ndarray,
    flagged: np.ndarray,
) -> None:
    """A line for each beat, in a file aside that is then renamed."""
    columns = recording.time[beats.row], recording.beat[beats.row], scores, flagged

    def fill(file: BinaryIO) -> None:
        file.write(b"time,sample,score,flag\n")
        for when, sample, score, flag in zip(*columns, strict=True):
            file.write(f"{when:.6f},{sample},{score:.9g},{flag:d}\n".encode())

    try:
        files.write(output, fill)
    except OSError as error:
        raise InputError(f"--output: {output}: cannot be written ({error})") from error


def _draw(
    folder: Path,
    scorer: Scorer,
    recording: Recording,
    beats: Cut,
    scores: np.ndarray,
    flagged: np.ndarray,
    threshold: float,
) -> None:
    """record.png, the recording with its beats, and beats.png, the highest scores."""
    from kdjax.data.ecg.records import RATE
    from kdjax.tasks.anomaly import metrics
    from kdjax.tasks.anomaly.pictures import heat_map, record_strip

    record_strip(
        folder / "record.png",
        name=f"{recording.path.stem}, lead {recording.leads[0]}",
        rate=float(recording.rate),
        signal=recording.signal[:, 0],
        beats=recording.beat[beats.row],
        scores=scores,
        flags=flagged,
        threshold=threshold,
        begin=recording.begin,
    )
    top = np.argsort(-metrics.ordered(scores), kind="stable")[:SHOWN]
    x, when = beats.beats(top), recording.time[beats.row[top]]
    titles = [
        f"{t:.2f} s, score {s:.3g}" for t, s in zip(when, scores[top], strict=True)
    ]
    heat_map(
        folder / "beats.png",
        beats=x,
        rebuilt=scorer.rebuild(x),
        titles=titles,
        rate=RATE,
        title=f"{recording.path.stem}: the highest scores",
    )
    print(f"figures: {folder}")


def run() -> None:
    """Parses the command line and exits with the code of the run."""
    command.run(_score, interrupted="an output is written whole or not at all")


def _score() -> None:
    score(
        _path(_CHECKPOINT),
        _path(_INPUT),
        _path(_OUTPUT),
        which=_WHICH.value,
        leads=_LEADS.value,
        rate=_RATE.value,
        false_alarms=_FALSE_ALARMS.value,
        relative=_RELATIVE.value,
        figures=None if _FIGURES.value is None else Path(_FIGURES.value),
    )


def _path(flag: flags.FlagHolder) -> Path:
    if flag.value is None:
        raise InputError(f"--{flag.name}: missing, and it has no default")
    return Path(flag.value)


if __name__ == "__main__":
    run()
