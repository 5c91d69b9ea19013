"""Tasks of neurogym, as a pool of whole trials that is drawn once, from a seed.

neurogym's own `Dataset` cuts its sequences anywhere, also inside a trial, and takes no
seed; here each trial is asked for by `new_trial` and kept whole. Needs neurogym (and
torch, which it imports): `pip install 'kdjax[neurogym]'`.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from kdjax.checks import Number, integer, number, numbers, one_of
from kdjax.errors import InputError
from kdjax.tasks.cognitive.trials.trial import (
    WHERE,
    Condition,
    Held,
    Options,
    Paradigm,
    Trial,
)

SPLITS = ("train", "validation", "test")


def make_neurogym(
    *,
    env: str,
    arguments: Mapping[str, Any] | None = None,
    trials: int = 1000,
    seed: int = 0,
    dt: float = 20.0,
    steps: int | None = None,
    fractions: Sequence[Number] = (0.8, 0.1, 0.1),
    answer_period: str = "decision",
    tolerance: float = 0.1,
) -> Paradigm:
    """A supervised task of neurogym: inputs its observations, targets its ground truth.

    A discrete ground truth becomes a target of 1 for its action and 0 for the others; a
    continuous one is the target as it is. All steps of a trial weigh the same.

    env: as registered, "GoNogo" or "GoNogo-v0". arguments: its keyword arguments, such
      as `timing`. dt: ms. trials: in the pool, by `seed`. steps: of all trials, padded
      (None: those of the longest).
    fractions: of the pool for training, validation and test: its first rows, the next,
      the last. A trial is one of training's, unless its condition names `split` (0, 1
      or 2, by SPLITS) or `trial`, the row. `conditions` are the rows of test.
    answer_period: the period of a trial whose answer is scored. Discrete: the action
      most often largest there is the one most often right there. Continuous: the mean
      output there is within `tolerance` of the mean target, each of them. Whether the
      network waited before is not scored, nor when it answers (so not ReadySetGo's
      interval).

    A trial's condition has what the environment says of it in numbers (`coh`,
    `ground_truth`), with `trial`, and in steps `answer` (its period's start), `until`
    (its end) and `end`. `held` has the mean inputs of the fixation and delay periods,
    and how they change within a trial.
    Raises InputError where neurogym cannot be imported, where it does not make the
    environment, for one without a ground truth or without the period.
    """
    dt = number(dt, above=0, where=f"{WHERE}.dt")
    integer(trials, low=1, where=f"{WHERE}.trials")
    integer(seed, low=0, high=2**32 - 1, where=f"{WHERE}.seed")
    number(tolerance, above=0, where=f"{WHERE}.tolerance")
    bounds = _bounds(fractions, trials)
    made = _made(env, {**(arguments or {}), "dt": int(dt) if dt % 1 == 0 else dt})
    base = made.unwrapped
    base.seed(seed)
    pool = list(itertools.islice(_trials(made, env), trials))
    one_of(answer_period, pool[0]["periods"], where=f"{WHERE}.answer_period")
    longest = max(len(trial["inputs"]) for trial in pool)
    place = f"{WHERE}.steps"
    length = longest if steps is None else integer(steps, low=longest, where=place)

    classes = getattr(base.action_space, "n", None)
    if classes is not None:
        for trial in pool:
            if not np.all(np.isin(trial["targets"], np.arange(classes))):
                raise InputError(
                    f"{WHERE}.env: {env!r}: expected a ground truth among its "
                    f"{classes} actions, found {trial['targets'].max()}"
                )
            trial["targets"] = np.eye(int(classes))[trial["targets"]]
    spans = np.asarray([trial["periods"][answer_period] for trial in pool], np.int32)
    if np.any(spans[:, 0] >= spans[:, 1]):
        raise InputError(
            f"{WHERE}.dt: expected a step or more of {answer_period!r} in each trial, "
            f"found none with {dt:g} ms"
        )
    ends = np.asarray([len(trial["inputs"]) for trial in pool], np.int32)
    options: dict[str, Any] = {
        "inputs": _padded([trial["inputs"] for trial in pool], length),
        "targets": _padded([trial["targets"] for trial in pool], length),
        "bounds": bounds,
        "conditions": _numbers([trial["said"] for trial in pool])
        | {"answer": spans[:, 0], "until": spans[:, 1], "end": ends},
    }
    shapes = options["inputs"].shape, options["targets"].shape
    outputs = _names(base.action_space, "output", shapes[1][-1])
    return Paradigm(
        name="neurogym",
        inputs=_names(base.observation_space, "input", shapes[0][-1]),
        outputs=outputs,
        choices=outputs if classes is not None else (),
        steps=length,
        dt=dt,
        options=options,
        sample=sample,
        score=functools.partial(
            score, discrete=classes is not None, tolerance=tolerance
        ),
        conditions={"trial": np.arange(bounds[2], bounds[3], dtype=np.int32)},
        held=_held(pool),
        pooled=True,
    )


def sample(key: Array, options: Options, condition: Condition) -> Trial:
    """The pool's row `trial`, where the condition names it, or one drawn of `split`."""
    options = jax.tree.map(jnp.asarray, options)
    split = jnp.asarray(condition.get("split", 0), jnp.int32)
    low, high = options["bounds"][split], options["bounds"][split + 1]
    drawn = jax.random.randint(key, (), low, high)
    row = jnp.asarray(condition.get("trial", drawn), jnp.int32)
    said = {name: values[row] for name, values in options["conditions"].items()}
    targets = options["targets"][row]
    inside = jnp.arange(len(targets)) < said["end"]
    return Trial(
        inputs=options["inputs"][row],
        targets=targets,
        mask=jnp.broadcast_to(inside[:, None], targets.shape).astype(targets.dtype),
        condition={**said, "trial": row},
    )


def score(
    outputs: Float[Array, "time outputs"],
    trial: Trial,
    *,
    discrete: bool,
    tolerance: float,
) -> dict[str, Float[Array, ""]]:
    """Whether the answer of a trial is `correct`: see `make_neurogym`."""
    clock = jnp.arange(len(outputs))
    c = trial.condition
    there = ((clock >= c["answer"]) & (clock < c["until"]))[:, None]
    if discrete:
        largest = jax.nn.one_hot(jnp.argmax(outputs, axis=1), outputs.shape[1])
        given, right = (jnp.sum(x * there, 0) for x in (largest, trial.targets))
        correct = jnp.argmax(given) == jnp.argmax(right)
    else:
        wrong = jnp.sum((outputs - trial.targets) * there, 0) / jnp.sum(there)
        correct = jnp.all(jnp.abs(wrong) <= tolerance)
    return {"correct": correct.astype(outputs.dtype)}


def _made(env: str, arguments: Mapping[str, Any]) -> Any:
    """The environment, made by neurogym; InputError where that fails."""
    where = f"{WHERE}.env"
    try:
        import neurogym
    except ImportError as error:
        raise InputError(
            f"{where}: expected neurogym (pip install neurogym torch), found: {error}"
        ) from error
    name = env if "-v" in env else f"{env}-v0"
    try:
        return neurogym.make(name, **arguments)
    # its constructors check little, so a wrong argument raises anything
    except Exception as error:
        raise InputError(f"{where}: {name!r}: {error}") from error


def _trials(made: Any, env: str) -> Iterator[dict[str, Any]]:
    """Trials one after the other: inputs, targets, periods, what is said of each."""
    base = made.unwrapped
    # a wrapper that changes a trial has a `new_trial` of its own
    new_trial = made.get_wrapper_attr("new_trial")
    while True:
        said = new_trial() or {}
        inputs, targets = (getattr(base, name, None) for name in ("ob", "gt"))
        if inputs is None or targets is None:
            raise InputError(
                f"{WHERE}.env: expected one with a ground truth to be trained on, "
                f"found {env!r}, whose trials have none"
            )
        starts, ends = base.start_ind, base.end_ind
        # copies: the next trial may be written into them
        inputs, targets = np.array(inputs, np.float32), np.array(targets)
        if not (np.isfinite(inputs).all() and np.isfinite(targets).all()):
            raise InputError(f"{WHERE}.env: {env!r}: found NaN or inf in a trial")
        yield {
            "inputs": inputs,
            "targets": targets,
            "periods": {name: (starts[name], ends[name]) for name in starts},
            "said": said,
        }


def _bounds(fractions: Sequence[Number], trials: int) -> np.ndarray:
    """The first row of train, validation and test, and the end: each has a row."""
    where = f"{WHERE}.fractions"
    shares = numbers(fractions, length=len(SPLITS), above=0, where=where)
    bounds = np.round(np.cumsum([0, *shares]) / sum(shares) * trials).astype(np.int32)
    if np.any(np.diff(bounds) < 1):
        raise InputError(
            f"{where}: expected a trial or more for each of {', '.join(SPLITS)}, "
            f"found {tuple(fractions)!r} of {trials}"
        )
    return bounds


def _padded(arrays: Sequence[np.ndarray], length: int) -> np.ndarray:
    """[trial, time, channel], 0 behind the end of each."""
    padded = np.zeros((len(arrays), length, *arrays[0].shape[1:]), np.float32)
    for place, array in zip(padded, arrays, strict=True):
        place[: len(array)] = array
    return padded


def _numbers(said: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """What is said of every trial and is a number, as vectors by name."""
    columns = {name: [trial.get(name) for trial in said] for name in said[0]}
    kinds = (bool, int, float, np.bool_, np.number)
    return {
        name: np.asarray(values, np.float32)
        for name, values in columns.items()
        if all(isinstance(value, kinds) for value in values)
    }


def _names(space: Any, kind: str, count: int) -> tuple[str, ...]:
    """The channels' names: of `space.name`, {name: index or indices}, or numbers."""
    names = [f"{kind}_{i}" for i in range(count)]
    for name, places in (getattr(space, "name", None) or {}).items():
        if np.ndim(places) == 0:
            names[places] = name
        else:
            for i, place in enumerate(places):
                names[place] = f"{name}_{i}"
    return tuple(names)


def _held(pool: Sequence[Mapping[str, Any]]) -> dict[str, Held]:
    """The inputs in the periods in which neurogym shows nothing, by the period's name.

    The std is that within a trial, the noise's.
    """
    held = {}
    for name in pool[0]["periods"]:
        spans = [(t["inputs"], t["periods"].get(name, (0, 0))) for t in pool]
        parts = [inputs[slice(*span)] for inputs, span in spans if span[0] < span[1]]
        if not parts or not name.startswith(("fixation", "delay")):
            continue
        means = [part.mean(axis=0) for part in parts]
        pairs = zip(parts, means, strict=True)
        squares = sum(np.square(part - mean).sum(axis=0) for part, mean in pairs)
        free = sum(len(part) - 1 for part in parts)  # one less for each mean
        held[name] = Held(np.mean(means, axis=0), np.sqrt(squares / max(free, 1)))
    return held
