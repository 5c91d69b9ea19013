"""What each stage's constraints make of a network, and cost it in behaviour."""

from __future__ import annotations

from collections.abc import Mapping

from kdjax.report.comparisons import (
    LEVEL,
    Comparison,
    corrected,
    paired,
    planned_pairs,
    power_note,
)
from kdjax.report.runs import Experiment, scores
from kdjax.report.tables import percent, spread, table
from kdjax.tasks.cognitive.report.stored import left

BySeed = Mapping[str, Mapping[int, float]]  # {stage: {seed: value}}
DENSITIES = ("0", "0.001", "0.01")  # absolute weights, as census.json writes them


def constraint_section(experiment: Experiment) -> str:
    """Census and behaviour of the stages side by side; '' unless two have a census."""
    census = left(experiment, "census.json")
    if len(census) < 2:
        return ""
    fits = {
        name: of_curves(experiment, name, scale=scale)
        for name, scale in (("threshold", 100.0), ("slope", 1.0))
    }
    rows = []
    for stage, known in census.items():
        own = [one.content for one in known]
        cells = [percent(one["density"][above] for one in own) for above in DENSITIES]
        cells += [
            spread((one["active"] for one in own), form=".0f"),
            percent(one["excitatory_weights"] for one in own),
            spread((one["effective_rank"] for one in own), form=".1f"),
            spread((one["dimensions"] for one in own), form=".1f"),
        ]
        cells += [
            spread(fit.get(stage, {}).values(), form=".2f") for fit in fits.values()
        ]
        rows.append((stage, *cells))
    head = ["stage", *(f"weights above {above} (%)" for above in DENSITIES)]
    head += ["active units", "excitatory (%)", "effective rank", "dimensions"]
    head += ["threshold (% coherence)", "slope"]
    parts = (
        "## Constraints",
        "Mean over seeds ± half the width of Student's 95 % interval. Weights: the"
        " share of the recurrent ones whose absolute value is above; excitatory: what"
        " is positive of their summed absolute values. Active: units whose rate is ever"
        " above a thousandth of the largest. Effective rank: of the recurrent weights;"
        " dimensions: the participation ratio of the rates.",
        table(head, rows),
        _against(experiment, fits),
    )
    return "\n\n".join(part for part in parts if part)


def of_curves(experiment: Experiment, name: str, *, scale: float = 1.0) -> BySeed:
    """A parameter of every stage's and seed's psychometric curve."""
    return {
        stage: {one.run.seed: scale * one.content[name] for one in known}
        for stage, known in left(experiment, "psychometrics.json").items()
    }


def pairs(experiment: Experiment) -> list[tuple[str, str]]:
    """What the config compares, else every stage with the first."""
    planned = planned_pairs(experiment)
    reference, *others = left(experiment, "census.json")
    return planned or [(stage, reference) for stage in others]


def _against(experiment: Experiment, fits: Mapping[str, BySeed]) -> str:
    """The paired differences, all corrected together; '' without any."""
    correct = {
        stage: {seed: 100 * share for seed, share in of_stage.items()}
        for stage in experiment.stages
        if (of_stage := scores(experiment, stage, metric="correct"))
    }
    compared: list[tuple[str, Comparison]] = [
        (name, one)
        for name, values in (*fits.items(), ("correct", correct))
        for one in paired(values, pairs(experiment))
    ]
    adjusted = corrected([one for _, one in compared])
    if not adjusted:
        return ""
    units = {"threshold": "threshold (% coherence)", "correct": "correct (points)"}
    rows = [
        (one.stage, one.reference, units.get(name, name), *_cells(one))
        for (name, _), one in zip(compared, adjusted, strict=True)
    ]
    head = ("stage", "against", "difference in", "seeds", "mean", "exact p", "Holm p")
    text = (
        "The cost in behaviour: the stage minus its reference, paired by seed. p: exact"
        " two-sided sign-flip test; Holm p: corrected for all"
        f" {len(rows)} rows, so a row that stands in another table too has another one"
        f" there; the verdict is at {LEVEL:g} on it. Correct: on the test trials, at"
        f" `{experiment.settings.checkpoint}`."
    )
    note = power_note(adjusted)
    body = f"{text}\n\n{table((*head, 'verdict'), rows, words=3)}"
    return f"{body}\n\n{note}" if note else body


def _cells(one: Comparison) -> list[str]:
    verdict = "not significant"
    if one.adjusted_p < LEVEL:
        verdict = "higher" if one.difference.mean > 0 else "lower"
    mean, _, _, n = one.difference
    return [str(n), f"{mean:+.2f}", f"{one.p:.3g}", f"{one.adjusted_p:.3g}", verdict]
