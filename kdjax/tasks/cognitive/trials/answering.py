"""Trials that consist of periods, the last of which asks for one of several answers.

Fixation is held, by an output of its own, until the answer is due.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from kdjax.checks import number
from kdjax.errors import InputError
from kdjax.tasks.cognitive.trials.drawing import (
    Moments,
    Number,
    Span,
    between,
    check_dt,
    check_names,
    clock,
    given,
    held_at,
    noise_on,
    span,
    uniform,
    white_noise,
)
from kdjax.tasks.cognitive.trials.trial import (
    WHERE,
    Condition,
    Options,
    Paradigm,
    Trial,
    in_steps,
)

MAY_BE_LEFT_OUT = ("fixation", "delay")
FIXATED = 0.5  # the least mean of the fixation output before the answer is due


def make(
    name: str,
    *,
    sample: Callable[[Array, Options, Condition], Trial],
    times: Mapping[str, Span],
    dt: Number,
    noise: Number,
    dt_ref: Number,
    grace: Number,
    weight: Number,
    inputs: Mapping[str, bool],
    outputs: Sequence[str],
    choices: Sequence[str],
    options: Mapping[str, Any],
    conditions: Mapping[str, np.ndarray],
    moments: Moments,
) -> Paradigm:
    """A paradigm of these periods, the last of them `response`.

    times: {period: ms or a range}; only fixation and a delay may be 0. noise, dt_ref:
    see `drawing.noise_on`. grace: in ms, and weight: see `answer`. inputs: {name:
    whether there is noise on it}. outputs: `fixation` and one for each of the
    `choices`; or as many as those, where the first choice is to hold fixation.
    """
    dt = check_dt(dt)
    lengths = np.stack(
        [
            span(
                value, dt, where=f"{WHERE}.{period}", low=period not in MAY_BE_LEFT_OUT
            )
            for period, value in times.items()
        ]
    )
    steps = int(lengths[:, 1].sum())
    silent = in_steps(grace, dt, where=f"{WHERE}.grace")
    if silent >= lengths[-1, 0]:
        raise InputError(
            f"{WHERE}.grace: expected less than the response, "
            f"{lengths[-1, 0] * dt:g} ms, found {grace!r}"
        )
    std = noise_on([*inputs.values()], noise, dt, dt_ref)
    return Paradigm(
        name=name,
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        choices=tuple(choices),
        steps=steps,
        dt=dt,
        options={
            "time": clock(steps),
            "periods": lengths,
            "noise": std,
            "grace": np.int32(silent),
            "weight": np.float32(number(weight, above=0, where=f"{WHERE}.weight")),
            **options,
        },
        sample=sample,
        score=partial(score, first=len(outputs) - len(choices)),
        conditions=conditions,
        held=held_at(tuple(inputs), std, moments),
    )


def draw_periods(
    key: Array, periods: Sequence[str], options: Options, condition: Condition
) -> tuple[Int[Array, " time"], dict[str, Array]]:
    """Which period each step is in, 0 the first, and what was drawn by name.

    That is the length of each period in steps, and `due` and `end`: the first step of
    the response, and the first one after it. Those are of period len(periods).
    """
    u = uniform(key, len(periods))
    lengths = [
        given(condition, name, between(u[i], options["periods"][i]))
        for i, name in enumerate(periods)
    ]
    ends = jnp.cumsum(jnp.stack(lengths))
    period = (options["time"][:, None] >= ends[None, :]).sum(1, dtype=jnp.int32)
    drawn = dict(zip(periods, lengths, strict=True))
    return period, drawn | {"due": ends[-2], "end": ends[-1]}


def answer(
    key: Array,
    options: Options,
    condition: Condition,
    *,
    means: Sequence[Any],
    asked: Int[Array, ""],
    outputs: int,
    drawn: dict[str, Array],
) -> Trial:
    """The trial: these means of the inputs, with noise, and what is to be answered.

    means: each input's at every step. asked: the output that is to be 1 while the
    response lasts; before that fixation is, output 0. No error counts in the first
    `grace` steps of the response and after its end, and those in its rest count
    `weight` times as much as those before it. A condition of a name that is not among
    the `drawn` is an InputError.
    """
    check_names(condition, drawn)
    time, std = options["time"], options["noise"]
    due, before_end = time >= drawn["due"], time < drawn["end"]
    judged = time >= drawn["due"] + options["grace"]
    weights = jnp.where(judged, options["weight"], jnp.where(due, 0.0, 1.0))
    mean = jnp.stack([jnp.asarray(m, jnp.float32) for m in means], axis=1)
    wanted = jax.nn.one_hot(jnp.where(due, asked, 0), outputs, dtype=jnp.float32)
    return Trial(
        inputs=mean + std[None, :] * white_noise(key, len(time), len(std)),
        targets=wanted * before_end[:, None],
        mask=jnp.broadcast_to((weights * before_end)[:, None], (len(time), outputs)),
        condition=drawn,
    )


def score(
    outputs: Float[Array, "time outputs"], trial: Trial, *, first: int
) -> dict[str, Array]:
    """The `choice`, whether fixation was held (`fixated`), and `correct`: both right.

    The choice is the output from `first` on, counted from there, whose mean over the
    response after its grace period is largest. Fixation is held if the mean of its
    output before the response is above 0.5. Each is 1 or 0.
    """
    time, due = np.arange(len(outputs)), trial.condition["due"]
    judged = (time >= due) & (trial.mask[:, 0] > 0)
    sums = jnp.where(judged[:, None], outputs[:, first:], 0).sum(0)
    choice = jnp.argmax(sums).astype(jnp.int32)
    before = jnp.where(time < due, outputs[:, 0], 0).sum()
    fixated = before > FIXATED * due
    correct = fixated & (choice == trial.condition["choice"])
    return {
        "choice": choice,
        "fixated": fixated.astype(jnp.float32),
        "correct": correct.astype(jnp.float32),
    }
