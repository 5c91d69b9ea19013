"""Patterns over the paths of a network's arrays, such as "encoder/stage[12].*"."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from kdjax.errors import InputError, nearest


def check(patterns: Sequence[str], paths: Iterable[str], *, where: str) -> list[str]:
    """The paths that one of the patterns matches as a whole.

    InputError for one that is no regular expression, or that matches no path: with the
    nearest path.
    """
    known, found = sorted(paths), set[str]()
    for pattern in patterns:
        compiled = regular(pattern, where=where)
        reached = [path for path in known if compiled.fullmatch(path)]
        if not reached:
            raise InputError(
                f"{where}: {pattern!r} matches no array of the network"
                f"{nearest(pattern, known)}"
            )
        found |= set(reached)
    return sorted(found)


def regular(pattern: str, *, where: str) -> re.Pattern[str]:
    """The regular expression; InputError for what is none."""
    try:
        return re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise InputError(f"{where}: {pattern!r}: no pattern ({error})") from error


def match(patterns: Sequence[str], path: str) -> bool:
    """Whether one of the patterns matches the whole path."""
    return any(re.fullmatch(pattern, path) for pattern in patterns)
