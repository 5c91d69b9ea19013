"""Fixed points against closed forms, slow points, and what cannot be searched."""

import importlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.errors import InputError
from kdjax.tasks.cognitive.dynamics.fixed_points import find
from kdjax.tasks.cognitive.dynamics.flows import (
    ACTIVATIONS,
    averaged,
    held_drive,
    map_flow,
    rate_flow,
    voltage_flow,
)
from kdjax.tasks.cognitive.dynamics.line_attractor import line_attractor_test
from kdjax.tasks.cognitive.trials.trial import Held

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
TAU = 100.0
KINKS = [(voltage_flow, 0.0, 0.4), (rate_flow, -0.2, 0.2)]
JAX = {
    "relu": jax.nn.relu,
    "softplus": jax.nn.softplus,
    "retanh": lambda h: jnp.tanh(jax.nn.relu(h)),
    "tanh": jnp.tanh,
}


def weights(units, seed=0, radius=1.2):
    w = np.random.default_rng(seed).normal(size=(units, units))
    return w * radius / np.abs(np.linalg.eigvals(w)).max()


@pytest.fixture
def network(monkeypatch):
    """The benchmark's network that decides, with starts of it."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("fixed_points").network


def order(points):
    return np.lexsort(points.states.T[::-1])


# --- points and eigenvalues in closed form


@pytest.mark.parametrize("make", [rate_flow, voltage_flow])
def test_bistable(make):
    """Two ReLU units that inhibit each other: w = 2, drive d = 1.

    r_i = relu(1 - 2 r_j). One on: (1, 0) and (0, 1), for 1 - 2 < 0 turns the other off;
    J = -1 on the active unit, and the other off: eigenvalues -1, -1 (rate: row -e_i,
    W above it). Both on: r = 1/3, J = -1 + [[0, -2], [-2, 0]]: eigenvalues 1, -3.
    In the voltage form x = d - 2 f(x_j): (1, -1), (-1, 1), (1/3, 1/3), the same J.
    """
    flow = make([[0, -2], [-2, 0]], [1, 1], "relu", TAU)
    starts = np.random.default_rng(0).uniform(-1, 2, (200, 2))
    points = find(flow, starts)
    off = 0 if make is rate_flow else -1
    expected = np.array([[off, 1], [1 / 3, 1 / 3], [1, off]])
    at = order(points)
    np.testing.assert_allclose(points.states[at], expected, atol=1e-10)
    eigenvalues = np.array([[-1, -1], [1, -3], [-1, -1]]) / TAU
    np.testing.assert_allclose(points.eigenvalues[at], eigenvalues, atol=1e-10)
    np.testing.assert_allclose(
        points.time_constants[at], [[100, 100], [-100, 100 / 3], [100, 100]], rtol=1e-8
    )
    assert points.stable[at].tolist() == [True, False, True]
    assert points.unstable[at].tolist() == [0, 1, 0]
    assert set(points.status) == {"fixed"}
    assert np.isinf(points.periods).all()
    assert (points.ends_q < 1e-20).all()
    assert points.point.shape == (200,)
    apart = np.linalg.norm(points.states[points.point] - points.ends, axis=1)
    assert apart.max() < 1e-8


def line(coupling=1.0, drive=0.5):
    """r1 + r2 = const: W = [[a, b], [b, a]] with a - b = 1 and a + b = 1 - 2 c.

    Along (1, -1) the gain a - b is 1: J v = 0. Along (1, 1) it is 1 - 2 c: eigenvalue
    -2 c. Both on: r1 + r2 = (a + b)(r1 + r2) + 2 d, so r1 + r2 = d / c.
    """
    return np.array([[1 - coupling, -coupling], [-coupling, 1 - coupling]]), [drive] * 2


def test_line_attractor_and_that_the_search_does_not_move_along_it():
    """J is singular, v = (1, -1) / sqrt 2 its null vector on both sides.

    So F has no component along v where both units are on, and the nearest point of the
    line is straight across it: nothing should move along v.
    """
    w, d = line()
    flow = rate_flow(w, d, "relu", TAU)
    rng = np.random.default_rng(0)
    starts = np.linspace(0.1, 0.4, 50)[:, None] * [1, -1] + [0, 0.5]
    starts = starts + rng.normal(0, 0.02, (50, 1))
    points = find(flow, starts)
    assert set(points.status[points.point]) == {"fixed"}
    np.testing.assert_allclose(points.ends.sum(1), 0.5, atol=1e-9)
    v = np.array([1, -1]) / np.sqrt(2)
    moved = np.abs((points.ends - starts) @ v)
    assert moved.max() < 1e-12
    np.testing.assert_allclose(
        points.eigenvalues, np.tile([0, -0.02], (len(points.q), 1)), atol=1e-10
    )
    assert len(points.q) == 50


def test_points_are_not_thrown_along_a_line_that_is_singular_only_to_rounding():
    """All ReLU units on: J = -Q diag(D) Q^T, Q orthogonal, D = 0, 0.1, ..., 1.

    With drive -J c the points are c + a v, v = Q's first column; eigenvalues -D. In
    arithmetic J has an inverse of 1e16, and plain Newton follows it along v.
    """
    units = 40
    rng = np.random.default_rng(0)
    q = np.linalg.qr(rng.normal(size=(units, units)))[0]
    D = np.concatenate([[0.0], np.linspace(0.1, 1, units - 1)])
    held = (q * D) @ q.T
    flow = rate_flow(np.eye(units) - held, held @ np.ones(units), "relu", TAU)
    v = q[:, 0]
    starts = 1 + np.linspace(-0.5, 0.5, 60)[:, None] * v[None, :]
    starts += rng.normal(0, 0.05, starts.shape)
    points = find(flow, starts)
    assert (points.status[points.point] == "fixed").all()
    assert np.abs((points.ends - starts) @ v).max() < 1e-11
    off = points.ends - 1
    off -= (off @ v)[:, None] * v[None, :]
    assert np.abs(off).max() < 1e-8
    expected = np.tile(-D / TAU, (len(points.q), 1))
    np.testing.assert_allclose(points.eigenvalues, expected, atol=1e-10)
    newton = np.linalg.solve(flow.jacobian(starts), -flow.drift(starts)[..., None])
    assert np.abs(newton[..., 0] @ v).max() > 0.01


def test_line_attractor_test():
    w, d = line()
    flow = rate_flow(w, d, "relu", TAU)
    x = np.linspace(0.05, 0.45, 20)
    points = np.stack([x, 0.5 - x], axis=1)
    result = line_attractor_test(flow, points)
    assert result.verdict
    assert result.variance == pytest.approx(1)
    assert result.angle.max() < 1e-5
    assert result.slowest.min() > 1e6
    np.testing.assert_allclose(result.second, 50, rtol=1e-8)
    assert result.length == pytest.approx(0.4 * np.sqrt(2))
    assert not line_attractor_test(flow, points, points=21).verdict
    # the same points in a network that lets them go in 100 ms
    leaking = line_attractor_test(rate_flow(w * 0, d, "relu", TAU), points)
    assert not leaking.verdict
    np.testing.assert_allclose(leaking.slowest, 100, rtol=1e-8)
    # scattered, where nothing holds them on a line
    cloud = np.random.default_rng(0).uniform(0.1, 0.4, (20, 2))
    assert not line_attractor_test(flow, cloud).verdict
    with pytest.raises(InputError, match="2 points or more"):
        line_attractor_test(flow, points[:1])


def test_ring():
    """n linear-rectified units on a circle, W = (2 / n) cos(difference), d = 1.

    Where all are on, r = 1 + W r: W takes cos and sin to themselves (gain 1), the rest
    to 0, so r_i = 1 + a cos(angle_i - phase) for every |a| < 1 and phase: a disc, whose
    edge |a| = 1 is a ring. Eigenvalues 0, 0, -1 (n - 2 times). A multiplier k = 1.2 on
    W leaves 1 only, with eigenvalues k - 1 = 0.2, 0.2, -1.
    """
    n = 8
    angle = 2 * np.pi * np.arange(n) / n
    w = 2 / n * np.cos(angle[:, None] - angle[None, :])
    flow = rate_flow(w, np.ones(n), "relu", TAU)
    phase = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    bump = 1 + 0.5 * np.cos(angle[None, :] - phase[:, None])
    points = find(flow, bump + 0.1)
    np.testing.assert_allclose(points.ends, bump, atol=1e-9)
    expected = np.tile([0, 0] + [-0.01] * (n - 2), (12, 1))
    np.testing.assert_allclose(points.eigenvalues, expected, atol=1e-10)
    ring = line_attractor_test(flow, bump)
    assert ring.variance == pytest.approx(0.5)
    assert not ring.verdict
    grown = find(rate_flow(1.2 * w, np.ones(n), "relu", TAU), bump[:1] * 0 + 1.01)
    np.testing.assert_allclose(grown.states, np.ones((1, n)), atol=1e-10)
    expected = np.array([[0.002, 0.002] + [-0.01] * (n - 2)])
    np.testing.assert_allclose(grown.eigenvalues, expected, atol=1e-10)
    assert grown.unstable.tolist() == [2]


def test_period_of_a_complex_pair():
    """W = k [[0, 1], [-1, 0]] with tanh, at 0: J = -1 + W, eigenvalues -1 +- k i."""
    flow = rate_flow([[0, 0.5], [-0.5, 0]], [0, 0], "tanh", TAU)
    points = find(flow, np.array([[0.3, -0.1]]))
    np.testing.assert_allclose(points.states, 0, atol=1e-10)
    np.testing.assert_allclose(points.time_constants, 100, rtol=1e-8)
    np.testing.assert_allclose(points.periods, 2 * np.pi * 100 / 0.5, rtol=1e-8)


def test_time_constants_are_those_of_a_simulated_decay():
    """Each unit has its tau: the slowest mode is what is left after a while."""
    tau = np.array([50.0, 100.0, 200.0])
    w, dt = weights(3, seed=4, radius=0.7), 0.5
    flow = rate_flow(w, [0.2, 0.1, 0.3], "tanh", tau)
    points = find(flow, np.zeros((1, 3)))
    assert points.stable.all()
    assert np.isinf(points.periods[0, 0])  # one mode is left, not a turning pair
    x, sizes = points.states + 1e-4, []
    for step in range(4000):
        x = x + dt / tau * flow.drift(x)
        if step in (2000, 3000):
            sizes.append(np.linalg.norm(x - points.states))
    measured = 1000 * dt / np.log(sizes[0] / sizes[1])
    assert measured == pytest.approx(points.time_constants[0, 0], rel=5e-3)


# --- maps


def gru(units=3, seed=0):
    """A small GRU without input, as a JAX function of one state."""
    rng = np.random.default_rng(seed)
    z, r, n = rng.normal(0, 1, (3, units, units)).astype(np.float32)
    b = rng.normal(0, 0.3, units).astype(np.float32)

    def step(h):
        update, reset = jax.nn.sigmoid(h @ z + b), jax.nn.sigmoid(h @ r)
        return update * h + (1 - update) * jnp.tanh((reset * h) @ n + b)

    return step


def test_map_of_a_gru():
    step, dt = gru(), 20.0
    points = find(map_flow(step, dt), np.random.default_rng(0).normal(0, 0.5, (20, 3)))
    assert (points.status == "fixed").all()
    with jax.enable_x64(True):
        x = jnp.asarray(points.states)
        again = np.asarray(jax.vmap(step)(x))
        mu = np.linalg.eigvals(np.asarray(jax.vmap(jax.jacfwd(step))(x)))
    np.testing.assert_allclose(again, points.states, atol=1e-9)
    size = -np.sort(-np.abs(mu), axis=1)
    np.testing.assert_allclose(np.abs(points.eigenvalues), size, atol=1e-8)
    np.testing.assert_allclose(points.time_constants, -dt / np.log(size), rtol=1e-6)
    assert points.unstable.tolist() == (size > 1).sum(1).tolist()


def test_map_with_the_leak_inside_has_the_flows_points():
    """r = f((1 - a) r + a (r W + d)) with ReLU: on units as r = r W + d, off ones 0."""
    w, d, a = jnp.asarray([[0.0, -2.0], [-2.0, 0.0]]), jnp.ones(2), 0.2
    flow = map_flow(lambda r: jax.nn.relu((1 - a) * r + a * (r @ w + d)), 20.0)
    points = find(flow, np.array([[0.35, 0.31], [1.1, 0.1], [0.1, 0.9]]))
    at = order(points)
    expected = [[0, 1], [1 / 3, 1 / 3], [1, 0]]
    np.testing.assert_allclose(points.states[at], expected, atol=1e-10)
    # both on: 1 + a lambda, lambda = 1 and -3
    np.testing.assert_allclose(points.eigenvalues[at[1]], [1.2, 0.4], atol=1e-6)
    np.testing.assert_allclose(
        points.time_constants[at[1]], -20 / np.log([1.2, 0.4]), rtol=1e-5
    )


# --- flows


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
@pytest.mark.parametrize("make", [rate_flow, voltage_flow])
def test_jacobian_and_curvature_are_what_jax_derives(make, activation):
    w, d = weights(6), np.linspace(-1, 1, 6)
    x = np.random.default_rng(1).normal(size=(5, 6))
    flow, f = make(w, d, activation, TAU), JAX[activation]
    with jax.enable_x64(True):
        weight, bias = jnp.asarray(w), jnp.asarray(d)

        def drift(y):
            if make is rate_flow:
                return f(y @ weight + bias) - y
            return f(y) @ weight + bias - y

        def bent(y, v):
            return jax.hessian(lambda y: drift(y) @ v)(y)

        y = jnp.asarray(x)
        F = np.asarray(jax.vmap(drift)(y))
        J = np.asarray(jax.vmap(jax.jacfwd(drift))(y))
        curvature = np.asarray(jax.vmap(bent)(y, jnp.asarray(F)))
    np.testing.assert_allclose(flow.drift(x), F, atol=1e-12)
    np.testing.assert_allclose(flow.jacobian(x), J, atol=1e-12)
    np.testing.assert_allclose(flow.curvature(x, F), curvature, atol=1e-12)
    steps = np.linalg.solve(J, -F[..., None])[..., 0]
    np.testing.assert_allclose(flow.newton(x, F).steps, steps, atol=1e-10)


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_average_over_noise(activation):
    """Against 4 million draws, and a fine trapezoid of the integral itself."""
    h, std = np.array([-0.7, -0.1, 0.0, 0.4, 1.5]), np.array([0.3, 0.5, 0.0, 1.0, 0.2])
    own, mean = ACTIVATIONS[activation], averaged(activation, std)
    z = np.random.default_rng(0).normal(size=(4_000_000, 1))
    draws = own.value(h[None, :] + std[None, :] * z)
    error = draws.std(0) / np.sqrt(len(z))
    assert (np.abs(draws.mean(0) - mean.value(h)) <= 4 * error + 1e-9).all()
    z = np.linspace(-9, 9, 200_001)[:, None]
    density = np.exp(-np.square(z) / 2) / np.sqrt(2 * np.pi)
    for function, averages in ((own.value, mean.value), (own.slope, mean.slope)):
        integral = np.trapezoid(function(h + std * z) * density, z[:, 0], axis=0)
        np.testing.assert_allclose(averages(h), integral, atol=5e-5)
    np.testing.assert_allclose(
        mean.value(h),
        np.trapezoid(own.value(h + std * z) * density, z[:, 0], axis=0),
        atol=1e-8,
    )
    step = 1e-5
    for function, derivative in ((mean.value, mean.slope), (mean.slope, mean.curve)):
        difference = (function(h + step) - function(h - step)) / (2 * step)
        noisy = std > 0  # ReLU itself has no slope at h = 0
        np.testing.assert_allclose(derivative(h)[noisy], difference[noisy], atol=1e-8)


def test_noise_averaged_relu_of_one_unit():
    """E[relu(z)] = 1 / sqrt(2 pi), and its slope there is a half."""
    flow = rate_flow([[0.0]], [0.0], "relu", TAU, [1.0])
    points = find(flow, np.array([[3.0]]))
    np.testing.assert_allclose(points.states, 1 / np.sqrt(2 * np.pi), atol=1e-10)
    half = rate_flow([[1.0]], [-0.3], "relu", TAU, [1.0])
    np.testing.assert_allclose(half.jacobian(np.array([[0.3]])), -0.5, atol=1e-12)


def test_drive_of_held_inputs():
    held = Held(np.array([1.0, -1.0]), np.array([0.3, 0.4]))
    mean, std = held_drive(held, [[1.0, 0.0], [1.0, 2.0]], [0.1, 0.2])
    np.testing.assert_allclose(mean, [0.1, -1.8])
    np.testing.assert_allclose(std, [0.5, 0.8])
    with pytest.raises(InputError, match="expected 3 means"):
        held_drive(held, np.ones((3, 2)), np.ones(2))


# --- slow points


def test_the_ghost_of_a_fixed_point_is_said_to_be_slow():
    """F = tanh(h) - x, h = 2 x + d, with d just past where two fixed points meet.

    They meet where F' = 2 (1 - tanh(h)^2) - 1 = 0, tanh(h) = -sqrt(1/2) = x. With a
    larger d, F > 0 there; q still has its minimum where F' = 0, at the same h.
    """
    h = np.arctanh(-np.sqrt(0.5))
    meeting = h + 2 * np.sqrt(0.5)  # F = 0 there too
    flow = rate_flow([[2.0]], [meeting + 0.01], "tanh", TAU)
    points = find(flow, np.array([[-1.5], [2.0]]))
    slow, fixed = points.point
    assert points.status[slow] == "slow"
    assert points.status[fixed] == "fixed"
    x = (h - meeting - 0.01) / 2
    assert points.states[slow, 0] == pytest.approx(x, abs=1e-6)
    assert points.q[slow] == pytest.approx((-np.sqrt(0.5) - x) ** 2 / 2, rel=1e-8)


@pytest.mark.parametrize(("make", "x", "least"), KINKS)
def test_a_slow_point_at_a_kink(make, x, least):
    """One ReLU unit, w = 2, d = 0.4: F falls with slope -1 up to the kink, then rises.

    Voltage: F = 2 relu(x) - x + d, least at x = 0, where it is d. Rate:
    F = relu(2 r + d) - r, least at r = -d / 2, where it is d / 2.
    """
    flow = make([[2.0]], [0.4], "relu", TAU)
    points = find(flow, np.array([[-3.0], [-0.5], [0.7], [5.0]]))
    assert points.status.tolist() == ["slow"]
    assert points.point.tolist() == [0] * 4
    assert points.states[0, 0] == pytest.approx(x, abs=1e-5)
    assert points.q[0] == pytest.approx(least**2 / 2, rel=1e-4)


def test_out_of_iterations_is_neither_fixed_nor_slow():
    flow = rate_flow([[0.5]], [0.5], "tanh", TAU)
    points = find(flow, np.array([[5.0]]), iterations=1)
    assert points.status.tolist() == ["unfinished"]
    assert find(flow, np.array([[5.0]])).status.tolist() == ["fixed"]


@pytest.mark.parametrize("noise", [None, 0.2])
def test_every_start_of_a_large_network_is_fixed_or_slow(network, noise):
    w, d, starts = network(units=128, starts=1000)
    flow = rate_flow(w, d, "relu", TAU, None if noise is None else np.full(128, noise))
    points = find(flow, starts)
    fixed = points.status[points.point] == "fixed"
    assert (points.ends_q[fixed] < 1e-20).all()
    assert (fixed | (points.status[points.point] == "slow")).all()
    assert fixed.mean() > 0.9
    # two choices, and the saddle between them
    assert sorted(points.unstable[points.status == "fixed"]) == [0, 0, 1]
    F = flow.drift(points.ends[fixed])
    np.testing.assert_array_equal(points.ends_q[fixed], np.einsum("nu,nu->n", F, F) / 2)


# --- what cannot be searched

BISTABLE = ([[0.0, -2.0], [-2.0, 0.0]], [1.0, 1.0], "relu", TAU)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: find(rate_flow(*BISTABLE), [[0.0, np.nan], [0.0, 1.0]]),
            "starts: expected finite numbers, found 1 of 2 .* row 0",
        ),
        (
            lambda: find(rate_flow(*BISTABLE), np.zeros((4, 3))),
            r"starts: expected \[n, 2\], found \(4, 3\)",
        ),
        (lambda: find(rate_flow(*BISTABLE), np.zeros(2)), r"found \(2,\)"),
        (lambda: find(rate_flow(*BISTABLE), np.zeros((0, 2))), r"found \(0, 2\)"),
        (
            lambda: find(map_flow(gru(3), 20.0), np.zeros((2, 4))),
            "starts: the map does not take states of 4 units",
        ),
        (
            lambda: find(map_flow(lambda x: x[:1], 20.0), np.zeros((2, 4))),
            r"starts: .* 4 units to as many, found \(1,\)",
        ),
        (lambda: rate_flow(np.zeros((2, 3)), [0, 0], "relu", TAU), "recurrent: "),
        (lambda: rate_flow(np.eye(2), [0, 0, 0], "relu", TAU), "drive: expected 2"),
        (lambda: rate_flow(np.eye(2), [0, 0], "relu", 0.0), "tau: expected ms > 0"),
        (lambda: rate_flow(np.eye(2), [0, 0], "relu", TAU, [1]), "noise: expected 2"),
        (lambda: rate_flow(np.eye(2), [0, 0], "rellu", TAU), "did you mean 'relu'"),
        (lambda: voltage_flow(np.eye(2), [0, np.nan], "relu", TAU), "drive: "),
    ],
)
def test_one_line_says_what_does_not_fit(call, message):
    with pytest.raises(InputError, match=message) as error:
        call()
    assert "\n" not in str(error.value)
