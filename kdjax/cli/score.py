"""Scores the beats of a new recording with a trained detector.

    kdjax score --checkpoint=DIR --input=RECORD_OR_CSV --output=scores.csv
        [--figures=DIR] [--which=last|best] [--leads=V5,...] [--rate=HZ]
        [--false_alarms=0.05] [--relative]

DIR is a stage's folder. The output has a line for each beat: `time` in seconds and
`sample` of its R peak in the input, `score`, and `flag`, 1 where the score is above the
one that the fraction `false_alarms` of the stage's normal validation beats exceed. With
`--relative` a score is divided by the first quartile of its recording's, as those of
the validation beats are by their patient's: for recordings that are mostly normal.

Exit codes: those of `kdjax.cli.command.Exit`. There is either the whole output or none.
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
_FALSE_ALARMS = flags.DEFINE_float(
    "false_alarms", 0.05, "The fraction of normal validation beats above the threshold."
)
_RELATIVE = flags.DEFINE_bool(
    "relative", False, "Divide scores by the first quartile of the recording's."
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
    from kdjax.tasks.anomaly import recordings
    from kdjax.training import host

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
        false_alarms=_FALSE_ALARMS.value,
        relative=_RELATIVE.value,
        figures=figures,
    )


def _path(flag: flags.FlagHolder) -> Path:
    if flag.value is None:
        raise InputError(f"--{flag.name}: missing, and it has no default")
    return files.local(flag.value, where=f"--{flag.name}")
