"""The losses inside other people's training loops: linen, NNX and equinox.

Each trains the same linear student on a teacher, and ends where NumPy's own gradient
descent does.
"""

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from flax.training.train_state import TrainState

from kdjax import losses

RNG = np.random.default_rng(0)
X = RNG.normal(size=(8, 3)).astype(np.float32)
LABELS = np.arange(8) % 4
KERNEL = RNG.normal(size=(3, 4)).astype(np.float32)
TEACHER = RNG.normal(size=(8, 4)).astype(np.float32)
RATE, STEPS = 0.1, 5


def together(logits):
    """Of logits and embeddings, all in one scalar."""
    return (
        losses.kd_loss(logits, TEACHER, LABELS)
        + losses.decoupled_kd_loss(logits, TEACHER, LABELS)
        + losses.dist_loss(logits, TEACHER)
        + losses.relational_loss(logits, TEACHER)
        + losses.contrastive_distillation_loss(logits, TEACHER)
        + losses.fitnet_loss(logits[:, None], TEACHER[:, None])
    )


@pytest.fixture(scope="module")
def expected():
    """The kernel after gradient descent written out."""
    step = jax.jit(jax.grad(lambda kernel: together(X @ kernel)))
    kernel = jnp.asarray(KERNEL)
    for _ in range(STEPS):
        kernel = kernel - RATE * step(kernel)
    return np.asarray(kernel)


def test_a_loop_of_linen(expected):
    module = nn.Dense(4, use_bias=False)
    state = TrainState.create(
        apply_fn=module.apply, params={"kernel": KERNEL}, tx=optax.sgd(RATE)
    )

    @jax.jit
    def step(state):
        def loss(params):
            return together(state.apply_fn({"params": params}, X))

        return state.apply_gradients(grads=jax.grad(loss)(state.params))

    for _ in range(STEPS):
        state = step(state)
    np.testing.assert_allclose(state.params["kernel"], expected, rtol=1e-5, atol=1e-6)


def test_a_loop_of_nnx(expected):
    model = nnx.Linear(3, 4, use_bias=False, rngs=nnx.Rngs(0))
    model.kernel[...] = jnp.asarray(KERNEL)
    optimizer = nnx.Optimizer(model, optax.sgd(RATE), wrt=nnx.Param)

    @nnx.jit
    def step(model, optimizer):
        gradient = nnx.grad(lambda model: together(model(X)))(model)
        optimizer.update(model, gradient)

    for _ in range(STEPS):
        step(model, optimizer)
    np.testing.assert_allclose(model.kernel[...], expected, rtol=1e-5, atol=1e-6)


def test_a_loop_of_equinox(expected):
    model = eqx.nn.Linear(3, 4, use_bias=False, key=jax.random.key(0))
    model = eqx.tree_at(lambda m: m.weight, model, jnp.asarray(KERNEL.T))
    optimizer = optax.sgd(RATE)
    state = optimizer.init(eqx.filter(model, eqx.is_array))

    @eqx.filter_jit
    def step(model, state):
        gradient = eqx.filter_grad(lambda model: together(jax.vmap(model)(X)))(model)
        updates, state = optimizer.update(gradient, state)
        return eqx.apply_updates(model, updates), state

    for _ in range(STEPS):
        model, state = step(model, state)
    np.testing.assert_allclose(model.weight.T, expected, rtol=1e-5, atol=1e-6)
