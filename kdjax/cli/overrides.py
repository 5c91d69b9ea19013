"""Fields of a config on the command line: `--config.model.width=2`.

`--sweep.config.losses.kd.weight=0.3,0.5,0.9` tries several (`kdjax.plan.resolve`).
A value is a Python literal (3, 1e-3, True, None, (0, 1), {'a': 1}) or else a string.
Where the config has a string, every value but None is one; where it has a list, `0,1`
and `0` are lists.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from kdjax.errors import InputError, lookup, section
from kdjax.plan import merge

FIELD, SWEEP = "--config.", "--sweep.config."
# What a section has whatever its name stands for.
COMMON = {
    "data": ("labels_per_class", "label_fraction", "labelled_groups", "normal_only"),
    "model": ("dtype", "norm_devices", "projection"),
    "optimizer": ("schedule", "accumulate", "clip_norm", "ema"),
}
WORDS = {"true": True, "false": False, "none": None}


class Given(NamedTuple):
    """A field and what is written for it; None where its flag alone is there."""

    flag: str
    path: tuple[str, ...]
    text: str | None


def taken(argv: Sequence[str]) -> tuple[list[str], list[Given]]:
    """The other arguments, and the fields of the config among them.

    A field is written `--config.a.b=VALUE`, `--config.a.b VALUE`, or, of a boolean,
    `--config.a.b` and `--noconfig.a.b`. InputError for a name that is none.
    """
    rest, given, waiting = list[str](), list[Given](), list(argv)
    while waiting:
        argument = waiting.pop(0)
        if argument == "--":
            return [*rest, argument, *waiting], given
        name, equals, text = argument.partition("=")
        bare = "--" + name.lstrip("-") if name.startswith("-") else name
        if bare.startswith("--noconfig.") and not equals:
            given.append(Given(name, _path(bare, "--noconfig."), "False"))
        elif bare.startswith(SWEEP):
            place = ("sweep", ".".join(_path(bare, SWEEP)))
            if not equals:
                text = waiting.pop(0) if waiting else ""
            given.append(Given(name, place, text))
        elif not bare.startswith(FIELD):
            rest.append(argument)
        elif equals:
            given.append(Given(name, _path(bare, FIELD), text))
        elif waiting and not waiting[0].startswith("--"):
            given.append(Given(name, _path(bare, FIELD), waiting.pop(0)))
        else:
            given.append(Given(name, _path(bare, FIELD), "True"))
    return rest, given


def _path(flag: str, begin: str) -> tuple[str, ...]:
    path = tuple(flag.removeprefix(begin).split("."))
    if not all(path):
        raise InputError(f"{flag}: expected names of fields with a dot between them")
    return path


def laid_over(config: Mapping[str, Any], given: Sequence[Given]) -> dict[str, Any]:
    """The config with the fields that are given, also those that it does not have.

    A `name` that changes drops the fields of the other name, but for those that all
    names have (`COMMON`). What the name stands for says later whether it takes them.
    InputError for a stage that is not there, or a field of what is no section.
    """
    changes: dict[str, Any] = {}
    renamed = {
        path[:-1]
        for _, path, text in given
        if path[-1] == "name" and text != _known(config, path)
    }
    for flag, path, text in given:
        place = changes
        for i, key in enumerate(path[:-1]):
            _check_section(config, path[: i + 1], flag)
            if not isinstance(place.get(key), dict):
                place[key] = {}
            place = place[key]
        known = None if path[:-1] in renamed else _known(config, path)
        place[path[-1]] = value(text or "", [] if path[0] == "sweep" else known)
    for path in renamed:
        place, base = changes, _known(config, path) or {}
        for key in path:
            place = place[key]
        for field in COMMON.get(path[-1] if path else "", ()):
            if field in base:
                place.setdefault(field, base[field])
    stages = section(changes.pop("stages", {}), where="--config.stages")
    merged = merge(config, changes)
    known = config.get("stages")
    if not stages or not isinstance(known, Mapping):
        return merged | ({"stages": stages} if stages else {})
    for name in stages:
        lookup(name, known, where="--config.stages")
    own = {
        name: merge(known[name] or {}, fields, beneath=config)
        if isinstance(fields, Mapping)
        else fields
        for name, fields in stages.items()
    }
    return merged | {"stages": {**known, **own}}


def value(text: str, known: Any = None) -> Any:
    """What is written, as the config's own value is: a string, a list, or a literal."""
    literal = _literal(text)
    if isinstance(known, str) and not isinstance(literal, str | None):
        return text
    if isinstance(known, list | tuple) and isinstance(literal, str):
        return [value(part) for part in text.split(",")]
    if isinstance(known, list | tuple) and isinstance(literal, bool | int | float):
        return [literal]
    return literal


def _literal(text: str) -> Any:
    if text.lower() in WORDS:
        return WORDS[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return text


def _known(config: Mapping[str, Any], path: Sequence[str]) -> Any:
    """The config's value at a path; of a stage without it, that of all stages."""
    place: Any = config
    for key in path:
        place = place.get(key) if isinstance(place, Mapping) else None
    if place is None and path[0] == "stages" and len(path) > 2:
        return _known(config, path[2:])
    return place


def _check_section(config: Mapping[str, Any], path: Sequence[str], flag: str) -> None:
    found = _known(config, path)
    if found is not None and not isinstance(found, Mapping):
        place = ".".join(("config", *path))
        raise InputError(f"{flag}: {place} is no section of fields, but {found!r}")
