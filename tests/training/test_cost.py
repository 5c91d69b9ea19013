"""The cost of a forward pass, its products counted by hand."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from kdjax import models
from kdjax.training.cost import forward_cost, multiply_accumulates


def shape(*sizes):
    return jax.ShapeDtypeStruct(sizes, jnp.float32)


def wide_resnet(depth, width, size, channels, classes, rank):
    """Multiply-accumulates of a WRN at [1, size, ..., channels], layer by layer."""
    wide = [16, 16 * width, 32 * width, 64 * width]
    total = size**rank * 3**rank * channels * 16
    for group, stride in ((1, 1), (2, 2), (3, 2)):
        size //= stride
        inputs, outputs = wide[group - 1], wide[group]
        for _ in range((depth - 4) // 6):
            if inputs != outputs:
                total += size**rank * inputs * outputs
            total += size**rank * 3**rank * (inputs + outputs) * outputs
            inputs = outputs
    return total + outputs * classes


def count(module, x, part=lambda outputs: outputs):
    variables = jax.eval_shape(
        lambda x: module.init(jax.random.key(0), x, train=False), x
    )
    return multiply_accumulates(
        lambda variables, x: part(module.apply(variables, x, train=False)), variables, x
    )


@pytest.mark.parametrize(
    ("width", "expected"),
    [
        # stem 128 x 27 x 16, the three groups, head 64 x 6
        (1, 55_296 + 393_216 + 720_896 + 1_441_792 + 384),
        (3, 55_296 + 3_047_424 + 6_488_064 + 12_976_128 + 1_152),
    ],
)
def test_wrn_over_time(width, expected):
    module = models.build("wide_resnet", classes=6, depth=16, width=width)
    assert wide_resnet(16, width, 128, 9, 6, rank=1) == expected
    assert count(module, shape(1, 128, 9)) == expected
    assert count(module, shape(32, 128, 9)) == 32 * expected


def test_wrn_over_images():
    module = models.build("wide_resnet", classes=10, depth=16, width=3)
    expected = wide_resnet(16, 3, 32, 3, 10, rank=2)
    assert count(module, shape(1, 32, 32, 3)) == expected


@pytest.mark.parametrize("batch", [1, 16])
def test_beatgan(batch):
    """Also where the batch is large enough for products on CPU."""
    width, latent = 8, 5
    gan = models.build_gan("beatgan", width=width, latent=latent)
    lengths, channels = [160, 80, 40, 20, 10], [1, 8, 16, 32, 64, 128]
    layers = sum(
        length * 4 * inputs * outputs
        for length, inputs, outputs in zip(
            lengths, channels[:-1], channels[1:], strict=True
        )
    )
    x = shape(batch, 320, 1)
    # the decoder is the encoder's mirror
    dense = 10 * 128 * latent
    assert count(gan.generator, x) == batch * 2 * (layers + dense)
    assert count(gan.discriminator, x) == batch * (layers + 10 * 128)


LAYOUT = ("NWC", "WIO", "NWC")


@pytest.mark.parametrize(("window", "stride"), [(4, 2), (3, 2), (3, 3)])
def test_a_transposed_convolution_costs_what_its_convolution_does(window, stride):
    time = 9 * stride + window

    def halve(x, kernel):
        return lax.conv_general_dilated(
            x, kernel, (stride,), "VALID", dimension_numbers=LAYOUT
        )

    def double(x, kernel):
        return lax.conv_transpose(
            x, kernel, (stride,), "VALID", dimension_numbers=LAYOUT
        )

    down = multiply_accumulates(halve, shape(2, time, 3), shape(window, 3, 5))
    assert down == 2 * 10 * window * 3 * 5
    up = multiply_accumulates(double, shape(2, 10, 5), shape(window, 5, 3))
    assert up == down


def test_groups_and_spread_windows():
    def convolve(x, kernel):
        return lax.conv_general_dilated(
            x,
            kernel,
            (1, 1),
            "SAME",
            rhs_dilation=(2, 2),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=4,
        )

    found = multiply_accumulates(convolve, shape(2, 10, 6, 8), shape(3, 3, 2, 12))
    assert found == 2 * 60 * 9 * 2 * 12


def many(function):
    return lambda x, y: lax.scan(lambda c, _: (function(c, y), None), x, length=7)[0]


def branches(x, y):
    return lax.cond(x[0, 0] > 0, lambda: x @ y @ y, lambda: x @ y)


def loop(x, y):
    return lax.while_loop(lambda c: c[0, 0] > 0, lambda c: c @ y, x)


def counting(x, y):
    return lax.while_loop(lambda c: c[0, 0] > 0, lambda c: c - 1, x) @ y


def on_cpu(x, y):
    return lax.platform_dependent(
        x, y, cpu=lambda x, y: x, default=lambda x, y: x @ y @ y
    )


@jax.custom_vjp
def own_gradient(x, y):
    return x @ y


own_gradient.defvjp(lambda x, y: (x @ y, y), lambda y, d: (d @ y.T, y))


@jax.custom_jvp
def own_tangent(x, y):
    return x @ y


own_tangent.defjvp(lambda primals, tangents: (primals[0] @ primals[1], tangents[0]))


@pytest.mark.parametrize(
    ("function", "times"),
    [
        (lambda x, y: x @ y, 1),
        (jax.jit(lambda x, y: jnp.sin(x) @ y + 1), 1),
        (jax.checkpoint(lambda x, y: x @ y), 1),
        (own_gradient, 1),
        (own_tangent, 1),
        (many(lambda x, y: x @ y), 7),
        (many(many(own_gradient)), 49),
        (lambda x, y: lax.fori_loop(0, 5, lambda i, c: c @ y, x), 5),
        (branches, 2),
        (on_cpu, 2),
        (counting, 1),
        (loop, math.nan),
        (jax.vmap(lambda x, y: x @ y, in_axes=(0, None)), 1),
    ],
)
def test_products_are_found_wherever_they_are(function, times):
    found = multiply_accumulates(function, shape(3, 4), shape(4, 4))
    np.testing.assert_equal(found, times * 3 * 4 * 4)


def test_contracted_and_batched_axes():
    found = multiply_accumulates(
        lambda x, y: jnp.einsum("bijk,bkjm->bim", x, y),
        shape(2, 3, 4, 5),
        shape(2, 5, 4, 7),
    )
    assert found == 2 * 3 * 4 * 5 * 7


def test_forward_cost():
    model = {
        "params": {"w": jnp.ones((4, 6)), "b": jnp.zeros(6)},
        "model_state": {"batch_stats": {"mean": jnp.zeros(2)}},
    }

    def forward(model, x):
        return x @ model["params"]["w"] + model["params"]["b"][None]

    cost = forward_cost(forward, model, np.ones((1, 4), np.float32), repeats=3)
    assert cost.pop("ms") > 0
    assert cost == {"parameters": 30, "flops": 48, "kib": 4 * 32 / 1024}
