"""The exception a user sees as a single line, and calling a factory from a config."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any


class InputError(ValueError):
    """What the user gave is wrong: a file, a field, a flag.

    The message is one line that says which file or field, what was expected and what
    was found. The commands print it and exit with code 2, without a traceback.
    """


def nearest(name: str, known: Iterable[str]) -> str:
    """' (did you mean 'x'?)' for the closest known name, else all the names."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f" (did you mean {close[0]!r}?)"
    return f" (known: {', '.join(names)})" if names else " (none are known)"


def lookup(name: Any, table: Mapping[str, Any], *, where: str) -> Any:
    """`table[name]`, or an InputError that names `where` and the nearest key."""
    if not isinstance(name, str) or name not in table:
        raise InputError(f"{where}: unknown name {name!r}{nearest(str(name), table)}")
    return table[name]


def split_name(section: Any, *, where: str) -> tuple[str, dict[str, Any]]:
    """A config section's `name` and its other fields; InputError if it has no name."""
    if not isinstance(section, Mapping):
        raise InputError(f"{where}: expected a section with a name, found {section!r}")
    if "name" not in section:
        raise InputError(f"{where}.name: missing, and it has no default")
    return section["name"], {k: v for k, v in section.items() if k != "name"}


def call(
    function: Callable[..., Any],
    fields: Mapping[str, Any],
    /,
    *,
    where: str,
    **given: Any,
) -> Any:
    """`function(**given, **fields)`, where `fields` come from a config section.

    The function's signature is the section's schema: a field it does not take, or one
    it needs and does not get, is an InputError that names it and the nearest field.
    `given` are the arguments the program itself supplies; a section may not set them.
    """
    parameters = inspect.signature(function).parameters
    known = [name for name in parameters if name not in given]
    for name in fields:
        if name not in known:
            raise InputError(f"{where}.{name}: unknown field{nearest(name, known)}")
    for name, parameter in parameters.items():
        required = parameter.default is inspect.Parameter.empty
        if required and name not in fields and name not in given:
            raise InputError(f"{where}.{name}: missing, and it has no default")
    return function(**given, **fields)
