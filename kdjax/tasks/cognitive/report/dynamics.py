"""The report's sections on fixed points and on networks of many rules."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kdjax.report.runs import Experiment
from kdjax.report.tables import NONE, number_range, percent, spread, table
from kdjax.tasks.cognitive.report.stored import Content, Left, left

MOST_HELD = 40  # rows of the table of fixed points


def fixed_points_section(experiment: Experiment) -> str:
    """How many points there are under each held input, and how long they last."""
    summaries = left(experiment, "fixed_points.json")
    if not summaries:
        return ""
    found = left(experiment, "fixed_points.npz")
    rows, largest = [], 0.0
    for stage, known in summaries.items():
        for label in _labels(known):
            cells: list[str] = []
            for flow in ("mean", "averaged"):
                own = [s for one in known if (s := one.content.get(f"{label}; {flow}"))]
                largest = max([largest, *(summary["largest_q"] for summary in own)])
                cells += _points(own, slowest(found.get(stage, ()), label, flow))
            rows.append((stage, label, *cells))
    head = ["stage", "held input"]
    head += ["fixed", "stable", "slow", "slowest (ms)", "line"]
    head += [f"{name}, averaged" for name in head[2:]]
    if all(cell == NONE for row in rows for cell in row[7:]):
        head, rows = head[:7], [row[:7] for row in rows]
    text = (
        "## Fixed points\n\n"
        "Points of the network's dynamics while its inputs are held, at their mean and,"
        " where they are noisy, with the drift averaged over their noise; the least and"
        " the most over seeds. Fixed: the state does not change (q, half the squared"
        " drift, is below 1e-20); stable: no mode grows; slow: q is least there, but"
        " not 0. Slowest: the longest time constant of a mode at a fixed point, the"
        " least and the most over points and seeds. Line: in how many seeds the points"
        " lie along a line attractor; - where there are too few to ask. The largest q"
        f" at which a search ended is {largest:.1e}."
    )
    body = table(head, rows[:MOST_HELD], words=2)
    if len(rows) > MOST_HELD:
        more = (
            f"{len(rows) - MOST_HELD} more rows are in the stages' fixed_points.json."
        )
        return f"{text}\n\n{body}\n\n{more}"
    return f"{text}\n\n{body}"


def _labels(known: Sequence[Left]) -> list[str]:
    """The held inputs, without the flows that follow them in a key."""
    keys = [key for one in known for key in one.content]
    return list(dict.fromkeys(key.rpartition("; ")[0] for key in keys))


def slowest(known: Sequence[Left], label: str, flow: str) -> list[float]:
    """ms of the slowest mode of every seed's fixed points, whether it falls or grows.

    A slow point is a least of q, where a mode is all but still: it says nothing here.
    """
    ms = []
    for one in known:
        points = one.content
        at = (points["label"] == label) & (points["flow"] == flow)
        ms += list(
            np.abs(points["time_constants"][at & (points["status"] == "fixed"), 0])
        )
    return [float(one) for one in ms if np.isfinite(one)]


def _points(own: Sequence[Content], ms: Sequence[float]) -> list[str]:
    """Cells of one label and flow: counts, slowest ms, line attractors."""
    if not own:
        return [NONE] * 5
    counts = [
        number_range(summary[name] for summary in own)
        for name in ("fixed", "stable", "slow")
    ]
    asked = [s["line_attractor"] for s in own if s["line_attractor"] is not None]
    lines = sum(line["verdict"] for line in asked)
    line = f"{lines} of {len(asked)}" if asked else NONE
    return [*counts, number_range(float(f"{one:.3g}") for one in ms), line]


def rules_section(experiment: Experiment) -> str:
    """How many trials of each rule are correct, and into how many clusters units fall;
    '' where trials have no rule."""
    shares = {
        stage: own
        for stage, known in left(experiment, "behaviour.npz").items()
        if (own := [by_rule(one) for one in known if "rule" in one.content])
    }
    if not shares:
        return ""
    parts = [
        "## Rules\n\nShare of correct trials of each rule on the grid of conditions"
        " (%), mean over seeds ± half the width of Student's 95 % interval."
    ]
    rules = dict.fromkeys(
        rule for own in shares.values() for one in own for rule in one
    )
    rows = [
        (
            rule,
            *(
                percent(one[rule] for one in own if rule in one)
                for own in shares.values()
            ),
        )
        for rule in rules
    ]
    for name, reduced in (("mean", np.mean), ("least", np.min)):
        cells = (
            percent(float(reduced([*o.values()])) for o in own)
            for own in shares.values()
        )
        rows.append((f"**{name}**", *cells))
    parts.append(table(["rule", *shares], rows))
    parts += [_clusters(s, k) for s, k in left(experiment, "task_variance.npz").items()]
    return "\n\n".join(parts)


def by_rule(one: Left) -> dict[str, float]:
    """The share of correct trials of each rule, by its name."""
    rule, correct = one.content["rule"], one.content["answer_correct"]
    channels = one.run.record["input"]["channels"]
    names = [name[5:] for name in channels if name.startswith("rule_")]
    return {names[i]: float(correct[rule == i].mean()) for i in np.unique(rule)}


def _clusters(stage: str, known: Sequence[Left]) -> str:
    units = [one.content["cluster"] for one in known]
    groups = number_range(len(np.unique(own[own >= 0])) for own in units)
    scores = [one.content["silhouette"] for one in known]
    silhouette = spread((own.max() for own in scores if own.size), form=".2f")
    active = number_range(int(np.sum(own >= 0)) for own in units)
    return (
        f"`{stage}`: {active} of {units[0].size} units vary in some rule; by the rules"
        f" in which they vary they form {groups} clusters (mean silhouette"
        f" {silhouette})."
    )
