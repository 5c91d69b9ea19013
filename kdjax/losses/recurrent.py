"""Recurrent networks in continuous time: their Euler step, and what they are paid for.

A CTRNN has rates r, driven by d = r W + u W_in + b. Two conventions of the leak differ
in the papers' code, and are two dynamical systems: `euler_step` has both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from kdjax.losses._checks import Scalar, check_positive, checked
from kdjax.losses._examples import kept, mean_of

Tree = Any
Select = Callable[[str], bool]


def _every(name: str) -> bool:
    return True


@checked
def euler_step(
    rate: Float[Array, "*batch units"],
    drive: Float[Array, "*batch units"],
    *,
    alpha: Scalar | Float[Array, " units"],
    activation: Callable[[Array], Array] = jax.nn.relu,
    leak_inside: bool = False,
) -> Float[Array, "*batch units"]:
    """The rates of a CTRNN one time step later, by Euler's method.

    With the leak outside of the nonlinearity, `(1 - a) r + a f(d)`: Euler's step of
    `tau r' = -r + f(d)` for a = dt / tau (Mante et al. 2013; Song et al. 2016). With
    `leak_inside`, `f((1 - a) r + a d)`, as nn-brain and PyTorch tutorials write it:
    another system, which for ReLU is the flow `tau r' = -r + d` held at r >= 0.

    Args:
        rate: r, [..., units].
        drive: d, the input of each unit from others and from outside, noise included.
        alpha: dt / tau, in (0, 1]: one number, or one for each unit.
        activation: f, elementwise.
        leak_inside: whether f is taken of the leak as well.

    Raises:
        ValueError: shapes that differ, or an alpha outside (0, 1].

    Example:
        >>> euler_step([1.0, 0.0], [-1.0, 2.0], alpha=0.5).tolist()
        [0.5, 1.0]
    """
    check_positive("alpha", alpha)
    if isinstance(alpha, int | float) and alpha > 1:
        raise ValueError(f"alpha: expected dt / tau of at most 1, found {alpha}")
    a = jnp.broadcast_to(jnp.asarray(alpha, rate.dtype), rate.shape)
    if leak_inside:
        return activation((1 - a) * rate + a * drive)
    return (1 - a) * rate + a * activation(drive)


@checked
def rate_l1(
    rates: Float[Array, "*batch units"], *, reduction: str = "mean"
) -> Float[Array, ""]:
    """How much a network fires: the mean of the absolute rates, or their sum.

    `mean |r|`, or with "sum" `sum |r|`, which grows with the batch and the trial (as
    `torch.norm(r, 1)` does).

    Args:
        rates: [..., units], such as [batch, time, units].
        reduction: "mean" or "sum", over everything.

    Raises:
        ValueError: an unknown reduction, or a number in the place of an array.

    Example:
        >>> round(float(rate_l1([[1.0, 0.0], [3.0, 0.0]])), 4)
        1.0
    """
    return _reduced(jnp.abs(rates), reduction)


@checked
def rate_l2(
    rates: Float[Array, "*batch units"], *, reduction: str = "mean"
) -> Float[Array, ""]:
    """How much a network fires, squared: the mean of the squared rates, or their sum.

    `mean r^2` (Song et al. 2016; Yang et al. 2019), or with "sum" `sum r^2`.

    Args:
        rates: [..., units], such as [batch, time, units].
        reduction: "mean" or "sum", over everything.

    Raises:
        ValueError: an unknown reduction, or a number in the place of an array.

    Example:
        >>> round(float(rate_l2([[1.0, 0.0], [3.0, 0.0]])), 4)
        2.5
    """
    return _reduced(jnp.square(rates), reduction)


@checked
def weight_l1(
    params: Tree, *, select: Select = _every, reduction: str = "sum"
) -> Float[Array, ""]:
    """How large a network's weights are: the sum of their absolute values.

    `sum |w|` over the selected arrays, or their `mean`. By Adam it makes weights small
    and never 0: for zeros use a mask or a proximal step.

    Args:
        params: a pytree of arrays.
        select: path of an array, as `recurrent` or `head/kernel`, -> whether it counts.
        reduction: "sum" or "mean", over all selected weights.

    Raises:
        ValueError: an unknown reduction, or no array selected.

    Example:
        >>> round(float(weight_l1({"recurrent": [[1.0, -1.0], [0.0, 2.0]]})), 4)
        4.0
    """
    return _reduced(jnp.abs(_weights(params, select)), reduction)


@checked
def weight_l2(
    params: Tree, *, select: Select = _every, reduction: str = "sum"
) -> Float[Array, ""]:
    """How large a network's weights are: the sum of their squares.

    `sum w^2` over the selected arrays, or their `mean`.

    Args:
        params: a pytree of arrays.
        select: path of an array, as `recurrent` or `head/kernel`, -> whether it counts.
        reduction: "sum" or "mean", over all selected weights.

    Raises:
        ValueError: an unknown reduction, or no array selected.

    Example:
        >>> round(float(weight_l2({"recurrent": [[1.0, -1.0], [0.0, 2.0]]})), 4)
        6.0
    """
    return _reduced(jnp.square(_weights(params, select)), reduction)


@checked
def ctrnn_loss(
    outputs: Float[Array, "batch time outputs"],
    targets: Float[Array, "batch time outputs"],
    rates: Float[Array, "batch time units"],
    params: Tree,
    *,
    beta_rate: Scalar = 1e-6,
    beta_weight: Scalar = 1e-4,
    mask: Shaped[Array, "batch time outputs"] | None = None,
    reduction: str = "sum",
    where: Shaped[Array, " batch"] | None = None,
) -> Float[Array, ""]:
    """The loss of a CTRNN on a cognitive task: its errors, its rates, its weights.

    `mean(m (o - y)^2) + beta_rate |r|_1 + beta_weight |w|_1`, the mean over batch,
    time and outputs. With `reduction` "sum" both costs are sums, over everything and
    over all parameters: the defaults are a blog's, whose 10e-7 and 10e-5 are 1e-6 and
    1e-4. Gradients reach outputs, rates and params. Targets are detached.

    Args:
        outputs: o, the network's readout.
        targets: y, what it should be.
        rates: r, of all units.
        params: a pytree of arrays, all of which are paid for.
        beta_rate: weight of the rates.
        beta_weight: weight of the weights.
        mask: m, the weight of each squared error; None: 1.
        reduction: of both costs, "sum" or "mean".
        where: [batch], 0 or False for trials that do not count, in errors or rates.

    Raises:
        ValueError: shapes that do not fit, or an unknown reduction.

    Example:
        >>> outputs = [[[1.0], [0.0]]]  # [batch, time, outputs]
        >>> targets = [[[0.0], [0.0]]]
        >>> rates = [[[1.0, 2.0], [0.0, 3.0]]]  # [batch, time, units]
        >>> weights = {"recurrent": [[1.0, -1.0], [0.0, 2.0]]}
        >>> round(float(ctrnn_loss(outputs, targets, rates, weights, beta_rate=0.1)), 4)
        1.1004
    """
    targets = kept(where, jax.lax.stop_gradient(targets))
    error = jnp.square(kept(where, outputs) - targets)
    if mask is not None:
        error = kept(where, mask) * error
    rate = _reduced(jnp.abs(kept(where, rates)), reduction, where)
    weight = weight_l1(params, reduction=reduction)
    return mean_of(error, where) + beta_rate * rate + beta_weight * weight


def _reduced(
    values: Array, reduction: str, where: Shaped[Array, " batch"] | None = None
) -> Array:
    if reduction not in ("mean", "sum"):
        raise ValueError(f"reduction: expected 'mean' or 'sum', found {reduction!r}")
    if reduction == "sum":
        return jnp.sum(kept(where, values))
    return mean_of(values, where)


def _weights(params: Tree, select: Select) -> Array:
    """All selected weights in one vector, float32 or wider."""
    leaves = [
        jnp.ravel(leaf).astype(jnp.promote_types(jnp.asarray(leaf).dtype, jnp.float32))
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
        if select(jax.tree_util.keystr(path, simple=True, separator="/"))
    ]
    if not leaves:
        raise ValueError("params: expected arrays that `select` selects, found none")
    return jnp.concatenate(leaves)
