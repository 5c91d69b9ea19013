"""Stages whose logits are computed once, on the host: of decoders, people and RDMs.

There is no training loop. The logits are the stage's parameters, so that what reads its
soft labels knows whether they changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from numpy.typing import NDArray

from kdjax.data.dataset import SPLITS, Dataset, index_batches
from kdjax.data.soft_labels import FILE, write_rows
from kdjax.stages import batches
from kdjax.training.metrics import (
    CLASSIFICATION,
    Metric,
    Sums,
    by_name,
    classification_metrics,
    classification_sums,
)
from kdjax.training.parallel import AXIS
from kdjax.training.state import no_step, untrained_state
from kdjax.training.task import Source, Task

Tree = Any
METRICS = CLASSIFICATION | by_name(Metric("entropy", "entropy (nats)", False))


class Rows(NamedTuple):
    """The examples that logits are computed of, whichever split they are in."""

    key: NDArray[np.str_]
    y: NDArray[np.int32]
    split: NDArray[np.str_]


class Solved(NamedTuple):
    """Logits float32 [n, classes] and fold int32 [n] (see `soft_labels`) of the rows.

    extra: other arrays that are the stage's parameters.
    """

    logits: NDArray[np.float32]
    fold: NDArray[np.int32]
    extra: Mapping[str, NDArray[Any]] = {}


def rows_in(dataset: Dataset, splits: tuple[str, ...] = SPLITS) -> Rows:
    """All examples of these splits, one split after another."""
    parts = {name: getattr(dataset, name) for name in splits}
    return Rows(
        key=np.concatenate([part.key for part in parts.values()]),
        y=np.concatenate([part.y for part in parts.values()]),
        split=np.repeat([*parts], [len(part.y) for part in parts.values()]),
    )


def task(
    dataset: Dataset,
    rows: Rows,
    solve: Callable[[], Solved],
    *,
    header: Mapping[str, Any],
    finish: Callable[[Path], None] | None = None,
) -> Task:
    """The task whose logits `solve` gives; it is called when the stage begins.

    Each split is judged on all of the rows. When done the stage leaves its soft labels,
    with the header, and what `finish` writes.
    """
    size = len(rows.y)
    each = Source(size, lambda batch_size, *, epoch: index_batches(size, batch_size))
    sources = dict.fromkeys(SPLITS, each)

    def init(rng: jax.Array) -> Any:
        del rng
        found = solve()
        arrays = {"logits": found.logits, **found.extra}
        return untrained_state(jax.tree.map(jnp.asarray, arrays))

    def leave(reached: Mapping[str, Tree], folder: Path) -> None:
        del reached
        found = solve()
        write_rows(
            folder / FILE,
            key=rows.key,
            label=rows.y,
            split=rows.split,
            fold=found.fold,
            logits=found.logits,
            header={"stage": folder.name, **header},
        )
        if finish is not None:
            finish(folder)

    return Task(
        init=init,
        step=no_step,
        evaluate=_evaluate,
        summarize=_summarize,
        metrics=METRICS,
        data=sources,
        constants=lambda: {"y": rows.y},
        finish=leave,
        about={**batches.about(dataset, sources), **header},
    )


def _evaluate(model: Tree, batch: Tree, constants: Tree) -> Sums:
    logits = model["params"]["logits"][batch["index"]]
    labels, mask = constants["y"][batch["index"]], batch["mask"]
    log_p = jax.nn.log_softmax(logits)
    entropy = -jnp.sum(jnp.exp(log_p) * log_p, axis=-1)
    sums = {"entropy": (jnp.sum(entropy * mask), jnp.sum(mask))}
    return classification_sums(logits, labels, mask) | lax.psum(sums, AXIS)


def _summarize(total: Mapping[str, tuple[Any, Any]]) -> dict[str, Any]:
    entropy = float(total["entropy"][0] / total["entropy"][1])
    return classification_metrics(total) | {"entropy": entropy}
