"""Optimisers and learning-rate schedules by name, on optax.

Lengths in a schedule are fractions of the run, so that a shorter run keeps its shape.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optax

from kdjax.errors import InputError, call, lookup, split_name


def build(
    spec: Mapping[str, Any], *, total_steps: int
) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """(optimizer, schedule) from {"name": ..., "schedule": {"name": ...}, **fields}."""
    name, fields = split_name(spec, where="config.optimizer")
    where = "config.optimizer.schedule"
    rate, rates = split_name(fields.pop("schedule", {}), where=where)
    factory = lookup(rate, SCHEDULES, where=where)
    schedule = call(factory, rates, where=where, total_steps=total_steps)
    factory = lookup(name, OPTIMIZERS, where="config.optimizer")
    return call(factory, fields, where="config.optimizer", schedule=schedule), schedule


def constant(*, total_steps: int, value: float) -> optax.Schedule:
    """The same rate throughout."""
    del total_steps
    return optax.constant_schedule(value)


def steps(
    *, total_steps: int, values: Sequence[float], boundaries: Sequence[float]
) -> optax.Schedule:
    """`values[i]` from fraction `boundaries[i - 1]` of the run on.

    The wearable papers: values (.05, .01, .001, .0001), boundaries (.055, 1/3, 2/3),
    which are 11, 66 and 133 of 200 epochs (Jeon et al. 2021).
    """
    if len(values) != len(boundaries) + 1 or list(boundaries) != sorted(boundaries):
        raise InputError(
            "config.optimizer.schedule: expected one more value than boundaries, "
            f"boundaries ascending; got values {tuple(values)}, "
            f"boundaries {tuple(boundaries)}"
        )
    return optax.join_schedules(
        [optax.constant_schedule(value) for value in values],
        [round(fraction * total_steps) for fraction in boundaries],
    )


def cosine(
    *, total_steps: int, value: float, warmup: float = 0.0, end: float = 0.0
) -> optax.Schedule:
    """Linear from 0 to `value` over the fraction `warmup`, then a half cosine to `end`.

    Loshchilov & Hutter 2017, without restarts.
    """
    if not 0 <= warmup < 1:
        raise InputError(
            f"config.optimizer.schedule.warmup: expected 0 <= warmup < 1, got {warmup}"
        )
    return optax.warmup_cosine_decay_schedule(
        init_value=0.0 if warmup else value,
        peak_value=value,
        warmup_steps=round(warmup * total_steps),
        decay_steps=max(total_steps, 1),
        end_value=end,
    )


def sgd(
    *,
    schedule: optax.Schedule,
    momentum: float = 0.9,
    nesterov: bool = False,
    weight_decay: float = 0.0,
) -> optax.GradientTransformation:
    """SGD with the decay added to the gradient of every parameter, as torch's SGD."""
    return optax.chain(
        optax.add_decayed_weights(weight_decay),
        optax.sgd(schedule, momentum=momentum, nesterov=nesterov),
    )


def adam(
    *, schedule: optax.Schedule, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8
) -> optax.GradientTransformation:
    """Adam (Kingma & Ba 2015)."""
    return optax.adam(schedule, b1=b1, b2=b2, eps=eps)


def adamw(
    *,
    schedule: optax.Schedule,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 1e-2,
) -> optax.GradientTransformation:
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019)."""
    return optax.adamw(schedule, b1=b1, b2=b2, eps=eps, weight_decay=weight_decay)


SCHEDULES: dict[str, Callable[..., optax.Schedule]] = {
    "constant": constant,
    "steps": steps,
    "cosine": cosine,
}
OPTIMIZERS: dict[str, Callable[..., optax.GradientTransformation]] = {
    "sgd": sgd,
    "adam": adam,
    "adamw": adamw,
}
