"""A trained stage in use: raw examples in, predictions out, as NumPy."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import Array
from numpy.typing import ArrayLike, NDArray

from kdjax.data.preprocessing import preprocess
from kdjax.errors import InputError
from kdjax.stages.record import Stage

Tree = Any
EXACT = "in_float32"  # the scope of what stays so where a network is quantised
Forward = Callable[[Tree, Array], Array]


@dataclasses.dataclass(frozen=True, repr=False)
class Predictor:
    """A trained stage, called with raw examples: `predictor(x) -> NumPy array`.

    x: [n, ...], the numbers as the data's files have them, channels last; how they are
    scaled is in the stage's record and is done here. `kind` says what comes back:
    "probabilities" [n, classes], "scores" [n] (higher: less normal), "embeddings"
    [n, width] or "outputs" [n, time, outputs]. `reconstruct` gives x as the network
    rebuilds it, on the scale that the network sees, where it does. `classes`,
    `channels` and `shape` (of one example) are those that it learnt from; `record` has
    all else. `forward` is None where an example alone says nothing.

    InputError if x has another shape than [n, *shape], or NaN or Inf.
    """

    kind: str
    record: Mapping[str, Any]
    model: Tree = dataclasses.field(repr=False)
    forward: Forward | None = dataclasses.field(repr=False)
    reconstruction: Forward | None = dataclasses.field(default=None, repr=False)

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self.record["classes"])

    @property
    def channels(self) -> tuple[str, ...]:
        return tuple(self.record["input"]["channels"])

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.record["input"]["shape"])

    def __repr__(self) -> str:
        return (
            f"Predictor of {self.kind}: {self.record['stage']}, {self.record['data']}, "
            f"examples {self.shape}, classes {', '.join(self.classes)}"
        )

    def __call__(self, x: ArrayLike) -> NDArray[np.float32]:
        assert self.forward is not None, "a predictor without has a call of its own"
        return self._in_batches(self.forward, self.prepare(x))

    def prepare(self, x: ArrayLike) -> NDArray[np.float32]:
        """The examples as the network sees them: checked, and scaled by the record."""
        raw = np.asarray(x)
        if raw.shape[1:] != self.shape or raw.ndim != 1 + len(self.shape):
            names = f" ({', '.join(self.channels)})" if self.channels else ""
            raise InputError(
                f"x: expected [n, {', '.join(map(str, self.shape))}]{names}, "
                f"found {raw.shape}"
            )
        if raw.dtype.kind not in "fiu" or not np.isfinite(raw).all():
            raise InputError("x: expected finite numbers, found others")
        return preprocess(self.record["preprocessing"], raw)

    def reconstruct(self, x: ArrayLike) -> NDArray[np.float32]:
        """Raw examples as the network rebuilds them, [n, *shape], scaled."""
        if self.reconstruction is None:
            raise InputError(f"{self.record['stage']}: this task rebuilds nothing")
        return self._in_batches(self.reconstruction, self.prepare(x))

    def _in_batches(self, function: Forward, x: NDArray[np.float32]) -> NDArray[Any]:
        size = self.record["settings"]["config.training"]["eval_batch_size"]
        return in_batches(lambda part: jax.jit(function)(self.model, part), x, size)


def in_batches(function: Callable[[Any], Any], x: Any, size: int) -> Any:
    """`function(x)`, `size` examples at a time, the last batch padded with zeros.

    x: an array, or images in their files. The function's value is an array or a tree of
    arrays, by example; so is what comes back, in NumPy.
    """
    every: Any = None
    for start in range(0, max(len(x), 1), size):
        part = x[start : start + size]
        pad = [(0, size - len(part)), *[(0, 0)] * (part.ndim - 1)]
        found = function(np.pad(part, pad))
        if every is None:  # filled as it goes: a list of parts would be a second copy
            every = jax.tree.map(
                lambda rows: np.empty((len(x), *rows.shape[1:]), rows.dtype), found
            )
        for rows, whole in zip(
            jax.tree.leaves(found), jax.tree.leaves(every), strict=True
        ):
            whole[start : start + size] = np.asarray(rows)[: len(part)]
    return every


def of_stage(
    stage: Stage,
    kind: str,
    model: Tree,
    forward: Forward,
    reconstruction: Forward | None = None,
) -> Predictor:
    """The predictor of a stage, its model on the default device."""
    return Predictor(kind, stage.record, jax.device_put(model), forward, reconstruction)
