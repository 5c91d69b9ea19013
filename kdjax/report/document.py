"""report.md: what was run, how it scored beside its controls, and what is missing.

It holds no date, host or path, so the same results give the same report.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kdjax import files
from kdjax.report import figures
from kdjax.report.comparisons import (
    Comparison,
    compare,
    comparison_table,
    planned_pairs,
    power_note,
)
from kdjax.report.runs import (
    HEADLINES,
    Experiment,
    Run,
    confusion,
    data_names,
    detectors,
    gaps,
    headline,
    read_experiment,
    read_soft_labels,
    scores,
    stage_runs,
    teachers,
)
from kdjax.report.tables import COSTS, NONE, cost_cells, number_range, percent
from kdjax.tasks.anomaly import curves
from kdjax.tasks.anomaly.report import anomaly_section, tested
from kdjax.tasks.contrastive.report import (
    contrastive_section,
    embedded,
    embedding_maps,
)

_MOST_CONFUSIONS = 4  # by default; the config may name more


def write_report(workdir: Path) -> Path:
    """Writes `workdir/report.md` and `workdir/figures/*.png`; returns the former.

    Stages and seeds that have not finished are listed, not waited for. InputError: no
    finished stage, a damaged file, or a wrong `report` section in config.json.
    """
    experiment = read_experiment(workdir)
    comparisons = compare(experiment, planned_pairs(experiment))
    drawn = draw_figures(experiment, workdir / "figures")
    sections = (
        title(experiment),
        overview(experiment),
        results_section(experiment),
        anomaly_section(experiment),
        comparison_section(experiment, comparisons),
        contrastive_section(experiment),
        selection_section(experiment),
        "## Figures\n\n"
        + "\n\n".join(f"![{text}]({at})\n\n{text}" for at, text in drawn),
        gaps_section(experiment),
    )
    path = workdir / "report.md"
    files.write_text(
        path, "\n\n".join(section for section in sections if section) + "\n"
    )
    return path


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
        lines += [
            f"- Data: {name}. Examples: {sizes}.",
            f"- {len(classes)} classes: {shown}.",
        ]
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

    The stages that the section on detectors has are left out; '' where it has all.
    """
    elsewhere = tested(experiment)
    stages = [stage for stage in experiment.stages if stage not in elsewhere]
    if not stages:
        return ""
    checkpoint = experiment.settings.checkpoint
    lines = [
        "## Results",
        "",
        "Test split, per cent: mean over seeds ± half the width of Student's 95 %"
        " interval (none from a single seed)."
        f" Macro-F1 and ECE are those of `{checkpoint}`. MFLOPs: one"
        " forward pass of one example; ms: its median at batch 1; KiB: float32"
        " parameters and batch statistics.",
        "",
        "| stage | accuracy, `last` | accuracy, `best` | macro-F1 | ECE |"
        f" {' | '.join(COSTS)} |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
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
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


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
        f"{head}Differences in test {headline(experiment).name} at"
        f" `{experiment.settings.checkpoint}`, paired by seed. p: exact two-sided"
        f" sign-flip test; Holm p: corrected for all {len(comparisons)} rows; the"
        " verdict is at .05 on the latter.\n\n"
        f"{comparison_table(comparisons, headline(experiment))}"
    )
    if min(c.difference.n for c in comparisons) <= 10:
        text += (
            "\n\nPercentile bootstrap intervals from few seeds are too narrow (from 5"
            " they cover about 84 times in 100 where 95 are claimed): the p-value"
            " decides."
        )
    note = power_note(comparisons)
    return f"{text}\n\n{note}" if note else text


def selection_section(experiment: Experiment) -> str:
    """How `best` was chosen, and on what; a warning where labelled anomalies chose."""
    found = detectors(experiment)
    runs = experiment.runs.values()
    rules = {_rule(run, detects=run.stage in found) for run in runs}
    text = (
        "## How checkpoints were chosen\n\n"
        f"`last` is the end of training. `best` is the epoch with the"
        f" {' or the '.join(sorted(rules))}. The validation examples are"
        " held out from training; nothing was chosen on the test split"
        f"{', but for the threshold of best F1' if found else ''}. The headline is"
        f" `{experiment.settings.checkpoint}`."
    )
    labelled = [
        f"`{stage}`"
        for stage in found
        if any(_chosen_by_labels(run) for run in stage_runs(experiment, stage))
    ]
    if not labelled:
        return text
    return (
        f"{text}\n\n> **Labelled anomalies chose `best`** of {', '.join(labelled)}: its"
        " epoch is the one whose scores tell the validation split's abnormal examples"
        " best, and that takes their labels. What learns from normal examples alone has"
        " no such labels, so the figures of `best` flatter."
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


def draw_figures(experiment: Experiment, folder: Path) -> list[tuple[str, str]]:
    """Draws what the results allow; (path from the report, caption) of each figure."""
    checkpoint, drawn = experiment.settings.checkpoint, []

    def path(name: str, caption: str) -> Path:
        drawn.append((f"{folder.name}/{name}.png", caption))
        return folder / f"{name}.png"

    if any(scores(experiment, stage) for stage in experiment.stages):
        metric, name, *_ = headline(experiment)
        caption = f"Test {name} by stage at `{checkpoint}`: mean, 95 % interval, seeds."
        figures.headline_by_stage(experiment, path(metric, caption))
    for quantity in (*HEADLINES, "loss"):
        if figures.stages_with(experiment, quantity):
            caption = figures.learning_caption(experiment, quantity)
            at = path(f"learning_{quantity}", caption)
            figures.learning_curves(experiment, quantity, at)
    curves.draw(experiment, path)
    if runs := embedded(experiment):
        caption = (
            f"The test examples' representations in two principal components, seed"
            f" {runs[0].seed}, coloured by class."
        )
        embedding_maps(experiment, runs, path("embeddings", caption))
    if stages := _confusion_stages(experiment):
        caption = f"Confusion on the test split at `{checkpoint}`, seeds summed."
        figures.confusion_matrices(experiment, stages, path("confusion", caption))
    for stage in teachers(experiment):
        runs = stage_runs(experiment, stage)
        stored = [found for run in runs if (found := read_soft_labels(run)) is not None]
        if stored:
            caption = (
                f"What `{stage}` says beside the label: its mean probabilities by true"
                " class, colours scaled to the off-diagonal."
            )
            at = path(f"soft_labels_{stage}", caption)
            figures.soft_labels(experiment, stage, stored, at)
    return drawn


def _chosen_by_labels(run: Run) -> bool:
    """Of a detector: whether abnormal examples chose among its epochs."""
    epochs = run.checkpoints.get("last", {}).get("epoch", 0)
    return run.selection["metric"] != "loss" and epochs > 0


def _rule(run: Run, *, detects: bool) -> str:
    """`highest validation accuracy`; of a detector's loss, what it is."""
    metric, mode = run.selection["metric"], run.selection["mode"]
    most = "highest" if mode == "max" else "lowest"
    if not detects:
        return f"{most} validation {metric}"
    if metric == "loss":
        return f"{most} mean score of the normal validation examples"
    name = HEADLINES[metric].name if metric in HEADLINES else metric.replace("_", " ")
    return f"{most} validation {name}"


def _confusion_stages(experiment: Experiment) -> list[str]:
    named = experiment.settings.confusion
    checkpoint = experiment.settings.checkpoint
    kept = [
        stage
        for stage in (experiment.stages if named is None else named)
        if any(
            confusion(run, checkpoint) is not None
            for run in stage_runs(experiment, stage)
        )
    ]
    return kept[:_MOST_CONFUSIONS] if named is None else kept


def _stage_row(experiment: Experiment, stage: str) -> str:
    runs = stage_runs(experiment, stage)
    sources = dict.fromkeys(
        f"{read['stage']} (`{read['checkpoint']}`)"
        for run in runs
        for read in (run.teacher, run.start, run.encoder)
        if read
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
