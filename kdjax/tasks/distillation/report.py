"""What the report says of teachers beside their accuracy: pictures of soft labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.special import softmax

from kdjax.data.soft_labels import FILE, SoftLabels, read_soft_labels
from kdjax.report import drawing
from kdjax.report.runs import Experiment, Place, stage_runs, teachers
from kdjax.tasks.distillation.costs import headline_by_cost
from kdjax.tasks.distillation.judged import by_example_section, judged_section


def soft_label_maps(experiment: Experiment, place: Place) -> None:
    """A picture of each teacher's soft labels, where it stored them."""
    for stage in teachers(experiment):
        stored = [
            labels
            for run in stage_runs(experiment, stage)
            if (labels := read_soft_labels(run.file(FILE), classes=len(run.classes)))
        ]
        if stored:
            caption = (
                f"What `{stage}` says beside the label: its mean probabilities by true"
                " class, colours scaled to the off-diagonal."
            )
            draw(experiment, stage, stored, place(f"soft_labels_{stage}", caption))


ARTEFACTS = {FILE: "a teacher's logits of every example, by the example's key"}
FIGURES = (soft_label_maps, headline_by_cost)
SECTIONS = (judged_section, by_example_section)


def draw(
    experiment: Experiment,
    stage: str,
    labels: Sequence[SoftLabels],
    path: Path,
) -> None:
    """Mean of softmax(logits / T) by true class, at T = 1 and the report's temperature.

    `labels` are the seeds', pooled; the split is the test split, or validation where
    there is none. The colour scale is the off-diagonal's own: what a student learns
    from a teacher beside the label lies there. The grey diagonal keeps its number.
    """
    classes = stage_runs(experiment, stage)[0].classes
    split = shown_split(labels)
    size = drawing.heat_size(len(classes))
    temperatures = tuple(dict.fromkeys((1.0, experiment.settings.temperature)))
    figure, axes = drawing.grid(
        len(temperatures), columns=2, width=size + 0.5, height=size - 0.4
    )
    for axis, temperature in zip(axes, temperatures, strict=True):
        means = 100 * class_means(labels, split, temperature)
        off_diagonal = means[~np.eye(len(classes), dtype=bool)]
        top = float(np.nanmax(off_diagonal, initial=1e-3))
        drawing.heat(axis, means, classes, top=top, grey_diagonal=True)
        axis.set_title(f"T = {temperature:g}", fontsize=11)
        axis.set_xlabel("mean probability (%) of")
        axis.set_ylabel("true class")
    what = f"Soft labels of {stage}, {split} split, best checkpoint"
    drawing.experiment_title(figure, what, experiment, [stage])
    drawing.write(figure, path)


def shown_split(labels: Sequence[SoftLabels]) -> str:
    """`test` where every file has such examples, else `validation`, else `train`."""
    for split in ("test", "validation"):
        if all((one.split == split).any() for one in labels):
            return split
    return "train"


def class_means(
    labels: Sequence[SoftLabels], split: str, temperature: float
) -> np.ndarray:
    """`[classes, classes]`: row k is the mean of softmax(logits / T) over the examples
    of class k in `split`, all of `labels` pooled; nan for a class without examples."""
    label = np.concatenate([one.label[one.split == split] for one in labels])
    logits = np.concatenate([one.logits[one.split == split] for one in labels])
    probabilities = softmax(logits.astype(np.float64) / temperature, axis=1)
    member = np.arange(logits.shape[1])[:, None] == label[None, :]
    sizes = member.sum(axis=1)[:, None].astype(np.float64)
    return (member @ probabilities) / np.where(sizes == 0, np.nan, sizes)
