"""Convolution against XLA's and torch's definition; batch norm against flax's."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.errors import InputError
from kdjax.models.ops import convolution
from kdjax.models.ops.batch_norm import (
    BatchNorm,
    _checked,
    _shifted_by_example,
    normalize,
)
from kdjax.models.ops.convolution import convolve


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def reference_convolution(x, kernel, stride):
    """torch.nn.Conv1d(padding=(k - 1) // 2), channels last, as a loop over outputs."""
    window, pad = len(kernel), (len(kernel) - 1) // 2
    padded = np.pad(x, ((0, 0), (pad, pad), (0, 0)))
    length = (padded.shape[1] - window) // stride + 1
    return np.stack(
        [
            np.einsum(
                "bkc,kco->bo", padded[:, i * stride : i * stride + window], kernel
            )
            for i in range(length)
        ],
        axis=1,
    )


def by_xla(x, kernel, stride):
    spatial = "WH"[: kernel.ndim - 2]
    pads = [((k - 1) // 2,) * 2 for k in kernel.shape[:-2]]
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride,) * len(spatial),
        pads,
        dimension_numbers=(f"N{spatial}C", f"{spatial}IO", f"N{spatial}C"),
    )


@pytest.mark.parametrize("time", [12, 13])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("window", [1, 3, 4, 5, 7, 9, 10, 39])
@pytest.mark.parametrize("inputs", [3, 16])
def test_convolve_is_the_definition(rng, time, stride, window, inputs):
    x = rng.normal(size=(2, time, inputs)).astype("f4")
    kernel = rng.normal(size=(window, inputs, 5)).astype("f4")
    got = jax.jit(convolve, static_argnums=2)(x, kernel, stride)
    want = reference_convolution(x.astype("f8"), kernel.astype("f8"), stride)
    np.testing.assert_allclose(got, want, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("shape", "window", "stride"),
    [
        ((4, 16, 16), (3,), 1),
        ((4, 16, 16), (3,), 2),
        ((4, 16, 16), (1,), 2),
        ((4, 15, 16), (3,), 2),
        ((4, 15, 16), (3,), 1),
        ((4, 16, 2), (7,), 2),
        ((4, 17, 4), (5,), 1),
        ((4, 17, 4), (5,), 3),
        ((4, 17, 4), (9,), 1),
        ((4, 16, 4), (39,), 1),
        ((2, 6, 7, 5), (3, 3), 2),
        ((2, 7, 8, 5), (3, 3), 2),
        ((2, 6, 8, 64), (3, 3), 1),
        ((2, 5, 8, 64), (3, 3), 1),
        ((2, 6, 7, 5), (1, 1), 2),
    ],
)
def test_convolve_has_the_gradient_of_xlas_convolution(rng, shape, window, stride):
    x = jnp.asarray(rng.normal(size=shape), jnp.float32)
    kernel = jnp.asarray(rng.normal(size=(*window, shape[-1], 16)), jnp.float32)
    y, ours = jax.vjp(partial(convolve, stride=stride), x, kernel)
    want, theirs = jax.vjp(partial(by_xla, stride=stride), x, kernel)
    dy = jnp.asarray(rng.normal(size=y.shape), jnp.float32)
    for got, expected in zip((y, *ours(dy)), (want, *theirs(dy)), strict=True):
        largest = float(jnp.abs(expected).max())
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=2e-6 * largest)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("threads", [1, 2])
def test_one_thread_and_several_have_the_same_convolution(
    rng, monkeypatch, threads, dtype
):
    """Small products of window 3: by Winograd on one thread, by columns on several."""
    monkeypatch.setattr(convolution, "threads", lambda: threads)
    jax.clear_caches()  # of what was traced with another number
    shapes = (4, 16, 16), (3, 16, 24), (4, 16, 24)
    x, kernel, dy = (jnp.asarray(rng.normal(size=s), dtype) for s in shapes)
    y, ours = jax.vjp(convolve, x, kernel)
    want, theirs = jax.vjp(partial(by_xla, stride=1), x, kernel)
    traced = jax.make_jaxpr(lambda x, kernel: convolve(x, kernel))(x, kernel)
    by_columns = "custom_vjp" in str(traced)
    assert by_columns == (threads > 1)
    loose = 1 if dtype == "float32" else 5e3
    for got, expected in zip((y, *ours(dy)), (want, *theirs(dy)), strict=True):
        assert got.dtype == dtype
        got, expected = (np.asarray(a, "f4") for a in (got, expected))
        atol = loose * 2e-6 * np.abs(expected).max()
        np.testing.assert_allclose(got, expected, rtol=loose * 1e-5, atol=atol)
    over = jax.vmap(convolve, (0, None))(jnp.stack([x, 2 * x]), kernel)
    np.testing.assert_allclose(over[1].astype("f4"), 2 * y.astype("f4"), rtol=0.02)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("platform", "convolutions"), [("cpu", False), ("tpu", True)])
@pytest.mark.parametrize("window", [(3,), (5,), (3, 3)])
def test_accelerators_keep_xlas_convolution(platform, convolutions, stride, window):
    x = jnp.zeros((2, *(8,) * len(window), 64))
    kernel = jnp.zeros((*window, 64, 16))
    gradient = jax.jit(jax.grad(lambda x: convolve(x, kernel, stride).sum()))
    program = jax.export.export(gradient, platforms=[platform])(x).mlir_module()
    assert ("stablehlo.convolution" in program) == convolutions


def variables(channels, rng):
    return {
        "params": {
            "scale": jnp.asarray(rng.uniform(0.5, 2, channels), jnp.float32),
            "bias": jnp.asarray(rng.normal(size=channels), jnp.float32),
        },
        "batch_stats": {"mean": jnp.zeros(channels), "var": jnp.ones(channels)},
    }


def apply(module, flax_style, variables, x, train=True):
    """(output, new statistics) of our layer, or of flax's, which has no ReLU."""
    flag = {"use_running_average": not train} if flax_style else {"train": train}
    y, state = module.apply(variables, x, mutable=["batch_stats"], **flag)
    return (nn.relu(y) if flax_style else y), state["batch_stats"]


def gradients(module, flax_style, variables, x, weight):
    """Gradients of sum(weight * y^2) by x and the parameters."""

    def loss(x, params):
        y, _ = apply(module, flax_style, {**variables, "params": params}, x)
        return jnp.sum(weight * y**2)

    return jax.grad(loss, argnums=(0, 1))(x, variables["params"])


@pytest.mark.parametrize("shape", [(8, 6, 5), (4, 3, 4, 5)])
def test_batch_norm_is_flaxs_with_a_relu(rng, shape):
    x = jnp.asarray(rng.normal(2.0, 3.0, size=shape), jnp.float32)
    weight = jnp.asarray(rng.normal(size=shape), jnp.float32)
    state = variables(5, rng)
    ours, theirs = BatchNorm(), nn.BatchNorm(momentum=0.9, epsilon=1e-5)
    for train in (True, False):
        got = apply(ours, False, state, x, train)
        want = apply(theirs, True, state, x, train)
        jax.tree.map(
            partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5), got, want
        )
    got = gradients(ours, False, state, x, weight)
    want = gradients(theirs, True, state, x, weight)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=2e-5), got, want)


def test_batch_norm_without_relu_keeps_negative_values(rng):
    x = jnp.asarray(rng.normal(size=(8, 6, 5)), jnp.float32)
    y, _ = apply(BatchNorm(relu=False), False, variables(5, rng), x)
    rectified, _ = apply(BatchNorm(), False, variables(5, np.random.default_rng(1)), x)
    assert y.min() < 0 <= rectified.min()


def test_batch_norm_over_four_shards_is_that_of_the_whole_batch(rng):
    x = jnp.asarray(rng.normal(1.0, 2.0, size=(8, 6, 5)), jnp.float32)
    weight = jnp.asarray(rng.normal(size=x.shape), jnp.float32)
    state = variables(5, rng)
    whole_y, whole_stats = apply(BatchNorm(), False, state, x)
    whole = gradients(BatchNorm(), False, state, x, weight)

    def shard(x, weight):
        synced = BatchNorm(axis="shards")
        y, stats = apply(synced, False, state, x)
        dx, d_params = gradients(synced, False, state, x, weight)
        return y, stats, dx, jax.lax.psum(d_params, "shards")

    split = [a.reshape(4, 2, *a.shape[1:]) for a in (x, weight)]
    y, stats, dx, d_params = jax.vmap(shard, axis_name="shards")(*split)
    close = partial(np.testing.assert_allclose, rtol=1e-4, atol=2e-5)
    close(y.reshape(x.shape), whole_y)
    close(dx.reshape(x.shape), whole[0])
    for got, want in ((stats, whole_stats), (d_params, whole[1])):
        for name in want:
            for copy in got[name]:  # the same on every shard
                close(copy, want[name])


def test_batch_norm_in_groups_is_that_of_each_pair(rng):
    """Four devices in groups of two: the gradients of the sum of all losses."""
    x = jnp.asarray(rng.normal(1.0, 2.0, size=(4, 3, 6, 5)), jnp.float32)
    x = x * jnp.arange(1.0, 5).reshape(4, 1, 1, 1)
    weight = jnp.asarray(rng.normal(size=x.shape), jnp.float32)
    state = variables(5, rng)

    def shard(x, weight):
        grouped = BatchNorm(axis="shards", devices=2)
        y, stats = apply(grouped, False, state, x)
        dx, d_params = gradients(grouped, False, state, x, weight)
        return y, stats, dx, jax.lax.psum(d_params, "shards")

    y, stats, dx, d_params = jax.vmap(shard, axis_name="shards")(x, weight)
    pairs, weights = (a.reshape(2, 6, 6, 5) for a in (x, weight))
    want_y, want_stats = jax.vmap(partial(apply, BatchNorm(), False, state))(pairs)
    whole = partial(gradients, BatchNorm(), False, state)
    want_dx, want_params = jax.vmap(whole)(pairs, weights)
    close = partial(np.testing.assert_allclose, rtol=1e-4, atol=5e-5)
    close(y.reshape(pairs.shape), want_y)
    close(dx.reshape(pairs.shape), want_dx)
    for name, values in want_params.items():
        close(d_params[name], np.tile(values.sum(0), (4, 1)))
    for name, values in want_stats.items():
        close(stats[name], np.tile(values.mean(0), (4, 1)))


def test_batch_norm_of_each_device_on_its_own_keeps_one_state(rng):
    x = jnp.asarray(rng.normal(1.0, 2.0, size=(4, 3, 6, 5)), jnp.float32)
    state = variables(5, rng)
    alone = BatchNorm(axis="shards", devices=1)
    own = partial(apply, alone, False, state)
    y, stats = jax.vmap(own, axis_name="shards")(x)
    want_y, want_stats = jax.vmap(partial(apply, BatchNorm(), False, state))(x)
    np.testing.assert_allclose(y, want_y, rtol=1e-5, atol=1e-5)
    for name, values in want_stats.items():
        np.testing.assert_allclose(
            stats[name], np.tile(values.mean(0), (4, 1)), rtol=1e-5, atol=1e-6
        )


def test_a_group_that_does_not_divide_the_devices_is_named(rng):
    state = variables(5, rng)
    grouped = partial(apply, BatchNorm(axis="shards", devices=3), False, state)
    message = r"config.model.norm_devices: expected a divisor of the 4 .* found 3"
    with pytest.raises(InputError, match=message):
        jax.vmap(grouped, axis_name="shards")(jnp.zeros((4, 2, 3, 5)))


def test_batch_norm_of_bfloat16_keeps_float32_statistics(rng):
    x = jnp.asarray(rng.normal(size=(8, 6, 5)), jnp.bfloat16)
    y, stats = apply(BatchNorm(), False, variables(5, rng), x)
    assert y.dtype == jnp.bfloat16
    assert stats["mean"].dtype == stats["var"].dtype == jnp.float32
    mean = np.asarray(x, "f4").mean((0, 1))
    np.testing.assert_allclose(stats["mean"], 0.1 * mean, rtol=1e-5, atol=1e-7)


def by_definition(x, scale, bias, dy):
    """Batch norm and a ReLU in float64: (y, mean, var), (dx, d_scale, d_bias)."""
    x, scale, bias, dy = (np.asarray(a, "f8") for a in (x, scale, bias, dy))
    axes = tuple(range(x.ndim - 1))
    mean, var = x.mean(axes), x.var(axes)
    inverse = 1 / np.sqrt(var + 1e-5)
    hat = (x - mean) * inverse
    before = scale * hat + bias
    dy = np.where(before > 0, dy, 0)
    dx = scale * inverse * (dy - dy.mean(axes) - hat * (dy * hat).mean(axes))
    gradient = dx, (dy * hat).sum(axes), dy.sum(axes)
    return (np.maximum(before, 0), mean, var), gradient


def far_from_zero(rng, shape, ratio):
    """Channels of deviations .01, 1 and 100, each with a mean of `ratio` of them.

    Biases of +-6 deviations: rounding does not change which side of 0 a value is on.
    """
    deviation = np.array([0.01, 1, 100])
    x = (ratio + rng.normal(size=shape)) * deviation
    scale, bias = rng.uniform(0.5, 1, 3), np.array([6, -6, 6])
    dy = rng.normal(size=shape)
    return tuple(jnp.asarray(a, jnp.float32) for a in (x, scale, bias, dy))


@pytest.mark.parametrize("ratio", [0, 3, 30, 1e3, 1e4])
@pytest.mark.parametrize("moments", [_checked, _shifted_by_example])
@pytest.mark.parametrize("shape", [(64, 3), (32, 40, 3), (8, 16, 16, 3)])
def test_the_variance_is_right_at_any_mean(rng, shape, moments, ratio):
    """On CPU, and on accelerators."""
    x = far_from_zero(rng, shape, ratio)[0]
    mean, var = jax.jit(moments)(x)
    exact = np.asarray(x, "f8")
    axes = tuple(range(x.ndim - 1))
    np.testing.assert_allclose(var, exact.var(axes), rtol=1e-5)
    np.testing.assert_allclose(
        (mean - exact.mean(axes)) / exact.std(axes), 0, atol=1e-6 + 2e-7 * ratio
    )


@pytest.mark.parametrize(("ratio", "close"), [(3, 5e-6), (1e3, 5e-4), (1e4, 5e-3)])
def test_batch_norm_and_its_gradient_at_a_large_mean(rng, ratio, close):
    x, scale, bias, dy = far_from_zero(rng, (32, 40, 3), ratio)

    def ours(x, scale, bias):
        return normalize(x, scale, bias, None, None, True, 1e-5)

    got, backward = jax.vjp(ours, x, scale, bias)
    want, gradient = by_definition(x, scale, bias, dy)
    zero = jnp.zeros(3)
    for a, b in zip(
        (*got, *backward((dy, zero, zero))), (*want, *gradient), strict=True
    ):
        assert_near(a, b, close)


def assert_near(got, want, close):
    """Errors are counted in the channel's largest value."""
    largest = abs(want).max(tuple(range(want.ndim - 1)))
    largest = np.where(largest > 0, largest, 1)
    np.testing.assert_allclose(np.asarray(got) / largest, want / largest, 0, close)


@pytest.mark.parametrize("devices", [None, 2])
def test_devices_far_apart_are_merged_exactly(rng, devices):
    """Four devices of their own mean, in one group or in two."""
    x, scale, bias, dy = far_from_zero(rng, (4, 8, 10, 3), 1e3)
    x = x * (1 + 1e-3 * jnp.arange(4).reshape(4, 1, 1, 1))

    def shard(x, dy):
        def ours(x, scale, bias):
            return normalize(x, scale, bias, "shards", devices, True, 1e-5)

        got, backward = jax.vjp(ours, x, scale, bias)
        return got, backward((dy, jnp.zeros(3), jnp.zeros(3)))

    (y, mean, var), gradient = jax.vmap(shard, axis_name="shards")(x, dy)
    size = devices or 4
    for first in range(0, 4, size):
        group = slice(first, first + size)
        whole_x, whole_dy = (np.reshape(a[group], (-1, 10, 3)) for a in (x, dy))
        want, (dx, *d_params) = by_definition(whole_x, scale, bias, whole_dy)
        assert_near(np.reshape(y[group], whole_x.shape), want[0], 1e-4)
        assert_near(np.reshape(gradient[0][group], dx.shape), dx, 1e-4)
        for got, total in zip(gradient[1:], d_params, strict=True):
            assert_near(np.sum(got[group], 0), total, 1e-3)
        for k in range(first, first + size):
            assert_near(mean[k], want[1], 1e-6)
            assert_near(var[k], want[2], 1e-4)


@pytest.mark.parametrize("devices", [1, 4])
def test_statistics_of_all_devices_are_seen_to_be_the_same(rng, devices):
    """`out_axes` None is refused for what may differ from device to device."""
    x = jnp.asarray(rng.normal(size=(devices, 2, 6, 5)), jnp.float32)
    state = variables(5, rng)
    synced = partial(apply, BatchNorm(axis="shards"), False, state)
    y, stats = jax.vmap(synced, axis_name="shards", out_axes=(0, None))(x)
    assert y.shape == x.shape
    assert stats["mean"].shape == stats["var"].shape == (5,)
