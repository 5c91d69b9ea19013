"""Augmentations by name, run inside the compiled step: (keys, batch) -> batch."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray, UInt32

from kdjax.augment.wearable import mix1, mix2, noise, removal, shift
from kdjax.errors import InputError, lookup, nearest

AUGMENTATIONS = {
    "mix1": mix1,
    "mix2": mix2,
    "noise": noise,
    "removal": removal,
    "shift": shift,
}

Keys = Key[Array, " n"] | UInt32[Array, "n 2"]
Augment = Callable[[Keys, Float[Array, "n ..."]], Float[Array, "n ..."]]

__all__ = [
    "AUGMENTATIONS",
    "build",
    "example_keys",
    "mix1",
    "mix2",
    "noise",
    "removal",
    "shift",
]


def build(spec: Mapping[str, Any] | None, *, where: str = "config.augment") -> Augment:
    """`(keys [n], x [n, time, channels]) -> x`, each example by its own key.

    `spec` is {"name": "mix1", **ranges}; None is the identity. Raises an InputError
    that names `where` for an unknown name, an unknown range or one out of bounds.
    """
    if spec is None:
        return _identity
    ranges = dict(spec)
    transform = lookup(ranges.pop("name", ""), AUGMENTATIONS, where=f"{where}.name")
    parameters = inspect.signature(transform).parameters.values()
    known = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    for name, value in ranges.items():
        if name not in known:
            raise InputError(f"{where}.{name}: unknown field{nearest(name, known)}")
        low, high = (0.0, 1.0) if name.endswith("fraction") else (0.0, float("inf"))
        if not (isinstance(value, int | float) and low <= value <= high):
            raise InputError(
                f"{where}.{name}: expected a number {low} to {high}, found {value!r}"
            )
    return jax.vmap(functools.partial(transform, **ranges))


def example_keys(rng: PRNGKeyArray, index: Int[Array, " n"]) -> Keys:
    """One key for each example: `fold_in(rng, index)`.

    An example's randomness is then a function of the step's key and the example's id,
    not of its place in the batch or the device it falls on.
    """
    return jax.vmap(functools.partial(jax.random.fold_in, rng))(index)


def _identity(keys: Keys, x: Float[Array, "n ..."]) -> Float[Array, "n ..."]:
    return x
