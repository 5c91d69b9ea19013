"""The CTRNN against NumPy loops of its formulas, its flow, its noise's variance."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from kdjax import models
from kdjax.errors import InputError

F = {
    "relu": lambda x: np.maximum(x, 0),
    "softplus": lambda x: np.log1p(np.exp(x)),
    "retanh": lambda x: np.tanh(np.maximum(x, 0)),
    "tanh": np.tanh,
}
SIZES = {"inputs": 2, "outputs": 3}
MASK = np.array(
    [[0, 1, 1, 0], [1, 0, 1, 1], [1, 1, 0, 1], [1, 0, 1, 0]], dtype=np.float64
)
FREE = {
    "recurrent": np.ones((4, 4)),
    "sign": np.zeros(4),
    "input_sign": np.zeros(()),
    "readout": np.ones(4),
}
IMPOSED = {
    "recurrent": MASK,
    "sign": np.array([1.0, 1, 0, -1]),
    "input_sign": np.ones(()),
    "readout": np.array([1.0, 1, 0, 0]),
}


def network(dt=20.0, **fields):
    return models.build_recurrent("ctrnn", **SIZES, dt=dt, **{"units": 4} | fields)


def random_params(module, scale=0.7, seed=0):
    """Parameters of the module's shapes, drawn in float64."""
    x = jax.ShapeDtypeStruct((1, 1, module.inputs), jnp.float32)
    variables = jax.eval_shape(module.init, jax.random.key(0), x)
    rng = np.random.default_rng(seed)
    return {
        name: scale * rng.normal(size=shape.shape)
        for name, shape in sorted(variables["params"].items())
    }


def loop(module, params, imposed, x):
    """(outputs, rates) of x [batch, time, inputs], one example and step at a time."""
    f = F[module.activation]
    if module.rank is None:
        w = params["recurrent"]
        for i, sign in enumerate(imposed["sign"]):
            if sign:
                w = np.where(np.arange(4)[:, None] == i, sign * np.abs(w), w)
        w = w * imposed["recurrent"]
    else:
        w = params["recurrent_in"] @ params["recurrent_out"]
    into = params["input"]
    into = np.abs(into) if imposed["input_sign"] else into
    readout = imposed["readout"][:, None] * params["readout"]
    a = module.dt / module.tau
    if module.learn_tau:
        tau = module.dt * (1 + np.log1p(np.exp(params["tau"])))
        a = module.dt / tau
    outputs, rates = [], []
    for trial in x:
        s = params.get("initial", np.zeros(4))
        outputs.append([])
        rates.append([])
        for u in trial:
            given = u @ into + params["bias"]
            if module.state == "rate":
                s = (1 - a) * s + a * f(s @ w + given)
            elif module.state == "leak_inside":
                s = f((1 - a) * s + a * (s @ w + given))
            else:
                s = (1 - a) * s + a * (f(s) @ w + given)
            r = f(s) if module.state == "voltage" else s
            o = r @ readout + params["readout_bias"]
            if module.output_activation == "sigmoid":
                o = 1 / (1 + np.exp(-o))
            outputs[-1].append(o)
            rates[-1].append(r)
    return np.array(outputs), np.array(rates)


LEARNT = {"learn_tau": True, "learn_initial": True}
CASES = [
    *(
        ({"state": state, "activation": f} | LEARNT, FREE)
        for state in ("rate", "leak_inside", "voltage")
        for f in F
    ),
    ({"activation": "softplus", "output_activation": "sigmoid"}, IMPOSED),
    ({"state": "voltage", "activation": "tanh"} | LEARNT, IMPOSED),
    ({"state": "leak_inside", "activation": "softplus"}, IMPOSED),
    ({"rank": 2, "activation": "tanh"} | LEARNT, FREE),
    ({"rank": 1, "state": "voltage", "activation": "softplus"}, FREE),
]


@pytest.mark.parametrize(("fields", "imposed"), CASES)
def test_values_and_gradients_equal_a_loop_of_the_formulas(fields, imposed):
    module = network(**fields)
    params = random_params(module)
    rng = np.random.default_rng(1)
    x = rng.normal(size=(2, 5, 2))
    on_outputs, on_rates = rng.normal(size=(2, 5, 3)), rng.normal(size=(2, 5, 4))

    def loss(params, x, on_outputs, on_rates, imposed):
        found = module.apply({"params": params, "constraints": imposed}, x)
        rates = found.features["rates"]
        value = jnp.sum(on_outputs * found.logits) + jnp.sum(on_rates * rates)
        return value, (found.logits, rates)

    arguments = (params, x, on_outputs, on_rates, imposed)
    run = jax.value_and_grad(loss, has_aux=True)
    with jax.enable_x64(True):
        (_, found), gradients = jax.jit(run)(*arguments)
    expected = loop(module, params, imposed, x)
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == jnp.float64
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)

    def value(params):
        outputs, rates = loop(module, params, imposed, x)
        return np.sum(on_outputs * outputs) + np.sum(on_rates * rates)

    assert set(gradients) == set(params)
    for name, leaf in params.items():
        slope = np.zeros_like(leaf)
        for at in np.ndindex(leaf.shape):
            step = np.zeros_like(leaf)
            step[at] = 1e-5
            up, down = (value(params | {name: leaf + s}) for s in (step, -step))
            slope[at] = (up - down) / 2e-5
        np.testing.assert_allclose(gradients[name], slope, rtol=1e-6, atol=1e-8)
        assert np.any(slope), name

    arguments = jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), arguments)
    (_, found), single = jax.jit(run)(*arguments)
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == jnp.float32
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
    for name, gradient in gradients.items():
        np.testing.assert_allclose(single[name], gradient, rtol=1e-4, atol=2e-5)


def test_each_unit_starts_at_the_tau_of_the_config():
    for dt, tau in ((20.0, 100.0), (1.0, 1000.0), (99.0, 100.0)):
        module = network(dt, tau=tau, learn_tau=True)
        variables = module.init(jax.random.key(0), jnp.zeros((1, 1, 2)))
        weights = module.apply(variables, method="weights")
        np.testing.assert_allclose(weights.alpha, dt / tau, rtol=1e-5)


# the flow


def rates_at_the_end(module, params, inputs, each):
    """The rates after `inputs` [pieces, inputs], each held for `each` steps."""
    x = np.repeat(inputs, each, axis=0)[None]
    variables = {"params": params, "constraints": FREE}
    with jax.enable_x64(True):
        found = jax.jit(module.apply)(variables, x)
        return np.asarray(found.features["rates"][0, -1])


def exact_end(module, params, inputs, each_ms, start):
    """The same of the flow, by scipy: `start` is the state, at the time 0."""
    f = F[module.activation]
    w, into, bias = params["recurrent"], params["input"], params["bias"]

    def change(t, s, u):
        given = u(t) @ into + bias
        if module.state == "voltage":
            return (-s + f(s) @ w + given) / module.tau
        if module.state == "rate":
            return (-s + f(s @ w + given)) / module.tau
        flow = (-s + s @ w + given) / module.tau
        return np.where((s <= 0) & (flow < 0), 0.0, flow)

    smooth = module.state != "leak_inside"
    most = np.inf if smooth else 0.05
    how = {"rtol": 1e-11, "atol": 1e-12} if smooth else {"max_step": most}
    for i, piece in enumerate(inputs):
        u = piece if callable(piece) else lambda t, piece=piece: piece
        span = (i * each_ms, (i + 1) * each_ms)
        start = solve_ivp(change, span, start, args=(u,), **how).y[:, -1]
    return f(start) if module.state == "voltage" else start


PIECES = np.array([[1.0, -0.5], [0.2, 0.8], [-1.0, 1.0], [0.5, 0.0]])


@pytest.mark.parametrize("state", ["rate", "voltage"])
@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("heun", 2), ("rk4", 4)])
def test_the_solvers_have_their_orders_between_steps_of_the_input(state, solver, order):
    errors = []
    for dt in (20.0, 10.0, 5.0):
        module = network(dt, state=state, solver=solver, activation="softplus")
        params = random_params(module)
        exact = exact_end(module, params, PIECES, 60.0, np.zeros(4))
        found = rates_at_the_end(module, params, PIECES, round(60 / dt))
        errors.append(np.abs(found - exact).max())
    ratios = np.log2(np.array(errors[:-1]) / errors[1:])
    np.testing.assert_allclose(ratios, order, atol=0.35)
    assert errors[-1] < {1: 2e-2, 2: 1e-3, 4: 2e-6}[order]


@pytest.mark.parametrize("state", ["rate", "voltage", "leak_inside"])
@pytest.mark.parametrize("constant", [True, False])
def test_small_steps_meet_the_flow(state, constant):
    """An input that varies is held over each step: an error of order 1 as Euler's."""

    def input_at(t):
        t = np.zeros_like(t) if constant else t
        return np.stack([np.cos(t / 60), 1 - np.sin(t / 90)], axis=-1)

    activation = "relu" if state == "leak_inside" else "tanh"
    errors = []
    for dt in (4.0, 2.0, 1.0):
        module = network(dt, state=state, activation=activation)
        params = random_params(module, scale=0.5)
        exact = exact_end(module, params, [input_at], 240.0, np.zeros(4))
        inputs = input_at(dt * np.arange(round(240 / dt)))
        found = rates_at_the_end(module, params, inputs, 1)
        errors.append(np.abs(found - exact).max())
    assert errors[-1] < 5e-3
    np.testing.assert_allclose(np.array(errors[:-1]) / errors[1:], 2, rtol=0.15)
    if state == "leak_inside":  # some are held at 0, and some are not
        assert np.any(exact == 0)
        assert np.any(exact > 0.1)


# noise


def at_the_end(module, params, steps, batch=512, seed=0):
    """The rates [batch, units] after so many steps without inputs, with noise."""
    variables = jax.tree.map(
        jnp.asarray, {"params": params, "constraints": constraints_of(module)}
    )
    keys = jax.random.split(jax.random.key(seed), batch)
    x = jnp.zeros((batch, steps, 2))
    rates = jax.jit(lambda x, keys: module.apply(variables, x, keys=keys))(x, keys)
    return np.asarray(rates.features["rates"][:, -1], np.float64)


def constraints_of(module):
    units = module.units
    return {
        "recurrent": jnp.ones((units, units)),
        "sign": jnp.zeros(units),
        "input_sign": jnp.zeros(()),
        "readout": jnp.ones(units),
    }


def unconnected(module, bias):
    params = random_params(module)
    zeros = {name: np.zeros(leaf.shape, np.float32) for name, leaf in params.items()}
    return zeros | {"bias": np.full(module.units, bias, np.float32)}


@pytest.mark.parametrize("dt", [50.0, 20.0, 2.0])
@pytest.mark.parametrize("state", ["rate", "leak_inside", "voltage"])
@pytest.mark.parametrize("inside", [True, False])
def test_the_variance_of_a_linear_unit(dt, state, inside):
    """2 s^2 / (2 - a), which tends to s^2 as the step becomes short."""
    noise = {"recurrent_noise": 0.7, "noise_inside": inside}
    module = network(dt, state=state, units=32, **noise)
    rates = at_the_end(module, unconnected(module, 50.0), round(400 / dt))
    alpha = dt / 100
    # 16384 independent units: the SD of their variance is 1.1 % of it
    np.testing.assert_allclose(rates.var(), 0.49 * 2 / (2 - alpha), rtol=0.045)
    # 400 ms after a start from 0
    mean = 50 * (1 - (1 - alpha) ** round(400 / dt))
    np.testing.assert_allclose(rates.mean(), mean, atol=5 * 0.8 / 128)


def test_noise_on_the_inputs_has_the_effect_of_noise_on_the_units():
    for dt in (50.0, 5.0):
        module = network(dt, input_noise=0.5, units=32)
        params = unconnected(module, 50.0)
        params["input"] = np.stack([np.eye(32)[0], np.eye(32)[1]]).astype(np.float32)
        params["input"] *= 2
        rates = at_the_end(module, params, round(400 / dt), batch=8192)
        exact = (2 * 0.5) ** 2 * 2 / (2 - dt / 100)
        np.testing.assert_allclose(rates[:, :2].var(axis=0), exact, rtol=0.07)
        assert not rates[:, 2:].var(axis=0).any()


def test_around_a_relu_noise_inside_and_outside_differ():
    """Inside its mean is that of a rectified Gaussian, s / sqrt(pi a); outside 0."""
    means = {}
    for inside in (True, False):
        module = network(units=32, recurrent_noise=0.7, noise_inside=inside)
        rates = at_the_end(module, unconnected(module, 0.0), 40)
        means[inside] = rates.mean()
        assert inside == bool(rates.min() >= 0)
    exact = 0.7 / np.sqrt(np.pi * 0.2)
    np.testing.assert_allclose(means[True], exact, rtol=0.03)
    np.testing.assert_allclose(means[False], 0, atol=0.03)


def test_noise_is_a_function_of_the_key_of_its_example():
    module = network(recurrent_noise=0.3, input_noise=0.2, activation="tanh")
    x = jnp.asarray(np.random.default_rng(0).normal(size=(5, 6, 2)), jnp.float32)
    variables = module.init(jax.random.key(0), x)
    keys = jax.random.split(jax.random.key(1), 5)
    apply = jax.jit(module.apply)
    noisy = apply(variables, x, keys=keys).features["rates"]
    order = jnp.array([3, 0, 4])
    some = apply(variables, x[order], keys=keys[order]).features["rates"]
    np.testing.assert_allclose(some, noisy[order], rtol=1e-6, atol=1e-7)
    same_input = apply(variables, x[jnp.zeros(5, int)], keys=keys).features["rates"]
    assert np.abs(same_input[0] - same_input[1]).max() > 1e-2
    # each step has its own
    silent = unconnected(module, 0.0)
    alone = {"params": silent, "constraints": constraints_of(module)}
    steps = apply(alone, 0 * x, keys=keys).features["rates"][0]
    added = steps[1:] - 0.8 * steps[:-1]
    assert len(np.unique(np.round(added, 6))) == added.size

    quiet = network(activation="tanh")
    first, again = (apply(variables, x).features["rates"] for _ in range(2))
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(first, quiet.apply(variables, x).features["rates"])
    assert np.abs(first - noisy).max() > 1e-2


# the start, what is frozen, what is masked


def first_weights(**fields):
    module = network(units=24, **fields)
    return module.init(jax.random.key(0), jnp.zeros((1, 1, 2)))["params"]["recurrent"]


@pytest.mark.parametrize("start", ["uniform", "normal", "orthogonal", "identity"])
def test_the_spectral_radius_is_what_is_asked_for(start):
    w = first_weights(start=start, spectral_radius=1.3)
    radius = np.abs(np.linalg.eigvals(np.asarray(w, np.float64))).max()
    np.testing.assert_allclose(radius, 1.3, rtol=1e-5)


def test_the_starts():
    w = first_weights(start="orthogonal")
    np.testing.assert_allclose(w @ w.T, np.eye(24), atol=1e-5)
    np.testing.assert_array_equal(first_weights(start="identity"), np.eye(24))
    w = first_weights(start="uniform")
    bound = 1 / np.sqrt(24)
    assert 0.95 * bound < np.abs(w).max() <= bound
    np.testing.assert_allclose(w.var(), bound**2 / 3, rtol=0.15)
    w = first_weights(start="normal")
    np.testing.assert_allclose(w.var(), 1 / 24, rtol=0.2)
    assert np.abs(w).max() > 2 * bound
    default = first_weights()
    np.testing.assert_array_equal(default, first_weights(start="uniform"))


def gradients_of(module, imposed):
    params = random_params(module)
    x = np.random.default_rng(1).normal(size=(2, 5, 2))

    def loss(params, imposed, x):
        outputs = module.apply({"params": params, "constraints": imposed}, x).logits
        return jnp.sum(jnp.square(outputs))

    with jax.enable_x64(True):
        return jax.tree.map(np.asarray, jax.jit(jax.grad(loss))(params, imposed, x))


@pytest.mark.parametrize(
    ("frozen", "rank"),
    [
        (("recurrent",), None),
        (("recurrent",), 2),
        (("input", "bias"), None),
        (("readout", "readout_bias"), None),
    ],
)
def test_what_is_frozen_has_no_gradient_and_the_rest_has(frozen, rank):
    module = network(frozen=frozen, rank=rank, activation="tanh", **LEARNT)
    for name, gradient in gradients_of(module, FREE).items():
        stays = name in frozen or ("recurrent" in name and "recurrent" in frozen)
        assert stays != np.any(gradient), name


def test_a_masked_weight_has_no_gradient():
    gradients = gradients_of(network(activation="tanh"), IMPOSED)
    np.testing.assert_array_equal(gradients["recurrent"] != 0, MASK != 0)
    assert not np.any(gradients["readout"][2:])
    assert np.all(gradients["readout"][:2])


# errors


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"tau": 20.0},
            r"config.model.tau: expected more than a step, config.trials.dt \(20 ms\), "
            r"found 20.0",
        ),
        ({"tau": 5}, r"config.model.tau: .*config.trials.dt \(20 ms\), found 5"),
        ({"tau": "1"}, "config.model.tau: expected a number > 0, found '1'"),
        ({"rank": 5}, r"config.model.rank: expected an integer in \[1, 4\], found 5"),
        ({"rank": 0}, r"config.model.rank: expected an integer in \[1, 4\], found 0"),
        (
            {"rank": 2, "spectral_radius": 0.9},
            "config.model.spectral_radius: expected none beside a rank, found 0.9",
        ),
        ({"state": "rates"}, "config.model.state: expected one of 'rate', 'leak_in"),
        ({"solver": "rk5"}, "config.model.solver: expected one of 'euler', 'heun'"),
        ({"activation": "gelu"}, "config.model.activation: expected one of 'relu',"),
        ({"start": "zeros"}, "config.model.start: expected one of 'uniform', 'normal'"),
        (
            {"output_activation": "softmax"},
            "config.model.output_activation: expected one of 'linear', 'sigmoid', fou",
        ),
        (
            {"solver": "heun", "state": "leak_inside"},
            "config.model.solver: 'leak_inside' is a map, which only 'euler' steps; "
            "found 'heun'",
        ),
        ({"frozen": ["tau"]}, "config.model.frozen: expected one of 'input', 'recurr"),
        ({"frozen": "input"}, "config.model.frozen: expected names, found 'input'"),
        (
            {"frozen": ["initial"], "learn_initial": True},
            "config.model.frozen: expected one of .*, found 'initial'",
        ),
        ({"units": 0}, "config.model.units: expected an integer >= 1, found 0"),
        ({"units": 8.0}, "config.model.units: expected an integer >= 1, found 8.0"),
        ({"chunk": -1}, "config.model.chunk: expected an integer >= 0, found -1"),
        ({"recurrent_noise": -1}, "config.model.recurrent_noise: expected a number >="),
        ({"input_noise": None}, "config.model.input_noise: expected a number >= 0"),
        ({"learn_tau": 1}, "config.model.learn_tau: expected True or False, found 1"),
        ({"spectral_radius": 0}, "config.model.spectral_radius: expected a number >"),
        ({"unit": 8}, r"config.model.unit: unknown field \(did you mean 'units'\?\)"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(fields, message):
    with pytest.raises(InputError, match=message) as error:
        network(**fields)
    assert "\n" not in str(error.value)
