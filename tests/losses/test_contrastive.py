"""NT-Xent against NumPy in float64, written from the formula, and over devices."""

import json
import math
import re
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import approx_fprime
from scipy.special import logsumexp

from kdjax.losses import nt_xent

RNG = np.random.default_rng(0)
VIEWS = RNG.normal(size=(2, 32, 5)).astype(np.float32)
LOSS = jax.jit(nt_xent, static_argnames=("chunk_size",))
COUNTS = np.arange(32) % 8 < np.arange(32) // 8 * 2 + 1  # 1, 3, 5, 7 of each 8


def reference(z1, z2, temperature=0.1):
    """(value, gradients in z1 and z2, gradient in temperature) in float64."""
    z = np.concatenate([z1, z2]).astype(np.float64)
    length = np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-12)
    u, anchors = z / length, np.arange(len(z))
    similarity = u @ u.T / temperature
    logits = np.where(np.eye(len(z)), -np.inf, similarity)
    lse = logsumexp(logits, axis=1, keepdims=True)
    positive = np.roll(anchors, len(z1))
    weights = np.exp(logits - lse)
    weights[anchors, positive] -= 1
    weights /= len(z)
    to_u = (weights + weights.T) @ u / temperature
    to_z = (to_u - u * np.sum(u * to_u, axis=1, keepdims=True)) / length
    value = np.mean(lse[:, 0] - similarity[anchors, positive])
    to_temperature = -np.sum(weights * similarity) / temperature
    return value, np.split(to_z, 2), to_temperature


@partial(jax.jit, static_argnames="chunk_size")
def value_and_gradients(z1, z2, temperature=0.1, *, mask=None, chunk_size=None):
    """(value, gradients in z1, z2 and temperature)."""

    def loss(z1, z2, temperature):
        return nt_xent(
            z1, z2, temperature=temperature, mask=mask, chunk_size=chunk_size
        )

    return jax.value_and_grad(loss, argnums=(0, 1, 2))(z1, z2, temperature)


def over_devices(devices, z1, z2, mask=None, **options):
    """Each device's value, and gradients of its part put together again."""

    def loss(z1, z2, mask):
        return nt_xent(z1, z2, axis_name="devices", mask=mask, **options)

    parts = [x.reshape(devices, -1, *x.shape[1:]) for x in (z1, z2)]
    if mask is not None:
        mask = mask.reshape(devices, -1)
    mapped = jax.vmap(jax.value_and_grad(loss, argnums=(0, 1)), axis_name="devices")
    values, gradients = jax.jit(mapped)(*parts, mask)
    return values, [g.reshape(z1.shape) for g in gradients]


def assert_close(found, expected, tolerance=1e-5):
    """Within `tolerance` of the largest expected element."""
    found, expected = np.asarray(found), np.asarray(expected)
    atol = tolerance * np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=atol)


def test_the_reference_has_the_gradient_of_its_value():
    z1, z2 = VIEWS[:, :4].astype(np.float64)
    _, (gradient, _), slope = reference(z1, z2, 0.5)

    def of_z1(flat):
        return reference(flat.reshape(z1.shape), z2, 0.5)[0]

    expected = approx_fprime(z1.ravel(), of_z1).reshape(z1.shape)
    np.testing.assert_allclose(gradient, expected, atol=1e-6)
    step = 1e-5
    ends = [reference(z1, z2, 0.5 + s)[0] for s in (step, -step)]
    np.testing.assert_allclose(slope, (ends[0] - ends[1]) / (2 * step), rtol=1e-7)


@pytest.mark.parametrize("chunk_size", [None, 3, 16, 63, 1000])
def test_every_chunk_size_gives_the_formula(chunk_size):
    z1, z2 = VIEWS
    value, gradients = value_and_gradients(z1, z2, chunk_size=chunk_size)
    expected, expected_gradients, slope = reference(z1, z2)
    assert value.dtype == jnp.float32
    assert value.shape == ()
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    assert_close(gradients[:2], expected_gradients)
    np.testing.assert_allclose(gradients[2], slope, rtol=1e-5)


@pytest.mark.parametrize("temperature", [0.01, 0.05, 0.1, 0.5, 1, 10])
def test_every_temperature_gives_the_formula(temperature):
    z1, z2 = VIEWS
    z2 = z1 + 0.3 * z2  # positives that are alike, as in training
    value, gradients = value_and_gradients(z1, z2, float(temperature), chunk_size=24)
    expected, expected_gradients, slope = reference(z1, z2, temperature)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    assert_close(gradients[:2], expected_gradients)
    np.testing.assert_allclose(gradients[2], slope, rtol=1e-4)


def test_equals_optax():
    z1, z2 = VIEWS[:, :8]
    labels = jnp.tile(jnp.arange(8), 2)
    both = jnp.concatenate([z1, z2])
    with jax.numpy_rank_promotion("allow"):
        expected = optax.losses.ntxent(both, labels, temperature=0.5)
    np.testing.assert_allclose(LOSS(z1, z2, temperature=0.5), expected, rtol=1e-5)


def test_hand_computed_values():
    # Each anchor has a positive of cosine 1 and two negatives of cosine 0.
    for temperature in (1.0, 0.5, 0.1):
        value = LOSS(jnp.eye(2), 3 * jnp.eye(2), temperature=temperature)
        top = 1 / temperature
        expected = math.log(math.exp(top) + 2) - top
        np.testing.assert_allclose(value, expected, rtol=1e-6, atol=1e-6)
    # All rows alike: 2N - 1 = 5 equal candidates.
    alike = jnp.ones((3, 4))
    np.testing.assert_allclose(LOSS(alike, alike), math.log(5), rtol=1e-6)


@pytest.mark.parametrize(
    ("temperature", "expected"),
    [(0.05, 14.79135448), (0.1, 7.39910873), (0.5, 1.86019274), (1, 1.55249458)],
)
def test_golden_values(temperature, expected):
    grid = np.arange(12.0).reshape(3, 4)
    loss = jax.jit(partial(nt_xent, temperature=temperature))
    value = loss(np.sin(grid), np.cos(grid))
    np.testing.assert_allclose(value, expected, rtol=1e-6)


def test_vmap_equals_a_loop():
    batches = RNG.normal(size=(3, 2, 6, 4)).astype(np.float32)
    loss = jax.value_and_grad(lambda z: nt_xent(z[0], z[1], chunk_size=5))
    values, gradients = jax.jit(jax.vmap(loss))(batches)
    for batch, value, gradient in zip(batches, values, gradients, strict=True):
        expected, expected_gradient, _ = reference(*batch)
        np.testing.assert_allclose(value, expected, rtol=1e-5)
        assert_close(gradient, expected_gradient)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_is_computed_in_float32(dtype):
    z1, z2 = jnp.asarray(VIEWS, dtype)
    value, gradients = value_and_gradients(z1, z2, chunk_size=10)
    expected, expected_gradients, _ = reference(*(np.asarray(z) for z in (z1, z2)))
    assert value.dtype == jnp.float32
    assert gradients[0].dtype == dtype
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    rounding = float(jnp.finfo(dtype).eps)
    assert_close(np.asarray(gradients[:2], np.float32), expected_gradients, rounding)


@pytest.mark.parametrize(("chunk_size", "kind"), [(None, bool), (7, np.float32)])
def test_masked_examples_do_not_count(chunk_size, kind):
    mask = COUNTS.astype(kind)
    value, gradients = value_and_gradients(*VIEWS, mask=mask, chunk_size=chunk_size)
    expected, expected_gradients, slope = reference(*VIEWS[:, COUNTS])
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    np.testing.assert_allclose(gradients[2], slope, rtol=1e-5)
    for gradient, wanted in zip(gradients[:2], expected_gradients, strict=True):
        assert_close(gradient[COUNTS], wanted)
        np.testing.assert_array_equal(gradient[~COUNTS], 0)


@pytest.mark.parametrize("chunk_size", [None, 3])
@pytest.mark.parametrize("ring", [False, True])
@pytest.mark.parametrize("devices", [1, 2, 4, 8])
def test_devices_together_give_the_loss_of_the_whole(devices, ring, chunk_size):
    values, gradients = over_devices(devices, *VIEWS, ring=ring, chunk_size=chunk_size)
    expected, expected_gradients, _ = reference(*VIEWS)
    np.testing.assert_allclose(values, np.full(devices, expected), rtol=1e-6)
    assert_close(np.asarray(gradients) / devices, expected_gradients)


@pytest.mark.parametrize("ring", [False, True])
def test_devices_with_different_counts_of_masked_examples(ring):
    mask = COUNTS.astype(np.float32)
    values, gradients = over_devices(4, *VIEWS, mask=mask, ring=ring, chunk_size=5)
    expected, expected_gradients, _ = reference(*VIEWS[:, COUNTS])
    np.testing.assert_allclose(values, np.full(4, expected), rtol=1e-6)
    for gradient, wanted in zip(gradients, expected_gradients, strict=True):
        assert_close(gradient[COUNTS] / 4, wanted)
        np.testing.assert_array_equal(gradient[~COUNTS], 0)


@pytest.mark.parametrize("ring", [False, True])
def test_a_device_may_have_one_example_or_none_that_counts(ring):
    z1, z2 = VIEWS[:, :4]
    values, _ = over_devices(4, z1, z2, ring=ring)
    np.testing.assert_allclose(values, np.full(4, reference(z1, z2)[0]), rtol=1e-6)
    mask = np.array([1, 0, 1, 1], np.float32)
    values, gradients = over_devices(4, z1, z2, mask=mask, ring=ring)
    kept, expected_gradients, _ = reference(z1[mask > 0], z2[mask > 0])
    np.testing.assert_allclose(values, np.full(4, kept), rtol=1e-6)
    assert_close(gradients[0][mask > 0] / 4, expected_gradients[0])


@pytest.mark.parametrize("chunk_size", [None, 5])
def test_zero_rows_have_a_finite_value_and_gradient(chunk_size):
    z1, z2 = VIEWS.copy()
    z1[3] = z2[3] = z2[7] = 0
    value, gradients = value_and_gradients(z1, z2, chunk_size=chunk_size)
    expected, expected_gradients, _ = reference(z1, z2)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    # A zero row has no direction; the formula would divide by the floor of its norm.
    for z, gradient, wanted in zip(
        (z1, z2), gradients[:2], expected_gradients, strict=True
    ):
        zero = ~z.any(axis=1)
        np.testing.assert_array_equal(gradient[zero], 0)
        assert_close(gradient[~zero], wanted[~zero])


@pytest.mark.parametrize("size", [1e-11, 1e10, 1e19, 1e35])
def test_rows_of_any_length_count_by_their_direction(size):
    z1, z2 = VIEWS.copy()
    z1[3] *= np.float32(size)
    value, gradients = value_and_gradients(z1, z2)
    expected, expected_gradients, _ = reference(*VIEWS)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    wanted = expected_gradients[0]
    assert_close(gradients[0][3] * np.float32(size), wanted[3], 1e-4)
    others = np.arange(32) != 3
    assert_close(gradients[0][others], wanted[others])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("options", [{}, {"chunk_size": 5}, {"ring": True}])
def test_nan_and_infinity_give_nan(bad, options):
    z1, z2 = VIEWS.copy()
    z2[31, 2] = bad
    if "ring" in options:
        value = over_devices(4, z1, z2, **options)[0]
    else:
        value = LOSS(z1, z2, **options)
    assert np.isnan(value).all()


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(6)), st.integers(0, 1000), st.floats(0.05, 2))
def test_only_directions_and_pairs_count(order, seed, temperature):
    rng = np.random.default_rng(seed)
    z1, z2 = rng.normal(size=(2, 6, 4)).astype(np.float32)
    loss = partial(LOSS, temperature=temperature)
    value = loss(z1, z2)
    assert value >= 0
    order = np.array(order)
    scale = np.exp(rng.normal(size=(6, 1))).astype(np.float32)
    for changed in ((z1[order], z2[order]), (z2, z1), (scale * z1, z2 / scale)):
        np.testing.assert_allclose(loss(*changed), value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"z2": np.ones((3, 5))}, r"nt_xent: z2 does not fit: .*\(4, 5\).*\(3, 5\)"),
        ({"z2": np.ones((4, 6))}, r"nt_xent: z2 does not fit: .*\(4, 5\).*\(4, 6\)"),
        ({"z1": np.ones(4)}, r"nt_xent: z1 does not fit: .*\(4,\)"),
        ({"temperature": 0}, "temperature: expected a number above 0, found 0"),
        ({"temperature": -1.0}, "temperature: expected a number above 0, found -1.0"),
        ({"temperature": math.nan}, "temperature: expected .* found nan"),
        ({"chunk_size": 0}, "chunk_size: expected 1 or more, found 0"),
        ({"ring": True}, "ring: expected an axis_name"),
        ({"mask": np.ones(3)}, r"nt_xent: mask does not fit: .*\(4, 5\).*\(3,\)"),
    ],
)
def test_bad_arguments_are_named(change, message):
    arguments = {"z1": np.ones((4, 5)), "z2": np.ones((4, 5))} | change
    with pytest.raises(ValueError, match=message):
        nt_xent(**arguments)


def test_a_single_example_has_no_negatives():
    with pytest.raises(ValueError, match=r"z1: expected 2 examples or more.*\(1, 5\)"):
        nt_xent(*VIEWS[:, :1])
    with pytest.raises(ValueError, match=r"z1: expected 2 examples or more.*1 device"):
        over_devices(1, *VIEWS[:, :1])


@pytest.fixture(scope="module")
def rows(python):
    program = Path(__file__).with_name("contrastive_devices.py")
    done = python(program, devices=8)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return {
        kind: [row for row in rows if row["kind"] == kind]
        for kind in ("parity", "compiled", "refused")
    }


def test_mapped_parameter_gradients_equal_one_device(rows):
    mappers = ("by_pmap", "by_shard_map", "by_checked_shard_map", "by_explicit_mesh")
    assert {(row["mapper"], row["devices"]) for row in rows["parity"]} == {
        (mapper, count) for mapper in mappers for count in (1, 2, 4, 8)
    }
    for row in rows["parity"]:
        assert row["value"] < 1e-6, row
        assert row["gradient"] < 1e-5, row


def test_an_explicit_mesh_that_is_not_set_is_named(rows):
    (row,) = rows["refused"]
    assert "ValueError" in row["error"]
    assert re.search(r"z1, z2: .*32@devices.* expected jax.set_mesh", row["error"])


def test_the_model_of_memory_and_communication_holds(rows):
    for row in rows["compiled"]:
        assert row["held"] == pytest.approx(row["modelled_held"], rel=0.125), row
        assert row["received"] == row["modelled_received"], row
        moved = "collective-permute" if row["ring"] else "all-gather"
        expected = {"all-reduce", moved} if row["devices"] > 1 else {"all-reduce"}
        assert set(row["collectives"]) == expected, row
        assert row["collectives"].get("all-reduce", 0) <= 16, row


def test_a_ring_holds_the_same_on_any_number_of_devices(rows):
    local, dim = 1024, 128
    held = {
        (row["ring"], row["devices"]): row["held"]
        for row in rows["compiled"]
        if (row["local"], row["dim"]) == (local, dim)
    }
    assert held[True, 8] == held[True, 4] <= 1.02 * held[True, 2]
    gathered = 4 * 2 * local * dim  # bytes of one device's rows
    for less, more in ((2, 4), (4, 8)):
        growth = held[False, more] - held[False, less]
        assert growth == pytest.approx((more - less) * gathered, rel=0.05)
