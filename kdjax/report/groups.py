"""Groups of stages: a colour each, by what a stage gives to others or reads of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.lines import Line2D

from kdjax.report.drawing import PALETTE
from kdjax.report.runs import Experiment, stage_runs

TEACHES = "teaches others"
ALONE = "reads no other stage"
OTHERWISE = "reads another stage"
# a section that names another stage -> the group; of several sections the first
READS = {
    "teacher": "learns from a teacher",
    "companions": "learns beside another stage's examples",
    "start": "starts from another stage",
    "encoder": "uses another stage's encoder",
}
_TAUGHT = ("teacher", "companions")
# A colour each, the same in every report; the blues apart, one of them of what is rare.
COLOURS = dict(
    zip(
        (
            *(ALONE, TEACHES, READS["teacher"], READS["encoder"], READS["start"]),
            *(OTHERWISE, READS["companions"]),
        ),
        PALETTE,
        strict=True,
    )
)


def group(experiment: Experiment, stage: str) -> str:
    """The stage's group: it teaches others; else what it reads, by the section.

    A stage that has not finished reads nothing that is known.
    """
    for run in experiment.runs.values():
        if any(stage == run.reads.get(at, {}).get("stage") for at in _TAUGHT):
            return TEACHES
    read = {section for run in stage_runs(experiment, stage) for section in run.reads}
    for section, name in READS.items():
        if section in read:
            return name
    return OTHERWISE if read else ALONE


def colour(experiment: Experiment, stage: str) -> str:
    """The colour of the stage's group."""
    return COLOURS[group(experiment, stage)]


def present(experiment: Experiment, stages: Sequence[str]) -> list[str]:
    """The groups of these stages, in the order of COLOURS."""
    found = {group(experiment, stage) for stage in stages}
    return [name for name in COLOURS if name in found]


def caption(experiment: Experiment, stages: Sequence[str]) -> str:
    """A sentence on the colours, "" where the stages are one group."""
    if len(present(experiment, stages)) < 2:
        return ""
    return " Colours are groups: stages that teach others, else what a stage reads."


def handles(
    experiment: Experiment, stages: Sequence[str], *, prefix: str = "", **style: Any
) -> list[Line2D]:
    """The legend's lines of the stages' groups; none where these are one."""
    found = present(experiment, stages)
    if len(found) < 2:
        return []
    return [
        Line2D([], [], color=COLOURS[name], label=prefix + name, **style)
        for name in found
    ]
