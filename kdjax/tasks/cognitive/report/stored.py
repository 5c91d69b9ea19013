"""What the stages of an experiment left of their analysis, read for the report."""

from __future__ import annotations

from typing import Any, NamedTuple

from kdjax import files
from kdjax.report.runs import Experiment, Run, stage_runs

Content = dict[str, Any]


class Left(NamedTuple):
    """A file that a run left, read: its arrays, or a JSON object."""

    run: Run
    content: Content


def left(experiment: Experiment, name: str) -> dict[str, list[Left]]:
    """{stage: the file of each of its seeds}, stages that have none left out.

    InputError: a damaged file.
    """
    return {
        stage: known
        for stage in experiment.stages
        if (
            known := [
                one for run in stage_runs(experiment, stage) for one in _of(run, name)
            ]
        )
    }


def first(experiment: Experiment, name: str) -> list[Left]:
    """The file of the first seed of each stage that left it."""
    return [known[0] for known in left(experiment, name).values()]


def of_run(run: Run, name: str) -> Content | None:
    """The file that a run left, None if it left none. InputError: a damaged file."""
    return next((one.content for one in _of(run, name)), None)


def step_ms(run: Run) -> float:
    """ms of one step of the run's trials."""
    return float(run.record["dt"])


def _of(run: Run, name: str) -> list[Left]:
    path = run.file(name)
    if not path.exists():
        return []
    read = files.read_json if path.suffix == ".json" else files.read_all_arrays
    return [Left(run, read(path))]
