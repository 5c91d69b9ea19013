"""What a trained model costs to keep and to run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

Tree = Any


def forward_cost(
    forward: Callable[[Tree, jax.Array], jax.Array],
    model: Tree,
    example: np.ndarray,
    *,
    repeats: int = 50,
) -> dict[str, int | float]:
    """Cost of `forward(model, x)` on one example, compiled, on the default device.

    Args:
      model: {"params", "model_state"}.
      example: [1, ...].

    Returns parameters (count), flops (XLA's count for one forward pass), kib (stored
    parameters and batch statistics) and ms (median wall time of `repeats` calls).
    """
    size = {k: sum(np.size(x) for x in jax.tree.leaves(v)) for k, v in model.items()}
    kib = sum(np.asarray(x).nbytes for x in jax.tree.leaves(model)) / 1024
    model = jax.device_put(model)
    x = jax.device_put(example)
    compiled = jax.jit(forward).lower(model, x).compile()
    analysis = compiled.cost_analysis() or {}
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(compiled(model, x))
        times.append((time.perf_counter() - start) * 1e3)
    return {
        "parameters": size["params"],
        "flops": float(analysis.get("flops", float("nan"))),
        "kib": kib,
        "ms": statistics.median(times),
    }
