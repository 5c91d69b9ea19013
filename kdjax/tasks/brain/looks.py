"""The picture of where decoders looked: each class's mean attention map."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from kdjax import files
from kdjax.data import soft_labels
from kdjax.data.dataset import rows_of
from kdjax.data.stored_attention import FILE, Stored
from kdjax.report import drawing
from kdjax.report.runs import Experiment, Place, Run, stage_runs

_MOST_CLASSES = 10


def attention_figure(experiment: Experiment, place: Place) -> None:
    """A row of maps for each stage that left some, a map for each class."""
    shown = {}
    for stage in experiment.stages:
        runs = [r for r in stage_runs(experiment, stage) if r.file(FILE).exists()]
        if runs:
            shown[stage] = np.mean([_class_maps(run) for run in runs], axis=0), runs[0]
    if not shown:
        return
    columns = max(len(maps) for maps, _ in shown.values())
    top = max(float(maps.max()) for maps, _ in shown.values())
    caption = (
        "Where decoders looked: the mean map of each class's examples, 1 where it is"
        " even; over all seeds."
    )
    size = (max(0.95 * columns + 2.2, 6.0), 1.15 * len(shown) + 0.9)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(len(shown), columns, squeeze=False)
    for row, (stage, (maps, run)) in zip(axes, shown.items(), strict=True):
        row[0].set_ylabel(drawing.wrapped(stage, 14), fontsize=9)
        for axis, name, values in zip(row, run.classes, maps, strict=False):
            image = axis.imshow(values, cmap="viridis", vmin=0, vmax=top)
            axis.set_title(drawing.wrapped(name, 12), fontsize=9)
        for axis in row:
            axis.set_xticks([])
            axis.set_yticks([])
    figure.colorbar(image, ax=axes, shrink=0.7, label="attention, 1 if even")
    drawing.experiment_title(figure, "Where decoders looked", experiment, [*shown])
    drawing.write(figure, place("attention", caption))


def _class_maps(run: Run) -> np.ndarray:
    """The mean map of each class [classes, rows, columns], times the cells."""
    stored = files.read_arrays(run.file(FILE), Stored)
    labels = files.read_arrays(run.file(soft_labels.FILE), soft_labels.Keyed)
    rows = rows_of(labels.key, stored.key, where=f"{run.file(FILE)}: key")
    of_class = [
        stored.maps[labels.label[rows] == label].mean(axis=0)
        for label in range(min(len(run.classes), _MOST_CLASSES))
    ]
    return np.stack(of_class) * stored.maps[0].size
