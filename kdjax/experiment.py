"""An experiment: stages x seeds in the order of who reads whom, resumable; a report.

The config's sections (`task`, `data`, `model`, `training`, ...) are what every stage
starts from; `config.stages.<name>` holds what differs. A stage reads an earlier one by
a section with a `stage` field (`teacher = {"stage": "teacher", "checkpoint": "best"}`).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from kdjax import __version__, cells, files, lock, plan
from kdjax.console import say
from kdjax.errors import InputError, Settings, lookup, section
from kdjax.report.document import write_report
from kdjax.report.runs import report_settings
from kdjax.stages import batches
from kdjax.tasks import ALL
from kdjax.training import environment, parallel, processes
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
    this = cells.Seed(stages, plan.seeds(config)[0], Path(), devices, rerun_stale=False)
    return {name: cells.build(this, name).settings for name in order}


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
        cells.Seed(stages, seed, workdir, devices, rerun_stale, traced, of_sweeps)
        for seed in plan.seeds(config)
    ]
    # of all seeds: what was done otherwise is said before anything trains
    todo = processes.first_says(lambda: [cells.to_do(this, order) for this in every])
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


def _run_seed(
    every: Sequence[cells.Seed], order: Sequence[str], config: Fields
) -> None:
    """Trains what is to do of the first of the seeds, all checked before the first.

    Together with a stage those are trained that have its program, of all the seeds.
    """
    this = every[0]
    to_do = processes.first_says(lambda: cells.to_do(this, order))
    left = {name: cells.build(this, name) for name in order if name in to_do}
    if processes.is_first():
        files.write_json(this.workdir / "config.json", config)
    while left:
        name = next(iter(left))
        names = [name]
        if left[name].program is not None:
            names = [n for n in left if left[n].program == left[name].program]
            names = [n for n in names if not left.keys() & plan.reads(this.stages[n])]
        group = [cells.Cell(this, n, left.pop(n)) for n in names]
        program = group[0].built.program
        if program is not None:
            alike = [
                n for n in order if this.stages[n]["task"] == this.stages[name]["task"]
            ]
            for other in every[1:]:
                ready = processes.first_says(partial(_ready, other, alike))
                more = [cells.Cell(other, n, cells.build(other, n)) for n in ready]
                group += [cell for cell in more if cell.built.program == program]
        run = processes.first_says(partial(cells.to_be_run, group))
        cells.train([group[i] for i in run])


def _ready(this: cells.Seed, names: Sequence[str]) -> list[str]:
    """Those of the stages that are to do, and all that they read is done."""
    return [
        name
        for name in names
        if name in cells.to_do(this, [name])
        and all(cells.is_done(this, read) for read in plan.reads(this.stages[name]))
    ]


def _check_populations(this: cells.Seed, config: Fields) -> None:
    """InputError unless the members of each population are one program."""
    for stage, names in plan.populations(config).items():
        programs = {name: cells.build(this, name).program for name in names}
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
                    f"{cells.differing(first, other)}; what changes shapes or "
                    "functions belongs in config.stages"
                )
