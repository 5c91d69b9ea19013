"""Optimisers and schedules from config sections."""

import inspect
import math

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdjax.errors import InputError, recorded_settings
from kdjax.training import optim

CONSTANT = {"name": "constant", "value": 0.1}
WEARABLE = {
    "name": "steps",
    "values": [0.05, 0.01, 0.001, 0.0001],
    "boundaries": [0.055, 1 / 3, 2 / 3],
}


def test_wearable_schedule_at_200_epochs():
    spec = {"name": "sgd", "schedule": WEARABLE}
    _, schedule = optim.build(spec, total_steps=200, batch_size=256)
    rates = [float(schedule(jnp.int32(epoch))) for epoch in (0, 10, 11, 66, 67, 133)]
    np.testing.assert_allclose(rates, [0.05, 0.05, 0.01, 0.01, 0.001, 0.0001])


def test_cosine_schedule_follows_its_formula():
    rate = {"name": "cosine", "value": 0.2, "warmup": 0.1, "end": 0.02}
    _, schedule = optim.build(
        {"name": "adam", "schedule": rate}, total_steps=100, batch_size=256
    )
    expected = [0.2 * t / 10 for t in range(10)] + [
        0.02 + 0.18 * 0.5 * (1 + np.cos(np.pi * (t - 10) / 90)) for t in range(10, 101)
    ]
    found = [float(schedule(jnp.int32(t))) for t in range(101)]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize(("warmup", "steps"), [(0.99, 10), (0.6, 1), (0.1, 0)])
def test_a_warm_up_is_never_the_whole_run(warmup, steps):
    rate = {"name": "cosine", "value": 0.2, "warmup": warmup}
    spec = {"name": "adam", "schedule": rate}
    _, schedule = optim.build(spec, total_steps=steps, batch_size=256)
    np.testing.assert_allclose(
        float(schedule(jnp.int32(max(steps, 1)))), 0.0, atol=1e-7
    )
    peak = float(schedule(jnp.int32(max(steps - 1, 0))))
    np.testing.assert_allclose(peak, 0.2, rtol=1e-6)


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_is_torch_sgd(nesterov):
    """v = m v + (g + d w);  w -= lr (v, or g + d w + m v with Nesterov)."""
    spec = {"name": "sgd", "momentum": 0.9, "weight_decay": 0.01, "nesterov": nesterov}
    tx, _ = optim.build(spec | {"schedule": CONSTANT}, total_steps=3, batch_size=256)
    weights, velocity = np.array([1.0, -2.0]), np.zeros(2)
    params = jnp.asarray(weights, jnp.float32)
    state = tx.init(params)
    for gradient in ([0.5, 1.0], [-1.0, 0.25], [2.0, 0.0]):
        updates, state = tx.update(jnp.asarray(gradient), state, params)
        params = optax.apply_updates(params, updates)
        total = np.array(gradient) + 0.01 * weights
        velocity = 0.9 * velocity + total
        weights = weights - 0.1 * (total + 0.9 * velocity if nesterov else velocity)
    np.testing.assert_allclose(params, weights, rtol=1e-6)


def test_adamw_decays_apart_from_the_gradient():
    spec = {"name": "adamw", "weight_decay": 0.5, "schedule": CONSTANT}
    tx, _ = optim.build(spec, total_steps=1, batch_size=256)
    params = jnp.array([2.0])
    updates, _ = tx.update(jnp.array([0.0]), tx.init(params), params)
    np.testing.assert_allclose(updates, [-0.1 * 0.5 * 2.0], rtol=1e-6)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"schedule": CONSTANT}, r"config.optimizer.name: missing"),
        ({"name": "sgd"}, r"config.optimizer.schedule.name: missing"),
        ({"name": "sdg", "schedule": CONSTANT}, r"'sdg' \(did you mean 'sgd'\?\)"),
        (
            {"name": "sgd", "momentun": 0.9, "schedule": CONSTANT},
            r"config.optimizer.momentun: unknown field \(did you mean 'momentum'\?\)",
        ),
        (
            {"name": "sgd", "schedule": {"name": "constant"}},
            r"config.optimizer.schedule.value: missing",
        ),
        (
            {"name": "sgd", "schedule": WEARABLE | {"boundaries": [0.5]}},
            r"one more value than boundaries",
        ),
        (
            {
                "name": "adam",
                "schedule": {"name": "cosine", "value": 1.0, "warmup": 1.5},
            },
            r"schedule.warmup: expected a number in \[0, 1\), found 1.5",
        ),
    ],
)
def test_wrong_sections_are_named(spec, message):
    with pytest.raises(InputError, match=message):
        optim.build(spec, total_steps=10, batch_size=256)


def simclr_lars(weights, gradient, velocity, rate, *, decay, trust, adapted):
    """One step of SimCLR's lars_optimizer.py, written out in float64."""
    if adapted:
        gradient = gradient + decay * weights
        norms = np.linalg.norm(weights), np.linalg.norm(gradient)
        ratio = trust * norms[0] / norms[1] if all(norms) else 1.0
        rate = rate * ratio
    velocity = 0.9 * velocity + rate * gradient
    return weights - velocity, velocity


def test_lars_is_simclrs():
    spec = {"name": "lars", "weight_decay": 0.01, "schedule": CONSTANT}
    tx, _ = optim.build(spec, total_steps=4, batch_size=256)
    rng = np.random.default_rng(0)
    start = {"kernel": rng.normal(size=(3, 2)), "bias": rng.normal(size=2)}
    start["zero"] = np.zeros((2, 2))
    weights, velocity = dict(start), {k: np.zeros_like(v) for k, v in start.items()}
    params = {k: jnp.asarray(v, jnp.float32) for k, v in start.items()}
    state = tx.init(params)
    for _ in range(4):
        gradients = {k: rng.normal(size=v.shape) for k, v in start.items()}
        narrow = {k: jnp.asarray(v, jnp.float32) for k, v in gradients.items()}
        updates, state = tx.update(narrow, state, params)
        params = optax.apply_updates(params, updates)
        for name in start:
            weights[name], velocity[name] = simclr_lars(
                weights[name],
                gradients[name],
                velocity[name],
                0.1,
                decay=0.01,
                trust=1e-3,
                adapted=name != "bias",
            )
    for name in start:
        np.testing.assert_allclose(params[name], weights[name], rtol=2e-6)


@pytest.mark.parametrize(
    ("rule", "factor"), [("none", 1.0), ("linear", 16.0), ("sqrt", 64.0)]
)
def test_the_rate_is_scaled_by_the_batch(rule, factor):
    rate = {"name": "cosine", "value": 0.3, "warmup": 0.1, "scaling": rule}
    spec = {"name": "lars", "schedule": rate}
    _, schedule = optim.build(spec, total_steps=100, batch_size=4096)
    np.testing.assert_allclose(float(schedule(10)), 0.3 * factor, rtol=1e-6)
    assert float(schedule(0)) == 0.0
    np.testing.assert_allclose(float(schedule(100)), 0.0, atol=1e-6)


def test_accumulated_steps_are_one_step_of_their_mean_gradient():
    spec = {"name": "sgd", "schedule": {"name": "cosine", "value": 0.1}}
    whole, _ = optim.build(spec, total_steps=3, batch_size=256)
    parts, rates = optim.build(spec | {"accumulate": 4}, total_steps=12, batch_size=64)
    rng = np.random.default_rng(1)
    gradients = jnp.asarray(rng.normal(size=(3, 4, 5)), jnp.float32)
    found = expected = jnp.ones(5)
    state, other = parts.init(found), whole.init(expected)
    for step in range(3):
        for part in gradients[step]:
            updates, state = parts.update(part, state, found)
            found = optax.apply_updates(found, updates)
        updates, other = whole.update(gradients[step].mean(0), other, expected)
        expected = optax.apply_updates(expected, updates)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert float(rates(3)) == float(rates(0)) > float(rates(4))


SHARE, NOT_NEGATIVE, POSITIVE = "in [0, 1)", ">= 0", "> 0"
RANGES = [
    ("sgd", "momentum", SHARE),
    ("sgd", "weight_decay", NOT_NEGATIVE),
    ("adam", "b1", SHARE),
    ("adam", "b2", SHARE),
    ("adam", "eps", POSITIVE),
    ("adamw", "b1", SHARE),
    ("adamw", "b2", SHARE),
    ("adamw", "eps", POSITIVE),
    ("adamw", "weight_decay", NOT_NEGATIVE),
    ("lars", "momentum", SHARE),
    ("lars", "weight_decay", NOT_NEGATIVE),
    ("lars", "trust_coefficient", POSITIVE),
    ("constant", "value", NOT_NEGATIVE),
    ("cosine", "value", NOT_NEGATIVE),
    ("cosine", "warmup", SHARE),
    ("cosine", "end", NOT_NEGATIVE),
]
ANYTHING = (
    st.floats()
    | st.floats(-2, 2)
    | st.integers(-3, 3)
    | st.booleans()
    | st.sampled_from(["0.1", None, [0.1]])
)


def section(name, field, value):
    """The optimizer or the schedule `name`, with this value of one of its fields."""
    if name in optim.OPTIMIZERS:
        return {"name": name, field: value, "schedule": CONSTANT}
    return {"name": "sgd", "schedule": {"name": name, "value": 0.1, field: value}}


@pytest.mark.parametrize(("name", "field", "bounds"), RANGES)
@settings(deadline=None)
@given(value=ANYTHING)
def test_a_number_outside_its_range_is_named(name, field, bounds, value):
    inside = isinstance(value, int | float) and not isinstance(value, bool)
    inside = inside and math.isfinite(value) and value >= 0
    inside = inside and not (value == 0 and bounds == POSITIVE)
    inside = inside and not (value >= 1 and bounds == SHARE)
    spec = section(name, field, value)
    if inside:
        optim.build(spec, total_steps=10, batch_size=256)
        return
    with pytest.raises(InputError) as caught:
        optim.build(spec, total_steps=10, batch_size=256)
    field = field if name in optim.OPTIMIZERS else f"schedule.{field}"
    kind = "a finite number" if value in (math.inf, -math.inf) else "a number"
    assert str(caught.value) == (
        f"config.optimizer.{field}: expected {kind} {bounds}, found {value!r}"
    )


def test_every_field_of_every_optimizer_is_checked():
    known = {"total_steps", "schedule", *optim.FIELDS}
    for factory in (*optim.OPTIMIZERS.values(), *optim.SCHEDULES.values()):
        assert set(inspect.signature(factory).parameters) <= known


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        # epochs, where fractions of the run are meant
        (
            {"boundaries": [11, 66, 133]},
            r"boundaries\[0\]: expected a number in \[0, 1\], found 11$",
        ),
        ({"boundaries": [-0.1, 0.3, 0.6]}, r"boundaries\[0\]: .* found -0.1$"),
        ({"boundaries": [0.1, 0.6, 0.3]}, r"boundaries: expected ascending fractions"),
        ({"boundaries": [0.3, 0.3, 0.6]}, r"boundaries: expected ascending fractions"),
        ({"boundaries": 0.3}, r"boundaries: expected a sequence of numbers, found 0.3"),
        (
            {"values": [0.05, 0.01, -0.1, 0.0]},
            r"values\[2\]: expected a number >= 0, found -0.1$",
        ),
        ({"values": "0.05"}, r"values: expected a sequence of numbers, found '0.05'"),
        ({"boundaries": [0.5]}, r"values: expected one more .* found 4 and 1$"),
    ],
)
def test_steps_are_checked(changes, message):
    spec = {"name": "sgd", "schedule": WEARABLE | changes}
    with pytest.raises(InputError, match=r"^config.optimizer.schedule." + message):
        optim.build(spec, total_steps=200, batch_size=256)


FRACTIONS = st.lists(st.floats(0, 1), min_size=1, max_size=4, unique=True).map(sorted)


@settings(deadline=None)
@given(boundaries=FRACTIONS, steps=st.integers(1, 300))
def test_steps_that_pass_reach_their_last_rate(boundaries, steps):
    """All boundaries are inside the run, so that its end has the last value."""
    values = [0.1 * 0.5**i for i in range(len(boundaries) + 1)]
    rate = {"name": "steps", "values": values, "boundaries": boundaries}
    spec = {"name": "sgd", "schedule": rate}
    _, schedule = optim.build(spec, total_steps=steps, batch_size=256)
    assert float(schedule(jnp.int32(steps))) == np.float32(values[-1])


@pytest.mark.parametrize("value", [1, "yes", None])
def test_nesterov_is_true_or_false(value):
    spec = {"name": "sgd", "nesterov": value, "schedule": CONSTANT}
    with pytest.raises(InputError, match=r"nesterov: expected True or False, found"):
        optim.build(spec, total_steps=10, batch_size=256)


def test_no_more_steps_are_accumulated_than_there_are():
    spec = {"name": "sgd", "accumulate": 50, "schedule": CONSTANT}
    message = r"optimizer.accumulate: expected at most the 14 steps .* found 50$"
    with pytest.raises(InputError, match=message):
        optim.build(spec, total_steps=14, batch_size=256)
    for enough in (0, 50):  # a stage of no epochs takes no step at all
        optim.build(spec, total_steps=enough, batch_size=256)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"accumulate": 2.0}, r"accumulate: expected an integer >= 1, found 2.0"),
        ({"accumulate": True}, r"accumulate: expected an integer >= 1, found True"),
        ({"schedule": 0.1}, r"optimizer.schedule: expected a section with a name"),
        ({"accumulate": 0}, r"config.optimizer.accumulate: expected an integer >= 1"),
        (
            {"schedule": CONSTANT | {"scaling": "lineer"}},
            r"scaling: unknown name 'lineer' \(did you mean 'linear'",
        ),
    ],
)
def test_what_a_large_batch_cannot_take(spec, message):
    base = {"name": "lars", "schedule": CONSTANT}
    with pytest.raises(InputError, match=message):
        optim.build(base | spec, total_steps=10, batch_size=256)


def clipped(gradient, most):
    """The gradient in float64, scaled down to a norm of at most `most`."""
    norm = np.sqrt(sum(np.sum(np.square(leaf)) for leaf in gradient.values()))
    return {k: v * min(1.0, most / norm) for k, v in gradient.items()}


@pytest.mark.parametrize("scale", [0.01, 30.0])
def test_a_gradient_is_clipped_by_the_norm_of_all_of_it(scale):
    """Before SGD's decay and momentum, whose velocity is then m v + (g + d w)."""
    spec = {"name": "sgd", "momentum": 0.9, "weight_decay": 0.01, "clip_norm": 0.5}
    tx, _ = optim.build(spec | {"schedule": CONSTANT}, total_steps=3, batch_size=256)
    rng = np.random.default_rng(0)
    weights = {"kernel": rng.normal(size=(3, 2)), "bias": rng.normal(size=2)}
    velocity = {k: np.zeros_like(w) for k, w in weights.items()}
    params = {k: jnp.asarray(w, jnp.float32) for k, w in weights.items()}
    state = tx.init(params)
    for _ in range(3):
        gradient = {k: scale * rng.normal(size=w.shape) for k, w in weights.items()}
        given = {k: jnp.asarray(g, jnp.float32) for k, g in gradient.items()}
        updates, state = tx.update(given, state, params)
        params = optax.apply_updates(params, updates)
        gradient = clipped(gradient, 0.5)
        for k, g in gradient.items():
            velocity[k] = 0.9 * velocity[k] + g + 0.01 * weights[k]
            weights[k] = weights[k] - 0.1 * velocity[k]
    for k, w in weights.items():
        np.testing.assert_allclose(params[k], w, rtol=1e-5)


def test_it_is_the_mean_of_accumulated_gradients_that_is_clipped():
    spec = {"name": "sgd", "momentum": 0.0, "clip_norm": 1.0, "schedule": CONSTANT}
    tx, _ = optim.build(spec | {"accumulate": 2}, total_steps=4, batch_size=64)
    params = jnp.zeros(2)
    state = tx.init(params)
    for gradient in ([30.0, 0.0], [-30.0, 0.8]):  # mean [0, 0.4]: left as it is
        updates, state = tx.update(jnp.asarray(gradient), state, params)
        params = optax.apply_updates(params, updates)
    np.testing.assert_allclose(params, [0.0, -0.04], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("field", ["clip_norm", "ema"])
@settings(deadline=None)
@given(value=ANYTHING)
def test_fields_of_every_optimizer_are_checked(field, value):
    spec = {"name": "adam", field: value, "schedule": CONSTANT}
    inside = isinstance(value, int | float) and not isinstance(value, bool)
    inside = inside and math.isfinite(value) and value > 0
    inside = inside and not (field == "ema" and value >= 1)
    if value is None or inside:
        optim.build(spec, total_steps=10, batch_size=256)
        return
    message = rf"^config.optimizer.{field}: expected a (finite )?number .*, found "
    with pytest.raises(InputError, match=message):
        optim.build(spec, total_steps=10, batch_size=256)


def test_a_run_records_them_with_their_defaults():
    with recorded_settings() as found:
        spec = {"name": "sgd", "schedule": CONSTANT}
        optim.build(spec, total_steps=10, batch_size=256)
    known = {"accumulate": 1, "clip_norm": None, "ema": None}
    assert found["config.optimizer"].items() >= known.items()
