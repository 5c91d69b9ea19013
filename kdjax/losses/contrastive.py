"""The contrastive loss of SimCLR, over one device or all of them.

`S_ij = z_i . z_j / (|z_i| |z_j| T)` is never held whole: it is computed tile by tile,
once for the row log-sum-exps and once more for the gradient,

    dL/du_i = sum_j (c_i exp(S_ij - lse_i) + c_j exp(S_ij - lse_j)) u_j,

where c is the cotangent of lse and u = z / (|z| sqrt(T)). So a device needs the other
devices' rows u_j with their lse_j and c_j, and none of their logits: they are gathered,
or go around a ring. The formula is symmetric, so one device does half of the tiles.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float, Int, Shaped

from kdjax.losses._checks import Scalar, check_positive, checked
from kdjax.losses._maps import normalize

# The logit of a pair that does not count; finite, for -inf - -inf is NaN.
_NEVER = -1e30
# Up to so many rows (256 MiB of logits) one tile is the fastest; beyond, small ones.
_ONE_TILE, _SIDE = 8192, 512


@checked
def nt_xent(
    z1: Float[Array, "batch dim"],
    z2: Float[Array, "batch dim"],
    *,
    temperature: Scalar = 0.1,
    axis_name: str | None = None,
    chunk_size: int | None = None,
    ring: bool = False,
    mask: Shaped[Array, " batch"] | None = None,
) -> Float[Array, ""]:
    """How well each view's embedding picks out the other view of its example, in nats.

    `mean_i -log(exp(S_ip) / sum_{j != i} exp(S_ij))` over the 2N anchors i, where S is
    the cosine similarity of all 2N rows of [z1; z2] over the temperature, and p is the
    other view of i. Rows are normalised here; a zero row, which has no direction, stays
    zero and has no gradient, and NaN gives NaN. Chen et al. 2020, "A simple framework
    for contrastive learning" (whose code returns twice this value: it adds the means
    over N of the two views).

    Inputs narrower than float32 are promoted to it; the result is a float32 scalar. On
    a mesh with explicit axes, call it under `jax.set_mesh`, or inside `jax.shard_map`.

    Args:
        z1: [batch, dim], the first views' embeddings.
        z2: [batch, dim], the second views': `z1[k]` and `z2[k]` are of example k.
        temperature: T, usually 0.05 to 1; its gradient is right too.
        axis_name: a mapped axis. The N examples are then all devices', in equal parts;
            the value is the mean over all anchors, the same on every device, and the
            mean over devices (`pmean`) of the gradients in the parameters is its
            gradient. (`jax.shard_map` with its default `check_vma=True` sums them by
            itself; `pmean` then changes nothing.) Nothing is detached.
        chunk_size: side of the tiles of S, of the 2N rows. Memory is O(N dim +
            chunk_size^2). Default: one tile where a device has at most 8,192 rows,
            256 MiB, and else 512.
        ring: with `axis_name`, pass the embeddings around instead of gathering them:
            no device holds more than its own and one other's.
        mask: [batch], 0 or False for examples that are padding, as anchors and as
            negatives, else 1.

    Raises:
        ValueError: shapes that do not fit, `temperature` not above 0, `chunk_size`
            below 1, `ring` without `axis_name`, or a single example (over all devices):
            it has no negatives; or arrays of an explicit mesh that is not set.

    Example:
        >>> z1 = [[1.0, 0.0], [0.0, 1.0]]  # the first views of two examples
        >>> z2 = [[1.0, 0.1], [0.1, 1.0]]
        >>> round(float(nt_xent(z1, z2, temperature=0.5)), 4)
        0.2899
    """
    check_positive("temperature", temperature)
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"chunk_size: expected 1 or more, found {chunk_size}")
    if ring and axis_name is None:
        raise ValueError("ring: expected an axis_name to pass embeddings around")
    batch = z1.shape[0]
    devices = 1 if axis_name is None else lax.axis_size(axis_name)
    if batch * devices < 2:
        raise ValueError(
            f"z1: expected 2 examples or more, or there are no negatives; found "
            f"{z1.shape} on {devices} device(s)"
        )
    if mask is None:
        mask = jnp.ones(batch, bool)
    axis = axis_name if devices > 1 else None
    if chunk_size is None:
        chunk_size = 2 * batch if 2 * batch <= _ONE_TILE else _SIDE
    loss = partial(_loss, axis_name, _Plan(axis, ring, chunk_size))
    if _is_explicit(z1) or _is_explicit(z2):
        # The rows' products have no sharding of their own: the compiler finds one.
        loss = jax.sharding.auto_axes(loss, out_sharding=PartitionSpec())
    return loss(z1, z2, jnp.asarray(temperature, z1.dtype), mask)


def _is_explicit(z: Array) -> bool:
    """Whether z is sharded over axes that are part of its type, as on an explicit mesh.

    ValueError if so and that mesh is not the one in use, in which to compute.
    """
    if not any(jax.typeof(z).sharding.spec):
        return False
    if jax.sharding.get_abstract_mesh().empty:
        raise ValueError(
            f"z1, z2: found {jax.typeof(z)} of an explicit mesh, expected jax.set_mesh "
            f"with it, or jax.shard_map and axis_name"
        )
    return True


def _loss(
    axis_name: str | None,
    plan: _Plan,
    z1: Float[Array, "batch dim"],
    z2: Float[Array, "batch dim"],
    temperature: Float[Array, ""],
    mask: Shaped[Array, " batch"],
) -> Float[Array, ""]:
    batch = z1.shape[0]
    rows = jnp.concatenate([normalize(z1), normalize(z2)]) / jnp.sqrt(temperature)
    valid = jnp.tile(mask > 0, 2)
    positives = jnp.sum(rows[:batch] * rows[batch:], axis=-1)
    lse = _logsumexp_of_others(rows, valid, plan)
    losses = jnp.where(valid, lse - jnp.concatenate([positives, positives]), 0.0)
    total, count = jnp.sum(losses), jnp.sum(valid)
    if axis_name is not None:
        total, count = lax.psum((total, count), axis_name)
    return total / count


class _Plan(NamedTuple):
    """How the pairs are gone through: over `axis`, gathered or in a ring, in tiles."""

    axis: str | None
    ring: bool
    chunk: int


class _Rows(NamedTuple):
    """Some of the 2N rows, with what the pairs they are in need to know of them."""

    u: Float[Array, "rows dim"]
    id: Int[Array, " rows"]  # over all devices; -1 for what does not count
    lse: Float[Array, " rows"]
    cotangent: Float[Array, " rows"]


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _logsumexp_of_others(
    u: Float[Array, "rows dim"], valid: Array, plan: _Plan
) -> Float[Array, " rows"]:
    """`log sum_{j != i} exp(u_i . u_j)` over the valid rows j of all devices."""
    return _forward(u, valid, plan)[0]


def _forward(u: Array, valid: Array, plan: _Plan) -> tuple[Array, Any]:
    # full_like and not full: what a loop carries varies over devices from the start.
    zeros = jnp.zeros_like(u, shape=u.shape[:1])
    own = _rows(u, valid, plan, lse=zeros, cotangent=zeros)
    nothing = jnp.full_like(own.lse, _NEVER)
    lse = _over_pairs(_Fold(_logsumexps, jnp.logaddexp), nothing, own, plan)[
        : u.shape[0]
    ]
    return lse, (u, valid, lse)


def _backward(plan: _Plan, kept: Any, cotangent: Array) -> tuple[Array, None]:
    u, valid, lse = kept
    own = _rows(u, valid, plan, lse=lse, cotangent=jnp.where(valid, cotangent, 0.0))
    gradient = _over_pairs(_Fold(_gradients, jnp.add), jnp.zeros_like(own.u), own, plan)
    return gradient[: u.shape[0]], None


_logsumexp_of_others.defvjp(_forward, _backward)


def _rows(
    u: Array, valid: Array, plan: _Plan, *, lse: Array, cotangent: Array
) -> _Rows:
    """This device's rows, padded to whole tiles."""
    count = u.shape[0]
    first = 0 if plan.axis is None else lax.axis_index(plan.axis) * count
    padding = _tiles(count, plan.chunk) * _side(count, plan.chunk) - count
    rows = (
        (u, 0),
        (jnp.where(valid, first + jnp.arange(count), -1), -1),
        (lse, 0),
        (cotangent, 0),
    )
    return _Rows(
        *(
            jnp.pad(x, ((0, padding), *((0, 0),) * (x.ndim - 1)), constant_values=end)
            for x, end in rows
        )
    )


def _tiles(rows: int, chunk: int) -> int:
    return math.ceil(rows / chunk)


def _side(rows: int, chunk: int) -> int:
    """The tile's side: `chunk` or less, so that little padding fills the last tile."""
    return math.ceil(rows / _tiles(rows, chunk))


class _Fold(NamedTuple):
    """What every tile of logits gives to its left and right rows, and how it adds."""

    of_tile: Callable[[_Rows, _Rows, Array], tuple[Array, Array]]
    add: Callable[[Array, Array], Array]


def _over_pairs(fold: _Fold, total: Array, own: _Rows, plan: _Plan) -> Array:
    """`total` and what every pair of (own rows) x (all devices' rows) adds to it."""
    side = own.id.shape[0] // _tiles(own.id.shape[0], plan.chunk)
    visit = partial(_over_tiles, fold, own=own, side=side)
    if plan.axis is None:
        return visit(total, own, symmetric=True)
    if not plan.ring:
        return visit(total, lax.all_gather(own, plan.axis, tiled=True))
    devices = lax.axis_size(plan.axis)
    around = [(i, (i + 1) % devices) for i in range(devices)]

    def turn(_: Array, carry: tuple[Array, _Rows]) -> tuple[Array, _Rows]:
        total, visitors = carry
        # Sent before they are used, so that sending and computing can overlap.
        following = lax.ppermute(visitors, plan.axis, around)
        return visit(total, visitors), following

    return visit(*lax.fori_loop(1, devices, turn, (total, own)))


def _over_tiles(
    fold: _Fold,
    total: Array,
    others: _Rows,
    *,
    own: _Rows,
    side: int,
    symmetric: bool = False,
) -> Array:
    """The same for own x others, tile by tile; half the tiles if `symmetric`."""
    rows, columns = own.id.shape[0] // side, others.id.shape[0] // side
    grid = [(i, j) for i in range(rows) for j in range(columns)]
    pairs = jnp.array([(i, j) for i, j in grid if i <= j or not symmetric])

    def cut(tree: Any, tile: Array) -> Any:
        return jax.tree.map(
            lambda x: lax.dynamic_slice_in_dim(x, tile * side, side), tree
        )

    def step(total: Array, pair: Array) -> tuple[Array, None]:
        i, j = pair[0], pair[1]
        left, right = cut(own, i), cut(others, j)
        counts = left.id[:, None] != right.id[None, :]
        counts &= (left.id[:, None] >= 0) & (right.id[None, :] >= 0)
        logits = jnp.where(counts, _product(left.u, right.u.T), _NEVER)
        to_left, to_right = fold.of_tile(left, right, logits)
        new = fold.add(cut(total, i), to_left)
        total = lax.dynamic_update_slice_in_dim(total, new, i * side, 0)
        if symmetric and rows > 1:
            old = cut(total, j)
            new = jnp.where(i == j, old, fold.add(old, to_right))
            total = lax.dynamic_update_slice_in_dim(total, new, j * side, 0)
        return total, None

    if len(pairs) == 1:
        return step(total, pairs[0])[0]
    return lax.scan(step, total, pairs)[0]


def _logsumexps(left: _Rows, right: _Rows, logits: Array) -> tuple[Array, Array]:
    """Of the left rows over the right ones, and the other way about."""
    del left, right
    return jax.nn.logsumexp(logits, axis=1), jax.nn.logsumexp(logits, axis=0)


def _gradients(left: _Rows, right: _Rows, logits: Array) -> tuple[Array, Array]:
    """What the pairs add to the gradient of the left rows, and of the right ones."""
    by_row = left.cotangent[:, None] * jnp.exp(logits - left.lse[:, None])
    by_column = right.cotangent[None, :] * jnp.exp(logits - right.lse[None, :])
    weights = by_row + by_column
    return _product(weights, right.u), _product(weights.T, left.u)


_product = partial(jnp.matmul, precision=lax.Precision.HIGHEST)
