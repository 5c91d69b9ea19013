"""BeatGAN's networks, and its convolutions against flax's and the definition."""

import itertools
from functools import cache, partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.errors import InputError
from kdjax.models.beatgan import beatgan, maps, motion_beatgan
from kdjax.models.ops.batch_norm import BatchNorm
from kdjax.models.ops.transposed_convolution import double, halve

FLAX = {
    halve: partial(nn.Conv, padding=1),
    double: partial(nn.ConvTranspose, padding="SAME"),
}


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def normal(rng, *shape):
    return jnp.asarray(rng.normal(size=shape), jnp.float32)


def count(tree):
    return sum(x.size for x in jax.tree.leaves(tree))


def initial(module, x, seed=0):
    return jax.jit(partial(module.init, train=True))(jax.random.key(seed), x)


def run(module, variables, x):
    return jax.jit(partial(module.apply, train=False))(variables, x)


def parts(gan):
    return gan.generator, gan.discriminator


@cache
def small():
    """(pair, variables of both, beats) of 64 samples and 2 leads, width 4."""
    pair = parts(beatgan(latent=5, width=4))
    x = normal(np.random.default_rng(0), 3, 64, 2)
    return pair, [initial(module, x) for module in pair], x


def torch_transposed(x, weight):
    """torch.nn.ConvTranspose1d(4, 2, padding=1), weight [4, inputs, outputs]."""
    batch, time, _ = x.shape
    y = np.zeros((batch, 2 * time + 2, weight.shape[-1]))
    for t in range(time):
        for j in range(4):
            y[:, 2 * t + j] += x[:, t] @ weight[j]
    return y[:, 1:-1]


@pytest.mark.parametrize("form", [halve, double])
@pytest.mark.parametrize("time", [2, 6, 8, 20])
@pytest.mark.parametrize(("inputs", "outputs"), [(1, 16), (16, 1), (16, 24), (3, 2)])
def test_value_and_gradients_are_flaxs(rng, form, time, inputs, outputs):
    x, kernel = normal(rng, 9, time, inputs), normal(rng, 4, inputs, outputs)
    layer = FLAX[form](outputs, (4,), (2,), use_bias=False)

    def theirs(x, kernel):
        return layer.apply({"params": {"kernel": kernel}}, x)

    y, ours_back = jax.vjp(form, x, kernel)
    want, back = jax.vjp(theirs, x, kernel)
    dy = normal(rng, *want.shape)
    for got, expected in zip((y, *ours_back(dy)), (want, *back(dy)), strict=True):
        largest = float(jnp.abs(expected).max())
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=2e-6 * largest)


@pytest.mark.parametrize("batch", [2, 10])  # XLA's form, and by products
def test_torchs_transposed_convolution_has_the_kernel_turned_round(rng, batch):
    x, kernel = rng.normal(size=(2, 4, 3)), rng.normal(size=(4, 3, 5))
    x = np.repeat(x, batch // 2, axis=0)
    got = double(*(jnp.asarray(a, jnp.float32) for a in (x, kernel)))
    np.testing.assert_allclose(got, torch_transposed(x, kernel[::-1]), atol=1e-5)


@pytest.mark.parametrize("form", [halve, double])
@pytest.mark.parametrize(("platform", "convolutions"), [("cpu", False), ("tpu", True)])
def test_accelerators_keep_xlas_convolution(form, platform, convolutions):
    x, kernel = jnp.zeros((9, 8, 32)), jnp.zeros((4, 32, 16))
    gradient = jax.jit(jax.grad(lambda x, k: form(x, k).sum(), argnums=(0, 1)))
    program = jax.export.export(gradient, platforms=[platform])(x, kernel)
    assert ("stablehlo.convolution" in program.mlir_module()) == convolutions


def test_the_platforms_agree_under_vmap(rng):
    x, kernel = normal(rng, 3, 9, 4, 16), normal(rng, 4, 16, 16)
    for form in (halve, double):
        got = jax.vmap(form, in_axes=(0, None))(x, kernel)
        looped = [form(one, kernel) for one in x]
        np.testing.assert_allclose(got, looped, rtol=1e-4, atol=1e-5)


def test_an_odd_number_of_steps_cannot_be_halved():
    with pytest.raises(ValueError, match=r"x: expected an even .* found \(2, 7, 3\)"):
        halve(jnp.zeros((2, 7, 3)), jnp.zeros((4, 3, 5)))


def test_heartbeat_networks_have_the_published_numbers_of_parameters():
    x = jnp.zeros((2, 320, 1))
    shapes = [
        jax.eval_shape(partial(initial, module), x) for module in parts(beatgan())
    ]
    widths = [32, 64, 128, 256, 512]
    between = sum(4 * a * b for a, b in itertools.pairwise(widths))
    body = 4 * 32 + between + 2 * sum(widths[1:])
    encoder, discriminator = (body + 512 * 10 * outputs for outputs in (50, 1))
    decoder = 50 * 512 * 10 + between + 2 * sum(widths) + 4 * 32
    found = [count(variables["params"]) for variables in shapes]
    assert found == [encoder + decoder, discriminator] == [1_908_800, 703_488]


def test_motion_networks_have_the_published_numbers_of_parameters():
    x = jnp.zeros((2, 64, 4))
    shapes = [
        jax.eval_shape(partial(initial, module), x)
        for module in parts(motion_beatgan())
    ]
    sizes = [256, 256, 128, 32, 10]
    pairs = list(itertools.pairwise(sizes))
    encoder, decoder = (
        sum(a * b + b for a, b in pairs),
        sum(b * a + a for a, b in pairs),
    )
    discriminator = sum(a * b + b for a, b in pairs[:-1]) + 32 + 1
    found = [count(variables["params"]) for variables in shapes]
    assert found == [encoder + decoder, discriminator] == [206_538, 102_849]


def test_the_heartbeat_maps_halve_and_double():
    x = jnp.zeros((2, 320, 1))
    (generator, discriminator), out = parts(beatgan()), {}
    for module in (generator, discriminator):
        variables = jax.eval_shape(partial(initial, module), x)
        out[module] = jax.eval_shape(partial(module.apply, train=False), variables, x)
    reconstruction, latent = out[generator]
    assert reconstruction.shape == (2, 320, 1)
    assert latent.shape == (2, 50)
    logits, features = out[discriminator]
    assert logits.shape == (2, 1)
    assert {name: x.shape[1:] for name, x in features.items()} == {
        "layer1": (160, 32),
        "layer2": (80, 64),
        "layer3": (40, 128),
        "layer4": (20, 256),
        "features": (10, 512),
        "pooled": (512,),
    }
    assert next(reversed(features)) == "pooled"


def test_the_encoder_is_the_published_stack(rng):
    """In evaluation, against flax's own layers with the same parameters."""
    (_, discriminator), (_, variables), x = small()
    params = variables["params"]["encoder"]
    final = variables["params"]["logits"]["kernel"]
    stats = jax.tree.map(
        lambda s: s + jnp.asarray(rng.uniform(0, 1, s.shape), jnp.float32),
        variables["batch_stats"],
    )
    variables = {"params": variables["params"], "batch_stats": stats}
    logits, features = run(discriminator, variables, x)
    y = x
    for i, name in enumerate(maps(features), start=1):
        layer = nn.Conv(4 * 2 ** (i - 1), (4,), (2,), padding=1, use_bias=False)
        y = layer.apply({"params": params[f"conv{i}"]}, y)
        if i > 1:
            norm = nn.BatchNorm(use_running_average=True)
            own = {"params": params[f"norm{i}"]}
            y = norm.apply(own | {"batch_stats": stats["encoder"][f"norm{i}"]}, y)
        y = jnp.where(y > 0, y, 0.2 * y)
        np.testing.assert_allclose(features[name], y, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(features["pooled"], y.mean(1), rtol=1e-4, atol=1e-5)
    last = nn.Conv(1, (2,), padding="VALID", use_bias=False)
    y = last.apply({"params": {"kernel": final}}, y)
    np.testing.assert_allclose(logits, y[:, 0], rtol=1e-4, atol=1e-5)


def test_the_decoder_is_the_published_stack():
    (generator, _), (variables, _), x = small()
    reconstruction, latent = run(generator, variables, x)
    params = variables["params"]["decoder"]
    scale = (1 + 1e-5) ** -0.5  # fresh batch statistics
    y = scale * nn.relu(jnp.einsum("bl,ltc->btc", latent, params["kernel"]))
    for i in range(2, 7):
        kernel = np.asarray(params[f"conv{i}"]["kernel"], np.float64)[::-1]
        y = torch_transposed(np.asarray(y, np.float64), kernel)
        y = scale * np.maximum(y, 0) if i < 6 else np.tanh(y)
    np.testing.assert_allclose(reconstruction, y, rtol=1e-4, atol=1e-5)
    assert reconstruction.shape == x.shape
    assert set(params) == {"kernel"} | {f"conv{i}" for i in range(2, 7)} | {
        f"norm{i}" for i in range(1, 6)
    }


@pytest.mark.parametrize("which", [0, 1])
def test_every_parameter_has_a_gradient(which):
    pair, variables, x = small()

    def loss(params):
        state = {"params": params, "batch_stats": variables[which]["batch_stats"]}
        output, moved = pair[which].apply(state, x, train=True, mutable="batch_stats")
        return jnp.mean((output[0] - 0.5) ** 2), moved["batch_stats"]

    (_, moved), gradients = jax.jit(jax.value_and_grad(loss, has_aux=True))(
        variables[which]["params"]
    )
    for path, gradient in jax.tree.leaves_with_path(gradients):
        assert jnp.abs(gradient).max() > 1e-9, jax.tree_util.keystr(path)
    for path, before in jax.tree.leaves_with_path(variables[which]["batch_stats"]):
        key = jax.tree_util.keystr(path)
        after = dict(
            (jax.tree_util.keystr(p), v) for p, v in jax.tree.leaves_with_path(moved)
        )[key]
        assert jnp.abs(after - before).max() > 1e-6, key


def test_weights_start_as_published():
    generator, discriminator = parts(beatgan())
    x = jnp.zeros((2, 320, 1))
    params = {"g": initial(generator, x)["params"], "d": initial(discriminator, x)}
    encoder, decoder = params["g"]["encoder"], params["g"]["decoder"]
    for kernel, fans in (
        (encoder["conv5"]["kernel"], 4 * (256 + 512)),
        (params["g"]["latent"]["kernel"], 10 * (512 + 50)),
        (decoder["kernel"], 10 * (512 + 50)),
        (decoder["conv2"]["kernel"], 4 * (256 + 512)),
        (params["d"]["params"]["logits"]["kernel"], 10 * (512 + 1)),
    ):
        deviation = np.sqrt(2 / fans)
        np.testing.assert_allclose(np.std(kernel), deviation, rtol=0.05)
        assert np.abs(kernel).max() > 2.5 * deviation  # not truncated


def test_batch_norm_over_shards_is_that_of_the_whole_batch():
    plain, variables, _ = small()
    x = normal(np.random.default_rng(1), 4, 64, 2)
    norm = partial(BatchNorm, "devices")
    synced = parts(beatgan(latent=5, width=4, batch_norm=norm))
    for module, other, state in zip(plain, synced, variables, strict=True):
        apply = partial(module.apply, train=True, mutable="batch_stats")
        split = partial(other.apply, train=True, mutable="batch_stats")
        (want, _), stats = jax.jit(apply)(state, x)
        mapped = jax.vmap(split, in_axes=(None, 0), axis_name="devices")
        (got, _), others = jax.jit(mapped)(state, x.reshape(2, 2, 64, 2))
        np.testing.assert_allclose(got.reshape(want.shape), want, rtol=1e-3, atol=1e-4)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a[0], b, rtol=1e-3, atol=1e-5),
            others,
            stats,
        )


def test_bfloat16_maps_with_float32_results():
    pair, variables, x = small()
    half = parts(beatgan(latent=5, width=4, dtype="bfloat16"))
    reconstruction, latent = run(half[0], variables[0], x)
    logits, features = run(half[1], variables[1], x)
    assert {reconstruction.dtype, latent.dtype, logits.dtype} == {jnp.dtype("float32")}
    assert features["features"].dtype == jnp.bfloat16
    exact = run(pair[1], variables[1], x).logits
    np.testing.assert_allclose(logits, exact, atol=0.05)


def test_the_motion_networks_are_dense_tanh_layers(rng):
    x = normal(rng, 3, 8, 4)
    generator, discriminator = parts(motion_beatgan(latent=2, widths=(6, 5)))
    variables = initial(generator, x)
    reconstruction, latent = generator.apply(variables, x, train=True)
    params, h = variables["params"], x.reshape(3, 32)
    for name in ("encoder1", "encoder2", "latent", "decoder1", "decoder2", "decoder3"):
        assert float(params[name]["bias"][0]) == pytest.approx(0.01)
        h = h @ params[name]["kernel"] + 0.01
        if name == "latent":
            np.testing.assert_allclose(latent, h, rtol=1e-4, atol=1e-5)
        else:
            h = jnp.tanh(h)
    np.testing.assert_allclose(reconstruction, h.reshape(3, 8, 4), rtol=1e-4, atol=1e-5)
    logits, features = discriminator.apply(initial(discriminator, x), x, train=False)
    assert logits.shape == (3, 1)
    assert {n: f.shape for n, f in features.items()} == {
        "layer1": (3, 6),
        "features": (3, 5),
    }


@pytest.mark.parametrize("shape", [(2, 100, 1), (2, 16, 1), (2, 0, 1)])
def test_time_must_halve_five_times(shape):
    message = rf"x: expected .* multiple of 32, found shape \(2, {shape[1]}, 1\)"
    for module in parts(beatgan(width=4)):
        with pytest.raises(InputError, match=message):
            module.init(jax.random.key(0), jnp.zeros(shape), train=True)


@pytest.mark.parametrize(
    ("factory", "fields", "message"),
    [
        (beatgan, {"latent": 0}, "config.model.latent: expected .* found 0"),
        (beatgan, {"width": 2.5}, "config.model.width: expected .* found 2.5"),
        (motion_beatgan, {"latent": "x"}, "config.model.latent: .* found 'x'"),
        (motion_beatgan, {"widths": []}, "config.model.widths: .* found none"),
        (motion_beatgan, {"widths": [8, -1]}, r"config.model.widths\[1\]: .* found -1"),
    ],
)
def test_fields_are_checked(factory, fields, message):
    with pytest.raises(InputError, match=message):
        factory(**fields)
