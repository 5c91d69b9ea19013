"""Compares two runs stage by stage, paired by seed, and says in what they differ.

    kdjax compare RUN OTHER_RUN

For each stage that both have: the mean of the primary outcome in either, RUN's minus
OTHER_RUN's, its bootstrap interval, the exact p of a sign-flip test and Holm's over all
stages. Then every field in which the configs, data, splits and environments of the
stages' records differ: a difference of two runs may come from any of these.

Exit codes: those of `kdjax.cli.command.Exit`.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

from kdjax import console, files
from kdjax.checks import differences
from kdjax.cli import command
from kdjax.errors import InputError
from kdjax.report.runs import Experiment, Run

# of a record; what else it has follows from these, or is the result
COMPARED = ("task", "data", "fingerprint", "split", "settings", "environment")
PASSING = ("command", "date")  # of an environment: the result is not by these


def run() -> None:
    """Parses the command line and exits with the code of the run."""
    command.run(
        _compare,
        about=__doc__,
        interrupted="nothing was written",
        positional=("RUN", "OTHER_RUN"),
    )


def _compare(*paths: str) -> None:
    from kdjax.report.runs import read_experiment
    from kdjax.tasks import ALL

    folders = [files.local(path, where="RUN") for path in paths]
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder")
    one, other = (read_experiment(folder, ALL.metrics) for folder in folders)
    console.write(compared(one, other, folders[0], folders[1]))


def compared(one: Experiment, other: Experiment, first: Path, second: Path) -> str:
    """The table of paired differences, and what differs in the records, as Markdown.

    InputError where they have no stage in common.
    """
    from kdjax.report import comparisons, tables
    from kdjax.report.runs import headline, scores

    stages = [stage for stage in one.stages if stage in other.stages]
    if not stages:
        raise InputError(f"{first} and {second}: expected a stage in common")
    metric = headline(one)
    if headline(other).name != metric.name:
        raise InputError(
            f"{first} and {second}: expected one primary outcome, found {metric.label} "
            f"and {headline(other).label}"
        )
    checkpoint = one.settings.checkpoint
    kept = {"metric": metric.name, "checkpoint": checkpoint}
    values = {f"{stage}": scores(one, stage, **kept) for stage in stages}
    others = {f"{stage} there": scores(other, stage, **kept) for stage in stages}
    pairs = [(stage, f"{stage} there") for stage in stages]
    found = comparisons.corrected(
        comparisons.paired(values | others, pairs, higher=metric.higher_is_better)
    )
    means = [
        (
            stage,
            *(
                tables.spread(v.values(), scale=metric.scale, form=metric.form)
                for v in (values[stage], others[f"{stage} there"])
            ),
        )
        for stage in stages
    ]
    parts = [
        f"Test {metric.label} at `{checkpoint}`, here ({first}) and there ({second}): "
        "mean over seeds ± half of Student's 95 % interval.",
        tables.table(("stage", "here", "there"), means),
        "Differences, here minus there, paired by seed; p: exact two-sided sign-flip "
        f"test; Holm p: over {len(found)} stages.",
        comparisons.comparison_table(found, metric),
        comparisons.power_note(found),
        *record_differences(one, other, stages),
    ]
    return "\n\n".join(part for part in parts if part)


def record_differences(
    one: Experiment, other: Experiment, stages: list[str]
) -> list[str]:
    """The fields of the records in which the stages differ, stages alike together."""
    found: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for stage in stages:
        seeds = [s for s in one.seeds if (stage, s) in one.runs]
        common = [s for s in seeds if (stage, s) in other.runs]
        for seed in common:
            here, there = (_record(e.runs[stage, seed]) for e in (one, other))
            for place, was, now in differences(here, there):
                key = place, _short(was), _short(now)
                if stage not in found[key]:
                    found[key].append(stage)
    if not found:
        return ["Their records differ in nothing but dates."]
    rows = []
    for (place, *at), names in found.items():
        whose = "all" if len(names) == len(stages) else ", ".join(names)
        rows.append(f"- {place}: here {at[0]}, there {at[1]} ({whose})")
    return ["What differs in their records (of which stages):", "\n".join(rows)]


def _record(run: Run) -> dict[str, Any]:
    kept = {key: run.record.get(key) for key in COMPARED}
    made = dict(kept["environment"] or {})
    kept["environment"] = {k: v for k, v in made.items() if k not in PASSING}
    return kept


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
