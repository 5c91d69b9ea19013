"""Command lines of the launchers: an error is one line, exit code 2, nearest name.

The launchers need Python 3.10 or newer and nothing else, because they run on laptops
and fresh machines: this is, in few lines, what `kdjax.errors` is for the library.
"""

from __future__ import annotations

import argparse
import difflib
import math
import sys
from collections.abc import Callable, Iterable
from typing import Any, NoReturn


def say(message: str) -> None:
    """A line on stderr."""
    print(f"kdjax: {message}", file=sys.stderr, flush=True)


def fail(message: str, code: int = 2) -> NoReturn:
    """Says what is wrong in one line, and exits."""
    say(f"error: {' '.join(message.split())}")
    sys.exit(code)


def nearest(name: str, known: Iterable[str]) -> str:
    """' (did you mean 'x'?)' for the closest known name, else all the names."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f" (did you mean {close[0]!r}?)"
    return f" (known: {', '.join(names)})"


class Parser(argparse.ArgumentParser):
    """argparse, with errors in one line; `--` parts the flags from a COMMAND."""

    def __init__(self, description: str | None) -> None:
        super().__init__(
            description=description,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    def error(self, message: str) -> NoReturn:
        fail(message)

    def split(self, argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
        """The flags, and the COMMAND after the first `--` ([] if there is none)."""
        at = argv.index("--") if "--" in argv else len(argv)
        known = self._option_string_actions
        for word in (word.partition("=")[0] for word in argv[:at]):
            if word.startswith("--") and word not in known:
                fail(f"unknown flag {word!r}{nearest(word, known)}")
        flags, unknown = self.parse_known_args(argv[:at])
        if unknown:
            fail(f"unexpected {unknown[0]!r}; a command comes after --")
        return flags, argv[at + 1 :]


def one_of(known: Iterable[str]) -> Callable[[str], str]:
    """A type for argparse: one of these names."""
    names = list(known)

    def convert(text: str) -> str:
        if text not in names:
            raise argparse.ArgumentTypeError(f"unknown {text!r}{nearest(text, names)}")
        return text

    return convert


def number(kind: type, *, low: float) -> Callable[[str], Any]:
    """A type for argparse: a finite number of this kind, `low` or more."""

    def convert(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not low <= value < math.inf:
            what = "a whole number" if kind is int else "a number"
            raise argparse.ArgumentTypeError(
                f"expected {what}, {low:g} or more, found {text!r}"
            )
        return value

    return convert


def exit_code(returncode: int) -> int:
    """A process's code as shells give it: 128 + the signal that ended it."""
    return 128 - returncode if returncode < 0 else returncode
