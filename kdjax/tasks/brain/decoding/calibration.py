"""How right decoded probabilities are."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from numpy.typing import NDArray

from kdjax.stages.calibration import labelled
from kdjax.training.metrics import (
    add_sums,
    classification_metrics,
    classification_sums,
)
from kdjax.training.parallel import AXIS

_sums = jax.jit(jax.vmap(classification_sums, axis_name=AXIS))  # one device's


def decoding_metrics(logits: NDArray[Any], y: NDArray[Any]) -> dict[str, Any]:
    """What `classification_metrics` gives of logits [n, classes], and two numbers more.

    accuracy is the fraction of rows whose largest logit is their class's: chance is
    1 / classes for balanced classes, which the mean of one-against-rest accuracies is
    not. `log_likelihood`: the mean log-probability of the true class, minus `loss`.
    `entropy`: the mean of `-sum_c p_c log p_c`, both in nats. Rows of label -1 are left
    out; InputError if no row has a class.
    """
    from scipy.special import entr, softmax

    logits, y = labelled(logits, y)
    sums = _sums(
        jnp.asarray(logits[None], jnp.float32),
        jnp.asarray(y[None], jnp.int32),
        jnp.ones((1, len(y))),
    )
    part = {name: (total[0], count[0]) for name, (total, count) in sums.items()}
    found = classification_metrics(add_sums(None, part))
    entropy = float(entr(softmax(logits, axis=1)).sum(axis=1).mean())
    return found | {"log_likelihood": -found["loss"], "entropy": entropy}
