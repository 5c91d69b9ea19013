"""The report's part on dissimilarities: what networks and brains find alike."""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import squareform
from scipy.stats import rankdata

from kdjax import files
from kdjax.data.dissimilarities import pairs
from kdjax.data.stored_rdm import FILE, Stored
from kdjax.report import drawing
from kdjax.report.runs import (
    Experiment,
    Place,
    Run,
    scores,
    stage_runs,
    stages_with,
)
from kdjax.report.tables import NONE, metric_spread, percent, table
from kdjax.tasks.brain.similarity import METRICS

HEAD = (
    *("network", "of stage", "correlation with IT"),
    *("noise ceiling", "share of the ceiling (%)", "accuracy (%)"),
)
_MOST_RDMS = 16


def alike_section(experiment: Experiment) -> str:
    """A table of the networks beside the noise ceiling, '' where none was judged."""
    stages = stages_with(experiment, "it")
    if not stages:
        return ""
    record = stage_runs(experiment, stages[0])[0].record
    every = " to ".join(f"{bound:.3f}" for bound in record["noise_ceiling"])
    rows = []
    for stage in stages:
        means = [
            np.mean([*scores(experiment, stage, metric=name).values()])
            for name in ("it", "lower", "upper")
        ]
        share = [f"{100 * means[0] / bound:.0f}" for bound in (means[2], means[1])]
        of, accuracy = _network(experiment, stage)
        rows.append(
            [
                stage,
                of,
                metric_spread(experiment, stage, METRICS["it"]),
                f"{means[1]:.3f} to {means[2]:.3f}",
                f"{share[0]} to {share[1]}" if means[1] > 0 else NONE,
                accuracy,
            ]
        )
    return (
        "## What networks and IT find alike\n\nSpearman's correlation of a network's"
        " dissimilarities with those of a subject's inferior temporal cortex, over the"
        " pairs of test images: neither they nor the subject taught the network. Mean"
        " over seeds ± half the 95 % interval; each seed has its own images and"
        " subject. Noise ceiling: the correlation with the subject of the mean of the"
        f" others, and of the mean of all; means over seeds; of all images {every}."
        " Accuracy: the network's, on its own test"
        f" images.\n\n{table(HEAD, rows, words=2)}"
    )


def _network(experiment: Experiment, stage: str) -> tuple[str, str]:
    """The stage whose network was judged, and its accuracy; dashes if untrained."""
    reads = [run.reads.get("encoder") for run in stage_runs(experiment, stage)]
    if reads[0] is None:
        return NONE, NONE
    of, checkpoint = reads[0]["stage"], reads[0]["checkpoint"]
    if of not in experiment.stages:
        return of, NONE
    found = scores(experiment, of, metric="accuracy", checkpoint=checkpoint)
    return of, percent(found.values())


def rdm_figure(experiment: Experiment, place: Place) -> None:
    """The dissimilarities of brains, people and networks, ranked, of one seed."""
    seed = experiment.seeds[0]
    shown: dict[bytes, tuple[Run, np.ndarray]] = {}  # of equal ones the first
    for stage in experiment.stages:
        run = experiment.runs.get((stage, seed))
        if run is not None and run.file(FILE).exists():
            ranks = _ranked(run)
            shown.setdefault(ranks.tobytes(), (run, ranks))
    if not shown:
        return
    panels = list(shown.values())[:_MOST_RDMS]
    caption = (
        "What is found alike: rank of each pair's dissimilarity, from the most alike"
        f" (dark) to the least, images in the order of their keys; seed {seed}."
    )
    figure, axes = drawing.grid(len(panels), columns=4, width=2.6, height=2.7)
    for axis, (run, ranks) in zip(axes, panels, strict=True):
        image = axis.imshow(ranks, cmap="viridis", vmin=0, vmax=1)
        axis.set_title(drawing.wrapped(run.stage), fontsize=10)
        axis.set_xticks([])
        axis.set_yticks([])
    figure.colorbar(image, ax=axes, shrink=0.6, label="rank of dissimilarity")
    runs = [run for run, _ in panels]
    drawing.single_runs_title(figure, "Dissimilarities", experiment, runs)
    drawing.write(figure, place("dissimilarities", caption))


def _ranked(run: Run) -> np.ndarray:
    """The ranks of a stage's dissimilarities, 0 to 1, its images sorted by key."""
    stored = files.read_arrays(run.file(FILE), Stored)
    order = np.argsort(stored.key)
    rdm = stored.rdm[np.ix_(order, order)]
    ranks = rankdata(pairs(rdm), nan_policy="omit")
    ranked = squareform((ranks - 1) / max(np.nanmax(ranks) - 1, 1))
    np.fill_diagonal(ranked, np.nan)
    return ranked
