"""The network around an encoder: heads, what they share, and its number format."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax import models
from kdjax.errors import InputError

PRETRAINED = {"hidden": (8, 6), "outputs": 4}


def variables_of(model, shape=(2, 16, 3)):
    init = partial(model.init, train=False)
    return jax.eval_shape(init, jax.random.key(0), jnp.zeros(shape))


def shapes(projection, collection="params"):
    model = models.build("convnet", classes=5, widths=[7], windows=[3], strides=[2],
                         projection=projection)  # fmt: skip
    tree = variables_of(model)[collection]["head"]
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf.shape
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def norm(i, width):
    return {f"norm{i}/bias": (width,), f"norm{i}/scale": (width,)}


CLASSES = {"classes/bias": (5,)}


@pytest.mark.parametrize(
    ("projection", "want"),
    [
        (None, CLASSES | {"classes/kernel": (7, 5)}),
        (PRETRAINED | {"keep": 0}, CLASSES | {"classes/kernel": (7, 5)}),
        (
            PRETRAINED | {"keep": 1},
            {"layer1/kernel": (7, 8)}
            | norm(1, 8)
            | CLASSES
            | {"classes/kernel": (8, 5)},
        ),
        (
            PRETRAINED,
            {"layer1/kernel": (7, 8)}
            | norm(1, 8)
            | {"layer2/kernel": (8, 6)}
            | norm(2, 6)
            | {"layer3/kernel": (6, 4)}
            | {"norm3/scale": (4,)},
        ),
        (
            {"hidden": [], "outputs": 4, "norm": False},
            {"layer1/bias": (4,), "layer1/kernel": (7, 4)},
        ),
    ],
)
def test_parameters_of_the_head(projection, want):
    assert shapes(projection) == want


def test_fine_tuning_keeps_names_and_shapes_of_pretraining():
    pretrained, tuned = shapes(PRETRAINED), shapes(PRETRAINED | {"keep": 2})
    shared = {name for name in tuned if not name.startswith("classes")}
    assert shared == {name for name in pretrained if "3" not in name}
    assert all(pretrained[name] == tuned[name] for name in shared)


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("norm", [True, False])
def test_projection_by_hand(train, norm):
    """hidden 6, projection 4, on the flattened example itself."""
    rng = np.random.default_rng(0)
    projection = {"hidden": [6], "outputs": 4, "norm": norm}
    model = models.build("mlp", classes=2, widths=[], projection=projection)
    x = jnp.asarray(rng.normal(size=(8, 5)), jnp.float32)
    variables = model.init(jax.random.key(0), x, train=False)
    variables["params"] = jax.tree.map(
        lambda p: p + jnp.asarray(rng.normal(size=p.shape), jnp.float32),
        variables["params"],
    )
    head = jax.tree.map(lambda p: np.asarray(p, "f8"), variables["params"]["head"])

    def layer(h, i):
        h = h @ head[f"layer{i}"]["kernel"]
        if not norm:
            return h + head[f"layer{i}"]["bias"]
        mean, var = (h.mean(0), h.var(0)) if train else (0.0, 1.0)
        h = (h - mean) / np.sqrt(var + 1e-5)
        return h * head[f"norm{i}"]["scale"] + head[f"norm{i}"].get("bias", 0)

    want = layer(np.maximum(layer(np.asarray(x, "f8"), 1), 0), 2)
    outputs, _ = model.apply(variables, x, train=train, mutable=["batch_stats"])
    np.testing.assert_allclose(outputs.logits, want, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(outputs.features["input"], x)


ENCODERS = [
    {"name": "wide_resnet", "depth": 10},
    {"name": "resnet", "depth": 50, "stem": "imagenet"},
    {"name": "convnet"},
    {"name": "mlp"},
]


@pytest.mark.parametrize("fields", ENCODERS, ids=lambda fields: fields["name"])
@pytest.mark.parametrize("projection", [None, PRETRAINED], ids=["classes", "views"])
def test_bfloat16_computes_features_and_leaves_the_rest_in_float32(fields, projection):
    model = models.build(classes=3, dtype="bfloat16", projection=projection, **fields)
    x = jnp.zeros((2, 32, 4))
    variables = variables_of(model, x.shape)
    assert {v.dtype for v in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    apply = partial(model.apply, train=True, mutable=["batch_stats"])
    outputs, state = jax.eval_shape(apply, variables, x)
    assert outputs.logits.dtype == jnp.float32
    assert outputs.logits.shape == (2, 4 if projection else 3)
    assert {f.dtype for f in outputs.features.values()} == {jnp.dtype("bfloat16")}
    assert all(v.dtype == jnp.float32 for v in jax.tree.leaves(state))


def test_bfloat16_is_near_float32():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(8, 16, 3)), jnp.float32)
    fields = {"widths": [8, 8], "windows": [5, 3], "strides": [2, 2]}
    full, half = (
        models.build("convnet", classes=3, dtype=dtype, **fields)
        for dtype in ("float32", "bfloat16")
    )
    variables = full.init(jax.random.key(0), x, train=False)
    run = partial(full.apply, variables, x), partial(half.apply, variables, x)
    want, got = (f(train=True, mutable=["batch_stats"])[0].logits for f in run)
    np.testing.assert_allclose(got, want, atol=0.05)
    assert not np.array_equal(got, want)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"classes": 0}, "config.model.classes: expected an integer >= 1, found 0"),
        (
            {"dtype": "float16"},
            "config.model.dtype: expected one of 'bfloat16', 'float32'",
        ),
        (
            {"norm_devices": 0},
            "config.model.norm_devices: expected an integer >= 1, found 0",
        ),
        (
            {"projection": PRETRAINED | {"keep": 5}},
            "config.model.projection.keep: expected an integer in [0, 2], found 5",
        ),
        (
            {"projection": {"hiden": [3]}},
            "config.model.projection.hiden: unknown field (did you mean 'hidden'?)",
        ),
        (
            {"projection": {"hidden": [3, 0]}},
            "config.model.projection.hidden[1]: expected an integer >= 1, found 0",
        ),
        (
            {"projection": {"outputs": "128"}},
            "config.model.projection.outputs: expected an integer >= 1, found '128'",
        ),
        (
            {"projection": {"norm": 1}},
            "config.model.projection.norm: expected True or False, found 1",
        ),
    ],
)
def test_a_wrong_field_is_one_line(fields, message):
    with pytest.raises(InputError) as error:
        models.build("mlp", **({"classes": 2} | fields))
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)
