"""`kdjax COMMAND --flag=value ...`; without COMMAND an experiment is run."""

from __future__ import annotations

import importlib
import os
import sys

from kdjax.cli import COMMANDS, command
from kdjax.errors import nearest


def run() -> None:
    """Runs the command that the first argument names; `python -m kdjax` does the same.

    Exit codes: those of `kdjax.cli.command.Exit`.
    """
    if os.getcwd() not in sys.path:  # a config's "module:name" is found from here
        sys.path.insert(0, os.getcwd())
    name = "run"
    if len(sys.argv) > 1 and not sys.argv[1].startswith("-"):
        name = sys.argv.pop(1)
    if name not in COMMANDS:
        wrong = f"error: unknown command {name!r}{nearest(name, COMMANDS)}"
        command.stop(wrong, command.Exit.WRONG_INPUT)
    importlib.import_module(f"kdjax.cli.{name}").run()


if __name__ == "__main__":
    run()
