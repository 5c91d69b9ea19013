"""report.md: what was run, how it scored beside its controls, and what is missing.

report.html is the same in one file.

Its figures are those of the results alone, so that the same results give the same
report; the last section says with what they were made.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from kdjax import files
from kdjax.errors import lookup
from kdjax.report import exported, html
from kdjax.report.comparisons import (
    LEAST_SEEDS,
    Comparison,
    compare,
    comparison_table,
    planned_pairs,
    power_note,
)
from kdjax.report.counts import counts_section
from kdjax.report.figures import draw_figures
from kdjax.report.runs import (
    Experiment,
    Place,
    Run,
    data_names,
    gaps,
    headline,
    read_experiment,
    scores,
    stage_runs,
    stages_with,
)
from kdjax.report.tables import (
    COSTS,
    COSTS_SAID,
    NONE,
    cost_cells,
    number_range,
    percent,
    spread,
    table,
)
from kdjax.stages.record import in_brief
from kdjax.training.metrics import CLASSIFICATION, Metric

Section = Callable[[Experiment], str]
Figure = Callable[[Experiment, Place], None]


def write_report(
    workdir: Path,
    *,
    metrics: Mapping[str, Metric] = CLASSIFICATION,
    sections: Sequence[Section] = (),
    figures: Sequence[Figure] = (),
) -> Path:
    """Writes `workdir/report.md` and `workdir/figures/*.png`; returns the former.

    `workdir/report.html` is both in one file, to be read or sent alone.
    `metrics`, `sections` and `figures` are those of the systems, beside the ones that
    every report has. Stages and seeds that have not finished are listed, not waited
    for. InputError: no finished stage, a damaged file, or a wrong `report` section in
    config.json.
    """
    experiment = read_experiment(workdir, metrics)
    comparisons = compare(experiment, planned_pairs(experiment))
    drawn = draw_figures(experiment, workdir / "figures", figures)
    parts = (
        title(experiment),
        overview(experiment),
        counts_section(experiment),
        results_section(experiment),
        *(section(experiment) for section in sections),
        sweeps_section(experiment),
        comparison_section(experiment, comparisons),
        exported.exported_section(experiment),
        selection_section(experiment),
        "## Figures\n\n"
        + "\n\n".join(f"![{text}]({at})\n\n{text}" for at, text in drawn),
        gaps_section(experiment),
        provenance_section(experiment),
    )
    path = workdir / "report.md"
    text = "\n\n".join(part for part in parts if part) + "\n"
    files.write_text(path, text)
    files.write_text(workdir / "report.html", html.page(text, workdir))
    return path


def made_of(
    workdir: Path,
    *,
    metrics: Mapping[str, Metric] = CLASSIFICATION,
    sections: Sequence[Section] = (),
    only: Sequence[str] = (),
) -> str:
    """The report's tables, for another document: headings in bold, provenance last.

    only: the headings of the sections to keep beside the provenance; (): all.
    """
    experiment = read_experiment(workdir, metrics)
    parts = (
        results_section(experiment),
        *(section(experiment) for section in sections),
        sweeps_section(experiment),
        comparison_section(experiment, compare(experiment, planned_pairs(experiment))),
        exported.exported_section(experiment),
        gaps_section(experiment),
        provenance_section(experiment),
    )
    headings = {re.sub(r"^#+ |\n.*", "", part, flags=re.DOTALL): part for part in parts}
    if only:
        for name in only:
            lookup(name, {k: v for k, v in headings.items() if v}, where="--sections")
        parts = tuple(headings[name] for name in only) + parts[-1:]
    text = "\n\n".join(part for part in parts if part)
    return re.sub(r"^#+ (.*)$", r"**\1**", text, flags=re.MULTILINE) + "\n"


def title(experiment: Experiment) -> str:
    """The heading, and a warning where any of the data are synthetic."""
    heading = f"# {data_names(experiment, experiment.stages)}"
    runs = experiment.runs.values()
    names = sorted({run.data for run in runs if run.synthetic})
    if not names:
        return heading
    return (
        f"{heading}\n\n> **Synthetic data**: {', '.join(names)}. The examples were"
        " generated; the figures say nothing about real recordings."
    )


def overview(experiment: Experiment) -> str:
    """Data, split sizes and seeds, then a table of the stages."""
    runs = [run for stage in experiment.stages for run in stage_runs(experiment, stage)]
    lines = ["## What was run", ""]
    for name in dict.fromkeys(run.data for run in runs):
        of_data = [run for run in runs if run.data == name]
        classes = of_data[0].classes
        sizes = ", ".join(
            f"{number_range(run.examples.get(split, 0) for run in of_data)} {split}"
            for split in of_data[0].examples
        )
        shown = ", ".join(classes[:24]) + (", ..." if len(classes) > 24 else "")
        lines += [f"- Data: {name}. Examples: {sizes}."]
        lines += [f"- {len(classes)} classes: {shown}."] * bool(classes)
    lines += [f"- Seeds: {', '.join(map(str, experiment.seeds))}.", ""]
    lines += [
        "| stage | learns or starts from | seeds finished | epochs | steps |"
        " epoch of `best` |",
        "|---|---|--:|--:|--:|--:|",
    ]
    lines += [_stage_row(experiment, stage) for stage in experiment.stages]
    return "\n".join(lines)


def results_section(experiment: Experiment) -> str:
    """One row a stage: scores in per cent with intervals, and what the model costs.

    '' where no stage has an accuracy: the systems' own sections have the others.
    """
    stages = stages_with(experiment, "accuracy")
    if not stages:
        return ""
    checkpoint = experiment.settings.checkpoint
    every = [run for stage in stages for run in stage_runs(experiment, stage)]
    device = exported.said(every)
    more = exported.HEADS if device else ()
    lines = [
        "## Results",
        "",
        "Test split, per cent: mean over seeds ± half the width of Student's 95 %"
        " interval (none from a single seed)."
        f" Macro-F1 and ECE are those of `{checkpoint}`. {COSTS_SAID}{device}",
        "",
        "| stage | accuracy, `last` | accuracy, `best` | macro-F1 | ECE |"
        f" {' | '.join((*COSTS, *more))} |",
        f"|---|{'--:|' * (4 + len(COSTS) + len(more))}",
    ]
    columns = (
        *(("accuracy", "last"), ("accuracy", "best")),
        *(("macro_f1", checkpoint), ("ece", checkpoint)),
    )
    for stage in stages:
        cells = [
            stage,
            *(
                percent(scores(experiment, stage, metric=m, checkpoint=c).values())
                for m, c in columns
            ),
            *cost_cells(stage_runs(experiment, stage)),
            *(exported.cells(stage_runs(experiment, stage)) if device else ()),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def sweeps_section(experiment: Experiment) -> str:
    """What was tried of each swept stage, and what validation chose; '' without any."""
    if not experiment.choices:
        return ""
    parts = [
        "## Sweeps",
        "Of the tries of a stage the one with the best mean over seeds on the"
        " validation split was chosen. It stands in every table under the stage's name;"
        " the test scores of the others are shown nowhere.",
    ]
    for stage, chosen, metric, values in experiment.choices:
        if chosen is None or metric is None:
            parts.append(f"`{stage}`: no seed has finished all tries.")
            continue
        rows = [
            (
                f"**{name}**" if name == chosen else name,
                spread(values[name], scale=metric.scale, form=metric.form),
            )
            for name in values
        ]
        parts.append(f"`{stage}`: {len(values)} tries; chosen: `{chosen}`.")
        parts.append(table(("try", f"validation {metric.label}"), rows))
    return "\n\n".join(parts)


def comparison_section(
    experiment: Experiment, comparisons: Sequence[Comparison]
) -> str:
    """The table of paired differences, what it means, and what it cannot show."""
    head = "## Comparisons\n\n"
    if not comparisons:
        return (
            f"{head}None: no pair of stages to compare has a finished seed in common."
        )
    text = (
        f"{head}Differences in test {headline(experiment).label} at"
        f" `{experiment.settings.checkpoint}`, paired by seed. p: exact two-sided"
        f" sign-flip test; Holm p: corrected for all {len(comparisons)} rows; the"
        " verdict is at .05 on the latter.\n\n"
        f"{comparison_table(comparisons, headline(experiment))}"
    )
    fewest = min(c.difference.n for c in comparisons)
    if fewest < LEAST_SEEDS:
        text += (
            f"\n\nBelow {LEAST_SEEDS} seeds no bootstrap interval is printed: it would"
            " be far too narrow (from 3 it covers 71 times in 100, not the claimed 95)."
        )
    elif fewest <= 10:
        text += (
            "\n\nPercentile bootstrap intervals from few seeds are too narrow (from 5"
            " they cover about 84 times in 100 where 95 are claimed): the p-value"
            " decides."
        )
    note = power_note(comparisons)
    return f"{text}\n\n{note}" if note else text


def selection_section(experiment: Experiment) -> str:
    """How `best` was chosen, and on what."""
    rules = {run.selection["rule"] for run in experiment.runs.values()}
    flattered = [s for s in experiment.stages if _validated_on_test(experiment, s)]
    exception = "no checkpoint was chosen on the test split"
    if flattered:
        exception = (
            f"but for {', '.join(f'`{stage}`' for stage in flattered)}, **which chose"
            " `best` on the test examples**, no checkpoint was chosen on the test split"
        )
    return (
        "## How checkpoints were chosen\n\n"
        f"`last` is the end of training. `best` is the epoch with the"
        f" {' or the '.join(sorted(rules))}. The validation examples are"
        f" held out from training; {exception}. The"
        f" headline is `{experiment.settings.checkpoint}`."
    )


def _validated_on_test(experiment: Experiment, stage: str) -> bool:
    """Whether a trained stage's validation examples are its test examples."""
    for run in stage_runs(experiment, stage):
        split = run.record.get("split", {})
        keys = [split.get(name, {}).get("keys") for name in ("validation", "test")]
        if run.checkpoints["last"]["epoch"] and keys[0] and keys[0] == keys[1]:
            return True
    return False


def provenance_section(experiment: Experiment) -> str:
    """With what the results were made: versions, commit, processor, threads, dates."""
    made: dict[str, list[Run]] = {}
    for _, run in sorted(experiment.runs.items()):
        made.setdefault(in_brief(run.record), []).append(run)
    rows = []
    for brief, runs in sorted(made.items()):
        dates = sorted({run.record["environment"]["date"][:10] for run in runs})
        row = f"- {brief}; {' to '.join(dict.fromkeys((dates[0], dates[-1])))}"
        if len(made) > 1:
            row += f": {_named(experiment, runs)}"
        rows.append(row)
    return (
        "## Made with\n\nThe same bits come from the same versions, processor and"
        " number of threads; elsewhere the figures differ a little.\n\n"
        + "\n".join(rows)
    )


def _named(experiment: Experiment, runs: Sequence[Run]) -> str:
    """`teacher, eskd 0 2`: stages, with their seeds where these are not all."""
    seeds: dict[str, list[int]] = {}
    for run in runs:
        seeds.setdefault(run.stage, []).append(run.seed)
    finished = {stage: len(stage_runs(experiment, stage)) for stage in seeds}
    return ", ".join(
        stage if len(own) == finished[stage] else f"{stage} {' '.join(map(str, own))}"
        for stage, own in seeds.items()
    )


def gaps_section(experiment: Experiment) -> str:
    """The stages and seeds that have not finished, '' where all have."""
    missing = gaps(experiment)
    if not missing:
        return ""
    rows = [
        f"- {stage}: seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
        for stage, seeds in missing.items()
    ]
    return (
        "## Missing\n\nThese have not finished. Every figure above is from the rest, so"
        " stages may differ in their seeds.\n\n" + "\n".join(rows)
    )


def _stage_row(experiment: Experiment, stage: str) -> str:
    runs = stage_runs(experiment, stage)
    sources = dict.fromkeys(
        f"{read['stage']} (`{read['checkpoint']}`)"
        for run in runs
        for read in run.reads.values()
    )
    reached = (
        number_range(
            run.checkpoints[name][unit] for run in runs if name in run.checkpoints
        )
        for name, unit in (("last", "epoch"), ("last", "step"), ("best", "epoch"))
    )
    finished = f"{len(runs)} of {len(experiment.seeds)}"
    cells = (stage, ", ".join(sources) or NONE, finished, *reached)
    return f"| {' | '.join(cells)} |"
