"""The tables of Yang et al.'s twenty tasks: one line says how a task differs.

Times are in ms, locations in radians. `yang.make_yang` makes trials of them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from kdjax.checks import Number, number, numbers
from kdjax.errors import InputError, check_fields, lookup
from kdjax.tasks.cognitive.trials.trial import WHERE, in_steps

TURN = 2 * math.pi

Numbers = Mapping[str, Sequence[Number]]  # {name: numbers}

# What a trial consists of, in order; a task leaves out what it does not have.
DURATIONS = ("onset", "first", "gap", "second", "wait", "answer")

# Drawn between two times, the upper one left out.
RANGES: Numbers = {
    "go_onset": (300, 700),
    "go_stimulus": (500, 1500),  # from the stimulus's onset to fixation's end
    "rt_onset": (500, 2500),
    "decision_onset": (100, 400),
    "decision_wait": (100, 300),  # after the second of two stimuli in turn
}
# Drawn from these times.
CHOICES: Numbers = {
    "memory_onset": (300, 500, 700),
    "onset": (200, 400, 600),
    "stimulus": (200, 400, 600),
    "delay": (200, 400, 800, 1600),
    "decision_stimulus": (400, 800, 1600),
    "answer": (500,),
    "category_answer": (200, 400, 600),
}
CATEGORIES = tuple(math.pi * (0.1 + 0.2 * i) for i in range(10))  # two: below, above pi
LOCATIONS = ("location_1", "location_2")
STRENGTHS = ("strength_1_1", "strength_1_2", "strength_2_1", "strength_2_2")
WEIGHTS = {"ctx_dm_1": 5.0, "ctx_dm_2": 5.0}  # relative to 1 of every other rule


class Rule(NamedTuple):
    """A task, as what its trials are made of.

    times: {one of DURATIONS: one of RANGES or CHOICES}.
    pair: there are two stimuli. together: they are shown at the same time. spread: the
      second is at pi radians from the first, plus or minus at most this.
    stays: the last stimulus is shown until the end. fixated: so is the fixation input.
    shown: in each modality or not; neither: in one that is drawn for each stimulus.
    coherences: which ones the strengths differ by. shared: the same one in both
      modalities, which are out of balance instead.
    attended: the weight of each modality when strengths are compared; the answer is at
      the stronger stimulus, turned by `turn` radians.
    match: 1 for an answer at the second stimulus if it matches the first, -1 if it does
      not, fixation held otherwise; 0 for an answer always. categories: locations are
      one of CATEGORIES, and those on the same side of pi match.
    """

    times: Mapping[str, str]
    pair: bool = False
    together: bool = False
    spread: float = 0.0
    stays: bool = False
    fixated: bool = False
    shown: tuple[float, float] = (0.0, 0.0)
    coherences: str | None = None
    shared: bool = False
    attended: tuple[float, float] = (1.0, 1.0)
    turn: float = 0.0
    match: int = 0
    categories: bool = False


_GO = Rule(
    {"onset": "go_onset", "first": "go_stimulus", "answer": "answer"}, stays=True
)
_RT_GO = Rule({"onset": "rt_onset", "answer": "answer"}, stays=True, fixated=True)
_MEMORY = {"first": "stimulus", "gap": "delay", "answer": "answer"}
_DLY_GO = Rule({"onset": "memory_onset", **_MEMORY})
_DM = Rule(
    {"onset": "decision_onset", "first": "decision_stimulus", "answer": "answer"},
    pair=True,
    together=True,
    spread=math.pi / 2,
    coherences="coherences",
)
_DLY_DM = _DM._replace(
    times={"onset": "onset", **_MEMORY, "second": "stimulus", "wait": "decision_wait"},
    together=False,
    coherences="delayed_coherences",
)
_DMS = Rule(
    {"onset": "onset", **_MEMORY},
    pair=True,
    spread=math.pi * 8 / 9,
    stays=True,
    fixated=True,
    match=1,
)
_DMC = _DMS._replace(times={**_DMS.times, "answer": "category_answer"}, categories=True)


def _comparisons(rule: Rule) -> list[Rule]:
    """In modality 1; in 2; in both, of which the first counts, the second, the sum."""
    both = rule._replace(shown=(1.0, 1.0))
    return [
        rule._replace(shown=(1.0, 0.0)),
        rule._replace(shown=(0.0, 1.0)),
        both._replace(attended=(1.0, 0.0)),
        both._replace(attended=(0.0, 1.0)),
        both._replace(shared=True),
    ]


_DM_1, _DM_2, _CTX_DM_1, _CTX_DM_2, _MULTSEN_DM = _comparisons(_DM)
_DLY_DM_1, _DLY_DM_2, _CTX_DLY_1, _CTX_DLY_2, _MULTSEN_DLY = _comparisons(_DLY_DM)
RULES: dict[str, Rule] = {
    "go": _GO,
    "rt_go": _RT_GO,
    "dly_go": _DLY_GO,
    "anti": _GO._replace(turn=math.pi),
    "rt_anti": _RT_GO._replace(turn=math.pi),
    "dly_anti": _DLY_GO._replace(turn=math.pi),
    "dm_1": _DM_1,
    "dm_2": _DM_2,
    "ctx_dm_1": _CTX_DM_1,
    "ctx_dm_2": _CTX_DM_2,
    "multsen_dm": _MULTSEN_DM,
    "dly_dm_1": _DLY_DM_1,
    "dly_dm_2": _DLY_DM_2,
    "ctx_dly_dm_1": _CTX_DLY_1,
    "ctx_dly_dm_2": _CTX_DLY_2,
    "multsen_dly_dm": _MULTSEN_DLY,
    "dms": _DMS,
    "dnms": _DMS._replace(match=-1),
    "dmc": _DMC,
    "dnmc": _DMC._replace(match=-1),
}


def choose(rules: Sequence[str] | None) -> tuple[str, ...]:
    """The chosen rules' names, those of all RULES for None.

    Raises InputError for a name that is none of them, for none and for one twice.
    """
    where = f"{WHERE}.rules"
    names = tuple(RULES) if rules is None else tuple(rules)
    for name in names:
        lookup(name, RULES, where=where)
    if not names or len(set(names)) < len(names):
        raise InputError(f"{where}: expected different names, found {names!r}")
    return names


def cumulative(
    names: Sequence[str], weights: Mapping[str, Number] | None
) -> np.ndarray:
    """The probability of each rule or one before it; weights: {name: relative to 1}.

    Raises InputError for another rule's name and where no weight is above 0.
    """
    where = f"{WHERE}.weights"
    if weights is None:
        weights = {name: WEIGHTS[name] for name in names if name in WEIGHTS}
    known = dict.fromkeys(names, 1.0)
    given = known | check_fields(weights, known, where=where)
    each = [number(w, low=0, where=f"{where}.{n}") for n, w in given.items()]
    if sum(each) == 0:
        raise InputError(f"{where}: expected one above 0, found {dict(weights)!r}")
    sums = np.cumsum(each)
    # exactly 1 at the end, so that no number below 1 is past the last weight above 0
    return (sums / sums[-1]).astype(np.float32)


def drawn_from(dt: float, times: Numbers) -> dict[str, list[int]]:
    """{name: the steps to draw from} of RANGES and CHOICES, `times` in their place.

    A range from a to b ms has the steps from that of a to the one before that of b.
    Raises InputError for a name that is none, no time, a range's end before its start.
    """
    where = f"{WHERE}.times"
    known = {**RANGES, **CHOICES}
    drawn = {}
    for name, values in (known | check_fields(times, known, where=where)).items():
        place = f"{where}.{name}"
        low = 1 if name in ("answer", "category_answer") else 0
        length = 2 if name in RANGES else None
        each = numbers(values, length=length, where=place)
        steps = [in_steps(value, dt, where=place, low=low) for value in each]
        if name in RANGES:
            start, end = steps
            steps = [start] if start == end else list(range(start, end))
        if not steps:
            raise InputError(f"{place}: expected times in order, found {values!r}")
        drawn[name] = steps
    return drawn


def steps_of(rule: Rule, drawn: Mapping[str, list[int]]) -> list[list[int]]:
    """The steps each of DURATIONS is drawn from: none but 0 if a rule does without."""
    return [drawn[rule.times[d]] if d in rule.times else [0] for d in DURATIONS]


def tables(
    names: Sequence[str],
    drawn: Mapping[str, list[int]],
    coherences: Numbers,
) -> dict[str, np.ndarray]:
    """What a draw looks up: arrays by a field's name, a row a rule.

    `steps` [rules, durations, most] and `levels` [rules, most], the coherences, are
    padded: `step_counts` and `level_counts` say how many there are to draw from.
    """
    rules = [RULES[name] for name in names]
    fields = [f for f in Rule._fields if f not in ("times", "coherences")]
    columns = {f: np.asarray([getattr(rule, f) for rule in rules]) for f in fields}
    steps, counts = _padded([s for rule in rules for s in steps_of(rule, drawn)])
    levels, level_counts = _padded([_levels(rule, coherences) for rule in rules])
    shape = (len(rules), len(DURATIONS))
    arrays = columns | {
        "steps": steps.reshape(*shape, -1).astype(int),
        "step_counts": counts.reshape(shape),
        "levels": levels,
        "level_counts": level_counts,
    }
    half = {np.dtype(np.float64): np.float32, np.dtype(np.int64): np.int32}
    return {name: a.astype(half.get(a.dtype, a.dtype)) for name, a in arrays.items()}


def grid(
    names: Sequence[str],
    drawn: Mapping[str, list[int]],
    coherences: Numbers,
    locations: int,
) -> dict[str, np.ndarray]:
    """Conditions of every rule, as vectors by name: a row names all of a trial.

    The times are the middle ones to draw from, so the trials of a rule are in step. The
    first stimulus is in turn at `locations` places (at each of CATEGORIES), the second
    opposite, or in its place too where matches count. A stimulus alone and those to be
    matched are of strength 1, in each modality in turn; two to compare of 1 + c and
    1 - c, where c is the least and the most coherence of either sign, in each modality.
    """
    around = [TURN * i / locations for i in range(locations)]
    rows: list[tuple[float, ...]] = []
    for index, rule in enumerate(RULES[name] for name in names):
        middle = [steps[len(steps) // 2] for steps in steps_of(rule, drawn)]
        for first, offset, strengths in itertools.product(
            CATEGORIES if rule.categories else around,
            (0.0, math.pi) if rule.match else (math.pi,),
            _strengths(rule, _levels(rule, coherences)),
        ):
            rows.append((index, *middle, first, (first + offset) % TURN, *strengths))
    columns = np.asarray(rows).T
    whole = ("rule", *DURATIONS)
    dtypes = [np.int32] * len(whole) + [np.float32] * 6
    everything = zip((*whole, *LOCATIONS, *STRENGTHS), columns, dtypes, strict=True)
    return {name: column.astype(dtype) for name, column, dtype in everything}


def _strengths(rule: Rule, levels: Sequence[Number]) -> Iterator[tuple[float, ...]]:
    """The strengths to average over, each in the order of STRENGTHS."""
    alone = [(1.0, 0.0), (0.0, 1.0)]
    if rule.coherences is None:
        for one, two in itertools.product(alone, alone if rule.pair else [(0.0, 0.0)]):
            yield (*one, *two)
        return
    extremes = sorted({sign * f(levels) for sign in (-1, 1) for f in (min, max)})
    if rule.shared:
        for c, balance in itertools.product(extremes, (0.75, 1.25)):
            both = (balance, 2 - balance)
            yield tuple((1 + s * c) * b for s in (1, -1) for b in both)
        return
    each = [extremes if shown else [0.0] for shown in rule.shown]
    for cs in itertools.product(*each):
        there = list(zip(cs, rule.shown, strict=True))
        yield tuple((1 + s * c) * shown for s in (1, -1) for c, shown in there)


def _levels(rule: Rule, coherences: Numbers) -> Sequence[Number]:
    """What the strengths of two stimuli of a rule may differ by."""
    return coherences[rule.coherences] if rule.coherences else (0.0,)


def _padded(rows: Sequence[Sequence[Number]]) -> tuple[np.ndarray, np.ndarray]:
    """Rows as one array, 0 behind the end of each, and how long each is."""
    counts = np.asarray([len(row) for row in rows], np.int32)
    padded = np.zeros((len(rows), counts.max()))
    for place, row in zip(padded, rows, strict=True):
        place[: len(row)] = row
    return padded, counts
