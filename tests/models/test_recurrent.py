"""`fold` against a plain pass and its memory; LSTM and GRU against flax's own loop."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax import models
from kdjax.errors import InputError
from kdjax.models import recurrent

SIZES = {"inputs": 2, "outputs": 3, "dt": 20.0}
NOISY = {"recurrent_noise": 0.3, "input_noise": 0.2, "activation": "tanh"}
TIME, BATCH, UNITS = 10, 3, 5


def network(name, **fields):
    return models.build_recurrent(name, **SIZES, **{"units": UNITS} | fields)


def trials(seed=0):
    """(x, weights of the outputs), time before batch."""
    rng = np.random.default_rng(seed)
    sizes = ((TIME, BATCH, 2), (TIME, BATCH, 3))
    return tuple(jnp.asarray(rng.normal(size=size), jnp.float32) for size in sizes)


def visit(outputs, rates, each):
    return {
        "outputs": jnp.sum(each * jnp.square(outputs)),
        "rates": jnp.sum(jnp.square(rates), axis=(0, 1)),
    }


def assert_equal(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize(
    ("name", "fields"),
    [("ctrnn", NOISY), ("ctrnn", {"learn_initial": True}), ("lstm", {}), ("gru", {})],
)
def test_fold_is_the_plain_pass_in_value_and_gradient(name, fields, monkeypatch):
    x, each = trials()
    keys = jax.random.split(jax.random.key(3), BATCH)
    variables = network(name, **fields).init(jax.random.key(1), x)
    kept = {k: v for k, v in variables.items() if k != "params"}

    def scalar(sums, outputs):
        return sums["outputs"] + jnp.sum(sums["rates"]) + jnp.sum(outputs[-4:])

    def plain(params, x):
        swapped = jnp.swapaxes(x, 0, 1)
        found = network(name, **fields).apply(
            {"params": params, **kept}, swapped, keys=keys
        )
        outputs = jnp.swapaxes(found.logits, 0, 1)
        rates = jnp.swapaxes(found.features["rates"], 0, 1)
        sums = visit(outputs, rates, each)
        return scalar(sums, outputs), (sums, outputs)

    def folded(chunk):
        module = network(name, chunk=chunk, **fields)

        def run(params, x):
            variables = {"params": params, **kept}
            found = module.apply(variables, x, visit, each, keys=keys, method="fold")
            return scalar(*found), found

        return run

    def differentiated(run):
        both = jax.value_and_grad(run, argnums=(0, 1), has_aux=True)
        return jax.jit(both)(variables["params"], x)

    expected = differentiated(plain)
    assert all(np.any(leaf) for leaf in jax.tree.leaves(expected[1]))
    for chunk in (None, 0, 5, 4, 12):
        assert_equal(differentiated(folded(chunk)), expected)
    monkeypatch.setattr(recurrent, "MOST_KEPT", 0)
    assert_equal(differentiated(folded(None)), expected)


@pytest.mark.parametrize(
    ("chunk", "lengths"), [(None, {3, 1}), (4, {4, 2}), (5, {5}), (0, {TIME})]
)
def test_visit_sees_each_step_once_in_stretches(chunk, lengths, monkeypatch):
    """Chosen by itself a stretch is the square root of the time, rounded down."""
    monkeypatch.setattr(recurrent, "MOST_KEPT", 0)
    x, each = trials()
    seen = []

    def note(outputs, rates, part):
        seen.append((outputs.shape, rates.shape, part.shape))
        return jnp.sum(part)

    module = network("ctrnn", chunk=chunk)
    variables = module.init(jax.random.key(1), x)
    total, outputs = module.apply(variables, x, note, each, method="fold")
    np.testing.assert_allclose(total, each.sum(), rtol=1e-5)
    assert outputs.shape == (TIME, BATCH, 3)
    rest = ((BATCH, 3), (BATCH, UNITS), (BATCH, 3))
    assert set(seen) == {tuple((n, *shape) for shape in rest) for n in lengths}


def temporary_memory(chunk):
    """MiB of the gradient of a pass through 1000 steps of 512 units, 128 trials."""
    module = models.build_recurrent("ctrnn", **SIZES, units=512, chunk=chunk)
    x = jax.ShapeDtypeStruct((1000, 128, 2), jnp.float32)
    targets = jax.ShapeDtypeStruct((1000, 128, 3), jnp.float32)
    variables = jax.eval_shape(module.init, jax.random.key(0), x)

    def loss(variables, x, targets):
        def visit(outputs, rates, targets):
            error = jnp.sum(jnp.square(outputs - targets))
            return error + jnp.sum(jnp.square(rates))

        found = module.apply(variables, x, visit, targets, method="fold")
        return found[0]

    compiled = jax.jit(jax.grad(loss)).lower(variables, x, targets).compile()
    return compiled.memory_analysis().temp_size_in_bytes / 2**20


def test_the_memory_of_a_long_trial_is_bounded():
    everything = temporary_memory(chunk=0)
    assert everything > 250  # the states alone
    assert temporary_memory(chunk=None) < 60


@pytest.mark.parametrize(
    ("name", "cell"), [("lstm", nn.OptimizedLSTMCell), ("gru", nn.GRUCell)]
)
def test_a_gated_network_is_flax_s(name, cell):
    x, _ = trials()
    x = jnp.swapaxes(x, 0, 1)
    module = network(name, output_activation="sigmoid")
    variables = module.init(jax.random.key(1), x)
    draw = np.random.default_rng(5)
    params = jax.tree.map(
        lambda a: jnp.asarray(draw.normal(size=a.shape), jnp.float32),
        variables["params"],
    )
    found = jax.jit(module.apply)({"params": params}, x)
    theirs = nn.RNN(cell(UNITS))
    h = theirs.apply({"params": {"cell": params["cell"]}}, x)
    assert h.shape == (BATCH, TIME, UNITS)
    np.testing.assert_allclose(found.features["rates"], h, rtol=1e-5, atol=1e-6)
    o = h @ params["readout"] + params["readout_bias"][None, None, :]
    np.testing.assert_allclose(found.logits, jax.nn.sigmoid(o), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("gru", {"units": 0}, "config.model.units: expected an integer >= 1, found 0"),
        ("lstm", {"chunk": -1}, "config.model.chunk: expected an integer >= 0, found"),
        ("gru", {"output_activation": "relu"}, "config.model.output_activation: expec"),
        ("gru", {"tau": 100.0}, "config.model.tau: unknown field"),
        ("gru", {"kind": "lstm"}, "config.model.kind: unknown field"),
        ("rnn", {}, "config.model.name: unknown name 'rnn'"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(name, fields, message):
    with pytest.raises(InputError, match=message) as error:
        network(name, **fields)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "fields"),
    [("ctrnn", {"tau": 10_000.0}), ("ctrnn", {"rank": 2}), ("lstm", {}), ("gru", {})],
)
def test_bfloat16_is_near_float32_over_many_small_steps(name, fields):
    """A state in bfloat16 would stay where it is: it has three digits."""
    x = jnp.ones((2, 400, 2))
    variables = network(name, **fields).init(jax.random.key(1), x)
    exact, half = (
        network(name, dtype=dtype, **fields).apply(variables, x)
        for dtype in ("float32", "bfloat16")
    )
    assert half.logits.dtype == half.features["rates"].dtype == jnp.float32
    rates, near = exact.features["rates"], half.features["rates"]
    assert float(jnp.abs(rates[:, -1] - rates[:, 0]).max()) > 0.1
    np.testing.assert_allclose(near, rates, atol=0.01)
    assert not np.array_equal(near, rates)
