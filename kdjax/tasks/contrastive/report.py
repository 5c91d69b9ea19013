"""The report's part on contrastive stages: a table of metrics, maps of embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kdjax.report import drawing
from kdjax.report.runs import (
    Experiment,
    Place,
    Run,
    data_names,
    stage_runs,
    stages_with,
)
from kdjax.report.tables import COSTS, COSTS_SAID, cost_cells, metric_spread
from kdjax.tasks.contrastive.embeddings import EMBEDDINGS, read_embeddings
from kdjax.tasks.contrastive.metrics import METRICS

_TRAINED = {"simclr": "pretrained by SimCLR", "distill": "supervised"}


def contrastive_section(experiment: Experiment) -> str:
    """A table of the stages that were trained by contrast, '' where there are none."""
    stages = stages_with(experiment, "alignment")
    if not stages:
        return ""
    checkpoint = experiment.settings.checkpoint
    headings = [f"{metric.label}{metric.unit}" for metric in METRICS.values()]
    lines = [
        "## Contrastive pretraining",
        "",
        f"Test split at `{checkpoint}`, two views an example: mean over seeds ± half"
        " the 95 % interval. NT-Xent depends on the evaluation's batch size. Retrieval:"
        " how often the other view is the nearest in the batch. Alignment: mean squared"
        " distance of the two views, 0 at best. Uniformity: log of the mean of"
        " exp(-2 d²) over pairs, 0 where all vectors are one, less where they spread."
        " Rank: effective rank, exp of the entropy of the singular values; near 1 the"
        f" representations have collapsed. {COSTS_SAID}",
        "",
        f"| stage | {' | '.join((*headings, *COSTS))} |",
        f"|---|{'--:|' * (len(headings) + len(COSTS))}",
    ]
    for stage in stages:
        cells = [
            *(metric_spread(experiment, stage, metric) for metric in METRICS.values()),
            *cost_cells(stage_runs(experiment, stage)),
        ]
        lines.append(f"| {stage} | {' | '.join(cells)} |")
    lines += [""] + [
        f"> **Collapsed**: `{stage}`, seed {run.seed}: its projections lie in one"
        " direction, and what follows from it says nothing."
        for stage in stages
        for run in stage_runs(experiment, stage)
        if run.metric("collapsed", checkpoint=checkpoint)
    ]
    return "\n".join(lines).rstrip()


def embedded(experiment: Experiment) -> list[Run]:
    """The first finished run of each stage that stored embeddings."""
    runs = (stage_runs(experiment, stage) for stage in experiment.stages)
    stored = [
        [run for run in finished if run.file(EMBEDDINGS).exists()] for finished in runs
    ]
    return [finished[0] for finished in stored if finished]


def encoder_of(experiment: Experiment, run: Run) -> str:
    """What the encoder is that a probe read, and the stage that trained it."""
    read = run.reads.get("encoder")
    if read is None:
        return "random, untrained"
    trained = stage_runs(experiment, read["stage"])
    how = _TRAINED.get(trained[0].task) if trained else None
    if trained and "teacher" in trained[0].reads:
        how = "distilled"
    name = read["stage"]
    return f"{how} ({name})" if how and how != name else name


def embedding_figure(experiment: Experiment, place: Place) -> None:
    """A map of each encoder whose stage stored embeddings, where there are some."""
    if runs := embedded(experiment):
        caption = (
            "The test examples' representations in two principal components, a panel an"
            f" encoder, {_seeds(runs)}, coloured by class."
        )
        embedding_maps(experiment, runs, place("embeddings", caption))


def embedding_maps(experiment: Experiment, runs: Sequence[Run], path: Path) -> None:
    """Each run's test examples in two principal components, coloured by class.

    A panel is titled by what the encoder is that the run read.
    """
    figure, axes = drawing.grid(len(runs), columns=3, width=3.9, height=3.7)
    for axis, run in zip(axes, runs, strict=True):
        stored = read_embeddings(run.file(EMBEDDINGS), len(run.classes))
        for label, name in enumerate(run.classes):
            rows = stored.position[stored.label == label]
            axis.scatter(
                rows[:, 0],
                rows[:, 1],
                s=5,
                alpha=0.55,
                linewidths=0,
                color=drawing.class_colour(label, len(run.classes)),
                label=name,
            )
        first, second = 100 * stored.explained
        axis.set_xlabel(f"component 1 ({first:.0f} % of variance)")
        axis.set_ylabel(f"component 2 ({second:.0f} %)")
        axis.set_title(drawing.wrapped(encoder_of(experiment, run), 40), fontsize=10)
        axis.set_xticks([])
        axis.set_yticks([])
    handles, names = axes[0].get_legend_handles_labels()
    if len(names) <= 24:
        figure.legend(
            handles,
            names,
            loc="outside lower center",
            ncols=5 if len(runs) > 1 else 3,
            frameon=False,
            markerscale=3,
        )
    stages = [run.stage for run in runs]
    what = "Test representations, two principal components"
    drawing.title(figure, f"{what} — {data_names(experiment, stages)}, {_seeds(runs)}")
    drawing.write(figure, path)


def _seeds(runs: Sequence[Run]) -> str:
    """`seed 0`, or `seeds 0, 1` where the runs differ in theirs."""
    seeds = sorted({run.seed for run in runs})
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"


SECTIONS = (contrastive_section,)
FIGURES = (embedding_figure,)
