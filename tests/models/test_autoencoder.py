"""Autoencoders: counts by hand, odd lengths, gradients in both types, wrong fields."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax import models
from kdjax.errors import InputError

DENSE = {"name": "dense_autoencoder"}
CONV = {"name": "conv_autoencoder"}
SMALL = [
    DENSE | {"latent": 3, "widths": (20, 10)},
    CONV | {"latent": 3, "widths": (4, 6)},
]
HAR, ODD = (128, 9), (101, 1)


def normal(*shape, seed=0):
    drawn = np.random.default_rng(seed).normal(size=shape)
    return jnp.asarray(drawn, jnp.float32)


def initial(module, x):
    return jax.jit(partial(module.init, train=True))(jax.random.key(0), x)


@pytest.mark.parametrize(
    ("fields", "shape", "parts"),
    [
        # flattened: 1152 and 101 numbers; weights and biases of each layer, in order
        (
            DENSE | {"latent": 8, "widths": (64,)},
            HAR,
            [1152 * 64 + 64, 64 * 8 + 8, 8 * 64 + 64, 64 * 1152 + 1152],
        ),
        (SMALL[0], ODD, [2040, 210, 33, 40, 220, 2121]),
        # convolutions and norms; 16 steps of 128 channels to the code; back
        (
            CONV,
            HAR,
            [
                *(4 * 9 * 32, 4 * 32 * 64, 4 * 64 * 128, 2 * (32 + 64 + 128)),
                *(16 * 128 * 32 + 32, 32 * 16 * 128 + 16 * 128),
                *(4 * 128 * 64, 4 * 64 * 32, 2 * (64 + 32), 4 * 32 * 9),
            ],
        ),
        # 26 steps of 6 channels
        (SMALL[1], ODD, [16, 96, 20, 156 * 3 + 3, 3 * 156 + 156, 96, 8, 16]),
    ],
)
def test_parameter_counts(fields, shape, parts):
    module = models.build_autoencoder(**fields)
    x = jax.ShapeDtypeStruct((2, *shape), jnp.float32)
    variables = jax.eval_shape(partial(initial, module), x)
    assert sum(p.size for p in jax.tree.leaves(variables["params"])) == sum(parts)


@pytest.mark.parametrize("fields", SMALL)
@pytest.mark.parametrize("shape", [(101, 1), (7, 3), (1, 2), (64, 4)])
def test_the_reconstruction_has_the_shape_of_the_input(fields, shape):
    module = models.build_autoencoder(**fields)
    x = normal(5, *shape)
    variables = initial(module, x)
    made, code = module.apply(variables, x, train=False)
    assert made.shape == x.shape
    assert code.shape == (5, 3)
    assert made.dtype == code.dtype == jnp.float32


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("fields", SMALL)
def test_gradients_reach_every_parameter(fields, dtype):
    """And those of bfloat16 point where those of float32 do."""
    x = normal(16, 21, 2)
    variables = initial(models.build_autoencoder(**fields), x)

    def gradients(dtype):
        module = models.build_autoencoder(**fields, dtype=dtype)

        def loss(params):
            parts = variables | {"params": params}
            mutable = list(parts.keys() - {"params"})
            (made, _), _ = module.apply(parts, x, train=True, mutable=mutable)
            return jnp.mean((made - x) ** 2)

        return jax.jit(jax.grad(loss))(variables["params"])

    found, exact = gradients(dtype), gradients("float32")
    for (path, own), true in zip(
        jax.tree.leaves_with_path(found), jax.tree.leaves(exact), strict=True
    ):
        assert own.dtype == jnp.float32
        cosine = jnp.vdot(own, true) / jnp.linalg.norm(own) / jnp.linalg.norm(true)
        assert cosine > (0.8 if dtype == "bfloat16" else 0.9999), path


@pytest.mark.parametrize("fields", SMALL)
def test_the_code_is_all_that_the_decoder_sees(fields):
    """The reconstruction's derivative by the input has the rank of the code."""
    module = models.build_autoencoder(**fields)
    x = normal(1, 21, 2)
    variables = initial(module, x)

    def reconstruct(x):
        return module.apply(variables, x, train=False)[0]

    by_input = jax.jacobian(reconstruct)(x).reshape(42, 42)
    assert np.linalg.matrix_rank(np.asarray(by_input), tol=1e-4) <= 3
    assert float(jnp.abs(by_input).max()) > 0


def test_a_gan_gives_its_generator():
    """That ends in a tanh, for series in [-1, 1]; the autoencoders do not."""
    x = normal(4, 32, 2)
    small = {"name": "motion_beatgan", "latent": 3, "widths": (20, 10)}
    bounded, free = (models.build_autoencoder(**fields) for fields in (small, SMALL[0]))
    assert bounded == models.build_gan(**small).generator
    variables = jax.tree.map(lambda p: 3 * p, initial(free, x))
    made, code = free.apply(variables, x, train=False)
    assert float(jnp.abs(made).max()) > 1
    cut, same = bounded.apply(variables, x, train=False)
    np.testing.assert_allclose(cut, jnp.tanh(made), rtol=1e-5)
    np.testing.assert_array_equal(code, same)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "autoencoder"}, "config.model.name: unknown name 'autoencoder'"),
        (DENSE | {"depth": 2}, "config.model.depth: unknown field"),
        (DENSE | {"latent": 0}, "config.model.latent: expected .* found 0"),
        (DENSE | {"widths": []}, "config.model.widths: .* found none"),
        (CONV | {"latent": 2.0}, "config.model.latent: expected .* found 2.0"),
        (CONV | {"widths": [8, 0]}, r"config.model.widths\[1\]: expected .* found 0"),
        (CONV | {"dtype": "float16"}, "config.model.dtype: .* found 'float16'"),
        (CONV | {"norm_devices": 0}, "config.model.norm_devices: .* found 0"),
    ],
)
def test_what_does_not_fit_is_named(fields, message):
    with pytest.raises(InputError, match=message):
        models.build_autoencoder(**fields)


def test_images_are_refused_by_convolutions_over_time():
    module = models.build_autoencoder(**CONV)
    with pytest.raises(InputError, match="this network is for series"):
        jax.eval_shape(partial(initial, module), jnp.zeros((2, 8, 8, 3)))
