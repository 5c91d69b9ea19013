"""`Trial` and `Paradigm`: one trial of a cognitive task, and the task it is of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Float

from kdjax.checks import number
from kdjax.errors import InputError

WHERE = "config.trials"

# A pytree of arrays: what trials are drawn by and what does not change their shapes.
Options = Any
Condition = Mapping[str, Array]


class Trial(NamedTuple):
    """One trial: what a network is shown, and what it should answer when.

    inputs: the stimulus at each time step.
    targets: what the outputs should be.
    mask: the weight of each squared error, 0 where nothing is asked (a grace period,
      padding behind the trial's end).
    condition: what was drawn, as scalars by name: coherence, choice, times in steps.
    """

    inputs: Float[Array, "time inputs"]
    targets: Float[Array, "time outputs"]
    mask: Float[Array, "time outputs"]
    condition: dict[str, Array]


class Held(NamedTuple):
    """Inputs held constant, under which a network's fixed points are sought.

    mean: of each input. std: of the noise on each, as it is at one step of dt.
    """

    mean: Float[np.ndarray, " inputs"]
    std: Float[np.ndarray, " inputs"]


class Paradigm(NamedTuple):
    """A cognitive task: how its trials are drawn, and how an answer is judged.

    name: as in a config. inputs, outputs: the names of the channels. choices: of the
      answers, where a trial asks for one of several.
    steps: the length of every trial in steps of `dt` ms; shorter ones are padded.
    options: arrays that `sample` reads; two paradigms of one maker whose arrays have
      the same shapes differ in nothing else.
    sample: (key, options, condition) -> Trial. What `condition` names is given instead
      of drawn; a pure function, traced inside the compiled step.
    score: (outputs [time, outputs], trial) -> {name: scalar} of one trial, `correct`
      among them: 1 or 0, or a share. Networks are trained together where both are the
      same functions: those of a module, or `functools.partial` of such ones.
    conditions: equal-length vectors by name: row i is a condition of the grid on which
      a trained network is analysed.
    held: {label: Held} of the moments of a trial whose fixed points are of interest.
    pooled: whether trials are rows of a pool, of which a condition may name the `split`
      (0 training, 1 validation, 2 test).
    ideal: coherences -> the proportion correct of an observer that uses all evidence.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    choices: tuple[str, ...]
    steps: int
    dt: float
    options: Options
    sample: Callable[[Array, Options, Condition], Trial]
    score: Callable[[Float[Array, "time outputs"], Trial], dict[str, Array]]
    conditions: Mapping[str, np.ndarray]
    held: Mapping[str, Held]
    pooled: bool = False
    ideal: Callable[[np.ndarray], np.ndarray] | None = None


MOST_STEPS = 1_000_000  # in a trial: more is a mistake of units


def in_steps(milliseconds: Any, dt: float, *, where: str, low: int = 0) -> int:
    """A time in ms as a whole number of steps of `dt` ms, rounded; at least `low`."""
    ratio = number(milliseconds, low=0, where=where) / dt
    if ratio > MOST_STEPS:
        raise InputError(
            f"{where}: expected at most {MOST_STEPS:,} steps of dt, {dt:g} ms, "
            f"found {milliseconds!r} ms"
        )
    steps = round(ratio)
    if steps < low:
        raise InputError(
            f"{where}: expected at least {low * dt:g} ms ({low} steps of dt), "
            f"found {milliseconds!r}"
        )
    return steps
