"""The checkerboard task: which target has the colour that most squares have?

Targets of two colours come on, in one of two configurations; later a checkerboard does,
whose dominant colour says which of them is right (Chandrasekaran, Peixoto, Newsome &
Shenoy 2017, Nature Communications 8, 614).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from kdjax.checks import integer, number
from kdjax.errors import InputError
from kdjax.tasks.cognitive.psychometrics import ideal_observer
from kdjax.tasks.cognitive.trials.drawing import (
    Moments,
    Number,
    Span,
    between,
    both_signs,
    check_dt,
    check_names,
    clock,
    coin,
    given,
    grid,
    held_at,
    in_order,
    is_positive,
    noise_on,
    pick,
    share,
    some_shares,
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

SIDES = ("left", "right")
SILENT = 0.5  # an output above this answers


def make_checkerboard(
    *,
    dt: Number = 20.0,
    trial: Number = 2000.0,
    target_onset: Span = (400.0, 900.0),
    onset: Span = (1200.0, 1800.0),
    evidence: int = 10,
    noise: Number = 1.0,
    dt_ref: Number = 20.0,
    coherences: Sequence[Number] | None = None,
    coherence_range: Sequence[Number] = (0.0, 1.0),
    catch: Number = 0.0,
    grace: Number = 0.0,
    weight: Number = 1.0,
    decision_window: Number = 100.0,
    test_coherences: Sequence[Number] = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32),
) -> Paradigm:
    """Two cue inputs and noisy evidence in; the side of the right target out.

    One of two cues, the configuration of the targets, is 1 from `target_onset` on. Each
    of `evidence` inputs is N(0, s^2) at every step, s = noise sqrt(dt_ref / dt), and
    N(signed coherence, s^2) from the checkerboard's `onset` on. Positive coherence is
    one colour: with cue 1 it asks for the left side, with cue 0 for the right. Outputs
    are 0, and that of the right side is 1 from onset + grace on.

    dt, trial: ms. target_onset, onset: ms, or a range (low, high): every step in it is
      equally likely. coherences: drawn from (None: uniform in `coherence_range`), its
      sign either. catch: the share of trials without a checkerboard, whose outputs are
      to stay 0. grace: ms from the onset on in which no error counts. weight: of the
      errors after that, relative to 1 before the onset (and throughout a catch trial).
    decision_window: the last ms of a trial. The answer is the larger mean output in it,
      and is correct on the right side; in a catch trial it is if neither is above 0.5.
    test_coherences: of the grid of conditions, for either colour and cue.

    A condition may name `cue`, `coherence` (signed), `choice` (0 left, 1 right),
    `catch` (0, 1) and, in steps, `target_onset`, `onset`, and `decision` (where the
    window begins). Cue and coherence decide on the choice if both are given; it counts
    at coherence 0, whose colour is drawn. A catch trial has these too: those of the
    checkerboard that it does not show.
    Raises InputError for values out of range, a reversed range, no coherences, targets
    that come on after the checkerboard or a decision that a trial is too short for.
    """
    dt = check_dt(dt)
    integer(evidence, low=1, where=f"{WHERE}.evidence")
    steps = in_steps(trial, dt, where=f"{WHERE}.trial", low=1)
    window = in_steps(decision_window, dt, where=f"{WHERE}.decision_window", low=1)
    std = noise_on([False] * 2 + [True] * evidence, noise, dt, dt_ref)
    tested = some_shares(test_coherences, where=f"{WHERE}.test_coherences")
    options = {
        "time": clock(steps),
        "target_onset": span(target_onset, dt, where=f"{WHERE}.target_onset"),
        "onset": span(onset, dt, where=f"{WHERE}.onset"),
        "noise": std,
        "catch": share(catch, where=f"{WHERE}.catch"),
        "grace": np.int32(in_steps(grace, dt, where=f"{WHERE}.grace")),
        "weight": np.float32(number(weight, above=0, where=f"{WHERE}.weight")),
        "decision": np.int32(steps - window),
    }
    if coherences is None:
        place = f"{WHERE}.coherence_range"
        ends = in_order(coherence_range, high=1, where=place)
        options["coherence_range"] = np.array(ends, np.float32)
    else:
        place = f"{WHERE}.coherences"
        options["coherences"] = np.array(
            some_shares(coherences, where=place), np.float32
        )
    _check_order(options, dt)
    first, latest = span(onset, dt, where=f"{WHERE}.onset")
    inputs = ("cue_0", "cue_1", *[f"evidence_{i}" for i in range(evidence)])
    return Paradigm(
        name="checkerboard",
        inputs=inputs,
        outputs=SIDES,
        choices=SIDES,
        steps=steps,
        dt=dt,
        options=options,
        sample=sample,
        score=score,
        conditions=_conditions(tested),
        held=held_at(inputs, std, _moments(tested, inputs[2:])),
        ideal=functools.partial(
            ideal_observer,
            channels=evidence,
            steps=range(steps - latest, steps - first + 1),
            noise=float(std[-1]),
        ),
    )


def sample(key: Array, options: Options, condition: Condition) -> Trial:
    """One trial, a pure function of the key; see `make_checkerboard`."""
    for_scalars, for_noise = jax.random.split(key)
    u = uniform(for_scalars, 6)
    cue, positive = coin(u[0]), coin(u[1])  # their exclusive or is the side
    if "coherence" in condition:
        positive = is_positive(condition["coherence"], positive)
    if "choice" in condition and "coherence" in condition:
        cue = positive ^ given(condition, "choice", cue)
    cue = given(condition, "cue", cue)
    if "choice" in condition:
        positive = cue ^ given(condition, "choice", cue)
    size = _size(u[2], options)
    coherence = given(condition, "coherence", (2 * positive - 1) * size)
    choice = cue ^ is_positive(coherence, positive)
    drawn = {
        "cue": cue,
        "coherence": coherence,
        "choice": choice,
        "catch": given(condition, "catch", coin(u[3], options["catch"])),
        "target_onset": given(
            condition, "target_onset", between(u[4], options["target_onset"])
        ),
        "onset": given(condition, "onset", between(u[5], options["onset"])),
        "decision": given(condition, "decision", jnp.asarray(options["decision"])),
    }
    check_names(condition, drawn)
    time, std = options["time"], options["noise"]
    on = time >= drawn["target_onset"]
    shown = (time >= drawn["onset"]) & (drawn["catch"] == 0)
    due = shown & (time >= drawn["onset"] + options["grace"])
    signal = jnp.where(shown, coherence, 0)[:, None]
    mean = jnp.concatenate(
        [
            on[:, None] * jax.nn.one_hot(cue, 2, dtype=jnp.float32)[None, :],
            jnp.broadcast_to(signal, (len(time), len(std) - 2)),
        ],
        axis=1,
    )
    weights = jnp.where(due, options["weight"], jnp.where(shown, 0.0, 1.0))
    return Trial(
        inputs=mean + std[None, :] * white_noise(for_noise, len(time), len(std)),
        targets=due[:, None] * jax.nn.one_hot(choice, 2, dtype=jnp.float32)[None, :],
        mask=jnp.broadcast_to(weights[:, None], (len(time), 2)),
        condition=drawn,
    )


def score(outputs: Float[Array, "time 2"], trial: Trial) -> dict[str, Array]:
    """The `choice` (0 left, 1 right), and `correct`: 1 if it is, else 0."""
    late = (np.arange(len(outputs)) >= trial.condition["decision"])[:, None]
    choice = jnp.argmax(jnp.where(late, outputs, 0).sum(0)).astype(jnp.int32)
    silent = ~jnp.any(late & (outputs > SILENT))
    right = choice == trial.condition["choice"]
    correct = jnp.where(trial.condition["catch"] == 1, silent, right)
    return {"choice": choice, "correct": correct.astype(jnp.float32)}


def _size(u: Float[Array, ""], options: Options) -> Float[Array, ""]:
    """A coherence without its sign, as the options say how."""
    if "coherences" in options:
        return pick(u, options["coherences"])
    low, high = options["coherence_range"]
    return low + u * (high - low)


def _check_order(options: Options, dt: float) -> None:
    """InputError if targets may follow the checkerboard, or a decision the end."""
    first, last = options["onset"]
    if options["target_onset"][1] > first:
        raise InputError(
            f"{WHERE}.target_onset: expected at most {first * dt:g} ms, the earliest "
            f"onset of the checkerboard, found {options['target_onset'][1] * dt:g}"
        )
    latest = options["decision"] - options["grace"]
    if last > latest:
        raise InputError(
            f"{WHERE}.onset: expected at most {latest * dt:g} ms, so that grace and "
            f"decision_window fit into the trial, found {last * dt:g}"
        )


def _conditions(tested: Sequence[float]) -> dict[str, np.ndarray]:
    """Cue x colour x coherence; the colour is the sign of coherence."""
    cells = grid(cue=(0, 1), positive=(0, 1), size=tested)
    positive = cells["positive"]
    return {
        "cue": cells["cue"],
        "coherence": np.float32(2 * positive - 1) * cells["size"],
        "choice": cells["cue"] ^ positive,
        "catch": np.zeros_like(positive),
    }


def _moments(tested: Sequence[float], evidence: Sequence[str]) -> Moments:
    """With targets on, for each cue: each coherence, and without evidence."""
    return {
        f"cue {cue}, coherence {value:g}": {f"cue_{cue}": 1.0}
        | dict.fromkeys(evidence, value)
        for cue in (0, 1)
        for value in both_signs((0.0, *tested))
    }
