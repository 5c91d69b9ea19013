"""`System`: the tasks, metrics and report sections that a system's folder gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kdjax.report.runs import Experiment, Place
from kdjax.stages.predictor import Predictor
from kdjax.stages.record import Stage
from kdjax.training.metrics import Metric
from kdjax.training.task import Task

RawExamples = tuple[NDArray[np.float32], NDArray[np.int32] | None]


class System(NamedTuple):
    """One system's tasks, its metrics, and its part of the report.

    tasks: {name in a config: make(**config sections) -> Task}.
    predictors: {name of a task: (stage, checkpoint) -> what `kdjax.load` gives}.
    metrics: {name: Metric} of all its tasks.
    examples: {task: (stage, split) -> raw examples, as its predictor takes them, and
      their labels or None}, of tasks whose examples are not those of a data set.
    sections: functions of the experiment that was read, each a part of report.md in
      Markdown, or "" where it has nothing to say.
    figures: functions (experiment, place) that draw what there is to draw, each picture
      to `place(name, caption)`.
    artefacts: {file: what it holds} that its stages may leave beside what all leave.
    """

    tasks: Mapping[str, Callable[..., Task]]
    predictors: Mapping[str, Callable[[Stage, str], Predictor]]
    metrics: Mapping[str, Metric]
    examples: Mapping[str, Callable[[Stage, str], RawExamples]] = {}
    sections: Sequence[Callable[[Experiment], str]] = ()
    figures: Sequence[Callable[[Experiment, Place], None]] = ()
    artefacts: Mapping[str, str] = {}


def united(systems: Sequence[System]) -> System:
    """All systems as one, for what need not tell them apart.

    ValueError where two give a task or an artefact one name. Of two metrics of a name
    (each has its own `loss`) the last is kept: a task has its own.
    """
    for kind in ("tasks", "artefacts"):
        names = [name for system in systems for name in getattr(system, kind)]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"{kind}: {min(twice)!r} is of two systems")
    return System(
        tasks={k: v for system in systems for k, v in system.tasks.items()},
        predictors={k: v for system in systems for k, v in system.predictors.items()},
        metrics={k: v for system in systems for k, v in system.metrics.items()},
        examples={k: v for system in systems for k, v in system.examples.items()},
        sections=[section for system in systems for section in system.sections],
        figures=[figure for system in systems for figure in system.figures],
        artefacts={k: v for system in systems for k, v in system.artefacts.items()},
    )
