"""The flip-flop task: hold the sign of the last pulse of each of several channels."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from kdjax.checks import integer, number
from kdjax.errors import InputError
from kdjax.tasks.cognitive.trials.drawing import (
    Number,
    check_dt,
    check_names,
    clock,
    given,
    held_at,
    noise_on,
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


def make_flip_flop(
    *,
    dt: Number = 20.0,
    trial: Number = 3000.0,
    channels: int = 3,
    pulse: Number = 100.0,
    interval: Number = 500.0,
    grace: Number = 200.0,
    noise: Number = 0.0,
    dt_ref: Number = 20.0,
) -> Paradigm:
    """Pulses of either sign come at random; each output holds its channel's last sign.

    Every channel has a pulse at the trial's start and then starts one at each step with
    probability dt / interval, its sign either; an input is +1 or -1 for `pulse` ms from
    the start of its last pulse on, else 0. Each output is to be the sign of its
    channel's last pulse, so one of 2^channels memories is held at any time.

    Sussillo & Barak (2013), Neural Computation 25, 626. The times are chosen here.

    Times in ms. interval: the mean time between the starts of two pulses of a channel.
    grace: an output is not judged for so long after it was to change (its error counts
    in training all the same). noise: the std of the noise on every input at a step of
    dt_ref ms.
    A condition may name `first_0`, `first_1`, ...: the sign (1 or -1) of the first
    pulse of each channel; and `grace`, in steps.
    Raises InputError for values out of range, or a grace not shorter than a trial.
    """
    dt = check_dt(dt)
    integer(channels, low=1, where=f"{WHERE}.channels")
    steps = in_steps(trial, dt, where=f"{WHERE}.trial", low=1)
    silent = in_steps(grace, dt, where=f"{WHERE}.grace")
    if silent >= steps:
        raise InputError(
            f"{WHERE}.grace: expected less than the trial, {steps * dt:g} ms, "
            f"found {grace!r}"
        )
    inputs = tuple(f"pulse_{i}" for i in range(channels))
    std = noise_on([True] * channels, noise, dt, dt_ref)
    rate = dt / number(interval, low=dt, where=f"{WHERE}.interval")
    signs = np.array(list(itertools.product((-1, 1), repeat=channels)), np.int32)
    return Paradigm(
        name="flip_flop",
        inputs=inputs,
        outputs=tuple(f"memory_{i}" for i in range(channels)),
        choices=(),
        steps=steps,
        dt=dt,
        options={
            "time": clock(steps),
            "pulse": np.int32(in_steps(pulse, dt, where=f"{WHERE}.pulse", low=1)),
            "start": np.float32(rate),
            "grace": np.int32(silent),
            "noise": std,
        },
        sample=sample,
        score=score,
        conditions={f"first_{i}": signs[:, i] for i in range(channels)},
        held=held_at(inputs, std, {"no pulse": {}}),
    )


def sample(key: Array, options: Options, condition: Condition) -> Trial:
    """One trial, a pure function of the key; see `make_flip_flop`."""
    time, std = options["time"], options["noise"]
    channels = len(std)
    for_pulses, for_noise = jax.random.split(key)
    # channels first: XLA on CPU draws and scans along the longer axis much faster
    u = jax.random.uniform(for_pulses, (2, channels, len(time)), jnp.float32)
    up = jnp.int32(u[1] < 0.5)
    first = [given(condition, f"first_{i}", 2 * up[i, 0] - 1) for i in range(channels)]
    up = up.at[:, 0].set(jnp.int32(jnp.stack(first) > 0))
    starts = (u[0] < options["start"]) | (time == 0)[None, :]
    # the latest start is the largest, and carries its sign in the last bit
    latest = jax.lax.cummax(jnp.where(starts, 2 * time[None, :] + up, 0), axis=1).T
    since = time[:, None] - latest // 2
    memory = jnp.float32(2 * (latest % 2) - 1)
    drawn = {f"first_{i}": sign for i, sign in enumerate(first)}
    drawn["grace"] = given(condition, "grace", jnp.asarray(options["grace"]))
    check_names(condition, drawn)
    pulses = jnp.where(since < options["pulse"], memory, 0)
    return Trial(
        inputs=pulses + std[None, :] * white_noise(for_noise, *memory.shape),
        targets=memory,
        mask=jnp.ones_like(memory),
        condition=drawn,
    )


def score(outputs: Float[Array, "time channels"], trial: Trial) -> dict[str, Array]:
    """`correct`: 1 if every output has the right sign whenever it is judged, else 0.

    `right`: the share of the judged steps, over all outputs, at which it has.
    """
    targets = trial.targets
    time = np.arange(len(targets), dtype=np.int32)[:, None]
    before = jnp.concatenate([jnp.zeros_like(targets[:1]), targets[:-1]])
    since = time - jax.lax.cummax(jnp.where(targets != before, time, 0))
    judged = since >= trial.condition["grace"]
    right = judged & (outputs * targets > 0)
    return {
        "right": right.sum() / jnp.maximum(judged.sum(), 1),
        "correct": jnp.all(right == judged).astype(jnp.float32),
    }
