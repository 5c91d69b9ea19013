"""An experiment: stages x seeds in the order of who reads whom, resumable; a report.

The config's sections (`task`, `data`, `model`, `training`, ...) are what every stage
starts from; `config.stages.<name>` holds what differs. A stage reads an earlier one by
a section with a `stage` field (`teacher = {"stage": "teacher", "checkpoint": "best"}`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from kdjax import __version__, files, lock, plan
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
from kdjax.report.document import write_report
from kdjax.report.runs import report_settings
from kdjax.stages import batches, record
from kdjax.tasks import ALL
from kdjax.training import averaging, environment, loop, parallel, preemption, processes
from kdjax.training.task import Task, Training
from kdjax.training.watch import Profile

Fields = dict[str, Any]


def run(
    config: ConfigDict | Mapping[str, Any],
    workdir: str | os.PathLike[str],
    *,
    only: str | None = None,
    rerun_stale: bool = False,
    profile: tuple[int, int] | None = None,
) -> None:
    """Runs every stage of every seed that is not done, then writes the report.

    Args:
      config: a ConfigDict, or plain dicts and lists.
      workdir: made if absent. What a killed run left there is gone on with; a stage
        that was done with another config is an InputError.
      only: one stage's name: that stage and those it reads, and no report.
      rerun_stale: train the stages anew whose data, or what they read of an earlier
        stage, changed since; otherwise such a stage is an InputError.
      profile: which steps, counted from 1, of the first stage that trains are traced,
        to workdir/profile.

    Raises InputError before anything compiles where the config or the data are wrong; a
    fault in the data that another seed draws is said before that seed's first stage.
    MachineError if another run writes into the workdir; OSError where one cannot write.
    """
    plain = plan.plain(config)
    section(plain, where="config")
    flags = {"--stage": only, "--rerun_stale": rerun_stale}
    processes.agree(config=plain, kdjax=__version__, **environment.commit(), **flags)
    folder = files.local(workdir, where="--workdir")
    # of several processes the first writes
    with lock.held(folder) if processes.is_first() else contextlib.nullcontext():
        _run(plain, folder, only, rerun_stale, profile)


def settings(config: Fields) -> dict[str, Settings]:
    """{stage: {section: its fields, with defaults}}, in order; nothing is trained.

    Of the first seed. Raises InputError as `run` does.
    """
    config = plan.plain(config)
    stages = plan.resolve(config)
    order = plan.reading_order(stages)
    report_settings(config, [*order, *plan.swept(config)], ALL.metrics)
    devices = parallel.make(
        config.get("parallel", "pmap"), devices=config.get("devices")
    )
    this = _Seed(stages, plan.seeds(config)[0], Path(), devices, rerun_stale=False)
    return {name: _build(this, name).settings for name in order}


def _run(
    config: Fields,
    workdir: Path,
    only: str | None,
    rerun_stale: bool,
    profile: tuple[int, int] | None,
) -> None:
    stages = plan.resolve(config)
    order, tries = plan.reading_order(stages), plan.swept(config)
    of_sweeps = frozenset(name for names in tries.values() for name in names)
    report_settings(config, [*order, *tries], ALL.metrics)
    if only is not None:
        lookup(only, stages | tries, where="--stage")
        needed = {
            read
            for name in tries.get(only, [only])
            for read in plan.ancestors(stages, name)
        }
        order = [name for name in order if name in needed]
    devices = parallel.make(
        config.get("parallel", "pmap"), devices=config.get("devices")
    )
    processes.check_shared(workdir / lock.NAME)
    batches.forget()  # files may have changed since the last run of this process
    traced = Profile(workdir / "profile", *profile) if profile else None
    every = [
        _Seed(stages, seed, workdir, devices, rerun_stale, traced, of_sweeps)
        for seed in plan.seeds(config)
    ]
    # of all seeds: what was done otherwise is said before anything trains
    todo = processes.first_says(lambda: [_to_do(this, order) for this in every])
    if any(todo):
        _check_populations(every[0], config)
    if processes.is_first():
        stages_in_all, left = len(order) * len(every), sum(map(len, todo))
        say(
            f"{environment.in_words(devices)}; {stages_in_all - left} of "
            f"{stages_in_all} stages are done, {left} to do; workdir {workdir}"
        )
    for i in range(len(every)):
        _run_seed(every[i:], order, config)
    processes.first_says(lambda: _report(workdir) if only is None else None)


def _report(workdir: Path) -> None:
    path = write_report(
        workdir, metrics=ALL.metrics, sections=ALL.sections, figures=ALL.figures
    )
    say(f"report: {path}")


class _Seed(NamedTuple):
    """One seed's run: its stages' configs, and where and how they are trained."""

    stages: Mapping[str, Fields]
    seed: int
    workdir: Path
    devices: parallel.Parallel
    rerun_stale: bool
    traced: Profile | None = None
    tries: frozenset[str] = frozenset()  # of a sweep, whose test scores are not said

    def folder(self, stage: str) -> Path:
        return self.workdir / f"seed_{self.seed}" / stage

    def config(self, stage: str) -> Fields:
        return self.stages[stage] | {"seed": self.seed}


class _Built(NamedTuple):
    """A stage that can be trained: its config was checked."""

    task: Task
    training: Training
    settings: Settings

    @property
    def program(self) -> tuple[str, Training] | None:
        """What stages must have in common to be trained together."""
        program = self.task.program
        return None if program is None else (program, self.training)


class _Cell(NamedTuple):
    """A stage of one seed that is to be trained."""

    this: _Seed
    name: str
    built: _Built

    @property
    def folder(self) -> Path:
        return self.this.folder(self.name)

    @property
    def label(self) -> str:
        return f"seed {self.this.seed} {self.name}"


def _run_seed(every: Sequence[_Seed], order: Sequence[str], config: Fields) -> None:
    """Trains what is to do of the first of the seeds, all checked before the first.

    Together with a stage those are trained that have its program, of all the seeds.
    """
    this = every[0]
    to_do = processes.first_says(lambda: _to_do(this, order))
    left = {name: _build(this, name) for name in order if name in to_do}
    if processes.is_first():
        files.write_json(this.workdir / "config.json", config)
    while left:
        name = next(iter(left))
        names = [name]
        if left[name].program is not None:
            names = [n for n in left if left[n].program == left[name].program]
            names = [n for n in names if not left.keys() & plan.reads(this.stages[n])]
        cells = [_Cell(this, n, left.pop(n)) for n in names]
        program = cells[0].built.program
        if program is not None:
            alike = [
                n for n in order if this.stages[n]["task"] == this.stages[name]["task"]
            ]
            for other in every[1:]:
                ready = processes.first_says(partial(_ready, other, alike))
                more = [_Cell(other, n, _build(other, n)) for n in ready]
                cells += [cell for cell in more if cell.built.program == program]
        run = processes.first_says(partial(_to_be_run, cells))
        _run_together([cells[i] for i in run])


def _ready(this: _Seed, names: Sequence[str]) -> list[str]:
    """Those of the stages that are to do, and all that they read is done."""
    return [
        name
        for name in names
        if name in _to_do(this, [name])
        and all(_is_done(this, read) for read in plan.reads(this.stages[name]))
    ]


def _to_be_run(cells: Sequence[_Cell]) -> list[int]:
    """Which of the stages are not done; one that is stale is cleared, and is not."""
    for cell in cells:
        if _why_stale(cell.this, cell.name) is not None:
            record.clear(cell.folder, ALL.artefacts)
    # what they read may have come out the same
    return [i for i, cell in enumerate(cells) if not _is_done(cell.this, cell.name)]


def _check_populations(this: _Seed, config: Fields) -> None:
    """InputError unless the members of each population are one program."""
    for stage, names in plan.populations(config).items():
        programs = {name: _build(this, name).program for name in names}
        if None in programs.values():
            task = this.stages[names[0]]["task"]
            raise InputError(
                f"config.population: the task {task!r} trains its stages one by one; "
                "write them as config.stages"
            )
        for name in names[1:]:
            if programs[name] != programs[names[0]]:
                first, other = this.stages[names[0]], this.stages[name]
                raise InputError(
                    f"config.population: the members of {stage!r} are not one program: "
                    f"{_difference(first, other)}; what changes shapes or functions "
                    "belongs in config.stages"
                )


def _to_do(this: _Seed, order: Sequence[str]) -> list[str]:
    """The stages of a seed that are not done, stale, or read one that is either."""
    todo: list[str] = []
    for name in order:  # in which what is read comes first
        anew = not _is_done(this, name) or _why_stale(this, name) is not None
        if anew or not set(todo).isdisjoint(plan.reads(this.stages[name])):
            todo.append(name)
    return todo


def _is_done(this: _Seed, name: str) -> bool:
    """Whether the stage's results are there; InputError if of another config."""
    folder = this.folder(name)
    if (folder / record.CONFIG).exists():
        known = record.read_config(folder)
        other = _difference(known, this.config(name))
        if other:
            raise InputError(
                f"{folder} holds a run with another config: {other}; "
                "choose another --workdir, or remove that folder"
            )
        record.read_record(folder)
    return record.is_whole(folder)


def _why_stale(this: _Seed, name: str) -> str | None:
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


def _difference(found: Any, asked: Any) -> str | None:
    """The first field in which two configs differ, for people."""
    differs = difference(found, asked, "config")
    if differs is None:
        return None
    place, was, now = differs
    return f"{place} was {was!r}, now {now!r}"


def _fingerprint(this: _Seed, name: str) -> str:
    """Of the stage's data as they are now; "" where they are made while training.

    Where one of its sections has data of its own, of both.
    """
    fields = this.stages[name]
    inner = [f for f in fields.values() if isinstance(f, Mapping)]
    every = [part["data"] for part in (fields, *inner) if part.get("data")]
    found = [batches.fingerprint(data, this.seed) for data in every]
    return record.digest(found) if len(found) > 1 else "".join(found)


def _located(this: _Seed, fields: Any) -> Any:
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


def _stream(this: _Seed, name: str) -> int:
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


def _build(this: _Seed, name: str) -> _Built:
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
    return _Built(task, training, _resolved(settings, this.stages[name], "config"))


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


def _run_together(cells: Sequence[_Cell]) -> None:
    """Trains stages of one program, and writes their results: they are done."""
    if not cells:
        return
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


def _begin(cell: _Cell) -> dict[str, Any]:
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
        other = _difference(begun["settings"], json.loads(json.dumps(settings)))
        if other:
            raise InputError(
                f"{folder} was begun by another kdjax: {other}; remove that folder"
            )
        known = begun | {"resumed": [*begun.get("resumed", ()), known["environment"]]}
    files.write_json(folder / record.RECORD, known)
    files.write_json(folder / record.CONFIG, config)
    return known


def _end(
    cell: _Cell,
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
