"""The task `similarity`: does a network find alike what a brain finds alike?

A frozen network's representations of 92 photographs, their dissimilarities, and how
these correlate with those of a subject's inferior temporal cortex (IT). The subject and
the test images are those that a stage of `rdm` with the subject "others" leaves out, so
that a network taught by it is judged on neither.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Float

from kdjax.data.dataset import SPLITS, index_batches
from kdjax.data.dissimilarities import (
    correlation_rdm,
    noise_ceiling,
    spearman,
    subject_ceilings,
)
from kdjax.data.human.human92 import SUBJECTS
from kdjax.data.stored_rdm import FILE, write_rdm
from kdjax.errors import InputError
from kdjax.stages import batches, representations
from kdjax.tasks.brain import predicted
from kdjax.tasks.brain.rdm import left_out, photographs
from kdjax.training.metrics import Metric, Sums, by_name
from kdjax.training.parallel import AXIS
from kdjax.training.state import no_step, untrained_state
from kdjax.training.task import Source, Task, Training

Tree = Any
METRICS = by_name(
    Metric("it", "correlation with IT", True, headline=True),
    Metric("lower", "noise ceiling, lower", True),
    Metric("upper", "noise ceiling, upper", True),
    Metric("loss", "1 - correlation with IT", False),
)


class Judged(NamedTuple):
    """Spearman's correlations with the left-out subject's IT over pairs of images.

    it: of the network. lower, upper: of the mean of the other subjects, and of all: the
    best network's would lie between (`noise_ceiling`).
    """

    it: float
    lower: float
    upper: float


def make(
    *,
    data: Mapping[str, Any],
    training: Training,
    seed: int,
    encoder: Mapping[str, Any] | None = None,
    model: Mapping[str, Any] | None = None,
) -> Task:
    """The task of one stage; nothing is learnt.

    Args:
      data: fields of kdjax.data.load, `human92`.
      training: `epochs` must be 0.
      encoder: {"folder", "checkpoint"} of the stage whose network is judged. Without
        it: `model` as it is initialised by `seed`, the control.

    Dissimilarity: 1 - Pearson's correlation of two representations. Over the pairs
    within a split. The seed's subject is left out, that of `rdm.left_out`. Raises
    InputError on what does not fit.
    """
    training.check_untrained("a similarity")
    dataset = batches.load(data, seed)
    found = photographs(data)
    frozen = representations.frozen(encoder, model, dataset, seed)
    rows = predicted.rows_in(dataset)
    subjects = found.human_it.mean(axis=1)
    held = left_out(seed)

    @functools.cache
    def solve() -> Float[np.ndarray, "n n"]:
        seen = representations.encode(frozen.module, frozen.load(), dataset, seed)
        return correlation_rdm(seen.x)

    def constants() -> dict[str, np.ndarray]:
        table = []
        for split in SPLITS:
            own = rows.split == split
            places = np.searchsorted(found.key, rows.key[own])
            brains = subjects[:, places][:, :, places]
            it = spearman(solve()[np.ix_(own, own)], brains[held])
            table.append(Judged(it, *subject_ceilings(brains)[held]))
        if not np.isfinite(table).all():
            raise InputError(
                "config.encoder: expected a network that tells images apart, found "
                "representations whose dissimilarities do not vary"
            )
        return {"judged": np.array(table, np.float32)}

    def finish(reached: Mapping[str, Tree], folder: Path) -> None:
        del reached
        write_rdm(folder / FILE, key=rows.key, rdm=solve())

    sources = {name: _split(place) for place, name in enumerate(SPLITS)}
    about = batches.about(dataset, sources)
    about |= {"subject": SUBJECTS[held], "noise_ceiling": [*noise_ceiling(subjects)]}
    return Task(
        init=lambda rng: untrained_state({}),
        step=no_step,
        evaluate=_evaluate,
        summarize=_summarize,
        metrics=METRICS,
        data=sources,
        constants=constants,
        finish=finish,
        about=about,
    )


def _split(place: int) -> Source:
    """One example: the row of the table of this split."""

    def batches_of(batch_size: int, *, epoch: int | None) -> Any:
        del epoch
        order = np.array([place])
        yield from index_batches(1, batch_size, order=order)

    return Source(1, batches_of)


def _evaluate(model: Tree, batch: Tree, constants: Tree) -> Sums:
    del model
    judged, mask = constants["judged"][batch["index"]], batch["mask"]
    count = jnp.sum(mask)
    own = {
        name: (jnp.sum(judged[:, place] * mask), count)
        for place, name in enumerate(Judged._fields)
    }
    sums: Sums = lax.psum(own, AXIS)
    return sums


def _summarize(total: Mapping[str, tuple[Any, Any]]) -> dict[str, Any]:
    found = {k: float(total[k][0] / total[k][1]) for k in Judged._fields}
    return {"loss": 1 - found["it"], **found}
