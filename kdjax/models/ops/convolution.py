"""Convolution over time or images, with a form of its own where XLA's is slow."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from kdjax.machine import threads
from kdjax.models.ops.forms import by_platform
from kdjax.models.ops.products import product

# from which window on several outputs come of one row, and how many
LONG, BLOCK = 9, 4
# Winograd's products are four, each of half the rows: below so many FLOPs they are too
# short for threads to share, and one product of columns is faster.
SHARED_FLOPS = 75e6
he_normal = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


def convolve(
    x: Float[Array, "batch *space inputs"],
    kernel: Float[Array, "*window inputs outputs"],
    stride: int = 1,
) -> Float[Array, "batch *reduced outputs"]:
    """Cross-correlation in 1-D or 2-D, padded by (k - 1) // 2 on both sides as torch's.

    Symmetric padding differs from "SAME" at stride 2: output i is centred on input 2i.
    On CPU, these are matrix products, whose gradients are products too: window 1, all
    1-D windows (3, unless small and shared by several threads, and, at stride 2, 5 by
    fewer products than the definition has; from 9 on, several outputs by one row), and
    3 x 3 at stride 2 or from 64 channels over an even number of rows and columns.
    Inside `lax.scan` they keep their speed, where XLA's convolution, used in all other
    cases, is 20 to 40 x slower.
    """
    of_xla = partial(by_xla, stride=stride)
    by_products = _by_products(x, kernel, stride)
    if by_products is None:
        return of_xla(x, kernel)
    return by_platform(x, kernel, cpu=by_products, default=of_xla)


def by_xla(x: Array, kernel: Array, *, stride: int, groups: int = 1) -> Array:
    """XLA's own convolution, of so many groups of channels each on its own."""
    window = kernel.shape[:-2]
    layout = ("NWC", "WIO", "NWC") if len(window) == 1 else ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride,) * len(window),
        [((k - 1) // 2, (k - 1) // 2) for k in window],
        dimension_numbers=layout,
        feature_group_count=groups,
    )


def _by_products(
    x: Array, kernel: Array, stride: int
) -> Callable[[Array, Array], Array] | None:
    """The form of matrix products that is faster than XLA's on CPU, or None."""
    window = kernel.shape[:-2]
    if all(k == 1 for k in window):
        return partial(_pointwise, stride=stride)
    even = all(size % 2 == 0 for size in x.shape[1:-1])
    wide = x.shape[-1] >= 16
    if window == (3,) and stride == 1 and even and wide:
        return _of_3
    if window in ((3,), (5,)) and stride == 2 and x.shape[1] % 4 == 0 and wide:
        return _by_phases
    if len(window) == 1 and window[0] >= LONG and stride == 1:
        return _by_blocks
    if len(window) == 1:
        return partial(_columns, stride=stride)
    if window != (3, 3):
        return None
    if stride == 1 and even and x.shape[-1] >= 64:
        # what the gradient needs is 4 x the size of x: computed again, not kept
        return jax.checkpoint(_winograd)
    return partial(_columns, stride=stride) if stride == 2 else None


def _pointwise(x: Array, kernel: Array, *, stride: int) -> Array:
    """Window 1: every stride-th position times one matrix."""
    strided = (slice(None), *(slice(None, None, stride) for _ in kernel.shape[:-2]))
    return product(x[strided], kernel.reshape(kernel.shape[-2:]))


def _columns(
    x: Float[Array, "batch *space inputs"],
    kernel: Float[Array, "*window inputs outputs"],
    *,
    stride: int,
) -> Float[Array, "batch *reduced outputs"]:
    """The window's positions side by side, times one matrix."""
    *window, _, outputs = kernel.shape
    rows = x.reshape(-1, *x.shape[-2:])
    rows = _positions(rows, window[-1], stride)
    x = rows.reshape(*x.shape[:-2], *rows.shape[-2:])
    if len(window) == 2:
        pad, height = (window[0] - 1) // 2, x.shape[1]
        last = (height + 2 * pad - window[0]) // stride * stride
        x = jnp.pad(x, ((0, 0), (pad, pad), (0, 0), (0, 0)))
        slices = [x[:, i : i + last + 1 : stride] for i in range(window[0])]
        x = jnp.concatenate(slices, axis=-1)
    return product(x, kernel.reshape(-1, outputs))


def _of_3(x: Array, kernel: Array) -> Array:
    """Window 3 at stride 1: what so large a product is fastest by, on these cores."""
    small = 2 * 3 * x.size * kernel.shape[-1] < SHARED_FLOPS
    return (_columns_of_3 if small and threads() > 1 else _winograd)(x, kernel)


@jax.custom_vjp
def _columns_of_3(
    x: Float[Array, "batch time inputs"], kernel: Float[Array, "3 inputs outputs"]
) -> Float[Array, "batch time outputs"]:
    """`_columns` of window 3 at stride 1, with a gradient that keeps no columns.

    Both of its products take the columns of y's gradient, made once: dx is their
    convolution with the kernel turned round, and dkernel[i] the sum over t of
    x[t] dy[t + 1 - i], for all i in one product.
    """
    return _columns(x, kernel, stride=1)


def _columns_of_3_forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return _columns(x, kernel, stride=1), (x, kernel)


def _columns_of_3_backward(kept: tuple[Array, Array], dy: Array) -> tuple[Array, Array]:
    x, kernel = kept
    inputs, outputs = kernel.shape[1:]
    rows = _positions(dy, 3, 1)
    turned = kernel[::-1].swapaxes(1, 2).reshape(3 * outputs, inputs)
    products = x.reshape(-1, inputs).T @ rows.reshape(-1, 3 * outputs)
    d_kernel = jnp.moveaxis(products.reshape(inputs, 3, outputs), 1, 0)[::-1]
    return product(rows, turned), d_kernel


_columns_of_3.defvjp(_columns_of_3_forward, _columns_of_3_backward)


def _positions(
    x: Float[Array, "batch time inputs"], window: int, stride: int
) -> Float[Array, "batch reduced columns"]:
    """The `window` inputs of each output in a row; columns = window x inputs."""
    pad = (window - 1) // 2
    reduced = (x.shape[1] + 2 * pad - window) // stride + 1
    return _rows(x, window, stride, pad, reduced)


def _rows(
    x: Float[Array, "batch time inputs"],
    window: int,
    stride: int,
    pad: int,
    reduced: int,
) -> Float[Array, "batch reduced columns"]:
    """Row i: the `window` inputs from `i stride - pad` on, 0 outside of x.

    Time is first cut into blocks of `stride`, so that all slices are contiguous.
    """
    batch, time, inputs = x.shape
    blocks = -(-window // stride)
    after = (reduced + blocks - 1) * stride - pad - time  # below 0: what no window has
    x = lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), (pad, after, 0), (0, 0, 0)))
    x = x.reshape(batch, -1, stride * inputs)
    columns = jnp.concatenate([x[:, i : i + reduced] for i in range(blocks)], axis=-1)
    return columns[..., : window * inputs]


def _by_blocks(
    x: Float[Array, "batch time inputs"], kernel: Float[Array, "window inputs outputs"]
) -> Float[Array, "batch reduced outputs"]:
    """A long window at stride 1: `BLOCK` outputs side by side from one row.

    A row is the window + BLOCK - 1 inputs that they need, and the matrix has the kernel
    once for each of them, moved on by one: little more to multiply, and a `BLOCK`-th of
    the rows to write and read.
    """
    window, _, outputs = kernel.shape
    pad = (window - 1) // 2
    reduced = x.shape[1] + 2 * pad - window + 1
    rows = _rows(x, window + BLOCK - 1, BLOCK, pad, -(-reduced // BLOCK))
    moved = [
        jnp.pad(kernel, ((i, BLOCK - 1 - i), (0, 0), (0, 0))) for i in range(BLOCK)
    ]
    y = product(rows, jnp.stack(moved, axis=2).reshape(-1, BLOCK * outputs))
    return y.reshape(x.shape[0], -1, outputs)[:, :reduced]


def _winograd(x: Array, kernel: Array, axis: int = 1) -> Array:
    """Winograd's F(2, 3) along each axis of space from `axis` on, of even length.

    Two outputs from 4 products where the definition takes 6; over images 4 from 16
    where it takes 36. `kernel` is [3, inputs, outputs] or [3, 3, inputs, outputs].
    Lavin & Gray, "Fast algorithms for convolutional neural networks", CVPR 2016.
    """
    if kernel.ndim == 2:
        return product(x, kernel)
    half = x.shape[axis] // 2
    pairs = x.reshape(*x.shape[:axis], half, 2, *x.shape[axis + 1 :])
    first, second = (lax.index_in_dim(pairs, i, axis + 1, False) for i in (0, 1))
    edge = jnp.zeros_like(lax.slice_in_dim(first, 0, 1, axis=axis))
    earlier = lax.slice_in_dim(second, 0, half - 1, axis=axis)
    later = lax.slice_in_dim(first, 1, half, axis=axis)
    before = jnp.concatenate([edge, earlier], axis)
    after = jnp.concatenate([later, edge], axis)
    even, odd = (kernel[0] + kernel[2]) / 2, kernel[1] / 2
    a = _winograd(before - second, kernel[0], axis + 1)
    b = _winograd(first + second, even + odd, axis + 1)
    c = _winograd(second - first, even - odd, axis + 1)
    d = _winograd(first - after, kernel[2], axis + 1)
    y = jnp.stack([a + b + c, b - c - d], axis=axis + 1)
    return y.reshape(*a.shape[:axis], 2 * half, *a.shape[axis + 1 :])


def _by_phases(
    x: Float[Array, "batch time inputs"], kernel: Float[Array, "window inputs outputs"]
) -> Float[Array, "batch half outputs"]:
    """Window 3 or 5 at stride 2: a convolution of the even samples and one of the odd.

    Both have stride 1, so that 7 products do for the 10 of window 5, and 5 for 6.
    """
    batch, time, inputs = x.shape
    pairs = x.reshape(batch, time // 2, 2, inputs)
    even, odd = pairs[:, :, 0], pairs[:, :, 1]
    if kernel.shape[0] == 3:
        return product(even, kernel[1]) + _two_taps(odd, kernel[0::2])
    return _winograd(even, kernel[0::2]) + _two_taps(odd, kernel[1::2])


def _two_taps(
    x: Float[Array, "batch time inputs"], kernel: Float[Array, "2 inputs outputs"]
) -> Float[Array, "batch time outputs"]:
    """`x[t - 1] kernel[0] + x[t] kernel[1]`, two outputs from 3 products instead of 4.

    Winograd's F(2, 2), over an even number of time steps.
    """
    batch, time, inputs = x.shape
    pairs = x.reshape(batch, time // 2, 2, inputs)
    first, second = pairs[:, :, 0], pairs[:, :, 1]
    before = jnp.pad(second[:, :-1], ((0, 0), (1, 0), (0, 0)))
    a = product(before - first, kernel[0])
    b = product(first, kernel[0] + kernel[1])
    c = product(second - first, kernel[1])
    return jnp.stack([a + b, b + c], axis=2).reshape(batch, time, -1)


class Conv(nn.Module):
    """`convolve` with its own kernel, [window..., inputs, outputs], and no bias."""

    outputs: int
    window: int = 3
    stride: int = 1

    @nn.compact
    def __call__(self, x: Array) -> Array:
        shape = (*(self.window,) * (x.ndim - 2), x.shape[-1], self.outputs)
        kernel = self.param("kernel", he_normal, shape)
        return convolve(x, kernel.astype(x.dtype), self.stride)
