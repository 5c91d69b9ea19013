"""The plan of an experiment: a config's stages, each whole, in the order of reading."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Any

from ml_collections import ConfigDict

from kdjax.checks import integers
from kdjax.errors import InputError, nearest, section

Fields = dict[str, Any]

MOST_LEVELS = 20  # sections in sections
# What belongs to the whole experiment; every other field is a stage's.
EXPERIMENT_FIELDS = ("stages", "sweep", "seeds", "report", "parallel", "devices")
MOST_TRIES = 1000


def plain(value: Any, *, where: str = "config", depth: int = 0) -> Any:
    """A config of plain values: sections, lists, strings, numbers, booleans and None.

    A ConfigDict is its fields, and a tuple a list, as in a file. InputError that names
    what is of another kind, a field whose name is no string, or a number that is not
    finite.
    """
    if isinstance(value, ConfigDict):
        value = value.to_dict()
    if isinstance(value, Mapping | list | tuple) and depth > MOST_LEVELS:
        raise InputError(f"{where[:60]}...: more than {MOST_LEVELS} levels")
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise InputError(f"{where}: expected names of fields, found {key!r}")
        return {
            key: plain(inner, where=f"{where}.{key}", depth=depth + 1)
            for key, inner in value.items()
        }
    if isinstance(value, list | tuple):
        return [
            plain(inner, where=f"{where}[{i}]", depth=depth + 1)
            for i, inner in enumerate(value)
        ]
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{where}: expected a finite number, found {value}")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise InputError(
        f"{where}: expected a section, list, string, number, boolean or None, "
        f"found {type(value).__name__}"
    )


def seeds(config: Fields) -> list[int]:
    """The config's seeds, checked."""
    found = list(integers(config.get("seeds"), low=0, where="config.seeds"))
    if not found or len(set(found)) != len(found):
        raise InputError(
            f"config.seeds: expected one or more different integers, found {found}"
        )
    return found


def resolve(config: Fields) -> dict[str, Fields]:
    """{stage: its whole config}: the common sections, the stage's laid over them.

    A section that is None is left out: a stage so drops what its task does not take.
    A stage with a `population` is its members, one that is swept its tries.
    """
    stages = _populated(config)
    for name, tries in _tries(config, stages).items():
        del stages[name]
        _check_different([*stages, *tries])
        stages |= tries
    return stages


def _populated(config: Fields) -> dict[str, Fields]:
    """`resolve`, but for sweeps."""
    named = config.get("stages")
    if not isinstance(named, Mapping) or not named:
        raise InputError(f"config.stages: expected sections by name, found {named!r}")
    for name, changes in named.items():
        if changes is not None:
            section(changes, where=f"config.stages.{name}")
    populated = [
        pair
        for name, stage in _whole(config).items()
        for pair in members(name, stage).items()
    ]
    names = [name for name, _ in populated]
    _check_different(names)
    for name in names:
        _check_name(name)
    return dict(populated)


def _whole(config: Fields) -> dict[str, Fields]:
    """{stage: its whole config}, populations as they are written."""
    common = {k: v for k, v in config.items() if k not in EXPERIMENT_FIELDS}
    merged = {k: merge(common, v or {}) for k, v in config["stages"].items()}
    return {
        name: {key: value for key, value in stage.items() if value is not None}
        for name, stage in merged.items()
    }


def members(name: str, stage: Fields) -> dict[str, Fields]:
    """{stage: its whole config} of a stage with a `population`; else itself.

    A population's leaves are lists, with a value for each member, and its sections are
    laid over the stage's. The members are named by its list `name`, or numbered.
    """
    if "population" not in stage:
        return {name: stage}
    base = {key: value for key, value in stage.items() if key != "population"}
    where = "config.population"
    leaves = dict(_leaves(section(stage["population"], where=where), where))
    if not leaves:
        raise InputError(f"{where}: expected lists, one value a member, found none")
    (first, values), *others = leaves.items()
    for place, other in others:
        if len(other) != len(values):
            raise InputError(
                f"{where}: expected lists of one length, found {len(values)} values of "
                f"{first} and {len(other)} of {place}"
            )
    names = leaves.get(f"{where}.name", [f"{name}_{i}" for i in range(len(values))])
    for member in names:
        if not isinstance(member, str) or not member or "/" in member:
            raise InputError(f"{where}.name: expected names, found {member!r}")
    _check_different(names)
    if f"{where}.seed" in leaves:
        raise InputError(
            f"{where}.seed: every member has all the seeds of config.seeds; "
            "a list of them belongs there"
        )
    values_of = {k: v for k, v in stage["population"].items() if k != "name"}
    return {
        member: merge(base, _member(values_of, i)) for i, member in enumerate(names)
    }


def _check_name(name: str) -> None:
    """A stage's name is that of its folder."""
    if not name.isprintable() or not 0 < len(name.encode()) <= 200 or "/" in name:
        raise InputError(
            "config.stages: expected names of at most 200 characters without '/', "
            f"found {name[:60]!r}"
        )
    if name.startswith("."):
        raise InputError(f"config.stages: a stage's name begins with no '.': {name!r}")


def _check_different(names: Sequence[str]) -> None:
    if len(set(names)) < len(names):
        twice = min(name for name in names if names.count(name) > 1)
        raise InputError(f"config.population: two stages have the name {twice!r}")


def _leaves(fields: Mapping[str, Any], where: str) -> Iterator[tuple[str, list[Any]]]:
    for key, value in fields.items():
        place = f"{where}.{key}"
        if isinstance(value, Mapping):
            yield from _leaves(value, place)
        elif isinstance(value, list | tuple) and value:
            yield place, list(value)
        else:
            raise InputError(
                f"{place}: expected a list with a value for each member, "
                f"found {value!r}"
            )


def _member(fields: Mapping[str, Any], i: int) -> Fields:
    """The values of the member i."""
    return {
        key: _member(value, i) if isinstance(value, Mapping) else value[i]
        for key, value in fields.items()
    }


def swept(config: Fields) -> dict[str, list[str]]:
    """{stage of the config: the stages that are its tries}, of those that are swept."""
    if not config.get("sweep"):
        return {}
    return {k: list(v) for k, v in _tries(config, _populated(config)).items()}


def _tries(
    config: Fields, stages: Mapping[str, Fields]
) -> dict[str, dict[str, Fields]]:
    """{swept stage: {try: its whole config}}, all products of what the sweep lists.

    A field of `config.sweep` is a path, "losses.kd.weight" or, of one stage alone,
    "stages.eskd.losses.kd.weight", and its value a list. Without a stage it is of those
    that have the section and that no other stage reads, for what is read is not chosen
    anew for each reader.
    """
    sweep = config.get("sweep") or {}
    where = "config.sweep"
    taught = {other for fields in stages.values() for other in reads(fields)}
    given: dict[str, dict[tuple[str, ...], list[Any]]] = {}
    for field, values in section(sweep, where=where).items():
        if not isinstance(values, list | tuple) or len(values) < 2:
            raise InputError(f"{where}.{field}: expected two values or more to try")
        first, *path = str(field).split(".")
        if first == "stages" and len(path) > 1:
            name, *path = path
            _check_swept(name, stages, taught, f"{where}.{field}")
            names = [name]
        else:
            path = [first, *path]
            names = [n for n in stages if n not in taught and _has(stages[n], path)]
        if not names:
            raise InputError(
                f"{where}.{field}: expected a section of a stage that no other reads, "
                "found none"
            )
        for name in names:
            given.setdefault(name, {})[tuple(path)] = list(values)
    return {name: _products(name, stages[name], lists) for name, lists in given.items()}


def _check_swept(
    name: str, stages: Mapping[str, Fields], taught: Collection[str], where: str
) -> None:
    if name not in stages:
        raise InputError(f"{where}: unknown stage {name!r}{nearest(name, stages)}")
    if name in taught:
        raise InputError(f"{where}: {name!r} is read by other stages; sweep those")


def _has(fields: Fields, path: Sequence[str]) -> bool:
    """Whether a stage has the section of a field."""
    place: Any = fields
    for key in path[:-1]:
        place = place.get(key) if isinstance(place, Mapping) else None
    return isinstance(place, Mapping) and (len(path) > 1 or path[0] in place)


def _products(
    stage: str, fields: Fields, lists: Mapping[tuple[str, ...], list[Any]]
) -> dict[str, Fields]:
    """{try: its whole config}, named by what it changes."""
    number = math.prod(map(len, lists.values()))
    if number > MOST_TRIES:
        raise InputError(
            f"config.sweep: expected at most {MOST_TRIES} tries of a stage"
        )
    tries: dict[str, Fields] = {}
    for values in itertools.product(*lists.values()):
        changed, said = fields, []
        for path, value in zip(lists, values, strict=True):
            change: Any = value
            for key in reversed(path):
                change = {key: change}
            changed = merge(changed, change)
            said.append(f"{path[-1]}={value}".replace("/", "|").replace(" ", ""))
        name = f"{stage}~{','.join(said)}"
        if len(name.encode()) > 200 or not name.isprintable():
            name = f"{stage}~{len(tries)}"
        if name in tries:
            raise InputError(f"config.sweep: {name!r} would be tried twice")
        tries[name] = changed
    return tries


def populations(config: Fields) -> dict[str, list[str]]:
    """{stage of the config: its members}, of those with a population."""
    stages = _whole(config)
    return {k: list(members(k, v)) for k, v in stages.items() if "population" in v}


def merge(
    base: Mapping[str, Any],
    changes: Mapping[str, Any],
    beneath: Mapping[str, Any] | None = None,
) -> Fields:
    """`base` with `changes` laid over it, section by section.

    A section with another `name` replaces the base's: its fields are other fields. A
    base that is itself laid over sections has their names, which are in `beneath`.
    """
    merged = dict(base)
    for key, value in changes.items():
        old, under = merged.get(key), (beneath or {}).get(key)
        merged[key] = value
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            under = under if isinstance(under, Mapping) else {}
            name = old.get("name", under.get("name"))
            if value.get("name", name) == name:
                merged[key] = merge(old, value, under)
    return merged


def reads(fields: Any) -> Iterator[str]:
    """The stages that a stage's config names; a field of its data names none."""
    if isinstance(fields, Mapping):
        if isinstance(fields.get("stage"), str):
            yield fields["stage"]
        for name, value in fields.items():
            if name != "data":
                yield from reads(value)


def reading_order(stages: Mapping[str, Fields]) -> list[str]:
    """The stages, each after those it reads; otherwise in alphabetical order."""
    sorter: TopologicalSorter[str] = TopologicalSorter()
    for name in sorted(stages):
        read = list(reads(stages[name]))
        for other in read:
            if other not in stages:
                raise InputError(
                    f"config.stages.{name}: reads the unknown stage {other!r}"
                    f"{nearest(other, stages)}"
                )
        sorter.add(name, *read)
    try:
        return list(sorter.static_order())
    except CycleError as error:
        circle = " -> ".join(error.args[1])
        raise InputError(f"config.stages: read one another: {circle}") from None


def ancestors(stages: Mapping[str, Fields], name: str) -> set[str]:
    names = {name}
    for other in reads(stages[name]):
        names |= ancestors(stages, other)
    return names
