"""The report's sections on how well networks do cognitive tasks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from kdjax.report.runs import Experiment, Run, scores, stage_runs, stages_with
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
from kdjax.tasks.cognitive import psychometrics
from kdjax.tasks.cognitive.report.stored import Content, Left, left, of_run

CRITERION = 0.95  # of the validation trials correct
IDEAL = "ideal observer"
PARAMETERS = ("threshold", "slope", "lapse")


def behaviour_section(experiment: Experiment) -> str:
    """Psychometric curves, the animals beside them, reaction times; '' without any."""
    curves = left(experiment, "psychometrics.json")
    if not curves:
        return ""
    parts = (
        *("## Behaviour", _curves(curves), _undetermined(curves), _correct(curves)),
        *(_animals(curves), _reactions(curves)),
    )
    return "\n\n".join(part for part in parts if part)


def results_section(experiment: Experiment) -> str:
    """Correct trials, when the criterion was met, and costs; '' where no stage says how
    many trials are correct."""
    stages = stages_with(experiment, "correct")
    if not stages:
        return ""
    rows = []
    for stage in stages:
        runs = stage_runs(experiment, stage)
        at = [reached(run) for run in runs]
        steps = [step for step, _ in at if step is not None]
        took = spread((s for _, s in at if s is not None), form=".0f")
        kinds = ("last", "best")
        correct = [
            percent(scores(experiment, stage, metric="correct", checkpoint=c).values())
            for c in kinds
        ]
        met = (f"{len(steps)} of {len(at)}", number_range(steps), took)
        rows.append((stage, *correct, *met, *cost_cells(runs)))
    text = (
        "## Results\n\n"
        "Correct test trials (%): mean over seeds ± half the width of Student's 95 %"
        f" interval (none from a single seed). Criterion: {100 * CRITERION:g} % of the"
        " validation trials; how many seeds met it and the first evaluation that found"
        " it, over seeds. Seconds are an estimate: the same share of the whole run's"
        " time, evaluations and analysis among it, over the networks that were trained"
        " together; none of a run that was interrupted, whose time is not known."
        f" {COSTS_SAID}"
    )
    head = ("stage", "correct, `last`", "correct, `best`", "criterion met", "step")
    return f"{text}\n\n{table((*head, 'seconds', *COSTS), rows)}"


def reached(run: Run) -> tuple[int | None, float | None]:
    """The first step at which validation meets the criterion, and its seconds."""
    steps = [row["step"] for row in _validated(run) if row["correct"] >= CRITERION]
    if not steps:
        return None, None
    whole, last = run.record.get("seconds"), run.checkpoints["last"]["step"]
    if whole is None or run.record.get("resumed") or not last:
        return steps[0], None
    return steps[0], whole * steps[0] / last / run.record.get("members", 1)


def _validated(run: Run) -> list[Mapping[str, Any]]:
    rows = (row for row in run.history if row["kind"] == "validation")
    return [row for row in rows if row.get("correct") is not None]


def _curves(curves: Mapping[str, Sequence[Left]]) -> str:
    rows = []
    for stage, known in curves.items():
        cells = [
            _parameter([one.content for one in known], name) for name in PARAMETERS
        ]
        rows.append((stage, number_range([len(known)]), *cells))
    for stage, ideal in ideals(curves).items():
        fit = psychometrics.fit_weibull(ideal["coherence"], ideal["ideal"], 1)
        name = IDEAL if len(curves) == 1 else f"{IDEAL} of {stage}"
        rows.append((name, NONE, *(_shown(getattr(fit, p), p) for p in PARAMETERS)))
    text = (
        "Weibull curves fitted to the share of correct trials at each strength of the"
        " evidence (|coherence|), mean over seeds ± half the width of Student's 95 %"
        " interval; of a single seed in brackets the 95 % bootstrap interval over its"
        " trials. Threshold: the coherence at which the curve is 63 % of its way from"
        " chance to its top."
    )
    head = ("stage", "seeds", "threshold (% coherence)", "slope", "lapse (%)")
    return f"{text}\n\n{table(head, rows)}"


def _undetermined(curves: Mapping[str, Sequence[Left]]) -> str:
    """A warning of curves that their trials do not determine, else ''."""
    stages = [
        f"`{stage}`"
        for stage, known in curves.items()
        if any(_is_undetermined(one.content) for one in known)
    ]
    if not stages:
        return ""
    return (
        f"> **Curves that their trials do not determine** are among those of"
        f" {', '.join(stages)}: a threshold lies outside the coherences shown, or a"
        " slope at the end of what is searched."
    )


def _is_undetermined(fit: Content) -> bool:
    shown = [c for c in fit["coherence"] if c > 0]
    outside = not min(shown) <= fit["threshold"] <= max(shown)
    least, most = psychometrics.SLOPES
    return outside or not 1.001 * least < fit["slope"] < 0.999 * most


def ideals(curves: Mapping[str, Sequence[Left]]) -> dict[str, Content]:
    """The ideal observers, each under the first stage that it is of."""
    known: dict[str, Content] = {}
    for stage, own in curves.items():
        content = own[0].content
        if "ideal" in content and all(
            content["ideal"] != other["ideal"] for other in known.values()
        ):
            known[stage] = content
    return known


def _scale(parameter: str) -> tuple[float, str]:
    return (1.0, ".2f") if parameter == "slope" else (100.0, ".2f")


def _shown(value: float | int, parameter: str) -> str:
    scale, form = _scale(parameter)
    return f"{scale * value:{form}}"


def _parameter(seeds: Sequence[Content], name: str) -> str:
    scale, form = _scale(name)
    mean = spread((one[name] for one in seeds), scale=scale, form=form)
    if len(seeds) > 1 or "intervals" not in seeds[0]:
        return mean
    low, high = (scale * end for end in seeds[0]["intervals"][name])
    return f"{mean} ({low:{form}} to {high:{form}})"


def _correct(curves: Mapping[str, Sequence[Left]]) -> str:
    """Correct trials by coherence, a table for each set of coherences."""
    sets: dict[tuple[float, ...], list[tuple[str, ...]]] = {}
    for stage, known in curves.items():
        shown = tuple(known[0].content["coherence"])
        cells = [
            percent(one.content["correct"][i] for one in known)
            for i in range(len(shown))
        ]
        sets.setdefault(shown, []).append((stage, *cells))
    for ideal in ideals(curves).values():
        cells = [percent([share]) for share in ideal["ideal"]]
        sets[tuple(ideal["coherence"])].append((IDEAL, *cells))
    tables = [
        table(["% coherence", *(f"{100 * c:.3g}" for c in shown)], rows)
        for shown, rows in sets.items()
    ]
    return "\n\n".join(["Correct trials (%) at each |coherence|:", *tables])


def _animals(curves: Mapping[str, Sequence[Left]]) -> str:
    rows = []
    for stage, known in curves.items():
        beside = [one.content for one in known if one.content.get("animals")]
        for name in dict.fromkeys(n for one in beside for n in one["animals"]):
            own = [
                (one, one["animals"][name]) for one in beside if name in one["animals"]
            ]
            fit = own[0][1]["fit"]
            rows.append(
                (
                    name,
                    *(_shown(fit[p], p) for p in PARAMETERS),
                    stage,
                    spread(animal["factor"] for _, animal in own),
                    spread(
                        (animal["residual"] for _, animal in own),
                        scale=100.0,
                        form=".1f",
                    ),
                    spread(
                        one["threshold"] / animal["fit"]["threshold"]
                        for one, animal in own
                    ),
                )
            )
    if not rows:
        return ""
    text = (
        "Animals beside the networks. Their thresholds, slopes and lapses are those of"
        " their own fits on their own axis, every row of the same weight, so without"
        " an interval. A coherence of theirs has another unit than a network's: one"
        " free factor on it is fitted so that the network's curve, as it is, explains"
        " the animal best; the residual is the root mean square of what is left, in"
        " points of per cent correct. A slope needs no factor. Ratio: the network's"
        " threshold over the animal's own, what the factor would be if thresholds alone"
        " were matched."
    )
    head = ("animal", "threshold (% coherence)", "slope", "lapse (%)", "beside")
    return f"{text}\n\n{table((*head, 'factor', 'residual', 'ratio'), rows)}"


def _reactions(curves: Mapping[str, Sequence[Left]]) -> str:
    rows, levels = [], []
    for stage, known in curves.items():
        timed = [
            o.content["chronometric"] for o in known if "chronometric" in o.content
        ]
        asked = sum(_is_timed(one.run) for one in known)
        if asked:
            settings = known[0].run.record["settings"]["config.analysis"]
            levels.append(f"{settings['threshold']:g}")
            rows.append((stage, f"{len(timed)} of {asked}", *_times(timed)))
    if not rows:
        return ""
    text = (
        "Reaction times: from the onset of the evidence until the difference of the two"
        f" outputs reaches {' or '.join(dict.fromkeys(levels))}; the mean of the"
        " correct trials, at the lowest and the highest coherence, with the share of"
        " all trials that reached it at all. Where few did, the mean is theirs alone:"
        " too fast."
    )
    head = ("stage", "seeds that crossed", "ms, lowest", "crossed (%)")
    body = table((*head, "ms, highest", "crossed (%)"), rows)
    never = [row[0] for row in rows if row[1].startswith("0 ")]
    said = f"\n\nNot crossed in any trial: {', '.join(never)}." if never else ""
    return f"{text}\n\n{body}{said}"


def _is_timed(run: Run) -> bool:
    """Whether reaction times were asked for: two outputs, evidence that comes on."""
    behaviour = of_run(run, "behaviour.npz") or {}
    return len(run.record["outputs"]) == 2 and "onset" in behaviour


def _times(timed: Sequence[Content]) -> list[str]:
    cells = []
    for at in (0, -1):
        ms = [one["rt"][at] for one in timed]
        cells += [
            spread(_known(ms), form=".0f"),
            percent(one["crossed"][at] for one in timed),
        ]
    return cells


def _known(values: Iterable[float | int | None]) -> list[float]:
    return [float(v) for v in values if v is not None and np.isfinite(v)]
