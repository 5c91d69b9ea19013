"""Errors and config sections: a wrong field is named, a section becomes a call."""

from __future__ import annotations

import contextlib
import contextvars
import difflib
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from kdjax import signatures

# {section: {field: value}}, every default filled in.
Settings = dict[str, dict[str, Any]]
_settings: contextvars.ContextVar[Settings | None] = contextvars.ContextVar(
    "settings", default=None
)


class InputError(ValueError):
    """What the user gave is wrong: a file, a field, a flag.

    The message is one line that says which file or field, what was expected and what
    was found. The commands print it and exit with code 2, without a traceback.
    """


class MachineError(RuntimeError):
    """The machine does not give what the run needs: a folder of its own, memory, disk.

    The message is one line. The commands print it and exit with code 3, as they do for
    an OSError; the same command goes on when there is what was missing.
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


def look_up_or_import(name: Any, table: Mapping[str, Any], *, where: str) -> Any:
    """`table[name]`, or of "module:name" what a module has by that name.

    The module is found as by `import`, and from the folder where the command runs. A
    table may hold "module:name" in the place of what it names.
    """
    if not isinstance(name, str) or ":" not in name:
        entry = lookup(name, table, where=where)
        if not isinstance(entry, str):
            return entry
        name = entry
    module, _, attribute = name.partition(":")
    here = os.getcwd()
    if here not in sys.path:
        sys.path.append(here)
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f"{where}: {name!r}: {error}") from error
    if not callable(found):
        raise InputError(f"{where}: {name!r}: expected a function, found {found!r}")
    return found


def split_name(
    section: Any, *, where: str, given: Iterable[str] = ()
) -> tuple[str, dict[str, Any]]:
    """A config section's `name` and its other fields; InputError if it has no name.

    Nor may it have a field that the program itself gives.
    """
    if not isinstance(section, Mapping):
        raise InputError(f"{where}: expected a section with a name, found {section!r}")
    if "name" not in section:
        raise InputError(f"{where}.name: missing, and it has no default")
    if not isinstance(section["name"], str):
        found = section["name"]
        raise InputError(f"{where}.name: unknown name {found!r}: expected a string")
    for name in given:
        if name in section:
            raise InputError(f"{where}.{name}: unknown field: it is not the section's")
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
    A value of another type than the signature says is an InputError as well.
    Inside `recorded_settings` the fields are noted, with the defaults of the others.
    """
    try:
        parameters = inspect.signature(function).parameters
    except ValueError as error:  # some of the builtins
        raise InputError(f"{where}: {function!r} states no arguments") from error
    schema = {name: p.default for name, p in parameters.items() if name not in given}
    checked = check_fields(fields, schema, where=where)
    return function(**given, **check_types(function, checked, where=where))


def check_types(
    function: Callable[..., Any], fields: Mapping[str, Any], *, where: str
) -> dict[str, Any]:
    """`fields`, if each is of the type that a function takes; else an InputError.

    An integer becomes a string, or a float, where the function takes that.
    """
    kinds = signatures.hints(function)
    for name, value in fields.items():
        expected = signatures.misfit(value, kinds.get(name, Any))
        if expected is not None:
            raise InputError(f"{where}.{name}: expected {expected}, found {value!r}")
    return {k: signatures.taken(v, kinds.get(k, Any)) for k, v in fields.items()}


REQUIRED = inspect.Parameter.empty  # the default of a field that has none


def section(value: Any, *, where: str) -> Mapping[str, Any]:
    """`value` if it is a section of a config; InputError if it is anything else."""
    if not isinstance(value, Mapping):
        raise InputError(f"{where}: expected a section of fields, found {value!r}")
    return value


def check_fields(
    fields: Mapping[str, Any], schema: Mapping[str, Any], *, where: str
) -> dict[str, Any]:
    """`fields`, all of which are in `schema`, {field: default or REQUIRED}.

    InputError that names a field that is not, and the nearest one, or that is missing.
    """
    section(fields, where=where)
    for name in fields:
        if name not in schema:
            raise InputError(f"{where}.{name}: unknown field{nearest(name, schema)}")
    for name, default in schema.items():
        if default is REQUIRED and name not in fields:
            raise InputError(f"{where}.{name}: missing, and it has no default")
    defaults = {k: v for k, v in schema.items() if v is not REQUIRED}
    record_settings({where: defaults | dict(fields)})
    return dict(fields)


@contextlib.contextmanager
def recorded_settings() -> Iterator[Settings]:
    """Collects the fields of every section that `call` is given, defaults resolved."""
    token = _settings.set({})
    try:
        settings = _settings.get()
        assert settings is not None
        yield settings
    finally:
        _settings.reset(token)


def record_settings(settings: Settings) -> None:
    """Adds to what `recorded_settings` collects, where it does."""
    collected = _settings.get()
    if collected is not None:
        for where, fields in settings.items():
            collected[where] = collected.get(where, {}) | fields
