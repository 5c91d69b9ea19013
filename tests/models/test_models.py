"""The networks: parameter counts, one block by hand, features, fields of a config."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax import models
from kdjax.errors import InputError
from kdjax.models.ops.convolution import Conv
from kdjax.models.resnet import BasicBlock, Bottleneck
from kdjax.models.wide_resnet import Block

IMAGENET = {"name": "resnet", "stem": "imagenet"}


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def shapes(model, *shape):
    """(outputs, variables) of `model` at one example of `shape`, without computing."""
    x = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    return jax.eval_shape(
        lambda x: model.init_with_output(jax.random.key(0), x, train=False), x
    )


@pytest.mark.parametrize(
    ("fields", "shape", "classes", "parameters"),
    [
        ({"name": "wide_resnet", "depth": 16, "width": 1}, (100, 40), 12, 63_020),
        ({"name": "wide_resnet", "depth": 16, "width": 3}, (100, 40), 12, 537_644),
        ({"name": "wide_resnet", "depth": 28, "width": 1}, (100, 40), 12, 128_428),
        ({"name": "wide_resnet", "depth": 40, "width": 2}, (100, 40), 12, 761_516),
        ({"name": "wide_resnet", "depth": 16, "width": 1}, (32, 32, 3), 10, 175_066),
        ({"name": "wide_resnet", "depth": 40, "width": 2}, (32, 32, 3), 10, 2_243_546),
        (IMAGENET | {"depth": 18}, (64, 64, 3), 1000, 11_689_512),
        (IMAGENET | {"depth": 34}, (64, 64, 3), 1000, 21_797_672),
        (IMAGENET | {"depth": 50}, (64, 64, 3), 1000, 25_557_032),
        (IMAGENET | {"depth": 101}, (64, 64, 3), 1000, 44_549_160),
        (IMAGENET | {"depth": 50, "width": 2}, (64, 64, 3), 1000, 98_004_072),
        (IMAGENET | {"depth": 18, "width": 0.25}, (472, 1), 8, 243_160),
        ({"name": "convnet"}, (320, 2), 5, 149_952 + 960 + 257 * 5),
        ({"name": "mlp", "widths": []}, (8, 4), 3, 33 * 3),
        ({"name": "mlp", "widths": [128, 64]}, (8, 4), 3, 33 * 128 + 129 * 64 + 65 * 3),
    ],
)  # fmt: skip
def test_parameter_counts(fields, shape, classes, parameters):
    outputs, variables = shapes(models.build(classes=classes, **fields), *shape)
    assert sum(p.size for p in jax.tree.leaves(variables["params"])) == parameters
    assert outputs.logits.shape == (1, classes)


@pytest.mark.parametrize(
    ("fields", "shape", "features"),
    [
        (
            {"name": "wide_resnet", "depth": 10, "width": 2},
            (32, 9),
            {
                "group1": (32, 32),
                "group2": (16, 64),
                "group3": (8, 128),
                "pooled": (128,),
            },
        ),
        (
            {"name": "resnet", "stem": "imagenet"},
            (64, 9),
            {
                "stage1": (16, 64),
                "stage2": (8, 128),
                "stage3": (4, 256),
                "stage4": (2, 512),
                "pooled": (512,),
            },
        ),
        (
            {"name": "resnet", "stem": "cifar"},
            (16, 16, 3),
            {
                "stage1": (16, 16, 64),
                "stage2": (8, 8, 128),
                "stage3": (4, 4, 256),
                "stage4": (2, 2, 512),
                "pooled": (512,),
            },
        ),
        (
            {"name": "resnet", "depth": 50, "stem": "imagenet"},
            (64, 64, 3),
            {
                "stage1": (16, 16, 256),
                "stage2": (8, 8, 512),
                "stage3": (4, 4, 1024),
                "stage4": (2, 2, 2048),
                "pooled": (2048,),
            },
        ),
        (
            {"name": "convnet"},
            (320, 2),
            {
                "layer1": (160, 32),
                "layer2": (80, 64),
                "layer3": (40, 128),
                "layer4": (20, 256),
                "pooled": (256,),
            },
        ),
        (
            {"name": "convnet", "widths": [4, 6], "windows": [5, 3], "strides": [2, 1]},
            (9, 8, 3),
            {"layer1": (5, 4, 4), "layer2": (5, 4, 6), "pooled": (6,)},
        ),
        ({"name": "mlp", "widths": (7, 5)}, (6,), {"hidden1": (7,), "hidden2": (5,)}),
        ({"name": "mlp", "widths": ()}, (6, 2), {"input": (12,)}),
    ],
)
def test_features_stay_in_order_of_depth(fields, shape, features):
    outputs, _ = shapes(models.build(classes=2, **fields), *shape)
    found = {name: feature.shape[1:] for name, feature in outputs.features.items()}
    assert list(found.items()) == list(features.items())


def normalize(x, layer, train):
    """Batch norm in float64: by the batch's statistics, or by mean 0, var 1."""
    mean, var = (x.mean((0, 1)), x.var((0, 1))) if train else (0.0, 1.0)
    return (x - mean) / np.sqrt(var + 1e-5) * layer["scale"] + layer["bias"]


def rectify(x):
    return np.maximum(x, 0)


def convolve(x, kernel, stride):
    """Symmetric padding, then one product for each output position."""
    window = len(kernel)
    pad = (window - 1) // 2
    x = np.pad(x, ((0, 0), (pad, pad), (0, 0)))
    starts = range(0, x.shape[1] - window + 1, stride)
    parts = [np.einsum("bkc,kco->bo", x[:, i : i + window], kernel) for i in starts]
    return np.stack(parts, axis=1)


def pre_activation(x, params, stride, train):
    h = rectify(normalize(x, params["norm1"], train))
    if "shortcut" in params:
        x = convolve(h, params["shortcut"]["kernel"], stride)
    h = convolve(h, params["conv1"]["kernel"], stride)
    h = rectify(normalize(h, params["norm2"], train))
    return x + convolve(h, params["conv2"]["kernel"], 1)


def basic(x, params, stride, train):
    h = convolve(x, params["conv1"]["kernel"], stride)
    h = rectify(normalize(h, params["norm1"], train))
    h = normalize(convolve(h, params["conv2"]["kernel"], 1), params["norm2"], train)
    if "shortcut" in params:
        x = convolve(x, params["shortcut"]["kernel"], stride)
        x = normalize(x, params["shortcut_norm"], train)
    return rectify(x + h)


def bottleneck(x, params, stride, train):
    h = rectify(
        normalize(convolve(x, params["conv1"]["kernel"], 1), params["norm1"], train)
    )
    h = convolve(h, params["conv2"]["kernel"], stride)
    h = rectify(normalize(h, params["norm2"], train))
    h = normalize(convolve(h, params["conv3"]["kernel"], 1), params["norm3"], train)
    if "shortcut" in params:
        x = convolve(x, params["shortcut"]["kernel"], stride)
        x = normalize(x, params["shortcut_norm"], train)
    return rectify(x + h)


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize(
    ("block", "by_hand", "outputs", "stride"),
    [
        (Block, pre_activation, 16, 1),
        (Block, pre_activation, 32, 2),
        (BasicBlock, basic, 16, 1),
        (BasicBlock, basic, 32, 2),
        (Bottleneck, bottleneck, 4, 1),
        (Bottleneck, bottleneck, 8, 2),
    ],
)
def test_block_by_hand(rng, block, by_hand, outputs, stride, train):
    x = rng.normal(size=(3, 8, 16))
    module, x32 = block(outputs, stride), jnp.asarray(x, jnp.float32)
    variables = jax.jit(partial(module.init, train=False))(jax.random.key(0), x32)
    params = jax.tree.map(
        lambda p: np.asarray(p, "f8") + rng.normal(size=p.shape) / 8,
        variables["params"],
    )
    variables["params"] = jax.tree.map(lambda p: jnp.asarray(p, "f4"), params)
    apply = partial(module.apply, train=train, mutable=["batch_stats"])
    got, _ = jax.jit(apply)(variables, x32)
    want = by_hand(x, params, stride, train)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("block", "channels"), [(BasicBlock, 4), (Bottleneck, 1)])
def test_a_residual_block_starts_as_its_shortcut(rng, block, channels):
    x = jnp.asarray(rng.uniform(0, 1, size=(2, 6, 4)), jnp.float32)
    module = block(channels)
    variables = module.init(jax.random.key(0), x, train=False)
    y, _ = module.apply(variables, x, train=True, mutable=["batch_stats"])
    np.testing.assert_array_equal(y, x)
    wider = block(2 * channels, 2)
    params = wider.init(jax.random.key(0), x, train=False)["params"]
    zeros = [k for k, p in params.items() if "norm" in k and not p["scale"].any()]
    assert zeros == [max(k for k in params if k.startswith("norm"))]


@pytest.mark.parametrize("name", ["wide_resnet", "mlp"])
def test_training_moves_the_statistics_and_evaluation_does_not(rng, name):
    model = models.build(name, classes=3, **({"depth": 10} if name != "mlp" else {}))
    x = jnp.asarray(rng.normal(1.0, 2.0, size=(4, 8, 3)), jnp.float32)
    variables = jax.jit(partial(model.init, train=False))(jax.random.key(0), x)
    assert set(variables) <= {"params", "batch_stats"}
    apply = jax.jit(model.apply, static_argnames=("train", "mutable"))
    for train in (True, False):
        outputs, state = apply(variables, x, train=train, mutable=("batch_stats",))
        assert jnp.isfinite(outputs.logits).all()
        moved = [
            not np.array_equal(before, after)
            for before, after in zip(
                jax.tree.leaves(variables.get("batch_stats", {})),
                jax.tree.leaves(state.get("batch_stats", {})),
                strict=True,
            )
        ]
        assert all(moved) if train else not any(moved)


def test_kernels_are_he_normal_by_fan_out():
    variables = Conv(256).init(jax.random.key(0), jnp.zeros((1, 8, 64)))
    deviation = variables["params"]["kernel"].std()
    np.testing.assert_allclose(deviation, np.sqrt(2 / (3 * 256)), rtol=0.02)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"name": "wide_resnt"},
            "config.model.name: unknown name 'wide_resnt' (did you",
        ),
        (
            {"name": "wide_resnet", "depht": 16},
            "config.model.depht: unknown field (did",
        ),
        ({"name": "wide_resnet", "depth": 18}, "config.model.depth: expected 6n + 4"),
        ({"name": "wide_resnet", "depth": 4}, "config.model.depth: expected 6n + 4"),
        (
            {"name": "wide_resnet", "depth": "16"},
            "config.model.depth: expected an integer in [1, 1000], found '16'",
        ),
        (
            {"name": "wide_resnet", "width": 0},
            "config.model.width: expected an integer >= 1",
        ),
        (
            {"name": "wide_resnet", "width": 1.5},
            "config.model.width: expected an integer >= 1",
        ),
        (
            {"name": "resnet", "depth": 20},
            "config.model.depth: expected one of 18, 34, 50",
        ),
        (
            {"name": "resnet", "stem": "imagnet"},
            "config.model.stem: expected one of 'cifar', 'imagenet'",
        ),
        (
            {"name": "resnet", "width": 0},
            "config.model.width: expected a number > 0, found 0",
        ),
        (
            {"name": "resnet", "width": 0.3},
            "config.model.width: expected a multiple of 1/64, found 0.3",
        ),
        (
            {"name": "convnet", "windows": [3, 3]},
            "config.model.windows: expected 4 numbers, as many as widths, found 2",
        ),
        ({"name": "convnet", "widths": []}, "config.model.widths: expected one layer"),
        (
            {"name": "convnet", "strides": [2, 2, 2, 0]},
            "config.model.strides[3]: expected an integer >= 1, found 0",
        ),
        (
            {"name": "mlp", "widths": 128},
            "config.model.widths: expected a sequence of integers",
        ),
        (
            {"name": "mlp", "widths": [128, -1]},
            "config.model.widths[1]: expected an integer >= 1, found -1",
        ),
    ],
)
def test_a_wrong_field_is_one_line(fields, message):
    with pytest.raises(InputError) as error:
        models.build(classes=2, **fields)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_a_wrong_rank_names_both_shapes():
    model = models.build("wide_resnet", classes=2)
    with pytest.raises(
        ValueError, match=r"expected \[batch, time.*found shape \(4, 9\)"
    ):
        model.init(jax.random.key(0), jnp.zeros((4, 9)), train=False)
