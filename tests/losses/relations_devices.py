"""Run by test_methods.py in a process with 4 host devices: prints JSON rows.

Of each loss of pairs of examples, how far value and parameter gradients over devices
are from one unmapped device's; and how far the mean of the devices' parts is.
"""

import json
from functools import partial

import jax
import numpy as np

from kdjax import losses
from tests.losses.contrastive_devices import (
    AXIS,
    by_checked_shard_map,
    by_pmap,
    by_shard_map,
)

LOSSES = {
    "similarity": losses.similarity_loss,
    "relational": losses.relational_loss,
    "pkt": losses.pkt_loss,
    "correlation": losses.correlation_loss,
    "contrastive": losses.contrastive_distillation_loss,
    "dist": losses.dist_loss,
}


def step(loss, weights, x, teacher, **options):
    """(loss, its gradient in the weights of a linear student), the same everywhere."""
    labelled = options.pop("labelled", False)

    def of(weights):
        where = teacher[:, 0] < 1.2  # leaves some out, on one device more than another
        labels = {"labels": (teacher[:, 0] > 0).astype(int)} if labelled else {}
        return loss(x @ weights, teacher, where=where, **labels, **options)

    value, gradient = jax.value_and_grad(of)(weights)
    if "axis_name" in options:
        gradient = jax.lax.pmean(gradient, options["axis_name"])
    return value, gradient


def main():
    rng = np.random.default_rng(0)
    x, teacher = rng.normal(size=(2, 16, 5)).astype(np.float32)
    weights = rng.normal(size=(5, 5)).astype(np.float32)
    cases = {name: (loss, False) for name, loss in LOSSES.items()}
    cases["contrastive_labels"] = losses.contrastive_distillation_loss, True
    for name, (loss, labelled) in cases.items():
        whole = partial(step, loss, labelled=labelled)
        value, gradient = jax.jit(whole)(weights, x, teacher)
        parts = [
            jax.jit(whole)(weights, x[i : i + 4], teacher[i : i + 4])[0]
            for i in range(0, 16, 4)
        ]
        alone = abs(np.mean(parts) - value) / value
        for mapper in (by_pmap, by_shard_map, by_checked_shard_map):
            for devices in (1, 4):
                mapped = partial(whole, axis_name=AXIS)
                found = jax.device_get(mapper(mapped, devices, weights, x, teacher))
                error = np.abs(found[1] - gradient).max() / np.abs(gradient).max()
                row = {"loss": name, "mapper": mapper.__name__, "devices": devices}
                row["value"] = float(abs(found[0] - value) / value)
                row["gradient"] = float(error)
                print(json.dumps(row | {"alone": float(alone)}))


if __name__ == "__main__":
    main()
