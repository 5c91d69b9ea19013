"""The main job: one config file, one folder.

    python -m kdjax --config=FILE[:arg] --workdir=DIR [--stage=NAME] [--config.x.y=...]

Exit codes: 0 done; 1 the training diverged; 2 the input is wrong, said in one line;
130 interrupted. After any of them the same command goes on where the last one stopped.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from absl import app, flags, logging
from ml_collections import config_flags

from kdjax.errors import InputError

_CONFIG = config_flags.DEFINE_config_file("config", help_string="Config: FILE[:arg].")
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Where the run is, or will be. Default: runs/<name of the config>."
)
_STAGE = flags.DEFINE_string("stage", None, "Only this stage and those it reads.")


def run() -> None:
    """Parses the command line and exits with the code of the run."""
    app.run(_main, flags_parser=_parse)


def _main(argv: list[str]) -> None:
    try:
        if len(argv) > 1:
            raise InputError(f"unexpected argument {argv[1]!r}; flags start with --")
        _experiment()
    except InputError as error:
        _stop(f"error: {error}", 2)
    except KeyboardInterrupt:
        _stop("interrupted; the same command goes on from the last checkpoint", 130)


def _experiment() -> None:
    config, workdir = _read_config(), _workdir()
    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.WARNING)  # orbax narrates every save
    # Late, so that a wrong flag is answered before jax has loaded.
    from kdjax import experiment
    from kdjax.training import host
    from kdjax.training.loop import Diverged

    host.cache_compilation()
    host.keep_freed_memory()
    try:
        experiment.run(config, workdir, only=_STAGE.value)
    except Diverged as error:
        _stop(f"stopped: {error}", 1)


def _stop(message: str, code: int) -> None:
    print(f"kdjax: {message}", file=sys.stderr)
    sys.exit(code)


def _parse(argv: list[str]) -> list[str]:
    """absl's parser, with a wrong flag or config field as one line and exit code 2."""
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        _stop(f"error: {_one_line(error)}", 2)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        # ml_collections, for a field that is not in the config or of another type
        what = "unknown field " if isinstance(error, KeyError) else ""
        _stop(f"error: --config: {what}{_one_line(error)}", 2)
    except (OSError, SyntaxError, ImportError) as error:
        _stop(f"error: the config file cannot be read: {_one_line(error)}", 2)
    raise AssertionError("unreachable")


def _one_line(error: BaseException) -> str:
    """The error's own words: ml_collections wraps a config's in its whole traceback."""
    text = str(error.args[0]) if error.args else str(error)
    if "Traceback (most recent call last)" in text:
        text = text.strip().splitlines()[-1]
    return " ".join(text.split())


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
        return Path(_WORKDIR.value)
    filename = config_flags.get_config_filename(flags.FLAGS["config"])
    return Path("runs") / Path(filename.split(":")[0]).stem
