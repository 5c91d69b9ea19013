"""Readouts: the probes by name, each a way to read classes from representations.

In `config.probe = {"name": "knn", "neighbours": 20}` the name is a key of PROBES, at
the end, and the other fields are arguments of the function there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from kdjax import models
from kdjax.checks import integer, number
from kdjax.errors import call, lookup, recorded_settings, split_name
from kdjax.stages import networks
from kdjax.stages import ridge as algebra
from kdjax.stages.representations import Features
from kdjax.tasks.contrastive.metrics import unit

Tree = Any


class Probe(NamedTuple):
    """A way to read classes from representations.

    module: what is trained on them, or None where all is solved at once.
    fit: Features -> what `logits` needs beside the model, solved at once.
    logits: (model, solved, x [n, width]) -> [n, classes].
    """

    module: nn.Module | None
    fit: Callable[[Features], dict[str, np.ndarray]]
    logits: Callable[[Tree, Mapping[str, Array], Array], Array]


def build(section: Mapping[str, Any], classes: Sequence[str]) -> Probe:
    """The probe that a config's section `probe` names; InputError if there is none."""
    name, fields = split_name(section, where="config.probe")
    make = lookup(name, PROBES, where="config.probe.name")
    probe: Probe = call(make, fields, where="config.probe", classes=classes)
    return probe


def linear(*, classes: Sequence[str]) -> Probe:
    """A linear classifier of standardised features, trained by `optimizer`."""
    with recorded_settings():  # it is no `model` section's
        module = models.build("mlp", classes=len(classes), widths=())

    def logits(model: Tree, solved: Mapping[str, Array], x: Array) -> Array:
        return networks.predict(
            module, model, (x - solved["mean"]) / solved["std"]
        ).logits

    return Probe(module, _scale, logits)


def ridge(
    *,
    classes: Sequence[str],
    penalties: Sequence[float | int] = (0.1, 1, 10, 100, 1e3, 1e4),
) -> Probe:
    """Least squares to one-hot labels with a penalty on standardised features.

    The penalty has the best validation accuracy of `penalties`; the sum of squares is
    over the examples, so its scale is their number. What it predicts are not
    probabilities: its ECE says nothing.
    """
    tried = algebra.checked(penalties, where="config.probe.penalties")

    def fit(features: Features) -> dict[str, np.ndarray]:
        scale = _scale(features)
        x = (features.x - scale["mean"]) / scale["std"]
        fitted = algebra.fit(
            x[features.labelled],
            features.y[features.labelled],
            x[features.validation],
            features.y[features.validation],
            classes=len(classes),
            penalties=tried,
        )
        return scale | {"kernel": fitted.kernel, "bias": fitted.bias}

    def logits(model: Tree, solved: Mapping[str, Array], x: Array) -> Array:
        x = (x - solved["mean"]) / solved["std"]
        return x @ solved["kernel"] + solved["bias"][None, :]

    return Probe(None, fit, logits)


def knn(
    *, classes: Sequence[str], neighbours: int = 20, temperature: float = 0.1
) -> Probe:
    """The `neighbours` nearest labelled examples by cosine vote with exp(cos / T).

    Wu et al. 2018, "Unsupervised feature learning via non-parametric instance
    discrimination" (they take 200 neighbours, T = .07).
    """
    integer(neighbours, low=1, where="config.probe.neighbours")
    number(temperature, above=0, where="config.probe.temperature")

    def fit(features: Features) -> dict[str, np.ndarray]:
        return {
            "bank": np.asarray(unit(jnp.asarray(features.x[features.labelled]))),
            "votes": np.eye(len(classes), dtype=np.float32)[
                features.y[features.labelled]
            ],
        }

    def logits(model: Tree, solved: Mapping[str, Array], x: Array) -> Array:
        similar = unit(x) @ solved["bank"].T
        nearest = min(neighbours, solved["bank"].shape[0])
        cosine, rows = jax.lax.top_k(similar, nearest)
        weights = jax.nn.softmax(cosine / temperature)
        fractions = jnp.einsum("nk,nkc->nc", weights, solved["votes"][rows])
        return jnp.log(jnp.maximum(fractions, 1e-6))

    return Probe(None, fit, logits)


def _scale(features: Features) -> dict[str, np.ndarray]:
    """Mean and standard deviation of the training examples, [1, width]."""
    x = features.x[features.train]
    std = x.std(axis=0, keepdims=True)
    return {
        "mean": x.mean(axis=0, keepdims=True),
        "std": np.where(std > 0, std, np.float32(1)),
    }


PROBES: dict[str, Callable[..., Probe]] = {"knn": knn, "linear": linear, "ridge": ridge}
