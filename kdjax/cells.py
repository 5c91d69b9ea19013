"""A stage of one seed: whether it is done, its config checked, trained, recorded."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from kdjax import files, lock, plan
from kdjax.checks import difference, integer
from kdjax.console import say
from kdjax.errors import (
    InputError,
    Settings,
    call,
    lookup,
    nearest,
    record_settings,
    recorded_settings,
    section,
)
from kdjax.stages import batches, record
from kdjax.tasks import ALL
from kdjax.training import averaging, loop, parallel, preemption, processes
from kdjax.training.task import Task, Training
from kdjax.training.watch import Profile

Fields = dict[str, Any]


class Seed(NamedTuple):
    """One seed's run: its stages' configs, and where and how they are trained."""

    stages: Mapping[str, Fields]
    seed: int
    workdir: Path
    devices: parallel.Parallel
    rerun_stale: bool
    traced: Profile | None = None
    tries: frozenset[str] = frozenset()  # of a sweep, whose test scores are not said
    shared: bool = False  # the workdir, so that each stage's folder is locked

    def folder(self, stage: str) -> Path:
        return self.workdir / f"seed_{self.seed}" / stage

    def config(self, stage: str) -> Fields:
        return self.stages[stage] | {"seed": self.seed}


class Built(NamedTuple):
    """A stage that can be trained: its config was checked."""

    task: Task
    training: Training
    settings: Settings

    @property
    def program(self) -> tuple[str, Training] | None:
        """What stages must have in common to be trained together."""
        program = self.task.program
        return None if program is None else (program, self.training)


class Cell(NamedTuple):
    """A stage of one seed that is to be trained."""

    this: Seed
    name: str
    built: Built

    @property
    def folder(self) -> Path:
        return self.this.folder(self.name)

    @property
    def label(self) -> str:
        return f"seed {self.this.seed} {self.name}"


def checked(this: Seed, name: str) -> Cell:
    """A stage that can be trained, its config checked as `build` does."""
    return Cell(this, name, build(this, name))


def to_do(this: Seed, order: Sequence[str]) -> list[str]:
    """The stages of a seed that are not done, stale, or read one that is either."""
    todo: list[str] = []
    for name in order:  # in which what is read comes first
        anew = not is_done(this, name) or _why_stale(this, name) is not None
        if anew or not set(todo).isdisjoint(plan.reads(this.stages[name])):
            todo.append(name)
    return todo


def is_done(this: Seed, name: str) -> bool:
    """Whether the stage's results are there; InputError if of another config."""
    folder = this.folder(name)
    if (folder / record.CONFIG).exists():
        known = record.read_config(folder)
        other = differing(known, this.config(name))
        if other:
            raise InputError(
                f"{folder} holds a run with another config: {other}; "
                "choose another --workdir, or remove that folder"
            )
        record.read_record(folder)
    return record.is_whole(folder)


def _why_stale(this: Seed, name: str) -> str | None:
    """Why a stage that was begun must begin anew, None if it need not.

    InputError that says so, unless stale stages are to be trained anew.
    """
    folder = this.folder(name)
    if not (folder / record.RECORD).exists():
        return None
    reads = {
        read.section: record.what_is_read(read)
        for read in record.sections_read(_located(this, this.stages[name]))
        # of another experiment that is gone nothing can be said
        if read.config is not None or (read.folder / record.CONFIG).exists()
    }
    known = record.read_record(folder)
    try:
        fingerprint = _fingerprint(this, name)
    except InputError as error:
        if not (folder / record.RESULTS).exists():
            raise
        # a finished run is reported where its data are not
        print(
            f"kdjax: {folder}: not checked against its data: {error}", file=sys.stderr
        )
        fingerprint = known["fingerprint"]
    why = record.why_stale(known, fingerprint=fingerprint, reads=reads)
    if why is not None and not this.rerun_stale:
        raise InputError(
            f"{folder} is stale: {why}; --rerun_stale trains it anew, or choose "
            "another --workdir"
        )
    return why


def differing(found: Any, asked: Any) -> str | None:
    """The first field in which two configs differ, for people."""
    differs = difference(found, asked, "config")
    if differs is None:
        return None
    place, was, now = differs
    return f"{place} was {was!r}, now {now!r}"


def _fingerprint(this: Seed, name: str) -> str:
    """Of the stage's data as they are now; "" where they are made while training.

    Where one of its sections has data of its own, of both.
    """
    fields = this.stages[name]
    inner = [f for f in fields.values() if isinstance(f, Mapping)]
    every = [part["data"] for part in (fields, *inner) if part.get("data")]
    found = [batches.fingerprint(data, this.seed) for data in every]
    return record.digest(found) if len(found) > 1 else "".join(found)


def _located(this: Seed, fields: Any) -> Any:
    """Every {"stage": NAME} with that stage's folder and config in its place.

    "{seed}" in a {"folder": ...} of another experiment is this seed's number.
    """
    if not isinstance(fields, Mapping):
        return fields
    located = {
        key: value if key == "data" else _located(this, value)
        for key, value in fields.items()
    }
    if isinstance(fields.get("stage"), str):
        read = located.pop("stage")
        located |= {"folder": this.folder(read), "config": this.config(read)}
    elif isinstance(fields.get("folder"), str):
        located["folder"] = fields["folder"].replace("{seed}", str(this.seed))
    return located


def _stream(this: Seed, name: str) -> int:
    """A stage's stream of random numbers: see `Training`."""
    fields = this.stages[name]
    given = (fields.get("training") or {}).get("stream")
    if given is not None:
        return int(given)
    start = section(fields.get("start") or {}, where="config.start")
    if "stage" in start:
        return 1 + _stream(this, start["stage"])
    if "folder" in start:
        folder = Path(_located(this, start)["folder"])
        settings = record.read_stage(folder).record["settings"]
        return 1 + int(settings["config.training"]["stream"])
    return 0


def build(this: Seed, name: str) -> Built:
    """A stage's task, its config checked."""
    fields = _located(this, this.stages[name])
    devices = this.devices.devices
    try:
        with recorded_settings() as settings:
            make = lookup(fields.pop("task", None), ALL.tasks, where="config.task")
            given = fields.pop("training", None) or {}
            _check_sections(fields, make)
            training: Training = call(Training, given, where="config.training")
            stream = _stream(this, name)
            record_settings({"config.training": {"stream": stream}})
            training = dataclasses.replace(training, stream=stream)
            task = call(make, fields, where="config", training=training, seed=this.seed)
            task = averaging.averaged(task, fields.get("optimizer"))
        training.check_metric(task.metrics)
        training.check_source(task.data["train"])
        training.check_devices(devices, microbatches=task.microbatches)
        _check_norm_devices(fields.get("model") or {}, devices)
        processes.agree(**{key: task.about.get(key) for key in ("data", "split")})
    except InputError as error:
        raise InputError(f"stage {name!r}: {error}") from error
    return Built(task, training, _resolved(settings, this.stages[name], "config"))


def _check_sections(fields: Fields, make: Callable[..., Task]) -> None:
    """InputError for a section that neither the task nor an experiment takes."""
    taken = {*inspect.signature(make).parameters, "task", *plan.EXPERIMENT_FIELDS}
    for name in fields:
        if name not in taken:
            raise InputError(f"config.{name}: unknown field{nearest(name, taken)}")


def _resolved(settings: Settings, fields: Fields, where: str) -> Settings:
    """{section: its fields}, those of the config laid over the defaults of all."""
    own = {k: v for k, v in fields.items() if not isinstance(v, Mapping)}
    known = settings.get(where, {}) if where != "config" else {}
    plain = {k: v for k, v in known.items() if not isinstance(v, Mapping)}
    resolved = {where: plain | own}
    for key, value in fields.items():
        if isinstance(value, Mapping):
            resolved |= _resolved(settings, dict(value), f"{where}.{key}")
    if where == "config":  # sections that the config does not have, all defaults
        others = {k: v for k, v in settings.items() if k not in resolved}
        resolved |= {k: v for k, v in others.items() if k != "config"}
    return resolved


def _check_norm_devices(model: Fields, devices: int) -> None:
    groups = model.get("norm_devices")
    if groups is None:
        return
    integer(groups, low=1, where="config.model.norm_devices")
    if devices % groups:
        raise InputError(
            f"config.model.norm_devices: expected a divisor of the {devices} devices, "
            f"found {groups}"
        )


def train(cells: Sequence[Cell]) -> None:
    """Trains stages of one program, and writes their results: they are done.

    But for those that are, and are not stale. Raises Diverged, which names the stage
    whose loss is not finite: the others can be trained without it.
    """
    with contextlib.ExitStack() as locks:
        for cell in cells:
            if cell.this.shared and processes.is_first():
                locks.enter_context(lock.held(cell.folder))
        run = processes.first_says(partial(_to_be_run, cells))
        if run:
            _train([cells[i] for i in run])


def _train(cells: Sequence[Cell]) -> None:
    preemption.check()
    known = processes.first_says(lambda: [_begin(cell) for cell in cells])
    first = cells[0]
    members = [
        loop.Member(cell.built.task, cell.folder, cell.this.seed, cell.label)
        for cell in cells
    ]
    start = time.monotonic()
    reached = loop.run_together(
        members,
        first.built.training,
        devices=first.this.devices,
        profile=first.this.traced,
    )
    seconds = time.monotonic() - start
    if not processes.is_first():
        return
    for cell, begun, checkpoints in zip(cells, known, reached, strict=True):
        _end(cell, begun, checkpoints, seconds, members=len(cells))


def _to_be_run(cells: Sequence[Cell]) -> list[int]:
    """Which of the stages are not done; one that is stale is cleared, and is not."""
    for cell in cells:
        if _why_stale(cell.this, cell.name) is not None:
            record.clear(cell.folder, ALL.artefacts)
    # what they read may have come out the same
    return [i for i, cell in enumerate(cells) if not is_done(cell.this, cell.name)]


def _begin(cell: Cell) -> dict[str, Any]:
    """Writes the record of a stage that begins or goes on; returns it."""
    (this, name, built), folder = cell, cell.folder
    config, settings = this.config(name), built.settings
    known = record.describe(
        stage=name,
        config=config,
        about=built.task.about,
        settings=settings,
        fingerprint=_fingerprint(this, name),
        reads={
            read.section: record.what_is_read(read)
            for read in record.sections_read(_located(this, this.stages[name]))
        },
        devices=this.devices,
    )
    if (folder / record.CONFIG).exists():  # it goes on
        begun = record.read_record(folder)
        other = differing(begun["settings"], json.loads(json.dumps(settings)))
        if other:
            raise InputError(
                f"{folder} was begun by another kdjax: {other}; remove that folder"
            )
        known = begun | {"resumed": [*begun.get("resumed", ()), known["environment"]]}
    files.write_json(folder / record.RECORD, known)
    files.write_json(folder / record.CONFIG, config)
    return known


def _end(
    cell: Cell,
    begun: dict[str, Any],
    checkpoints: Mapping[str, Any],
    seconds: float,
    *,
    members: int,
) -> None:
    """Writes results.json, which says that the stage is done, and says so.

    seconds: of all the `members` that were trained together.
    """
    task = cell.built.task
    metric = task.metrics[cell.built.training.select]
    results = begun | {
        "seconds": round(seconds, 1),
        "members": members,
        "selection": {"metric": metric.name, "rule": metric.chosen_as},
        "metrics": {name: metric.label for name, metric in task.metrics.items()},
        "checkpoints": checkpoints,
    }
    files.write_json(cell.folder / record.RESULTS, results)
    shown = next((m for m in task.metrics.values() if m.headline), metric)
    split = "validation" if cell.name in cell.this.tries else "test"
    values = ", ".join(
        f"{kind} {reached[split].get(shown.name, float('nan')):.4f} "
        f"(epoch {reached['epoch']})"
        for kind, reached in checkpoints.items()
    )
    together = f" ({members} together)" if members > 1 else ""
    say(f"{cell.label}: {split} {shown.label} {values}; {seconds:.1f} s{together}")
