"""Decisions on noisy evidence: one stream, or the one that a context asks for."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from kdjax.tasks.cognitive.trials import answering
from kdjax.tasks.cognitive.trials.drawing import (
    Number,
    Span,
    both_signs,
    coin,
    given,
    grid,
    is_positive,
    pick,
    some_shares,
    uniform,
)
from kdjax.tasks.cognitive.trials.trial import (
    WHERE,
    Condition,
    Options,
    Paradigm,
    Trial,
)

SIDES = ("left", "right")
PERIODS = ("fixation", "stimulus", "delay", "response")
STIMULUS, RESPONSE = 1, 3  # their places in PERIODS
CONTEXTS = ("motion", "colour")


def make_perceptual_decision(
    *,
    dt: Number = 20.0,
    fixation: Span = 300.0,
    stimulus: Span = (400.0, 1200.0),
    delay: Span = 0.0,
    response: Span = 300.0,
    coherences: Sequence[Number] = (0.0, 0.032, 0.064, 0.128, 0.256, 0.512),
    noise: Number = 0.5,
    dt_ref: Number = 20.0,
    grace: Number = 100.0,
    weight: Number = 1.0,
) -> Paradigm:
    """Do the dots move to the left or to the right? Random-dot motion.

    Fixation, the stimulus, a delay (none here), the response. While the stimulus lasts
    the `evidence` input is N(signed coherence, s^2), positive to the right, and
    N(0, s^2) otherwise, s = noise sqrt(dt_ref / dt). The fixation input is 1 until the
    response. Outputs: fixation, left, right.

    Britten, Shadlen, Newsome & Movshon (1992), J. Neurosci. 12, 4745; coherences of
    Roitman & Shadlen (2002), J. Neurosci. 22, 9475. The noise is chosen here: an
    integrator of 800 ms is right in 66 % at a coherence of 0.032.

    Times in ms, or ranges (low, high). grace, weight: see `answering.answer`.
    A condition may name `coherence` (signed), `choice` (0 left, 1 right; it counts at
    coherence 0 or where that is not given) and the periods, in steps.
    Raises InputError for values out of range and a grace not shorter than the response.
    """
    sizes = some_shares(coherences, where=f"{WHERE}.coherences")
    cells = grid(choice=(0, 1), size=sizes)
    moments = {
        f"coherence {value:g}": {"fixation": 1.0, "evidence": value}
        for value in both_signs(sizes)
    }
    return answering.make(
        "perceptual_decision",
        sample=sample_perceptual_decision,
        times=dict(zip(PERIODS, (fixation, stimulus, delay, response), strict=True)),
        dt=dt,
        noise=noise,
        dt_ref=dt_ref,
        grace=grace,
        weight=weight,
        inputs={"fixation": False, "evidence": True},
        outputs=("fixation", *SIDES),
        choices=SIDES,
        options={"coherences": np.array(sizes, np.float32)},
        conditions={
            "choice": cells["choice"],
            "coherence": np.float32(2 * cells["choice"] - 1) * cells["size"],
        },
        moments={"fixation": {"fixation": 1.0}} | moments,
    )


def sample_perceptual_decision(
    key: Array, options: Options, condition: Condition
) -> Trial:
    """One trial, a pure function of the key; see `make_perceptual_decision`."""
    for_scalars, for_periods, for_noise = jax.random.split(key, 3)
    u = uniform(for_scalars, 2)
    period, lengths = answering.draw_periods(for_periods, PERIODS, options, condition)
    choice = given(condition, "choice", coin(u[0]))
    size = pick(u[1], options["coherences"])
    coherence = given(condition, "coherence", (2 * choice - 1) * size)
    choice = is_positive(coherence, choice)
    return answering.answer(
        for_noise,
        options,
        condition,
        means=[period < RESPONSE, (period == STIMULUS) * coherence],
        asked=1 + choice,
        outputs=1 + len(SIDES),
        drawn={"coherence": coherence, "choice": choice} | lengths,
    )


def make_mante(
    *,
    dt: Number = 20.0,
    fixation: Span = 300.0,
    stimulus: Span = 750.0,
    delay: Span = (300.0, 1500.0),
    response: Span = 300.0,
    coherences: Sequence[Number] = (0.05, 0.15, 0.5),
    noise: Number = 0.5,
    dt_ref: Number = 20.0,
    grace: Number = 100.0,
    weight: Number = 1.0,
) -> Paradigm:
    """Context-dependent integration: decide on the dots' motion, or on their colour.

    Two inputs, `motion` and `colour`, each carry evidence as in `perceptual_decision`,
    drawn independently; the input of the context (0 motion, 1 colour), on all trial
    long until the response, says which one counts. Fixation, the stimulus, a delay, the
    response. Outputs: fixation, left, right; positive evidence is for the right.

    Mante, Sussillo, Shenoy & Newsome (2013), Nature 503, 78. Their network has no
    fixation output and is asked at the stimulus's end; the periods here are those of
    their monkeys' task. The noise is chosen here: an integrator is right in 73 % at a
    coherence of 0.05.

    Times in ms, or ranges (low, high). grace, weight: see `answering.answer`.
    A condition may name `context`, `motion` and `colour` (signed), `choice` (0 left,
    1 right; it counts where the evidence of the context is 0 or is not given) and the
    periods, in steps.
    Raises InputError for values out of range and a grace not shorter than the response.
    """
    sizes = some_shares(coherences, where=f"{WHERE}.coherences")
    signed = both_signs(sizes)
    cues = {name: {"fixation": 1.0, f"context_{name}": 1.0} for name in CONTEXTS}
    moments = {f"context {name}": cue for name, cue in cues.items()}
    for name, cue in cues.items():
        for value in signed:
            moments[f"context {name}, {name} {value:g}"] = cue | {name: value}
    return answering.make(
        "mante",
        sample=sample_mante,
        times=dict(zip(PERIODS, (fixation, stimulus, delay, response), strict=True)),
        dt=dt,
        noise=noise,
        dt_ref=dt_ref,
        grace=grace,
        weight=weight,
        inputs={
            "fixation": False,
            "motion": True,
            "colour": True,
            "context_motion": False,
            "context_colour": False,
        },
        outputs=("fixation", *SIDES),
        choices=SIDES,
        options={"coherences": np.array(sizes, np.float32)},
        conditions=grid(context=(0, 1), motion=signed, colour=signed),
        moments=moments,
    )


def sample_mante(key: Array, options: Options, condition: Condition) -> Trial:
    """One trial, a pure function of the key; see `make_mante`."""
    for_scalars, for_periods, for_noise = jax.random.split(key, 3)
    u = uniform(for_scalars, 5)
    period, lengths = answering.draw_periods(for_periods, PERIODS, options, condition)
    context = given(condition, "context", coin(u[0]))
    choice = given(condition, "choice", coin(u[1]))
    counts = (2 * choice - 1) * pick(u[3], options["coherences"])
    other = (2 * coin(u[2]) - 1) * pick(u[4], options["coherences"])
    motion = given(condition, "motion", jnp.where(context == 0, counts, other))
    colour = given(condition, "colour", jnp.where(context == 1, counts, other))
    choice = is_positive(jnp.where(context == 0, motion, colour), choice)
    shown, waiting = period == STIMULUS, period < RESPONSE
    return answering.answer(
        for_noise,
        options,
        condition,
        means=[
            waiting,
            shown * motion,
            shown * colour,
            waiting & (context == 0),
            waiting & (context == 1),
        ],
        asked=1 + choice,
        outputs=1 + len(SIDES),
        drawn={
            "context": context,
            "motion": motion,
            "colour": colour,
            "choice": choice,
        }
        | lengths,
    )
