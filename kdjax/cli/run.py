"""Runs an experiment: one config, one folder.

    kdjax --config=NAME_OR_FILE[:arg] [--workdir=DIR] [--config.x.y=VALUE ...]
        [--sweep.config.x.y=A,B,C ...]
        [--stage=NAME] [--jobs=N] [--rerun_stale] [--profile=START:END]
        [--distributed=auto|off|HOST:PORT,N,I]
    kdjax COMMAND --help

The config is one of kdjax's own (`kdjax configs` lists them; `digits_eskd:smoke`) or a
Python file. `--config.x.y=VALUE` changes any field, also one that the config does not
name (`kdjax describe --config=NAME` shows them all); VALUE is a Python literal or a
string. A `name` that changes drops the fields of the other name. Paths are looked up
from where the command runs. `--sweep.config.x.y=A,B,C` trains each stage that has the
section x, and that no other stage reads, once with each value; validation chooses, and
the chosen one alone is in the report's tables (`--sweep.config.stages.NAME.x.y` is of
one stage).

{commands}

Stages that do not read one another are trained side by side (`--jobs`). One that
diverges is given up, with those that read it; all others are trained.

Exit codes: 0 done; 1 a stage diverged; 2 the input is wrong; 3 the machine does
not give what the run needs (disk full, workdir read-only or in use, out of memory); 130
interrupted; 134 another process of the run is lost; 143 preempted. Why is said in one
line. After any of them the same command goes on where the last one stopped. DIR is a
folder of this machine: gs:// is refused.
"""

from __future__ import annotations

import contextlib
import re
from functools import partial
from pathlib import Path

from absl import flags

from kdjax import files
from kdjax.cli import COMMANDS, command, configfile, overrides
from kdjax.cli.command import Exit
from kdjax.errors import InputError
from kdjax.training import preemption, processes

_CONFIG = flags.DEFINE_string("config", None, "The config: NAME[:arg] or FILE[:arg].")
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Where the run is, or will be. Default: runs/<config>[_<arg>]."
)
_STAGE = flags.DEFINE_string("stage", None, "Only this stage and those it reads.")
_RERUN_STALE = flags.DEFINE_bool(
    "rerun_stale", False, "Train anew what was made of data or stages that changed."
)
_JOBS = flags.DEFINE_integer(
    "jobs",
    None,
    "How many stages are trained side by side, each on its share of the cores. By "
    "default as many as there are cores, and 2 GiB of memory for each; one on an "
    "accelerator, on several devices or with --profile.",
)
_PROFILE = flags.DEFINE_string(
    "profile", None, "Trace the steps START:END of the first stage that trains."
)
_DISTRIBUTED = flags.DEFINE_string(
    "distributed",
    "auto",
    "Several processes: HOST:PORT,N,I (this is I of N, which meet at process 0's "
    "port), off, or auto: as a TPU slice or a step of SLURM says.",
)


def run() -> None:
    """Parses the command line and exits with the code of the run."""
    given = list[overrides.Given]()
    every = "\n".join(f"    {name:<9} {what}" for name, what in COMMANDS.items())
    with processes.ending():
        command.run(
            partial(_experiment, given),
            about=__doc__.format(commands=f"Commands:\n\n{every}"),
            interrupted="the same command goes on from the last checkpoint",
            flags_parser=partial(_parse, given),
        )


def _experiment(given: list[overrides.Given]) -> None:
    processes.meet(_DISTRIBUTED.value)
    try:
        with preemption.heeded():
            _train(given)
    except preemption.Preempted as where:
        command.stop(
            f"preempted: {where}; the same command goes on from there", Exit.PREEMPTED
        )


def _train(given: list[overrides.Given]) -> None:
    config = configfile.read(_CONFIG.value, given)
    workdir, profile = _workdir(), _profiled()
    # Late, so that a wrong flag is answered before jax has loaded.
    from kdjax import experiment
    from kdjax.training import host
    from kdjax.training.loop import Diverged

    host.cache_compilation()
    host.keep_freed_memory()
    try:
        experiment.run(
            config,
            workdir,
            only=_STAGE.value,
            rerun_stale=_RERUN_STALE.value,
            profile=profile,
            side_by_side=_JOBS.value,
        )
    except Diverged as error:
        command.stop(f"stopped: {error}", Exit.DIVERGED)


def _profiled() -> tuple[int, int] | None:
    """The first and the last step that `--profile` names."""
    text = _PROFILE.value
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,9}):(\d{1,9})", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise InputError(
            "--profile: expected START:END, steps counted from 1, such as 20:30, "
            f"found {text!r}"
        )
    return int(match[1]), int(match[2])


def _parse(given: list[overrides.Given], argv: list[str]) -> list[str]:
    """absl's parser, but for fields of the config, which go to `given`."""
    try:
        return configfile.parse(argv, given)
    except (InputError, SystemExit):
        # those who wait for this process must be told
        asked = (a.partition("--distributed=")[2] for a in argv)
        with contextlib.suppress(InputError):
            processes.meet(next(filter(None, asked), "auto"))
        raise


def _workdir() -> Path:
    if _WORKDIR.value is not None:
        return files.local(_WORKDIR.value, where="--workdir")
    return Path("runs") / configfile.name_of(_CONFIG.value or "")
