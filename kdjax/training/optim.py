"""Optimisers and learning-rate schedules by name, on optax.

Lengths in a schedule are fractions of the run, so that a shorter run keeps its shape.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.typing import ArrayLike

from kdjax.checks import boolean, integer, number, numbers
from kdjax.errors import InputError, call, lookup, record_settings, split_name
from kdjax.patterns import match
from kdjax.training import averaging
from kdjax.training.averaging import WHERE

# the fields of every optimizer, and their defaults
COMMON: dict[str, Any] = {"accumulate": 1, "clip_norm": None, "ema": None}


def build(
    spec: Mapping[str, Any], *, total_steps: int, batch_size: int
) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """(optimizer, schedule) from {"name": ..., "schedule": {"name": ...}, **fields}.

    `accumulate`: update once in so many steps, by the mean of their gradients (by
    optax.MultiSteps); what follows `total_steps` then counts updates. `schedule` may
    have a `scaling` of its values by the batch size B, over all devices and accumulated
    steps: "linear", B / 256, or "sqrt", sqrt(B) (SimCLR's rules, of Goyal et al. 2017).
    A field outside its range (`FIELDS`), or more steps to accumulate than the run has,
    is an InputError.
    """
    name, fields = split_name(spec, where=WHERE)
    every, clip, _ = (fields.pop(field, default) for field, default in COMMON.items())
    record_settings({WHERE: COMMON})
    integer(every, where=f"{WHERE}.accumulate", low=1)
    if clip is not None:
        number(clip, where=f"{WHERE}.clip_norm", above=0)
    averaging.decay(spec)
    if 0 < total_steps < every:
        raise InputError(
            f"{WHERE}.accumulate: expected at most the {total_steps} steps of the run, "
            f"found {every}"
        )
    where = f"{WHERE}.schedule"
    rate, rates = split_name(fields.pop("schedule", {}), where=where)
    rule = rates.pop("scaling", "none")
    factor = lookup(rule, SCALINGS, where=f"{where}.scaling")(batch_size * every)
    unscaled = schedule(
        {"name": rate, **rates}, total_steps=total_steps // every, where=where
    )

    def scaled(update: ArrayLike) -> Array:
        return jnp.asarray(factor * unscaled(update))

    factory = lookup(name, OPTIMIZERS, where=WHERE)
    optimizer = _call(factory, fields, where=WHERE, schedule=scaled)
    if clip is not None:
        optimizer = optax.chain(optax.clip_by_global_norm(clip), optimizer)
    if every == 1:
        return optimizer, scaled
    accumulated = optax.MultiSteps(optimizer, every_k_schedule=every)
    return accumulated.gradient_transformation(), lambda step: scaled(step // every)


def schedule(
    spec: Mapping[str, Any], *, total_steps: int, where: str
) -> optax.Schedule:
    """step -> number, of {"name": one of SCHEDULES, **fields}; InputError."""
    name, fields = split_name(spec, where=where)
    factory = lookup(name, SCHEDULES, where=where)
    made: optax.Schedule = _call(factory, fields, where=where, total_steps=total_steps)
    return made


def holding(
    optimizer: optax.GradientTransformation, patterns: Sequence[str]
) -> optax.GradientTransformation:
    """`optimizer`, but parameters whose paths match a pattern keep their values.

    Neither a cost of the weights nor a decay moves them, and it has no state for them.
    """
    if not patterns:
        return optimizer
    both = {"held": optax.set_to_zero(), "moved": optimizer}

    def labels(params: Any) -> Any:
        return by_path(
            lambda path, _: "held" if match(patterns, path) else "moved", params
        )

    return optax.multi_transform(both, labels)


def at_rates(
    optimizer: optax.GradientTransformation, rates: Mapping[str, float]
) -> optax.GradientTransformation:
    """`optimizer`, its updates times the rate of the first pattern that matches.

    Over the whole path of a parameter; 1 where none does.
    """
    if not rates:
        return optimizer

    def factor(path: str) -> float:
        return next((r for p, r in rates.items() if match([p], path)), 1.0)

    def scaled(updates: Any, params: Any) -> Any:
        del params
        return by_path(lambda path, update: factor(path) * update, updates)

    return optax.chain(optimizer, optax.stateless(scaled))


def frozen(params: Any, patterns: Sequence[str]) -> Any:
    """`params`, without a gradient where a pattern matches: it is not computed."""
    if not patterns:
        return params
    return by_path(
        lambda path, x: jax.lax.stop_gradient(x) if match(patterns, path) else x, params
    )


def paths(tree: Any) -> list[str]:
    """The path of every leaf of a tree of dicts: "encoder/norm/scale"."""
    return jax.tree.leaves(by_path(lambda path, _: path, tree))


def by_path(function: Callable[[str, Any], Any], tree: Any) -> Any:
    """The tree of `function(path, leaf)` of every leaf, by its path in `paths`."""

    def named(keys: tuple[Any, ...], leaf: Any) -> Any:
        return function("/".join(key.key for key in keys), leaf)

    return jax.tree_util.tree_map_with_path(named, tree)


def _call(
    factory: Callable[..., Any], fields: Mapping[str, Any], *, where: str, **given: Any
) -> Any:
    """`errors.call`, with each of the fields checked by `FIELDS`."""
    checked = {
        name: FIELDS[name](value, where=f"{where}.{name}") if name in FIELDS else value
        for name, value in fields.items()
    }
    return call(factory, checked, where=where, **given)


def constant(*, total_steps: int, value: float) -> optax.Schedule:
    """The same rate, `value`, throughout."""
    del total_steps
    return optax.constant_schedule(value)


def linear(
    *, total_steps: int, end: float, begin: float = 0.0, over: float = 1.0
) -> optax.Schedule:
    """From `begin` to `end` over the fraction `over` of the run, and then `end`."""
    return optax.linear_schedule(begin, end, max(1, round(over * total_steps)))


def steps(
    *, total_steps: int, values: Sequence[float], boundaries: Sequence[float]
) -> optax.Schedule:
    """`values[i]` from fraction `boundaries[i - 1]` of the run on.

    The wearable papers: values (.05, .01, .001, .0001), boundaries (.055, 1/3, 2/3),
    which are 11, 66 and 133 of 200 epochs (Jeon et al. 2021).
    """
    where = f"{WHERE}.schedule"
    if len(values) != len(boundaries) + 1:
        raise InputError(
            f"{where}.values: expected one more value than boundaries, "
            f"found {len(values)} and {len(boundaries)}"
        )
    if any(a >= b for a, b in pairwise(boundaries)):
        raise InputError(
            f"{where}.boundaries: expected ascending fractions of the run, "
            f"found {tuple(boundaries)}"
        )
    return optax.join_schedules(
        [optax.constant_schedule(value) for value in values],
        [round(fraction * total_steps) for fraction in boundaries],
    )


def cosine(
    *, total_steps: int, value: float, warmup: float = 0.0, end: float = 0.0
) -> optax.Schedule:
    """Linear from 0 to `value` over the fraction `warmup`, then a half cosine to `end`.

    The last step at least is of the cosine. Loshchilov & Hutter 2017, without restarts.
    """
    total_steps = max(total_steps, 1)
    return optax.warmup_cosine_decay_schedule(
        init_value=0.0 if warmup else value,
        peak_value=value,
        warmup_steps=min(round(warmup * total_steps), total_steps - 1),
        decay_steps=total_steps,
        end_value=end,
    )


def sgd(
    *,
    schedule: optax.Schedule,
    momentum: float = 0.9,
    nesterov: bool = False,
    weight_decay: float = 0.0,
) -> optax.GradientTransformation:
    """SGD with the decay added to the gradient of every parameter, as torch's SGD.

    momentum: in [0, 1); nesterov: Nesterov's form of it; weight_decay: the factor of
    the parameter that is added.
    """
    return optax.chain(
        optax.add_decayed_weights(weight_decay),
        optax.sgd(schedule, momentum=momentum, nesterov=nesterov),
    )


def adam(
    *, schedule: optax.Schedule, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8
) -> optax.GradientTransformation:
    """Adam (Kingma & Ba 2015).

    b1, b2: how much the means of the gradient and of its square keep at a step, in
    [0, 1); eps: added to the root of the latter.
    """
    return optax.adam(schedule, b1=b1, b2=b2, eps=eps)


def adamw(
    *,
    schedule: optax.Schedule,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 1e-2,
) -> optax.GradientTransformation:
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019).

    b1, b2, eps: as Adam's; weight_decay: times the rate, of every parameter.
    """
    return optax.adamw(schedule, b1=b1, b2=b2, eps=eps, weight_decay=weight_decay)


def lars(
    *,
    schedule: optax.Schedule,
    momentum: float = 0.9,
    weight_decay: float = 1e-6,
    trust_coefficient: float = 1e-3,
) -> optax.GradientTransformation:
    """LARS as SimCLR has it: for every kernel w with gradient g, and d = g + decay w,

        v <- momentum v + rate * (trust |w| / |d|) d,   w <- w - v

    where a norm of zero makes the ratio 1. Biases and batch norm's parameters (those of
    one axis) have neither the decay nor the ratio. It is optax.lars with these masks,
    exactly. weight_decay: "decay" above; trust_coefficient: "trust". You, Gitman &
    Ginsburg 2017; Chen et al. 2020.
    """
    return optax.lars(
        schedule,
        weight_decay=weight_decay,
        weight_decay_mask=_kernels,
        trust_coefficient=trust_coefficient,
        trust_ratio_mask=_kernels,
        momentum=momentum,
    )


def _kernels(params: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf.ndim > 1, params)


_rate = partial(number, low=0)
_share = partial(number, low=0, below=1)
# what a field may be, in whichever optimizer or schedule it is
FIELDS: dict[str, Callable[..., Any]] = {
    "b1": _share,
    "begin": _rate,
    "b2": _share,
    "boundaries": partial(numbers, low=0, high=1),
    "end": _rate,
    "eps": partial(number, above=0),
    "momentum": _share,
    "nesterov": boolean,
    "over": partial(number, above=0, high=1),
    "trust_coefficient": partial(number, above=0),
    "value": _rate,
    "values": partial(numbers, low=0),
    "warmup": _share,
    "weight_decay": partial(number, low=0),
}
SCALINGS: dict[str, Callable[[int], float]] = {
    "none": lambda batch_size: 1.0,
    "linear": lambda batch_size: batch_size / 256,
    "sqrt": lambda batch_size: batch_size**0.5,
}
SCHEDULES: dict[str, Callable[..., optax.Schedule]] = {
    "constant": constant,
    "linear": linear,
    "steps": steps,
    "cosine": cosine,
}
OPTIMIZERS: dict[str, Callable[..., optax.GradientTransformation]] = {
    "sgd": sgd,
    "adam": adam,
    "adamw": adamw,
    "lars": lars,
}
