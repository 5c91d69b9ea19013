"""How a classifier is judged: by labels, on corrupted examples, beside soft labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from kdjax import augment as augmentations
from kdjax.data.dataset import Dataset
from kdjax.data.soft_labels import FILE, read_where_there
from kdjax.errors import section
from kdjax.stages import batches, networks
from kdjax.training.metrics import (
    CLASSIFICATION,
    PER_CENT,
    Metric,
    Sums,
    by_name,
    classification_metrics,
    classification_sums,
)
from kdjax.training.parallel import AXIS

Tree = Any
METRICS = CLASSIFICATION | by_name(
    Metric("corrupted_accuracy", "accuracy on corrupted examples", True, **PER_CENT),
    Metric("reference_loss", "cross-entropy to the reference's soft labels", False),
)
_OF_CORRUPTION = "corrupted: "  # before its name, in the sums


class Evaluation(NamedTuple):
    """The part of a task that judges: see `Task`."""

    evaluate: Callable[[Tree, Tree, Tree], Sums]
    constants: Callable[[], dict[str, np.ndarray]]


def build(
    module: nn.Module,
    dataset: Dataset,
    corruptions: Mapping[str, Mapping[str, Any]] | None,
    reference: Mapping[str, Any] | None,
) -> Evaluation:
    """What judges a network of a dataset: see the arguments of `distill.make`.

    An example is corrupted in the same way each time, in every stage. The cross-entropy
    to the reference is `-sum_c p_c log q_c`, p the softmax of its logits, over the
    examples that have some. InputError on what does not fit.
    """
    where = "config.corruptions"
    example = batches.first(dataset)
    views = {}
    for name, spec in section(corruptions or {}, where=where).items():
        views[name] = augmentations.build(spec, where=f"{where}.{name}")
        batches.check_view(views[name], example, where=f"{where}.{name}")
    if reference is not None:
        networks.check_section(reference, where="config.reference")

    def constants() -> dict[str, np.ndarray]:
        if reference is None:
            return {}
        path = Path(str(reference["folder"])) / FILE
        classes = len(dataset.classes)
        parts = batches.splits(dataset).values()
        logits = [read_where_there(path, part, classes) for part in parts]
        return {"reference": np.concatenate(logits)}

    def evaluate(model: Tree, batch: Tree, constants: Tree) -> Sums:
        x, labels = batches.gather(constants, batch), constants["y"][batch["index"]]
        logits, mask = networks.predict(module, model, x).logits, batch["mask"]
        sums = classification_sums(logits, labels, mask)
        own: Sums = {}
        keys = augmentations.example_keys(jax.random.key(0), batch["index"])
        for name, view in views.items():
            answers = networks.predict(module, model, view(keys, x)).logits
            hits = jnp.argmax(answers, axis=-1) == labels
            own[_OF_CORRUPTION + name] = jnp.sum(hits * mask), jnp.sum(mask)
        if reference is not None:
            own["reference"] = _held_against(
                constants["reference"][batch["index"]], logits, mask
            )
        return sums | lax.psum(own, AXIS)

    return Evaluation(evaluate, constants)


def _held_against(reference: Array, logits: Array, mask: Array) -> tuple[Array, Array]:
    """The sum of the cross-entropies and their number, rows of NaN left out."""
    there = ~jnp.isnan(reference[:, 0])
    known = jnp.where(there[:, None], reference, 0.0)
    log_q = jax.nn.log_softmax(logits.astype(jnp.float32))
    each = -jnp.sum(jax.nn.softmax(known) * log_q, axis=-1)
    counted = there * mask
    return jnp.sum(jnp.where(counted > 0, each, 0.0)), jnp.sum(counted)


def summarize(total: Mapping[str, tuple[Any, Any]]) -> dict[str, Any]:
    """`classification_metrics`, and what is there of the rest.

    corrupted: {corruption: accuracy}; corrupted_accuracy: their mean. reference_loss is
    left out where no example has soft labels of the reference.
    """
    found = classification_metrics(total)
    corrupted = {
        name.removeprefix(_OF_CORRUPTION): float(hits / count)
        for name, (hits, count) in total.items()
        if name.startswith(_OF_CORRUPTION)
    }
    if corrupted:
        found["corrupted"] = corrupted
        found["corrupted_accuracy"] = float(np.mean([*corrupted.values()]))
    if "reference" in total and total["reference"][1] > 0:
        found["reference_loss"] = float(total["reference"][0] / total["reference"][1])
    return found
