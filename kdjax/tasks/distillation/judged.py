"""What the report says of classifiers beside their accuracy, and example by example."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from kdjax import files
from kdjax.data.soft_labels import FILE
from kdjax.errors import InputError
from kdjax.report.comparisons import planned_pairs
from kdjax.report.runs import Experiment, headline, scores, stage_runs
from kdjax.report.statistics import detectable, holm, mcnemar
from kdjax.report.tables import NONE, metric_spread, percent, spread, table
from kdjax.tasks.distillation.evaluation import METRICS

SPLIT = "test"


class _Answers(NamedTuple):
    """Soft labels as in `soft_labels.npz`; `header` says of which checkpoint."""

    key: np.ndarray
    label: np.ndarray
    split: np.ndarray
    logits: np.ndarray


def judged_section(experiment: Experiment) -> str:
    """Cross-entropy, accuracy on each corruption, and how near to a reference.

    '' where no stage has corruptions or a reference.
    """
    corruptions = _corruptions(experiment)
    references = {stage: _reference(experiment, stage) for stage in experiment.stages}
    stages = [s for s in experiment.stages if corruptions.get(s) or references[s]]
    if not stages:
        return ""
    names = sorted({name for found in corruptions.values() for name in found})
    heads = ["stage", "cross-entropy", *names]
    if names:
        heads.append("corrupted, mean (%)")
    if any(references.values()):
        heads.append("to the reference")
    rows = []
    for stage in stages:
        row = [stage, metric_spread(experiment, stage, METRICS["loss"])]
        found = corruptions.get(stage, {})
        row += [percent(found.get(name, ())) for name in names]
        if names:
            row.append(metric_spread(experiment, stage, METRICS["corrupted_accuracy"]))
        if any(references.values()):
            row.append(spread(references[stage].values()))
        rows.append(row)
    return (
        "## Judged otherwise\n\nMean over seeds ± half the 95 % interval. Test split:"
        " cross-entropy in nats, and accuracy (%) on examples corrupted as named, the"
        " same in every stage. To the reference: cross-entropy to its soft labels, of"
        " the validation examples, on which nothing here was chosen unless `best` is"
        f" the headline; {NONE} where it has none.\n\n{table(heads, rows)}"
    )


def by_example_section(experiment: Experiment) -> str:
    """The planned pairs, example by example, and what so many seeds could find.

    '' where no pair's predictions of the test split are stored.
    """
    right = functools.cache(functools.partial(_right, experiment))
    pairs = [
        (stage, reference, by_seed)
        for stage, reference in planned_pairs(experiment)
        if (by_seed := _differences(experiment.seeds, right, stage, reference))
    ]
    if not pairs:
        return ""
    p = [mcnemar(np.mean(by_seed, axis=0)) for *_, by_seed in pairs]
    metric = headline(experiment)
    heads = [
        *("stage", "against", "only it right", "only the other right"),
        *("McNemar p", "Holm p", f"detectable {metric.label}{metric.unit}"),
    ]
    rows = []
    for pair, own, adjusted in zip(pairs, p, holm(p), strict=True):
        stage, reference, by_seed = pair
        alone = [f"{np.mean([np.sum(d == s) for d in by_seed]):.0f}" for s in (1, -1)]
        found = _detectable(experiment, stage, reference)
        effect = NONE if np.isnan(found) else f"{metric.scale * found:{metric.form}}"
        rows.append([stage, reference, *alone, f"{own:.3g}", f"{adjusted:.3g}", effect])
    return (
        "## Example by example\n\nTest examples that one of two stages has right and"
        " the other wrong, means over seeds. McNemar p: of the differences of each"
        " example, averaged over seeds; it takes the examples as drawn and these"
        " networks as given, so a small p says that they differ on other examples of"
        " the kind, and the comparison over seeds whether newly trained ones would."
        f" Holm p: corrected for all {len(pairs)} rows. Detectable: the true difference"
        " that so many seeds, with the spread of differences seen, find 8 times in 10"
        f" at .05, not corrected.\n\n{table(heads, rows, words=2)}"
    )


def _corruptions(experiment: Experiment) -> dict[str, dict[str, list[float]]]:
    """{stage: {corruption: accuracies, one a seed}}."""
    found: dict[str, dict[str, list[float]]] = {}
    checkpoint = experiment.settings.checkpoint
    for stage in experiment.stages:
        for run in stage_runs(experiment, stage):
            each = run.metric("corrupted", checkpoint=checkpoint) or {}
            for name, accuracy in each.items():
                found.setdefault(stage, {}).setdefault(name, []).append(accuracy)
    return found


def _reference(experiment: Experiment, stage: str) -> dict[int, float]:
    return scores(experiment, stage, metric="reference_loss", split="validation")


def _differences(
    seeds: Sequence[int],
    right: Callable[[str, int], dict[str, bool] | None],
    stage: str,
    reference: str,
) -> list[np.ndarray]:
    """Of each common seed [n]: 1, or -1, where only the one, or the other, is right."""
    found = []
    for seed in seeds:
        a, b = (right(name, seed) for name in (stage, reference))
        if a is None or b is None:
            continue
        if a.keys() != b.keys():
            raise InputError(
                f"{stage!r} and {reference!r}, seed {seed}: {FILE}: expected the same "
                "test examples, found others"
            )
        found.append(np.array([int(a[key]) - int(b[key]) for key in sorted(a)]))
    return found


def _right(experiment: Experiment, stage: str, seed: int) -> dict[str, bool] | None:
    """Whether each test example is answered rightly, by key; None if not stored."""
    run = experiment.runs.get((stage, seed))
    if run is None or not (path := run.file(FILE)).exists():
        return None
    stored = files.read_arrays(path, _Answers)
    tested = stored.split == SPLIT
    if not tested.any():
        return None
    hits = stored.logits[tested].argmax(axis=1) == stored.label[tested]
    return dict(zip(stored.key[tested].tolist(), hits.tolist(), strict=True))


def _detectable(experiment: Experiment, stage: str, reference: str) -> float:
    a, b = (scores(experiment, name) for name in (stage, reference))
    common = sorted(a.keys() & b.keys())
    if not common:
        return float("nan")
    return detectable([a[s] for s in common], [b[s] for s in common])
