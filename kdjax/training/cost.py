"""Costs of a trained network: parameters, arithmetic, size and time."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.extend import core

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

    Returns parameters (count), flops (2 x `multiply_accumulates` of one forward pass,
    the same on every device), kib (stored parameters and batch statistics) and ms
    (median wall time of `repeats` calls).
    """
    size = {k: sum(np.size(x) for x in jax.tree.leaves(v)) for k, v in model.items()}
    kib = sum(np.asarray(x).nbytes for x in jax.tree.leaves(model)) / 1024
    model = jax.device_put(model)
    x = jax.device_put(example)
    compiled = jax.jit(forward).lower(model, x).compile()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(compiled(model, x))
        times.append((time.perf_counter() - start) * 1e3)
    return {
        "parameters": size["params"],
        "flops": 2 * multiply_accumulates(forward, model, x),
        "kib": kib,
        "ms": statistics.median(times),
    }


def multiply_accumulates(function: Callable[..., Any], *arguments: Tree) -> int | float:
    """Of the convolutions and matrix products in `function(*arguments)`.

    Counted on the definition, as the papers' tables are, not on what a device makes of
    it: kdjax's convolutions take fewer products on CPU. A product of [m, k] and [k, n]
    has m k n; a convolution window x inputs x outputs at each position of its output,
    the padding included; a transposed one as many at each position of its input.
    A scan counts as often as it runs, and of the branches of a condition the dearest.
    NaN if such products are in a while loop: nobody knows how often it runs.
    """
    return _count(jax.make_jaxpr(function)(*arguments).jaxpr)


def _count(jaxpr: core.Jaxpr) -> int | float:
    return sum(_count_equation(equation) for equation in jaxpr.eqns)


def _count_equation(equation: core.JaxprEqn) -> int | float:
    name, params = equation.primitive.name, equation.params
    if name == "conv_general_dilated":
        return _convolution(equation)
    if name == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        shape = _shape(equation.invars[0])
        sums = math.prod(shape[axis] for axis in contracted)
        return sums * math.prod(_shape(equation.outvars[0]))
    inner = [_count(jaxpr) for jaxpr in core.jaxprs_in_params(params)]
    if name == "cond":
        platforms = params.get("branches_platforms")
        if platforms and None in platforms:  # lax.platform_dependent and its default
            return inner[platforms.index(None)]
        return np.max(inner).item()
    if name == "while":
        return math.nan if any(inner) else 0
    return params["length"] * sum(inner) if name == "scan" else sum(inner)


def _convolution(equation: core.JaxprEqn) -> int:
    numbers = equation.params["dimension_numbers"]
    x, kernel = map(_shape, equation.invars)
    y = _shape(equation.outvars[0])
    count = y[numbers.out_spec[0]] * math.prod(kernel)
    dilations = equation.params["lhs_dilation"]
    axes = zip(numbers.lhs_spec[2:], numbers.out_spec[2:], dilations, strict=True)
    for before, after, dilation in axes:
        # zeros between the inputs are what makes a transposed convolution
        count *= y[after] if dilation == 1 else x[before]
    return count


def _shape(variable: Any) -> tuple[int, ...]:
    return variable.aval.shape
