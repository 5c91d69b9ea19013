"""The main job: one config file, one folder.

    python -m kdjax --config=FILE[:arg] --workdir=DIR [--stage=NAME] [--rerun_stale]
        [--profile=START:END] [--distributed=auto|off|HOST:PORT,N,I] [--config.x.y=...]

Exit codes: 0 done; 1 the training diverged; 2 the input is wrong; 3 the machine does
not give what the run needs (disk full, workdir read-only or in use, out of memory); 130
interrupted; 134 another process of the run is lost; 143 preempted. Why is said in one
line. After any of them the same command goes on where the last one stopped. DIR is a
folder of this machine: gs:// is refused.
"""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import config_flags

from kdjax import files
from kdjax.cli import command
from kdjax.cli.command import Exit
from kdjax.errors import InputError
from kdjax.training import preemption, processes

_CONFIG = config_flags.DEFINE_config_file("config", help_string="Config: FILE[:arg].")
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Where the run is, or will be. Default: runs/<config>[_<arg>]."
)
_STAGE = flags.DEFINE_string("stage", None, "Only this stage and those it reads.")
_RERUN_STALE = flags.DEFINE_bool(
    "rerun_stale", False, "Train anew what was made of data or stages that changed."
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
    how = "the same command goes on from the last checkpoint"
    with processes.ending():
        command.run(_experiment, interrupted=how, flags_parser=_parse)


def _experiment() -> None:
    processes.meet(_DISTRIBUTED.value)
    try:
        with preemption.heeded():
            _train()
    except preemption.Preempted as where:
        command.stop(
            f"preempted: {where}; the same command goes on from there", Exit.PREEMPTED
        )


def _train() -> None:
    config, workdir, profile = _read_config(), _workdir(), _profiled()
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


def _parse(argv: list[str]) -> list[str]:
    """absl's parser, with a wrong flag or config field as one line and exit code 2."""
    try:
        return _parsed(argv)
    except SystemExit as wrong:
        # those who wait for this process must be told
        if wrong.code == Exit.WRONG_INPUT:
            asked = (a.partition("--distributed=")[2] for a in argv)
            with contextlib.suppress(InputError):
                processes.meet(next(filter(None, asked), "auto"))
        raise


def _parsed(argv: list[str]) -> list[str]:
    try:
        return command.parse(argv)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        # ml_collections, for a field that is not in the config or of another type
        reason = command.one_line(error).strip('"')
        alone = isinstance(error, KeyError) or re.fullmatch(r"'\w+'", reason)
        what = "unknown field " if alone else ""
        command.stop(f"error: --config: {what}{reason}", Exit.WRONG_INPUT)
    except (OSError, SyntaxError, ImportError) as error:
        reason = command.one_line(error)
        message = f"error: the config file cannot be read: {reason}"
        command.stop(message, Exit.WRONG_INPUT)


def _read_config() -> dict[str, Any]:
    if not flags.FLAGS["config"].present:
        raise InputError("--config: missing (--config=configs/digits_eskd.py)")
    try:
        return json.loads(_CONFIG.value.to_json_best_effort())
    except OSError:
        filename = config_flags.get_config_filename(flags.FLAGS["config"])
        raise InputError(f"--config: no such file {filename}") from None


def _workdir() -> Path:
    if _WORKDIR.value is not None:
        return files.local(_WORKDIR.value, where="--workdir")
    name, _, argument = config_flags.get_config_filename(
        flags.FLAGS["config"]
    ).partition(":")
    return Path("runs") / "_".join(filter(None, (Path(name).stem, argument)))
