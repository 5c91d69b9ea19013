"""Twenty cognitive tasks for one network, each trial told which by a rule input.

Yang, Joglekar, Song, Newsome & Wang (2019), Nature Neuroscience 22, 297-306; times,
strengths and weights are those of the authors' published code. A trial is read from
tables: when up to two stimuli come and go, where and how strong they are in each of
two modalities, and where the answer is due. So a batch mixes all tasks, and costs what
one of them costs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Shaped

from kdjax.checks import Number, integer, number, numbers
from kdjax.errors import InputError
from kdjax.tasks.cognitive.trials import yang_rules
from kdjax.tasks.cognitive.trials.trial import (
    WHERE,
    Condition,
    Held,
    Options,
    Paradigm,
    Trial,
    in_steps,
)
from kdjax.tasks.cognitive.trials.yang_rules import (
    CATEGORIES,
    DURATIONS,
    LOCATIONS,
    STRENGTHS,
    TURN,
)

WIDTH = math.pi / 8  # of a bump on the ring, one standard deviation
BUMP = 0.8  # its height, of inputs and of targets
REST = 0.05  # the target of an output that is to be silent
FIXATE = 0.85  # the target of the fixation output while it is to be held
# The authors weight errors before they square them, by 5 and 2.
ANSWERING = 25.0  # the weight of the answer's squared error; 1 before it is due
FIXATION = 4.0  # the fixation output's weight, times that of the time; the ring's is 1
SAME = math.pi / 36  # stimuli nearer than this are at the same place (5 degrees)
TOLERANCE = 0.2 * math.pi  # an answer nearer than this to its target is correct
MEANS = (0.8, 1.2)  # of the strengths of two stimuli to compare
IMBALANCES = (0.2, 0.8)  # of the modalities, as a share, where both count


def make_yang(
    *,
    dt: float = 20.0,
    rules: Sequence[str] | None = None,
    weights: Mapping[str, Number] | None = None,
    ring: int = 32,
    times: yang_rules.Numbers | None = None,
    coherences: Sequence[Number] = (0.01, 0.02, 0.04, 0.08),
    delayed_coherences: Sequence[Number] = (0.08, 0.16, 0.32),
    unweighted: float = 100.0,
    grace: float = 100.0,
    noise: float = 0.01,
    tau: float = 100.0,
    grid_locations: int = 8,
) -> Paradigm:
    """The tasks of Yang et al. (2019), one of which is drawn for every trial.

    Inputs: fixation, two rings of `ring` units (a modality each), a unit a rule.
    Outputs: fixation and a ring: 0.85 / 0.05 while fixation is held, after that 0.05
    and a bump of 0.8 above 0.05 where the answer is. (In the authors' code the fixation
    output's is 0.80.)

    dt, tau: ms; `tau` only scales the noise. rules: names (None: all 20), in the order
      of the rule inputs. weights: {rule: how often, relative to 1} (None: the
      authors', 5 for ctx_dm_1 and ctx_dm_2). A weight of 0 keeps the rule's input.
    times: {name: ms} of those of `yang_rules.RANGES` (drawn between, the upper one left
      out) and `yang_rules.CHOICES` (one of them) that are not to be the authors'.
    coherences: half the difference of the strengths of two stimuli that are shown
      together; delayed_coherences: of two that are shown in turn.
    unweighted, grace: ms without a weight at the trial's start and after the answer is
      due. noise: on each input at each step, its std is `noise * sqrt(2 tau / dt)`.
    grid_locations: of the first stimulus in `conditions`, evenly round the ring.

    A condition may name `rule` (its index), `location_1`, `location_2` (radians),
    `strength_1_2` (stimulus 1, modality 2; 0 is not shown) and so on, and the lengths
    in steps: `onset` before stimulus 1, `first` of it, `gap`, `second` of stimulus 2,
    `wait` until the answer is due, `answer` until the end; all of them within the
    trial's steps. What follows is in a trial's condition too: `due`, `end` (steps) and
    `target` (radians, -1 where fixation is to be held).
    Raises InputError for unknown names and for values out of range.
    """
    dt = number(dt, above=0, where=f"{WHERE}.dt")
    integer(ring, low=3, where=f"{WHERE}.ring")
    integer(grid_locations, low=1, where=f"{WHERE}.grid_locations")
    tau = number(tau, above=0, where=f"{WHERE}.tau")
    std = number(noise, low=0, where=f"{WHERE}.noise") * math.sqrt(2 * tau / dt)
    names = yang_rules.choose(rules)
    drawn = yang_rules.drawn_from(dt, times or {})
    levels = {
        name: numbers(values, low=0, where=f"{WHERE}.{name}")
        for name, values in [
            ("coherences", coherences),
            ("delayed_coherences", delayed_coherences),
        ]
    }
    trials = [yang_rules.steps_of(yang_rules.RULES[name], drawn) for name in names]
    steps = max(sum(map(max, lengths)) for lengths in trials)
    options: dict[str, Any] = {
        "rules": yang_rules.tables(names, drawn, levels),
        "cumulative": yang_rules.cumulative(names, weights),
        # their lengths are those of a trial and of a ring
        "clock": np.arange(steps, dtype=np.int32),
        "directions": np.linspace(0, TURN, ring, endpoint=False, dtype=np.float32),
        "noise": np.float32(std),
        "unweighted": np.int32(in_steps(unweighted, dt, where=f"{WHERE}.unweighted")),
        "grace": np.int32(in_steps(grace, dt, where=f"{WHERE}.grace")),
    }
    shortest = min(min(answers) for *_, answers in trials)
    if options["grace"] >= shortest:
        raise InputError(
            f"{WHERE}.grace: expected less than the shortest answer, "
            f"{shortest * dt:g} ms, found {grace!r}"
        )
    rings = [f"modality_{m}_{i}" for m in (1, 2) for i in range(ring)]
    inputs = ("fixation", *rings, *[f"rule_{name}" for name in names])
    fixating = np.zeros((len(names), len(inputs)), np.float32)
    fixating[:, 0] = 1
    fixating[:, -len(names) :] = np.eye(len(names))
    noises = np.full(len(inputs), std, np.float32)
    return Paradigm(
        name="yang",
        inputs=inputs,
        outputs=("fixation", *[f"direction_{i}" for i in range(ring)]),
        choices=(),
        steps=steps,
        dt=dt,
        options=options,
        sample=sample,
        score=score,
        conditions=yang_rules.grid(names, drawn, levels, grid_locations),
        held={n: Held(m, noises) for n, m in zip(names, fixating, strict=True)},
    )


def sample(key: Array, options: Options, condition: Condition) -> Trial:
    """A trial of the rule that `condition` names, or of one that is drawn.

    All inputs have noise until the trial's end. Mask: 0 for the unweighted start, 1
    until the answer is due, 0 for the grace period, 25 until the end, 0 after it; four
    times that for the fixation output.
    """
    options = jax.tree.map(jnp.asarray, options)
    drawn, noise = jax.random.split(key)
    # one call for all of them: it is the calls that take long to compile
    u_rule, u_steps, u_places, u_strengths = jnp.split(
        jax.random.uniform(drawn, (24,)), (1, 7, 12)
    )
    cumulative = options["cumulative"]
    rule = jnp.searchsorted(cumulative, u_rule, side="right").astype(jnp.int32)
    (rule,) = _given(condition, ["rule"], rule)
    row = {name: table[rule] for name, table in options["rules"].items()}
    steps = _choose(u_steps, row["steps"], row["step_counts"])
    steps = _given(condition, DURATIONS, steps)
    locations = _given(condition, LOCATIONS, _locations(u_places, row))
    strengths = _strengths(u_strengths.reshape(6, 2), row).reshape(4)
    strengths = _given(condition, STRENGTHS, strengths).reshape(2, 2)
    target = _target(row, locations, strengths)
    shown, due, end = _moments(row, steps)

    values = [rule, *steps, *locations, *strengths.reshape(4), due, end, target]
    known = ("rule", *DURATIONS, *LOCATIONS, *STRENGTHS, "due", "end", "target")
    clock, directions = options["clock"], options["directions"]
    bumps = strengths[:, :, None] * _bump(locations, directions)[:, None, :]
    after = shown[None] <= clock[:, None, None]
    there = after[..., 0] & ~after[..., 1]
    # a sum, not a product of matrices: a TPU would round strengths to 8 bits
    rings = jnp.sum(there[:, :, None, None] * bumps[None], axis=1)
    fixation = clock < jnp.where(row["fixated"], end, due)
    cues = jax.nn.one_hot(rule, len(cumulative))
    cues = jnp.broadcast_to(cues, (len(clock), len(cues)))
    rings = rings.reshape(len(clock), -1)
    inputs = jnp.concatenate([fixation[:, None], rings, cues], axis=1)
    inputs += options["noise"] * jax.random.normal(noise, inputs.shape)
    return Trial(
        inputs=inputs * (clock < end)[:, None],
        targets=_answer((clock >= due) & (target >= 0), target, directions),
        mask=_weights(options, due, end),
        condition=dict(zip(known, values, strict=True)),
    )


def score(
    outputs: Float[Array, "time outputs"], trial: Trial
) -> dict[str, Float[Array, ""]]:
    """{"correct": 1 or 0}, by the outputs at the trial's last step.

    Fixation is held if its output is above 0.5. It must be where no answer is due; else
    it must not, and the direction of the ring's population vector must be within 36
    degrees of the target.
    """
    last = outputs[trial.condition["end"] - 1]
    ring = last[1:]
    directions = TURN * jnp.arange(len(ring)) / len(ring)
    towards = jnp.sum(ring * jnp.cos(directions)), jnp.sum(ring * jnp.sin(directions))
    answer = jnp.arctan2(towards[1], towards[0])
    target = trial.condition["target"]
    near = _distance(answer, target) < TOLERANCE
    held = last[0] > 0.5
    correct = jnp.where(target < 0, held, near & ~held)
    return {"correct": correct.astype(outputs.dtype)}


def _given(condition: Condition, names: Sequence[str], values: Array) -> Array:
    """`values`, those that `condition` names replaced by what it says."""
    pairs = zip(names, values, strict=True)
    said = [jnp.asarray(condition.get(n, v), values.dtype) for n, v in pairs]
    return jnp.stack(said)


def _choose(
    u: Float[Array, " n"], values: Shaped[Array, "n most"], counts: Int[Array, " n"]
) -> Shaped[Array, " n"]:
    """Of each row of `values` one of the first `counts`; u: uniform in [0, 1)."""
    index = (u * counts).astype(jnp.int32)[:, None]
    return jnp.take_along_axis(values, index, axis=1)[:, 0]


def _locations(
    u: Float[Array, " five"], row: dict[str, Array]
) -> Float[Array, " stimuli"]:
    """Where the stimuli are, radians in [0, 2 pi); u: uniform in [0, 1)."""
    place, between, match = u[:3]
    first = TURN * place
    apart = math.pi + row["spread"] * (2 * between - 1)
    same = (row["match"] != 0) & (match < 0.5)
    second = jnp.mod(first + jnp.where(same, 0.0, apart), TURN)
    category = jnp.asarray(CATEGORIES)[(u[3:] * len(CATEGORIES)).astype(jnp.int32)]
    return jnp.where(row["categories"], category, jnp.stack([first, second]))


def _strengths(
    u: Float[Array, "6 2"], row: dict[str, Array]
) -> Float[Array, "stimuli modalities"]:
    """How strong each stimulus is in each modality; u: uniform in [0, 1).

    To compare: m + c and m - c, with a mean m and a coherence c of either sign for each
    modality. Where both modalities count, m and c are the same in both, and of each
    stimulus b / 2 of its strength is moved from one modality to the other.
    """
    mean, level, sign, balance, side, modality = u
    low, high = MEANS
    means = low + (high - low) * mean
    levels = jnp.broadcast_to(row["levels"], (2, *row["levels"].shape))
    counts = jnp.broadcast_to(row["level_counts"], 2)
    coherences = _choose(level, levels, counts) * jnp.where(sign < 0.5, 1, -1)
    signs = jnp.asarray([1, -1])
    each = means[None] + signs[:, None] * coherences[None]
    low, high = IMBALANCES
    moved = (low + (high - low) * balance) / 2 * jnp.where(side < 0.5, 1, -1)
    shared = each[:, :1] * (1 + moved[:, None] * signs[None])
    compared = jnp.where(row["shared"], shared, each) * row["shown"][None]
    alone = jnp.stack([modality < 0.5, modality >= 0.5], axis=1)
    drawn = jnp.where(jnp.any(row["shown"] > 0), compared, alone)
    return drawn * jnp.stack([jnp.ones((), bool), row["pair"]])[:, None]


def _target(
    row: dict[str, Array],
    locations: Float[Array, " stimuli"],
    strengths: Float[Array, "stimuli modalities"],
) -> Float[Array, ""]:
    """The direction of the answer, or -1 where fixation is to be held."""
    first, second = jnp.sum(strengths * row["attended"][None], axis=1)
    to_second = (row["match"] != 0) | (first <= second)
    answer = jnp.mod(locations[to_second.astype(jnp.int32)] + row["turn"], TURN)
    same = jnp.where(
        row["categories"],
        (locations[0] < math.pi) == (locations[1] < math.pi),
        _distance(locations[0], locations[1]) < SAME,
    )
    go = (row["match"] == 0) | (same == (row["match"] > 0))
    return jnp.where(go, answer, -1.0)


def _moments(
    row: dict[str, Array], steps: Int[Array, " durations"]
) -> tuple[Int[Array, "stimuli 2"], Int[Array, ""], Int[Array, ""]]:
    """(start and end of each stimulus, when the answer is due, the end), in steps."""
    on_1, off_1, on_2, off_2, due, end = jnp.cumsum(steps)
    first = jnp.stack([on_1, off_1])
    second = jnp.where(row["together"], first, jnp.stack([on_2, off_2]))
    shown = jnp.stack([first, second])
    last = jnp.where(row["pair"], 1, 0)
    until = jnp.where(row["stays"], end, shown[last, 1])
    return shown.at[last, 1].set(until), due, end


def _answer(
    answering: Bool[Array, " time"],
    target: Float[Array, ""],
    directions: Float[Array, " ring"],
) -> Float[Array, "time outputs"]:
    """What fixation and the ring should be: at `target` while answering, else held."""
    fixation = jnp.where(answering, REST, FIXATE)
    ring = REST + answering[:, None] * _bump(target[None], directions)
    return jnp.concatenate([fixation[:, None], ring], axis=1)


def _weights(
    options: Options, due: Int[Array, ""], end: Int[Array, ""]
) -> Float[Array, "time outputs"]:
    """The weight of each squared error."""
    clock = options["clock"]
    answer = (clock >= due + options["grace"]) & (clock < end)
    before = clock >= options["unweighted"]
    weight = jnp.where(clock < due, before, ANSWERING * answer)
    outputs = jnp.ones(1 + len(options["directions"])).at[0].set(FIXATION)
    return weight[:, None] * outputs[None]


def _bump(
    locations: Float[Array, " n"], directions: Float[Array, " ring"]
) -> Float[Array, "n ring"]:
    """A bump of activity of each location: 0.8 exp(-(distance / (pi / 8))^2 / 2)."""
    distance = _distance(locations[:, None], directions[None])
    return BUMP * jnp.exp(-jnp.square(distance / WIDTH) / 2)


def _distance(a: Array, b: Array) -> Array:
    """The angle between two directions, radians in [0, pi]."""
    apart = jnp.mod(jnp.abs(a - b), TURN)
    return jnp.minimum(apart, TURN - apart)
