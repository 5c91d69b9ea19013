"""The report's part on decoders: beside chance, and what may not be believed."""

from __future__ import annotations

import numpy as np

from kdjax import files
from kdjax.report.runs import Experiment, Run, stage_runs, stages_with
from kdjax.report.tables import metric_spread, percent, table
from kdjax.tasks.brain.alike import alike_section, rdm_figure
from kdjax.tasks.brain.decode import DECODER, IN_SAMPLE, LEARNT
from kdjax.tasks.brain.decoding import permutation
from kdjax.tasks.brain.gains import gain_figure
from kdjax.tasks.brain.looks import attention_figure
from kdjax.tasks.brain.predicted import METRICS

HEAD = (
    "stage",
    "accuracy (%)",
    "chance (%)",
    "cross-entropy",
    "ECE (%)",
    "entropy (nats)",
    "uniform",
    "p",
)


def decoding_section(experiment: Experiment) -> str:
    """A table of the decoders beside chance, '' where there are none."""
    stages = stages_with(experiment, "entropy")
    if not stages:
        return ""
    checkpoint = experiment.settings.checkpoint
    lines = [
        "## Decoding",
        "",
        "Responses: each decoded by what saw nothing of its run, temperature included;"
        " dissimilarities: each image from the others; votes: as they are. Mean over"
        " seeds ± half the 95 % interval; of one recording seeds draw the temperature's"
        " folds and, of networks, the first parameters and the order of examples: the"
        " interval then says nothing of other people, runs or examples. Chance: the"
        " share of the largest class. Uniform: the entropy of a decoder that knows"
        " nothing. p: how often labels permuted (within their runs, where there are"
        " some) are decoded as well, of the permutations in brackets, the largest over"
        " seeds; - where none were asked for.",
        "",
    ]
    rows = []
    for stage in stages:
        runs = stage_runs(experiment, stage)
        accuracy, *others = [
            metric_spread(experiment, stage, METRICS[name])
            for name in ("accuracy", "loss", "ece", "entropy")
        ]
        counts = np.sum(runs[0].metric("confusion", checkpoint=checkpoint), axis=1)
        chance = f"{100 * counts.max() / counts.sum():.1f}"
        uniform = f"{np.log(len(counts)):.3f}"
        rows.append([stage, accuracy, chance, *others, uniform, _p(runs)])
    lines += [table(HEAD, rows)]
    warnings = [_warning(stage, stage_runs(experiment, stage)) for stage in stages]
    return "\n\n".join(["\n".join(lines), *filter(None, warnings)])


def _warning(stage: str, runs: list[Run]) -> str:
    """What may not be believed of a decoder; '' where there is nothing."""
    warnings = []
    if runs[0].record.get("protocol") == IN_SAMPLE:
        warnings.append(
            f"> **In-sample**: `{stage}` was fitted to the very responses that it"
            " decodes: its accuracy says how well it remembers them, and would be as"
            " high for labels at random."
        )
    if runs[0].record.get("permuted_labels"):
        learnt = [files.read_json(run.file(DECODER))[LEARNT] for run in runs]
        warnings.append(
            f"> **Permuted labels**: `{stage}` learnt labels permuted among all"
            f" responses. Of those it gives {percent(learnt)} %; the accuracy above is"
            " that of the true ones."
        )
    return "\n>\n".join(warnings)


def _p(runs: list[Run]) -> str:
    paths = [run.file(permutation.FILE) for run in runs]
    tests = [files.read_json(path) for path in paths if path.exists()]
    if not tests:
        return "-"
    worst = max(tests, key=lambda test: test["p"])
    return f"{worst['p']:.3g} ({worst['permutations']:,})"


SECTIONS = (decoding_section, alike_section)
FIGURES = (gain_figure, attention_figure, rdm_figure)
