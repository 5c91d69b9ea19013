"""An experiment: stages x seeds in the order of who reads whom, resumable; a report.

The config's sections (`task`, `data`, `model`, `training`, ...) are what every stage
starts from; `config.stages.<name>` holds what differs. A stage reads an earlier one by
a section with a `stage` field (`teacher = {"stage": "teacher", "checkpoint": "best"}`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from kdjax import files
from kdjax.errors import InputError, call, lookup, nearest
from kdjax.report.document import write_report
from kdjax.report.runs import report_settings
from kdjax.tasks import TASKS
from kdjax.training import loop, parallel

Fields = dict[str, Any]

# What belongs to the whole experiment; every other field is a stage's.
EXPERIMENT_FIELDS = ("stages", "seeds", "report", "parallel", "devices")


def run(config: Fields, workdir: Path, *, only: str | None = None) -> None:
    """Runs every stage of every seed that is not done, then writes the report.

    Args:
      config: plain dicts and lists (a ConfigDict through JSON).
      workdir: made if absent. What a killed run left there is gone on with; a stage
        that was done with another config is an InputError.
      only: one stage's name: that stage and those it reads, and no report.

    Raises InputError before anything compiles where the config or the data are wrong.
    """
    stages = resolve(config)
    order = reading_order(stages)
    report_settings(config, order)
    if only is not None:
        lookup(only, stages, where="--stage")
        needed = _ancestors(stages, only)
        order = [name for name in order if name in needed]
    devices = parallel.make(
        config.get("parallel", "pmap"), devices=config.get("devices")
    )
    for seed in seeds(config):
        todo = [name for name in order if not _is_done(stages, name, seed, workdir)]
        # All of them before the first trains: a mistake in the last one shows now.
        built = {name: _build(stages, name, seed, workdir, devices) for name in todo}
        files.write_json(workdir / "config.json", config)
        for name, (task, training) in built.items():
            _run_stage(task, training, stages[name], name, seed, workdir, devices)
    if only is None:
        print(f"report: {write_report(workdir)}", flush=True)


def seeds(config: Fields) -> list[int]:
    """The config's seeds, checked."""
    found = config.get("seeds")
    if (
        not isinstance(found, list)
        or not found
        or not all(isinstance(seed, int) and seed >= 0 for seed in found)
        or len(set(found)) != len(found)
    ):
        raise InputError(
            f"config.seeds: expected one or more different integers >= 0, got {found!r}"
        )
    return found


def resolve(config: Fields) -> dict[str, Fields]:
    """{stage: its whole config}: the common sections, the stage's laid over them.

    A section that is None is left out: a stage so drops what its task does not take.
    """
    if not config.get("stages"):
        raise InputError("config.stages: expected at least one stage")
    common = {k: v for k, v in config.items() if k not in EXPERIMENT_FIELDS}
    merged = {
        name: merge(common, changes or {}) for name, changes in config["stages"].items()
    }
    return {
        name: {key: value for key, value in stage.items() if value is not None}
        for name, stage in merged.items()
    }


def merge(base: Fields, changes: Mapping[str, Any]) -> Fields:
    """`base` with `changes` laid over it, section by section.

    A section with another `name` replaces the base's: its fields are other fields.
    """
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        merged[key] = value
        if isinstance(old, dict) and isinstance(value, Mapping):
            name = old.get("name")
            if value.get("name", name) == name:
                merged[key] = merge(old, value)
    return merged


def _reads(fields: Any) -> Iterator[str]:
    """The stages that a stage's config names."""
    if isinstance(fields, Mapping):
        if isinstance(fields.get("stage"), str):
            yield fields["stage"]
        for value in fields.values():
            yield from _reads(value)


def reading_order(stages: Mapping[str, Fields]) -> list[str]:
    """The stages, each after those it reads; otherwise in alphabetical order."""
    sorter: TopologicalSorter[str] = TopologicalSorter()
    for name in sorted(stages):
        read = list(_reads(stages[name]))
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


def _ancestors(stages: Mapping[str, Fields], name: str) -> set[str]:
    found = {name}
    for other in _reads(stages[name]):
        found |= _ancestors(stages, other)
    return found


def _folder(workdir: Path, seed: int, stage: str) -> Path:
    return workdir / f"seed_{seed}" / stage


def _is_done(stages: Mapping[str, Fields], name: str, seed: int, workdir: Path) -> bool:
    """Whether the stage's results are there; InputError if of another config."""
    folder = _folder(workdir, seed, name)
    if (folder / "config.json").exists():
        found = files.read_json(folder / "config.json")
        difference = _difference(found, stages[name] | {"seed": seed})
        if difference:
            raise InputError(
                f"{folder} holds a run with another config: {difference}; "
                "choose another --workdir, or remove that folder"
            )
    return (folder / "results.json").exists()


def _difference(found: Any, asked: Any, path: str = "config") -> str | None:
    """The first field in which two configs differ, for people."""
    if isinstance(found, dict) and isinstance(asked, dict):
        for key in sorted({*found, *asked}):
            inner = _difference(found.get(key), asked.get(key), f"{path}.{key}")
            if inner:
                return inner
        return None
    return None if found == asked else f"{path} was {found!r}, now {asked!r}"


def _build(
    stages: Mapping[str, Fields],
    name: str,
    seed: int,
    workdir: Path,
    devices: parallel.Parallel,
) -> tuple[loop.Task, loop.Training]:
    """A stage's task, its config checked."""

    def located(fields: Any) -> Any:
        """Every {"stage": NAME} with that stage's folder and config in its place."""
        if not isinstance(fields, Mapping):
            return fields
        found = {key: located(value) for key, value in fields.items()}
        if isinstance(fields.get("stage"), str):
            read = found.pop("stage")
            found["folder"] = _folder(workdir, seed, read)
            found["config"] = stages[read] | {"seed": seed}
        return found

    fields = located(stages[name])
    try:
        make = lookup(fields.pop("task", None), TASKS, where="config.task")
        section = fields.pop("training", {})
        training = call(loop.Training, section, where="config.training")
        task = call(make, fields, where="config", training=training, seed=seed)
        training.check_devices(devices.devices, pieces=task.pieces)
    except InputError as error:
        raise InputError(f"stage {name!r}: {error}") from error
    return task, training


def _run_stage(
    task: loop.Task,
    training: loop.Training,
    config: Fields,
    name: str,
    seed: int,
    workdir: Path,
    devices: parallel.Parallel,
) -> None:
    """Trains one stage and writes its results.json, which says that it is done."""
    folder = _folder(workdir, seed, name)
    files.write_json(folder / "config.json", config | {"seed": seed})
    start = time.monotonic()
    label = f"seed {seed} {name}"
    checkpoints = loop.run(
        task, training, folder=folder, seed=seed, devices=devices, label=label
    )
    about = {"stage": name, "seed": seed, **task.about}
    selection = {"metric": training.select, "mode": training.mode}
    results = {**about, "selection": selection, "checkpoints": checkpoints}
    files.write_json(folder / "results.json", results)
    scores = ", ".join(
        f"{kind} {found['test'][training.select]:.4f} (epoch {found['epoch']})"
        for kind, found in checkpoints.items()
    )
    seconds = time.monotonic() - start
    print(f"{label}: test {training.select} {scores}; {seconds:.1f} s", flush=True)
