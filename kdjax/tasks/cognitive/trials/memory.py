"""Working memory: act on, or compare with, what was shown before a delay."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from kdjax.checks import integer
from kdjax.errors import InputError
from kdjax.tasks.cognitive.trials import answering
from kdjax.tasks.cognitive.trials.drawing import (
    Number,
    Span,
    coin,
    given,
    grid,
    in_order,
    is_positive,
    pick,
    share,
    uniform,
)
from kdjax.tasks.cognitive.trials.trial import (
    WHERE,
    Condition,
    Options,
    Paradigm,
    Trial,
)

GO_NOGO = ("fixation", "stimulus", "delay", "response")
MATCH = ("fixation", "sample", "delay", "test", "response")
COMPARE = ("fixation", "first", "delay", "second", "response")


def make_go_nogo(
    *,
    dt: Number = 20.0,
    fixation: Span = 300.0,
    stimulus: Span = 500.0,
    delay: Span = (300.0, 700.0),
    response: Span = 500.0,
    go: Number = 0.5,
    noise: Number = 0.1,
    dt_ref: Number = 20.0,
    grace: Number = 100.0,
    weight: Number = 1.0,
) -> Paradigm:
    """Go after one stimulus, keep still after the other, once the delay is over.

    Fixation, the stimulus (the `nogo` or the `go` input is 1), a delay, the response.
    The fixation input is 1 until the response. Outputs: fixation, go; after a no-go
    stimulus fixation is to be held on.

    The delayed go/no-go task as in Zhang et al. (2019), eLife 8, e43191; times as in
    neurogym's GoNogo, but for a fixation of 300 ms and a delay that is drawn.

    Times in ms, or ranges (low, high). go: the share of go trials. noise: the std of
    the noise on the stimulus inputs at a step of dt_ref ms. grace, weight: see
    `answering.answer`.
    A condition may name `choice` (0 no-go, 1 go) and the periods, in steps.
    Raises InputError for values out of range and a grace not shorter than the response.
    """
    fixating = {"fixation": 1.0}
    return answering.make(
        "go_nogo",
        sample=sample_go_nogo,
        times=dict(zip(GO_NOGO, (fixation, stimulus, delay, response), strict=True)),
        dt=dt,
        noise=noise,
        dt_ref=dt_ref,
        grace=grace,
        weight=weight,
        inputs={"fixation": False, "nogo": True, "go": True},
        outputs=("fixation", "go"),
        choices=("nogo", "go"),
        options={"go": share(go, where=f"{WHERE}.go")},
        conditions=grid(choice=(0, 1)),
        moments={
            "delay": fixating,
            "nogo": fixating | {"nogo": 1.0},
            "go": fixating | {"go": 1.0},
        },
    )


def sample_go_nogo(key: Array, options: Options, condition: Condition) -> Trial:
    """One trial, a pure function of the key; see `make_go_nogo`."""
    for_scalars, for_periods, for_noise = jax.random.split(key, 3)
    period, lengths = answering.draw_periods(for_periods, GO_NOGO, options, condition)
    go = given(condition, "choice", coin(uniform(for_scalars, 1)[0], options["go"]))
    shown = period == GO_NOGO.index("stimulus")
    return answering.answer(
        for_noise,
        options,
        condition,
        means=[
            period < GO_NOGO.index("response"),
            shown & (go == 0),
            shown & (go == 1),
        ],
        asked=go,
        outputs=2,
        drawn={"choice": go} | lengths,
    )


def make_match_to_sample(
    *,
    dt: Number = 20.0,
    fixation: Span = 300.0,
    sample: Span = 500.0,
    delay: Span = (500.0, 1500.0),
    test: Span = 500.0,
    response: Span = 500.0,
    stimuli: int = 2,
    match: Number = 0.5,
    noise: Number = 0.1,
    dt_ref: Number = 20.0,
    grace: Number = 100.0,
    weight: Number = 1.0,
) -> Paradigm:
    """Is the test the same stimulus as the sample, which was shown before a delay?

    Fixation, the sample, a delay, the test, the response. Each of `stimuli` has an
    input that is 1 while it is shown; the fixation input is 1 until the response.
    Outputs: fixation, match, nonmatch. A test that does not match is any of the others.

    Delayed match to sample: Miller, Erickson & Desimone (1996), J. Neurosci. 16, 5154;
    times as in neurogym's DelayMatchSample, but for a delay that is drawn (there it is
    its mean, 1 s) and a response of 500 ms.

    Times in ms, or ranges (low, high). match: the share of trials that match. noise:
    the std of the noise on the stimulus inputs at a step of dt_ref ms. grace, weight:
    see `answering.answer`.
    A condition may name the stimuli, `sample_stimulus` and `test_stimulus` (0, 1, ...),
    `choice` (0 match, 1 nonmatch; where both stimuli are given they decide) and the
    periods, in steps.
    Raises InputError for values out of range and a grace not shorter than the response.
    """
    integer(stimuli, low=2, where=f"{WHERE}.stimuli")
    shown = [f"stimulus_{i}" for i in range(stimuli)]
    fixating = {"fixation": 1.0}
    return answering.make(
        "match_to_sample",
        sample=sample_match_to_sample,
        times=dict(zip(MATCH, (fixation, sample, delay, test, response), strict=True)),
        dt=dt,
        noise=noise,
        dt_ref=dt_ref,
        grace=grace,
        weight=weight,
        inputs={"fixation": False} | dict.fromkeys(shown, True),
        outputs=("fixation", "match", "nonmatch"),
        choices=("match", "nonmatch"),
        options={"match": share(match, where=f"{WHERE}.match")},
        conditions=grid(sample_stimulus=range(stimuli), test_stimulus=range(stimuli)),
        moments={"delay": fixating} | {name: fixating | {name: 1.0} for name in shown},
    )


def sample_match_to_sample(key: Array, options: Options, condition: Condition) -> Trial:
    """One trial, a pure function of the key; see `make_match_to_sample`."""
    for_scalars, for_periods, for_noise = jax.random.split(key, 3)
    u = uniform(for_scalars, 3)
    period, lengths = answering.draw_periods(for_periods, MATCH, options, condition)
    stimuli = len(options["noise"]) - 1
    choice = given(condition, "choice", 1 - coin(u[0], options["match"]))
    # the test is so many stimuli further on, counted round
    further = choice * (1 + jnp.int32(u[1] * (stimuli - 1)))
    first = pick(u[2], np.arange(stimuli, dtype=np.int32))
    if "test_stimulus" in condition:
        first = (given(condition, "test_stimulus", first) - further) % stimuli
    first = given(condition, "sample_stimulus", first)
    second = given(condition, "test_stimulus", (first + further) % stimuli)
    choice = jnp.int32(first != second)
    means = [
        ((period == MATCH.index("sample")) & (first == i))
        | ((period == MATCH.index("test")) & (second == i))
        for i in range(stimuli)
    ]
    return answering.answer(
        for_noise,
        options,
        condition,
        means=[period < MATCH.index("response"), *means],
        asked=1 + choice,
        outputs=3,
        drawn={"sample_stimulus": first, "test_stimulus": second, "choice": choice}
        | lengths,
    )


def make_parametric_working_memory(
    *,
    dt: Number = 20.0,
    fixation: Span = 500.0,
    first: Span = 500.0,
    delay: Span = 3000.0,
    second: Span = 500.0,
    response: Span = 500.0,
    pairs: Sequence[Sequence[Number]] = (
        (10, 18),
        (14, 22),
        (18, 26),
        (22, 30),
        (26, 34),
    ),
    frequency_range: Sequence[Number] = (10.0, 34.0),
    noise: Number = 0.1,
    dt_ref: Number = 20.0,
    grace: Number = 100.0,
    weight: Number = 1.0,
) -> Paradigm:
    """Which of two vibrations, a delay apart, has the higher frequency?

    Fixation, the first vibration, a delay, the second, the response. Two inputs carry a
    frequency f while it is felt: `rising` (f - low) / (high - low) and `falling`,
    1 minus that, as neurons of either slope do; so they add up to 1. The fixation input
    is 1 until the response. Outputs: fixation, first_higher, second_higher.

    Romo, Brody, Hernandez & Lemus (1999), Nature 399, 470: 500 ms each, a delay of 3 s,
    pairs 8 Hz apart.

    Times in ms, or ranges (low, high). pairs: of frequencies in Hz, the lower one
    first; drawn in either order. frequency_range: (low, high). noise: the std of the
    noise on the frequency inputs at a step of dt_ref ms. grace, weight: see
    `answering.answer`.
    A condition may name `f1` and `f2` (Hz), `choice` (0 the first is higher, 1 the
    second; where both frequencies are given they decide, unless equal) and the periods,
    in steps. Where one frequency is given, the other is of a pair that is drawn.
    Raises InputError for values out of range, no pairs and a grace not shorter than the
    response.
    """
    ends = in_order(frequency_range, where=f"{WHERE}.frequency_range")
    if ends[0] == ends[1]:
        raise InputError(
            f"{WHERE}.frequency_range: expected two different frequencies, found "
            f"{frequency_range!r}"
        )
    known = _pairs(pairs, ends)
    cells = grid(choice=(0, 1), pair=range(len(known)))
    low_high = known[cells["pair"]]
    up = cells["choice"] == 1
    fixating = {"fixation": 1.0}
    moments = {"delay": fixating}
    for frequency in sorted({float(f) for f in known.flat}):
        rising = (frequency - ends[0]) / (ends[1] - ends[0])
        felt = {"rising": rising, "falling": 1 - rising}
        moments[f"{frequency:g} Hz"] = fixating | felt
    return answering.make(
        "parametric_working_memory",
        sample=sample_parametric_working_memory,
        times=dict(
            zip(COMPARE, (fixation, first, delay, second, response), strict=True)
        ),
        dt=dt,
        noise=noise,
        dt_ref=dt_ref,
        grace=grace,
        weight=weight,
        inputs={"fixation": False, "rising": True, "falling": True},
        outputs=("fixation", "first_higher", "second_higher"),
        choices=("first_higher", "second_higher"),
        options={"pairs": known, "frequency_range": np.array(ends, np.float32)},
        conditions={
            "f1": np.where(up, low_high[:, 0], low_high[:, 1]),
            "f2": np.where(up, low_high[:, 1], low_high[:, 0]),
        },
        moments=moments,
    )


def sample_parametric_working_memory(
    key: Array, options: Options, condition: Condition
) -> Trial:
    """One trial, a pure function of the key; see `make_parametric_working_memory`."""
    for_scalars, for_periods, for_noise = jax.random.split(key, 3)
    u = uniform(for_scalars, 2)
    period, lengths = answering.draw_periods(for_periods, COMPARE, options, condition)
    choice = given(condition, "choice", coin(u[0]))
    pair = pick(u[1], options["pairs"])
    f1 = given(condition, "f1", pair[1 - choice])
    f2 = given(condition, "f2", pair[choice])
    choice = is_positive(f2 - f1, choice)
    low, high = options["frequency_range"][0], options["frequency_range"][1]
    felt = [(period == COMPARE.index(name)) for name in ("first", "second")]
    rising = (felt[0] * (f1 - low) + felt[1] * (f2 - low)) / (high - low)
    return answering.answer(
        for_noise,
        options,
        condition,
        means=[
            period < COMPARE.index("response"),
            rising,
            (felt[0] | felt[1]) - rising,
        ],
        asked=1 + choice,
        outputs=3,
        drawn={"f1": f1, "f2": f2, "choice": choice} | lengths,
    )


def _pairs(
    pairs: Sequence[Sequence[Number]], ends: tuple[float, float]
) -> Float[np.ndarray, "pairs 2"]:
    """The pairs of frequencies, each in order and inside the range."""
    if not len(pairs):
        raise InputError(f"{WHERE}.pairs: expected one pair or more, found none")
    return np.array(
        [
            in_order(pair, low=ends[0], high=ends[1], where=f"{WHERE}.pairs[{i}]")
            for i, pair in enumerate(pairs)
        ],
        np.float32,
    )
