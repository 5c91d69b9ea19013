"""Commands: how each parses flags, prints an error in one line, and exits.

Exit codes: 0 done; 2 the input is wrong, said in one line; 130 interrupted.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import NoReturn

from absl import app, flags, logging

from kdjax.errors import InputError


def parse(argv: list[str]) -> list[str]:
    """absl's parser, with a wrong flag as one line and exit code 2."""
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        stop(f"error: {one_line(error)}", 2)


def run(
    work: Callable[[], None],
    *,
    interrupted: str,
    flags_parser: Callable[[list[str]], list[str]] = parse,
) -> None:
    """Parses the command line, does `work`, and exits with its code.

    `interrupted` is what an interrupted user is told.
    """
    app.run(functools.partial(_main, work, interrupted), flags_parser=flags_parser)


def _main(work: Callable[[], None], interrupted: str, argv: list[str]) -> None:
    try:
        if len(argv) > 1:
            raise InputError(f"unexpected argument {argv[1]!r}; flags start with --")
        if not flags.FLAGS["verbosity"].present:
            logging.set_verbosity(logging.WARNING)  # orbax narrates every save
        work()
    except InputError as error:
        stop(f"error: {error}", 2)
    except KeyboardInterrupt:
        stop(f"interrupted; {interrupted}", 130)


def stop(message: str, code: int) -> NoReturn:
    """Says why on stderr, and exits; the exit carries its reason as a note."""
    print(f"kdjax: {message}", file=sys.stderr)
    reason = SystemExit(code)
    reason.add_note(message)
    raise reason


def one_line(error: BaseException) -> str:
    """The error's own words: ml_collections wraps a config's in its whole traceback."""
    text = str(error.args[0]) if error.args else str(error)
    if "Traceback (most recent call last)" in text:
        text = text.strip().splitlines()[-1]
    return " ".join(text.split())
