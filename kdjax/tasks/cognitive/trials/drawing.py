"""What the paradigms share: checked fields, draws, and noise that is quick to draw."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Shaped

from kdjax.checks import number, numbers
from kdjax.errors import InputError, nearest
from kdjax.tasks.cognitive.trials.trial import WHERE, Condition, Held, in_steps

Number: TypeAlias = int | float
Span: TypeAlias = Number | Sequence[Number]  # a time in ms, or a range (low, high)
Scalar: TypeAlias = Shaped[Array, ""]
# {label: {input: its mean}} of moments; an input that is not named has a mean of 0.
Moments: TypeAlias = Mapping[str, Mapping[str, float]]


def in_order(
    values: Any, *, where: str, low: Number = 0, high: Number | None = None
) -> tuple[float, float]:
    """Two numbers in bounds, the smaller one first; InputError if they are reversed."""
    least, most = numbers(values, length=2, where=where)
    for value in (least, most):
        number(value, low=low, high=high, where=where)
    if least > most:
        raise InputError(
            f"{where}: expected a range (low, high), low first, found {values!r}"
        )
    return least, most


def span(value: Span, dt: float, *, where: str, low: int = 0) -> Int[np.ndarray, " 2"]:
    """The fewest and the most steps of a time or of a range (low, high), in ms."""
    pair = value if isinstance(value, Sequence) else (value, value)
    ends = in_order(pair, where=where)
    return np.array([in_steps(end, dt, where=where, low=low) for end in ends], np.int32)


def some_shares(values: Any, *, where: str) -> tuple[float, ...]:
    """One number or more, each from 0 to 1: coherences."""
    checked = numbers(values, low=0, high=1, where=where)
    if not checked:
        raise InputError(f"{where}: expected one number or more, found none")
    return checked


def share(value: Any, *, where: str) -> np.float32:
    """A share, 0 to 1."""
    return np.float32(number(value, low=0, high=1, where=where))


def noise_on(
    noisy: Sequence[bool], noise: Number, dt: float, dt_ref: Number
) -> Float[np.ndarray, " inputs"]:
    """The std of the noise on each input at each step: 0, or noise sqrt(dt_ref / dt).

    White noise of one std at a step of `dt_ref` ms and, at any other step, of the same
    power: averaged over a stretch of time it does not depend on dt.
    """
    std = number(noise, low=0, where=f"{WHERE}.noise")
    reference = number(dt_ref, above=0, where=f"{WHERE}.dt_ref")
    return np.array(noisy, np.float32) * np.float32(std * math.sqrt(reference / dt))


def clock(steps: int) -> Int[np.ndarray, " time"]:
    """The time of each step; its length tells `sample` that of a trial."""
    return np.arange(steps, dtype=np.int32)


def held_at(
    inputs: Sequence[str], std: Float[np.ndarray, " inputs"], moments: Moments
) -> dict[str, Held]:
    """The inputs of each of the `moments`, with noise of the given `std`."""
    return {
        label: Held(np.array([means.get(name, 0) for name in inputs], np.float32), std)
        for label, means in moments.items()
    }


def grid(**axes: Any) -> dict[str, np.ndarray]:
    """Every combination of the values on the axes, as equal-length vectors by name."""
    rows = list(itertools.product(*axes.values()))
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    kinds = [np.float32 if c.dtype.kind == "f" else np.int32 for c in columns]
    return {
        name: column.astype(kind)
        for name, column, kind in zip(axes, columns, kinds, strict=True)
    }


def both_signs(sizes: Sequence[float]) -> list[float]:
    """Each size with either sign, in rising order; 0 once."""
    zero = {0.0} if 0 in sizes else set()  # not -0, which is written otherwise
    return sorted({sign * size for size in sizes if size for sign in (-1, 1)} | zero)


def given(condition: Condition, name: str, drawn: Scalar) -> Scalar:
    """What the condition gives by `name`, else what was drawn."""
    if name not in condition:
        return drawn
    return jnp.asarray(condition[name], drawn.dtype)


def check_names(condition: Condition, known: Mapping[str, Any]) -> None:
    """InputError for a name in a condition that the paradigm's trials do not have."""
    for name in condition:
        if name not in known:
            raise InputError(f"condition.{name}: unknown name{nearest(name, known)}")


def between(u: Float[Array, ""], bounds: Int[Any, " 2"]) -> Int[Array, ""]:
    """A whole number, both bounds included; uniform if `u` is, on [0, 1)."""
    low, high = bounds[0], bounds[1]
    return low + jnp.int32(u * (high - low + 1))


def pick(u: Float[Array, ""], values: Shaped[Any, "n ..."]) -> Array:
    """One of the values, each as often; `u` is uniform on [0, 1)."""
    return jnp.asarray(values)[jnp.int32(u * len(values))]


def coin(u: Float[Array, ""], probability: Any = 0.5) -> Int[Array, ""]:
    """1 with the given probability, else 0; `u` is uniform on [0, 1)."""
    return jnp.int32(u < probability)


def is_positive(value: Float[Array, ""], otherwise: Int[Array, ""]) -> Int[Array, ""]:
    """1 for a value above 0, 0 for one below, `otherwise` for 0 itself."""
    return jnp.where(value == 0, otherwise, jnp.int32(value > 0))


def uniform(key: Array, n: int) -> Float[Array, " n"]:
    """`n` numbers, uniform on [0, 1)."""
    return jax.random.uniform(key, (n,), jnp.float32)


def white_noise(
    key: Array, steps: int, channels: int
) -> Float[Array, "steps channels"]:
    """Independent numbers from N(0, 1).

    Drawn as two rows, by a loop of two: what a loop gives XLA does not fuse with what
    follows, and so draws along the rows. Fused, it would draw along the few channels,
    which on CPU takes four times as long.
    """
    half = -(-steps * channels // 2)
    rows = jax.lax.map(
        lambda k: jax.random.normal(k, (half,), jnp.float32), jax.random.split(key)
    )
    return rows.reshape(-1)[: steps * channels].reshape(steps, channels)


def check_dt(dt: Any) -> float:
    """The length of a step in ms: above 0."""
    return number(dt, above=0, where=f"{WHERE}.dt")
