"""The self-teacher's pyramid."""

from collections import OrderedDict
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.losses import bernoulli_kl
from kdjax.models.beatgan import beatgan
from kdjax.models.beatgan import maps as with_time
from kdjax.models.bifpn import BiFPN, Fuse, max_pool, upsample
from kdjax.models.ops.batch_norm import BatchNorm

SHAPES = {"z": (16, 3), "b": (8, 5), "a": (4, 6)}  # names not in sorted order


def maps(shapes=SHAPES, batch=3, seed=0):
    rng = np.random.default_rng(seed)
    return OrderedDict(
        (name, jnp.asarray(rng.normal(size=(batch, *shape)), jnp.float32))
        for name, shape in shapes.items()
    )


def initial(module, features, seed=0):
    return jax.jit(partial(module.init, train=True))(jax.random.key(seed), features)


@pytest.mark.parametrize(
    "shapes",
    [
        SHAPES,
        {"one": (8, 4), "two": (8, 2)},
        {"one": (12, 1), "two": (4, 2), "three": (2, 3), "four": (1, 4)},
        {"one": (8, 6, 4), "two": (4, 6, 3), "three": (2, 2, 5)},
    ],
)
def test_refined_maps_keep_names_order_and_shapes(shapes):
    features = maps(shapes)
    module = BiFPN(classes=2, width=4)
    variables = initial(module, features)
    for train in (True, False):
        apply = jax.jit(partial(module.apply, train=train, mutable="batch_stats"))
        (logits, refined), _ = apply(variables, features)
        assert logits.shape == (3, 2)
        assert logits.dtype == jnp.float32
        assert list(refined) == list(shapes)
        assert {name: x.shape[1:] for name, x in refined.items()} == shapes
    names = set(variables["params"])
    assert len([n for n in names if n.startswith("fuse_up")]) == len(shapes)
    assert len([n for n in names if n.startswith("fuse_down")]) == len(shapes) - 2


def test_the_logits_reach_every_parameter_and_every_map():
    features = maps(batch=16)
    module = BiFPN(width=8)
    variables = initial(module, features)

    def loss(params, features):
        state = variables | {"params": params}
        out, _ = module.apply(state, features, train=True, mutable="batch_stats")
        return bernoulli_kl(out.logits, jnp.ones((16, 1)))

    gradients = jax.jit(jax.grad(loss, argnums=(0, 1)))(variables["params"], features)
    for path, gradient in jax.tree.leaves_with_path(gradients):
        assert jnp.abs(gradient).max() > 1e-8, jax.tree_util.keystr(path)


def test_every_refined_map_sees_every_scale():
    """Top down and bottom up: what one map changes, all refined ones show."""
    module = BiFPN(width=8)
    features = maps()
    variables = initial(module, features)
    apply = jax.jit(partial(module.apply, train=False))
    before = apply(variables, features)
    for name in features:
        changed = features | {name: features[name] + 1}
        after = apply(variables, changed)
        for other in features:
            moved = jnp.abs(after.features[other] - before.features[other]).max()
            assert moved > 1e-4, (name, other)
        assert jnp.abs(after.logits - before.logits).max() > 1e-5


def test_the_scales_keep_their_place_in_time():
    """Without overlapping windows: the end of a map does not reach its beginning."""
    module = BiFPN(width=8)
    features = maps({"fine": (32, 4), "coarse": (16, 4)})
    variables = initial(module, features)
    apply = jax.jit(partial(module.apply, train=False))
    before = apply(variables, features).features
    changed = OrderedDict(
        (name, x.at[:, x.shape[1] // 2 :].add(1.0)) for name, x in features.items()
    )
    after = apply(variables, changed).features
    for name, x in before.items():
        early = slice(None, x.shape[1] // 2 - 4)
        np.testing.assert_allclose(after[name][:, early], x[:, early], atol=1e-6)
        assert jnp.abs(after[name] - x).max() > 1e-3


def test_fusion_is_a_normalised_mean_of_non_negative_weights():
    a, b = (jnp.full((1, 2, 3), value) for value in (1.0, 5.0))
    fuse = Fuse()
    variables = fuse.init(jax.random.key(0), a, b)
    np.testing.assert_array_equal(variables["params"]["weights"], [1, 1])
    for weights, expected in (([1.0, 1.0], 3), ([3.0, 1.0], 2), ([2.0, -7.0], 1)):
        got = fuse.apply({"params": {"weights": jnp.array(weights)}}, a, b)
        np.testing.assert_allclose(got, np.full((1, 2, 3), expected), rtol=1e-4)


def test_resizing():
    x = jnp.array([1.0, 4.0, 3.0, 2.0]).reshape(1, 4, 1)
    assert upsample(x, (8,)).ravel().tolist() == [1, 1, 4, 4, 3, 3, 2, 2]
    assert max_pool(x, (2,)).ravel().tolist() == [4, 3]
    assert max_pool(x, (4,)).ravel().tolist() == upsample(x, (4,)).ravel().tolist()


def test_resizing_images():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 4, 6, 3)), jnp.float32)
    blocks = np.asarray(x).reshape(2, 2, 2, 2, 3, 3)
    np.testing.assert_array_equal(max_pool(x, (2, 2)), blocks.max(axis=(2, 4)))
    larger = np.kron(np.asarray(x), np.ones((1, 2, 1, 1)))
    np.testing.assert_array_equal(upsample(x, (8, 6)), larger)
    gradient = jax.grad(lambda x: max_pool(x, (2, 2)).sum())(jnp.zeros_like(x))
    first = np.zeros((2, 4, 6, 3))
    first[:, ::2, ::3] = 1.0  # of equal ones
    np.testing.assert_array_equal(gradient, first)


def test_batch_norm_over_shards_is_that_of_the_whole_batch():
    features = maps(batch=4)
    variables = initial(BiFPN(width=4), features)
    synced = BiFPN(width=4, batch_norm=partial(BatchNorm, "devices"))
    plain = partial(BiFPN(width=4).apply, train=True, mutable="batch_stats")
    whole, _ = jax.jit(plain)(variables, features)
    apply = partial(synced.apply, variables, train=True, mutable="batch_stats")
    shards = jax.tree.map(lambda x: x.reshape(2, 2, *x.shape[1:]), features)
    split, _ = jax.jit(jax.vmap(apply, axis_name="devices"))(shards)
    np.testing.assert_allclose(
        split.logits.reshape(4, 1), whole.logits, rtol=1e-4, atol=1e-5
    )


def test_it_refines_the_maps_of_the_discriminator():
    x = maps({"x": (64, 1)})["x"]
    discriminator = beatgan(width=4).discriminator
    state = initial(discriminator, x)
    features = jax.jit(partial(discriminator.apply, train=False))(state, x).features
    features = with_time(features)
    module = BiFPN(width=8)
    apply = jax.jit(partial(module.apply, train=False))
    refined = apply(initial(module, features), features).features
    assert list(refined) == list(features)
    assert [r.shape for r in refined.values()] == [f.shape for f in features.values()]


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"one": (8, 4)}, r"two maps .* found {'one': \(3, 8, 4\)}"),
        ({"one": (8, 4), "two": (4,)}, r"two maps .* 'two': \(3, 4\)"),
        ({"one": (8, 4), "two": (3, 4)}, r"whole number .* 'two': \(3, 3, 4\)"),
        ({"one": (4, 4), "two": (8, 4)}, r"whole number .* 'two': \(3, 8, 4\)"),
    ],
)
def test_maps_that_do_not_fit_are_named(shapes, message):
    with pytest.raises(ValueError, match=message):
        BiFPN().init(jax.random.key(0), maps(shapes), train=True)
