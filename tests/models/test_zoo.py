"""Every family: published parameter counts, odd sizes, gradients in bfloat16."""

import json

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax import models
from kdjax.cli.zoo import SETTINGS
from kdjax.errors import InputError
from kdjax.models.blocks import SqueezeExcitation
from kdjax.models.ops.depthwise import depthwise
from kdjax.models.sequence import RecurrentLayer
from kdjax.models.xception_time import average_to
from tests.models.families import TINY

HAR, PAMAP2, CIFAR = ((128, 9), 6), ((100, 40), 12), ((32, 32, 3), 10)
IMAGENET = (64, 64, 3), 1000  # convolutions count alike at any size
SMALL = {"name": "transformer", **SETTINGS["transformer"][1]}
COUNTS = [
    ({"name": "resnet", "se": 16}, HAR, 3_937_342),
    ({"name": "resnet", "se": 16, "depth": 50}, HAR, 18_498_806),
    ({"name": "resnet", "se": 16}, CIFAR, 11_263_042),
    (
        {"name": "resnet", "se": 16, "depth": 50, "stem": "imagenet"},
        IMAGENET,
        28_088_024,
    ),
    ({"name": "resnet", "depth": 50}, HAR, 15_967_814),
    ({"name": "resnet", "depth": 50}, PAMAP2, 15_986_060),
    ({"name": "resnet", "depth": 50}, CIFAR, 23_520_842),
    ({"name": "fcn"}, HAR, 272_006),
    ({"name": "fcn"}, PAMAP2, 300_556),
    ({"name": "resnet_time"}, HAR, 483_078),
    ({"name": "resnet_time"}, PAMAP2, 499_724),
    ({"name": "inception_time"}, HAR, 457_158),
    ({"name": "inception_time"}, PAMAP2, 463_884),
    ({"name": "inception_time"}, ((128, 1), 6), 389_126),  # without the first neck
    ({"name": "xception_time"}, HAR, 401_020),
    ({"name": "xception_time"}, PAMAP2, 406_760),
    ({"name": "xception"}, HAR, 20_668_670),
    ({"name": "xception"}, IMAGENET, 22_855_952),
    ({"name": "densenet"}, HAR, 601_902),
    ({"name": "densenet"}, PAMAP2, 606_192),
    ({"name": "densenet"}, CIFAR, 769_162),
    (
        {"name": "densenet", "depth": 121, "growth": 32, "stem": "imagenet"},
        IMAGENET,
        7_978_856,
    ),
    ({"name": "mobilenet_v2"}, HAR, 2_188_742),
    ({"name": "mobilenet_v2"}, IMAGENET, 3_504_872),
    ({"name": "lstm"}, HAR, 44_606),
    ({"name": "gru"}, HAR, 33_706),
    ({"name": "lstm_fcn"}, HAR, 316_606),
    ({"name": "transformer"}, HAR, 511_878),
    ({"name": "transformer"}, PAMAP2, 567_564),
    (SMALL, HAR, 67_974),
]


def shapes(model, *shape, dtype=jnp.float32):
    x = jax.ShapeDtypeStruct((2, *shape), dtype)
    return jax.eval_shape(
        lambda x: model.init_with_output(jax.random.key(0), x, train=False), x
    )


@pytest.mark.parametrize(("fields", "of", "count"), COUNTS)
def test_parameter_counts(fields, of, count):
    shape, classes = of
    outputs, variables = shapes(models.build(classes=classes, **fields), *shape)
    assert sum(p.size for p in jax.tree.leaves(variables["params"])) == count
    assert outputs.logits.shape == (2, classes)
    assert outputs.features[next(reversed(outputs.features))].ndim == 2


@pytest.fixture(scope="module")
def families(python):
    """What `tests/models/families.py` found on two devices."""
    done = python("-m", "tests.models.families", devices=2)
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", TINY)
def test_one_channel_of_odd_length_has_a_gradient_everywhere(families, name):
    """By pmap, in bfloat16, with batch norm over both devices."""
    found = families[name]
    assert np.isfinite(found["value"])
    assert found["maps"] == TINY[name][1].split()
    assert (found["dtypes"], found["logits"]) == (["bfloat16"], "float32")
    assert found["apart"] == 0
    # a ReLU may be off for all; what a norm follows or softmax ignores has none
    assert len(found["zero"]) <= found["arrays"] // 4, found["zero"]
    assert found.get("error", 0.0) < 1e-5


@pytest.mark.parametrize("shape", [(11, 3), (8, 7, 3)])
@pytest.mark.parametrize("window", [1, 3, 5])
@pytest.mark.parametrize("stride", [1, 2])
def test_depthwise_is_a_convolution_of_each_channel(shape, window, stride):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, *shape)).astype(np.float32)
    kernel = rng.normal(size=(*(window,) * (len(shape) - 1), 1, 3)).astype(np.float32)
    pad = (window - 1) // 2
    padded = np.pad(x, ((0, 0), *((pad, pad),) * (len(shape) - 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(
        padded, (window,) * (len(shape) - 1), axis=tuple(range(1, len(shape)))
    )
    windows = windows[(slice(None), *(slice(None, None, stride),) * (len(shape) - 1))]
    letters = "ij"[: len(shape) - 1]
    expected = np.einsum(f"...c{letters},{letters}c->...c", windows, kernel[..., 0, :])
    found = jax.jit(depthwise, static_argnums=2)(x, kernel, stride)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_a_recurrent_layer_is_flaxs_cell(kind):
    x = jax.random.normal(jax.random.key(0), (3, 9, 2))
    layer = RecurrentLayer(4, kind)
    params = layer.init(jax.random.key(1), x)["params"]
    keys = iter(jax.random.split(jax.random.key(2), 3))
    params = {
        name: p + 0.3 * jax.random.normal(next(keys), p.shape) if p.ndim == 1 else p
        for name, p in params.items()
    }
    gates = "ifog" if kind == "lstm" else "rzn"
    w, u, b = (
        np.split(np.asarray(params[name]), len(gates), axis=-1)
        for name in ("input_kernel", "kernel", "bias")
    )
    cell = (nn.OptimizedLSTMCell if kind == "lstm" else nn.GRUCell)(4)
    theirs = {f"i{g}": {"kernel": w[k]} for k, g in enumerate(gates)}
    theirs |= {f"h{g}": {"kernel": u[k]} for k, g in enumerate(gates)}
    with_bias = "h" if kind == "lstm" else "i"
    for k, gate in enumerate(gates):
        theirs[f"{with_bias}{gate}"]["bias"] = b[k]
    if kind == "gru":
        theirs["hn"]["bias"] = params["inner_bias"]
    rnn = nn.RNN(cell)
    expected = rnn.apply({"params": {"cell": theirs}}, x)
    found = layer.apply({"params": params}, x)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_squeeze_and_excitation_by_hand():
    x = jax.random.normal(jax.random.key(1), (2, 5, 8))
    block = SqueezeExcitation(4)
    params = block.init(jax.random.key(0), x)["params"]
    found = block.apply({"params": params}, x)
    x, params = jax.device_get((x, params))
    h = x.mean(1) @ params["squeeze"]["kernel"] + params["squeeze"]["bias"]
    h = np.maximum(h, 0) @ params["excite"]["kernel"] + params["excite"]["bias"]
    expected = x / (1 + np.exp(-h))[:, None]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("time", [37, 50, 128])
def test_averages_over_equal_parts(time):
    x = np.random.default_rng(0).normal(size=(1, time, 2)).astype(np.float32)
    expected = [
        x[:, i * time // 50 : -(-(i + 1) * time // 50)].mean(1) for i in range(50)
    ]
    found = average_to(jnp.asarray(x), 50)
    np.testing.assert_allclose(found, np.stack(expected, 1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "fcn", "windows": [7, 4, 3]}, r"windows\[1\]: expected an odd"),
        ({"name": "fcn", "widths": []}, "widths: expected one layer or more"),
        ({"name": "resnet_time", "widths": []}, "widths: expected one block or more"),
        ({"name": "inception_time", "windows": [3, 5]}, "a sequence of 3 integers"),
        ({"name": "densenet", "depth": 99}, r"depth: expected 6 n \+ 4, found 99"),
        ({"name": "densenet", "stem": "imagenet"}, "depth: expected one of 121, 169"),
        ({"name": "mobilenet_v2", "width": 0}, "width: expected a number in"),
        ({"name": "mobilenet_v2", "blocks": [1]}, "blocks: expected a sequence of 7"),
        ({"name": "xception", "width": -1}, "width: expected a number in"),
        ({"name": "xception_time", "windows": [4, 3, 3]}, r"windows\[0\]: expected an"),
        ({"name": "transformer", "heads": 3}, "width: expected a multiple of 3 heads"),
        (
            {"name": "transformer", "width": 3, "heads": 1, "positions": "sines"},
            "width: expected an even number",
        ),
        ({"name": "resnet", "se": 0}, "se: expected an integer >= 1"),
        ({"name": "lstm", "units": 0}, "units: expected an integer >= 1"),
    ],
)
def test_wrong_fields_are_named(fields, message):
    with pytest.raises(InputError, match=f"config.model.{message}|{message}"):
        models.build(classes=3, **fields)


def test_a_series_that_is_halved_too_often_is_refused():
    """At a length of 1 it was once a ZeroDivisionError."""
    model = models.build("densenet", classes=3, depth=10, growth=2)
    with pytest.raises(InputError, match="expected 4 samples or more, found fewer"):
        shapes(model, 3, 1)
    shapes(model, 4, 1)


@pytest.mark.parametrize(
    "name", ["fcn", "lstm", "transformer", "inception_time", "xception_time"]
)
def test_a_network_of_series_refuses_images(name):
    with pytest.raises(InputError, match="is for series"):
        shapes(models.build(name, classes=3), 8, 8, 3)
