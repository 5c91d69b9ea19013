"""Curricula: easier trials first, until a network has learnt them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from kdjax.checks import integer, number
from kdjax.errors import InputError, call, section
from kdjax.tasks.cognitive import trials as paradigms
from kdjax.tasks.cognitive.trials.trial import Paradigm

Tree = Any
WHERE = "config.curriculum"


class Levels(NamedTuple):
    """A cognitive task at its levels, from the easiest to the one that is wanted.

    paradigm: of the last level. options: of all levels, stacked along the first axis.
    advance: (what `start` gives, share correct of a batch, criterion) -> the same, one
      step later.
    """

    paradigm: Paradigm
    options: Tree
    criterion: float
    window: int
    advance: Callable[[dict[str, Array], Array, Array], dict[str, Array]]


def build(spec: Mapping[str, Any] | None, trials: Mapping[str, Any]) -> Levels:
    """The levels of a config; one level, the trials as they are, without a section."""
    last = paradigms.build(trials)
    if spec is None:
        return _levels([last], 1.0, 1)
    made: Levels = call(curriculum, spec, where=WHERE, trials=trials, last=last)
    return made


def curriculum(
    *,
    trials: Mapping[str, Any],
    last: Paradigm,
    levels: Sequence[Mapping[str, Any]],
    criterion: Any = 0.9,
    window: Any = 100,
) -> Levels:
    """`levels`, sections laid over `trials` one by one; then the trials as they are.

    The next level comes when the share of correct training trials, averaged over some
    `window` steps (exponentially, and no sooner than after as many), is at `criterion`.
    An InputError if a level changes the length or the channels of a trial.
    """
    number(criterion, above=0, high=1, where=f"{WHERE}.criterion")
    integer(window, low=1, where=f"{WHERE}.window")
    if not isinstance(levels, list | tuple) or not levels:
        raise InputError(
            f"{WHERE}.levels: expected sections of trials, found {levels!r}"
        )
    made = []
    for i, changes in enumerate(levels):
        where = f"{WHERE}.levels[{i}]"
        level = paradigms.build({**trials, **section(changes, where=where)})
        found, expected = _shape(level), _shape(last)
        for name in {**expected, **found}:
            if found.get(name) != expected.get(name):
                raise InputError(
                    f"{where}: expected the {name} of config.trials, "
                    f"{expected.get(name)}, found {found.get(name)}"
                )
        made.append(level)
    return _levels([*made, last], criterion, window)


def _shape(paradigm: Paradigm) -> dict[str, Any]:
    """What the levels must have in common, by name."""
    fields = ("steps", "dt", "inputs", "outputs")
    leaves = jax.tree_util.tree_leaves_with_path(paradigm.options)
    return {name: getattr(paradigm, name) for name in fields} | {
        f"shape of {jax.tree_util.keystr(path, simple=True, separator='.')}": np.shape(
            a
        )
        for path, a in leaves
    }


def _levels(levels: Sequence[Paradigm], criterion: float, window: int) -> Levels:
    options = jax.tree.map(
        lambda *leaves: np.stack([np.asarray(leaf) for leaf in leaves]),
        *(level.options for level in levels),
    )
    most = len(levels) - 1

    def advance(
        reached: dict[str, Array], correct: Array, criterion: Array
    ) -> dict[str, Array]:
        mean = reached["correct"] + (correct - reached["correct"]) / window
        steps = reached["steps"] + 1
        learnt = (mean >= criterion) & (steps >= window) & (reached["level"] < most)
        return {
            "level": reached["level"] + learnt,
            "correct": jnp.where(learnt, 0.0, mean),
            "steps": jnp.where(learnt, 0, steps),
        }

    return Levels(levels[-1], options, float(criterion), window, advance)


def start() -> dict[str, Array]:
    """Where a network is before the first step; saved with the optimiser."""
    # three arrays: one that is there twice cannot be donated
    level, steps = jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32)
    return {"level": level, "correct": jnp.zeros(()), "steps": steps}


def at(options: Tree, level: Array | int) -> Tree:
    """The options of one level."""
    return jax.tree.map(lambda a: a[level], options)
