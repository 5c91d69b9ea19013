"""Scores the beats of a new recording with a trained detector.

    kdjax score --checkpoint=DIR --input=RECORD_OR_CSV --output=scores.csv
        [--figures=DIR] [--which=last|best] [--leads=V5,...] [--rate=HZ]
        [--threshold=SCORE | --false_alarms=0.05] [--relative]
        [--rhythm=whole|past] [--detect] [--detector=gqrs|xqrs] [--within_ms=150]

DIR is a stage's folder. The output has a line for each beat: `time` in seconds and
`sample` of its R peak in the input, `score`, `flag`, 1 where the score is above the
threshold, and `symbol`, as a WFDB record's .atr has it: that of the nearest annotated
beat at most `within_ms` away, each used once, else empty. The threshold is given, or
the score that the fraction `false_alarms` of the stage's normal validation beats
exceed. With `--relative` a score is divided by the first quartile of its recording's,
as those of the validation beats are by their patient's: for recordings that are mostly
normal. `--rhythm` adds to the score's logarithm how early a beat comes and how long a
pause follows (`past`: how early alone, by the beats before it, as a monitor must), as
much as normal validation beats say. `--detect` looks for the beats even where they are
marked, as in use, by wfdb's `--detector`; what it misses is counted.

Printed, and in `scores.summary.json` beside the output: the threshold; by AAMI class
and by symbol how many beats are flagged, which is the sensitivity, with its 95 %
interval; false alarms an hour; the same at other thresholds.

Exit codes: those of `kdjax.cli.command.Exit`. Each file is written whole or not at all.
"""

from __future__ import annotations

from pathlib import Path

from absl import flags

from kdjax import files
from kdjax.cli import command
from kdjax.errors import InputError

_CHECKPOINT = flags.DEFINE_string("checkpoint", None, "The folder of a trained stage.")
_INPUT = flags.DEFINE_string("input", None, "A WFDB record, or a CSV file.")
_OUTPUT = flags.DEFINE_string("output", None, "The CSV file to write.")
_FIGURES = flags.DEFINE_string("figures", None, "A folder for figures. Default: none.")
_WHICH = flags.DEFINE_enum("which", "last", ["last", "best"], "Which checkpoint.")
_LEADS = flags.DEFINE_list("leads", None, "Leads. Default: those learnt from.")
_RATE = flags.DEFINE_float("rate", None, "Hz, of a CSV file without times.")
_THRESHOLD = flags.DEFINE_float("threshold", None, "The score to flag beats above.")
_FALSE_ALARMS = flags.DEFINE_float(
    "false_alarms",
    None,
    "The fraction of normal validation beats above the threshold. Default: 0.05.",
)
_RELATIVE = flags.DEFINE_bool(
    "relative", False, "Divide scores by the first quartile of the recording's."
)
_RHYTHM = flags.DEFINE_enum(
    "rhythm",
    None,
    ["whole", "past"],
    "Add the beats' rhythm, by all beats or the past.",
)
_DETECT = flags.DEFINE_bool(
    "detect", False, "Look for the beats, also where the input marks them."
)
_DETECTOR = flags.DEFINE_enum(
    "detector", "gqrs", ["gqrs", "xqrs"], "What looks for the beats: wfdb's."
)
_WITHIN_MS = flags.DEFINE_float(
    "within_ms", 150.0, "How far at most an annotation is from its beat."
)


def run() -> None:
    """Parses the command line and exits with the code of the run."""
    how = "an output is written whole or not at all"
    command.run(_score, about=__doc__, interrupted=how)


def _score() -> None:
    folder, source, output = map(_path, (_CHECKPOINT, _INPUT, _OUTPUT))
    figures = None if _FIGURES.value is None else _path(_FIGURES)
    # jax and wfdb take seconds: they are imported after the flags have been checked.
    from kdjax.loading import load
    from kdjax.tasks.anomaly import alarms, recordings
    from kdjax.training import host

    alarms.check(_THRESHOLD.value, _FALSE_ALARMS.value)
    recordings.check_paths(source, output, figures)
    host.cache_compilation()
    recordings.score_recording(
        load(folder, _WHICH.value),
        folder,
        source,
        output,
        which=_WHICH.value,
        leads=_LEADS.value,
        rate=_RATE.value,
        threshold=_THRESHOLD.value,
        false_alarms=_FALSE_ALARMS.value,
        relative=_RELATIVE.value,
        rhythm=_RHYTHM.value,
        detect=_DETECT.value,
        detector=_DETECTOR.value,
        within_ms=_WITHIN_MS.value,
        figures=figures,
    )


def _path(flag: flags.FlagHolder) -> Path:
    if flag.value is None:
        raise InputError(f"--{flag.name}: missing, and it has no default")
    return files.local(flag.value, where=f"--{flag.name}")
