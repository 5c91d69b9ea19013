"""An experiment: stages x seeds in the order of who reads whom, resumable; a report.

The config's sections (`task`, `data`, `model`, `training`, ...) are what every stage
starts from; `config.stages.<name>` holds what differs. A stage reads an earlier one by
a section with a `stage` field (`teacher = {"stage": "teacher", "checkpoint": "best"}`).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict
from tqdm import tqdm

from kdjax import __version__, cells, files, jobs, lock, plan
from kdjax.cells import Cell
from kdjax.console import say
from kdjax.errors import InputError, Settings, lookup, section
from kdjax.report.document import write_report
from kdjax.report.runs import report_settings
from kdjax.schedule import Schedule
from kdjax.stages import batches
from kdjax.tasks import ALL
from kdjax.training import environment, parallel, processes
from kdjax.training.loop import Diverged
from kdjax.training.watch import Profile

Fields = dict[str, Any]


def run(
    config: ConfigDict | Mapping[str, Any],
    workdir: str | os.PathLike[str],
    *,
    only: str | None = None,
    rerun_stale: bool = False,
    profile: tuple[int, int] | None = None,
    side_by_side: int | None = 1,
) -> None:
    """Runs every stage of every seed that is not done, then writes the report.

    One whose loss is not finite is given up, and what reads it; all others are trained.

    Args:
      config: a ConfigDict, or plain dicts and lists.
      workdir: made if absent. What a killed run left there is gone on with; a stage
        that was done with another config is an InputError.
      only: one stage's name: that stage and those it reads, and no report. Other such
        runs, of other stages, may be in the same workdir at the same time.
      rerun_stale: train the stages anew whose data, or what they read of an earlier
        stage, changed since; otherwise such a stage is an InputError.
      profile: which steps, counted from 1, of the first stage that trains are traced,
        to workdir/profile.
      side_by_side: how many stages are trained at the same time, each in a process of
        its own with its share of the cores; None: see `kdjax.jobs.number`.

    Raises InputError before anything compiles where the config or the data are wrong; a
    fault in the data that another seed draws is said before that seed's first stage.
    MachineError if another run writes into the workdir; OSError where one cannot write.
    """
    plain = plan.plain(config)
    section(plain, where="config")
    flags = {"--stage": only, "--rerun_stale": rerun_stale}
    processes.agree(config=plain, kdjax=__version__, **environment.commit(), **flags)
    folder = files.local(workdir, where="--workdir")
    # of several processes the first writes; of single stages, each into its folder
    mine = lock.held(folder, shared=only is not None)
    with mine if processes.is_first() else contextlib.nullcontext():
        _run(plain, folder, only, rerun_stale, profile, side_by_side)


def settings(config: Fields) -> dict[str, Settings]:
    """{stage: {section: its fields, with defaults}}, in order; nothing is trained.

    Of the first seed. Raises InputError as `run` does.
    """
    config = plan.plain(config)
    stages = plan.resolve(config)
    order = plan.reading_order(stages)
    report_settings(config, [*order, *plan.swept(config)], ALL.metrics)
    devices = parallel.of_config(config)
    this = cells.Seed(stages, plan.seeds(config)[0], Path(), devices, rerun_stale=False)
    return {name: cells.build(this, name).settings for name in order}


def _run(
    config: Fields,
    workdir: Path,
    only: str | None,
    rerun_stale: bool,
    profile: tuple[int, int] | None,
    side_by_side: int | None,
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
    devices = parallel.of_config(config)
    processes.check_shared(workdir / lock.NAME)
    batches.forget()  # files may have changed since the last run of this process
    traced = Profile(workdir / "profile", *profile) if profile else None
    every = [
        cells.Seed(
            *(stages, seed, workdir, devices, rerun_stale, traced, of_sweeps),
            shared=only is not None,
        )
        for seed in plan.seeds(config)
    ]
    # of all seeds: what was done otherwise is said before anything trains
    todo = processes.first_says(lambda: [cells.to_do(this, order) for this in every])
    if any(todo):
        _check_populations(every[0], config)
    in_all, left = len(order) * len(every), sum(map(len, todo))
    asked = 1 if profile else side_by_side
    number = jobs.number(asked, stages=in_all, devices=devices)
    if processes.is_first():
        beside = f", {number} stages side by side" if number > 1 else ""
        say(
            f"{environment.in_words(devices)}{beside}; {in_all - left} of "
            f"{in_all} stages are done, {left} to do; workdir {workdir}"
        )
    schedule = Schedule(every, todo)
    if processes.is_first():
        files.write_json(workdir / "config.json", config)
    if number == 1 or not left:
        _one_by_one(schedule)
    else:
        with jobs.Workers(number) as workers:
            _side_by_side(schedule, workers)
    if only is None and schedule.trained + in_all - left:
        processes.first_says(lambda: _report(workdir))
    if schedule.failed:
        raise Diverged("; ".join(map(str, schedule.failed)))


def _one_by_one(schedule: Schedule) -> None:
    while group := schedule.take():
        try:
            cells.train(group)
        except Diverged as error:
            schedule.ended(group, error)
        else:
            schedule.ended(group)


def _side_by_side(schedule: Schedule, workers: jobs.Workers) -> None:
    """Gives to the workers that are free what can be trained, until all has ended."""
    given: dict[Future[None], list[Cell]] = {}
    with tqdm(total=len(schedule), desc="stages", disable=None, leave=False) as bar:
        while len(schedule):
            while len(given) < workers.jobs and (group := schedule.take()):
                # those that are one program are shared out
                free = min(workers.jobs - len(given), len(group))
                for part in (group[i::free] for i in range(free)):
                    given[workers.train(part)] = part
            for future in wait(given, return_when=FIRST_COMPLETED).done:
                group = given.pop(future)
                try:
                    future.result()
                except Diverged as error:
                    schedule.ended(group, error)
                else:
                    schedule.ended(group)
                bar.update(bar.total - len(schedule) - bar.n)


def _report(workdir: Path) -> None:
    path = write_report(
        workdir, metrics=ALL.metrics, sections=ALL.sections, figures=ALL.figures
    )
    say(f"report: {path}")


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
