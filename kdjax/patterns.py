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
        try:
            reached = [path for path in known if re.fullmatch(pattern, path)]
        except re.error as error:
            raise InputError(f"{where}: {pattern!r}: no pattern ({error})") from error
        if not reached:
            raise InputError(
                f"{where}: {pattern!r} matches no array of the network"
                f"{nearest(pattern, known)}"
            )
        found |= set(reached)
    return sorted(found)


def match(patterns: Sequence[str], path: str) -> bool:
    """Whether one of the patterns matches the whole path."""
    return any(re.fullmatch(pattern, path) for pattern in patterns)
