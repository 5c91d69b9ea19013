"""Distillation through dissimilarities against NumPy and SciPy in float64."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import approx_fprime
from scipy.spatial.distance import pdist, squareform

from kdjax.losses import rdm_loss

RNG = np.random.default_rng(0)
FEATURES = {
    "image": RNG.normal(size=(6, 4, 5, 3)),
    "series": RNG.normal(size=(7, 8, 2)),
    "embedding": RNG.normal(size=(5, 9)),
}
DISTANCES, MATCHES = ("correlation", "cosine"), ("correlation", "mse")
value_and_grad = jax.jit(
    jax.value_and_grad(rdm_loss), static_argnames=("distance", "match")
)


def some_rdm(n, *, left_out=0, seed=1):
    """Dissimilarities, `left_out` pairs of them NaN."""
    rng = np.random.default_rng(seed)
    pairs = rng.uniform(0, 2, n * (n - 1) // 2)
    pairs[rng.permutation(len(pairs))[:left_out]] = np.nan
    return squareform(pairs)


def reference(features, rdm, distance="correlation", match="correlation"):
    own = pdist(features.reshape(len(features), -1), distance)
    given = rdm[np.triu_indices(len(rdm), 1)]
    own, given = own[~np.isnan(given)], given[~np.isnan(given)]
    if match == "mse":
        return np.mean((own - given) ** 2)
    return 1 - np.corrcoef(own, given)[0, 1]


@pytest.mark.parametrize("match", MATCHES)
@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("name", FEATURES)
def test_value_and_gradient_equal_the_formula(name, distance, match):
    features = FEATURES[name].astype(np.float32)
    rdm = some_rdm(len(features), left_out=3)
    value, gradient = value_and_grad(features, rdm, distance=distance, match=match)
    assert value.dtype == jnp.float32
    assert value.shape == ()

    def flat(s):
        return reference(s.reshape(features.shape), rdm, distance, match)

    exact = features.astype(np.float64).ravel()
    np.testing.assert_allclose(value, flat(exact), rtol=5e-6)
    expected = approx_fprime(exact, flat)
    np.testing.assert_allclose(gradient.ravel(), expected, rtol=1e-3, atol=1e-6)


def test_hand_computed_cosines():
    # The third is at 45 degrees from the others: distances 1, 1 - q, 1 - q, q = .7071.
    features = [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]
    rdm = np.array([[0.0, 5.0, 1.0], [5.0, 0.0, 3.0], [1.0, 3.0, 0.0]])
    value = rdm_loss(features, rdm, distance="cosine")
    # Centred they are q (2, -1, -1) / 3 and (2, -2, 0): r = 6 / sqrt(6 * 8).
    np.testing.assert_allclose(value, 1 - np.sqrt(3) / 2, rtol=1e-6)
    value = rdm_loss(features, np.float32(rdm == 5), distance="cosine", match="mse")
    # Against 1, 0, 0: 2 (1 - q)^2 / 3.
    np.testing.assert_allclose(value, 1 - np.sqrt(8) / 3, rtol=1e-6)


@pytest.mark.parametrize(
    ("pairs", "match", "value"),
    [
        ([1100, 1000, 1000], "correlation", 0),
        ([-1, 0, 0], "correlation", 2),
        ([5, 5, 5], "correlation", 0),
        ([2, 1, 1], "mse", 0),
        ([3, 1, 0], "mse", 2 / 3),
        ([3, np.nan, 1], "mse", 1 / 2),
    ],
)
def test_hand_computed_correlations(pairs, match, value):
    # The second is minus the first, the third has nothing to do with them: 2, 1, 1.
    features = [[1.0, 0.0, -1.0], [-2.0, 0.0, 2.0], [6.0, 3.0, 6.0]]
    rdm = squareform(np.array(pairs, float))
    np.testing.assert_allclose(rdm_loss(features, rdm, match=match), value, atol=1e-6)


def test_vmap_equals_a_loop():
    features = FEATURES["series"].astype(np.float32)
    students = jnp.stack([features, features**2, 0.5 - features**3])
    rdms = np.stack([some_rdm(7, left_out=k, seed=k) for k in range(3)])
    values = jax.vmap(rdm_loss)(students, jnp.asarray(rdms, jnp.float32))
    looped = [
        reference(np.asarray(s, np.float64), rdm)
        for s, rdm in zip(students, rdms, strict=True)
    ]
    np.testing.assert_allclose(values, looped, rtol=1e-5)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("match", MATCHES)
def test_half_precision_is_computed_in_float32(dtype, match):
    features = jnp.asarray(FEATURES["image"], dtype)
    rdm = jnp.asarray(some_rdm(6), dtype)
    value = rdm_loss(features, rdm, match=match)
    exact = [np.asarray(x, np.float64) for x in (features, rdm)]
    assert value.dtype == jnp.float32
    np.testing.assert_allclose(value, reference(*exact, match=match), rtol=5e-6)


@pytest.mark.parametrize("match", MATCHES)
def test_no_gradient_reaches_the_rdm(match):
    features = jnp.asarray(FEATURES["series"], jnp.float32)
    rdm = jnp.asarray(some_rdm(7), jnp.float32)
    gradient = jax.grad(lambda r: rdm_loss(features, r, match=match))(rdm)
    np.testing.assert_array_equal(gradient, np.zeros((7, 7)))


def test_the_upper_triangle_alone_is_read():
    features, rdm = FEATURES["series"], some_rdm(7, left_out=4)
    upper = np.where(np.triu(np.ones((7, 7)), 1) > 0, rdm, 1e9)
    np.testing.assert_array_equal(rdm_loss(features, upper), rdm_loss(features, rdm))


@pytest.mark.parametrize("match", MATCHES)
def test_an_example_without_dissimilarities_has_no_part(match):
    features, rdm = FEATURES["series"].astype(np.float32), some_rdm(7)
    rdm[2] = rdm[:, 2] = np.nan
    others = np.delete(np.arange(7), 2)
    value, gradient = value_and_grad(features, rdm, match=match)
    expected = rdm_loss(features[others], rdm[np.ix_(others, others)], match=match)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    assert not gradient[2].any()
    assert gradient[others].any(axis=(1, 2)).all()


def finite(features, rdm, **fields):
    value, gradient = value_and_grad(np.asarray(features, np.float32), rdm, **fields)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()
    return value, gradient


@pytest.mark.parametrize("match", MATCHES)
@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("size", [0.0, 1e-30, 1e-6, 1e12])
def test_features_of_any_size_are_finite(size, distance, match):
    fields = {"distance": distance, "match": match}
    rdm = some_rdm(6)
    value, _ = finite(size * FEATURES["image"], rdm, **fields)
    if size >= 1e-6:
        expected = reference(FEATURES["image"], rdm, **fields)
        np.testing.assert_allclose(value, expected, rtol=1e-4)


@pytest.mark.parametrize("distance", DISTANCES)
def test_a_vector_without_direction_is_at_distance_one(distance):
    features = FEATURES["embedding"].copy()
    features[3] = 0.0 if distance == "cosine" else 0.1
    rdm = np.ones((5, 5))
    rdm[:3, :3] = squareform(pdist(features[:3], distance))
    rdm[:3, 4] = [pdist(features[[i, 4]], distance)[0] for i in range(3)]
    value, gradient = finite(features, rdm, distance=distance, match="mse")
    np.testing.assert_allclose(value, 0, atol=1e-12)
    assert not gradient[3].any()


def test_features_that_are_all_alike_are_finite():
    row = FEATURES["embedding"][:1]
    value, gradient = finite(np.repeat(row, 5, axis=0), some_rdm(5))
    assert abs(value - 1) < 0.5
    assert np.abs(gradient).max() < 1
    value, gradient = finite(np.zeros((5, 9)), some_rdm(5))
    assert value == 1
    assert not gradient.any()


@pytest.mark.parametrize("match", MATCHES)
def test_too_few_pairs_say_nothing(match):
    features = FEATURES["embedding"]
    for known in ([], [0.5], [0.5, 1.0]):
        pairs = np.full(10, np.nan)
        pairs[: len(known)] = known
        rdm = squareform(pairs)
        value, gradient = finite(features, rdm, match=match)
        if match == "correlation" or not known:
            assert value == 0
            assert not gradient.any()
        else:
            expected = reference(features, rdm, match=match)
            np.testing.assert_allclose(value, expected, rtol=1e-6)
    value, _ = finite(features[:1], np.zeros((1, 1)), match=match)
    assert value == 0


def test_an_rdm_of_rows_that_do_not_vary_is_finite():
    for level in (0.0, 0.1, 1e30):
        value, gradient = finite(FEATURES["embedding"], np.full((5, 5), level))
        assert value == 0
        assert not gradient.any()
    rdm = some_rdm(5)
    rdm[2] = rdm[:, 2] = 0.3
    value, _ = finite(FEATURES["embedding"], rdm)
    np.testing.assert_allclose(value, reference(FEATURES["embedding"], rdm), rtol=5e-6)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 1000),
    st.floats(1e-3, 1e3),
    st.floats(-10, 10),
    st.floats(1e-2, 1e2),
    st.sampled_from(DISTANCES),
)
def test_no_unit_counts_and_no_order(seed, scale, shift, gain, distance):
    rng = np.random.default_rng(seed)
    features, rdm = rng.normal(size=(6, 5)), some_rdm(6, left_out=2, seed=seed)
    value, _ = value_and_grad(features, rdm, distance=distance)
    assert 0 <= value <= 2
    changed = scale * (rdm + shift)
    again, _ = value_and_grad(gain * features, changed, distance=distance)
    np.testing.assert_allclose(again, value, atol=2e-4)
    order = rng.permutation(6)
    shuffled = features[order], rdm[np.ix_(order, order)]
    permuted, _ = value_and_grad(*shuffled, distance=distance)
    np.testing.assert_allclose(permuted, value, atol=1e-5)


def test_descending_it_brings_the_dissimilarities_nearer():
    rdm = squareform(pdist(RNG.normal(size=(12, 4)), "correlation"))
    features = jnp.asarray(RNG.normal(size=(12, 8)), jnp.float32)
    first, _ = value_and_grad(features, rdm)
    for _ in range(200):
        features -= 5.0 * value_and_grad(features, rdm)[1]
    assert first > 0.5
    assert value_and_grad(features, rdm)[0] < 0.05


@pytest.mark.parametrize("shape", [(6, 7), (7, 6), (6, 6), (7,), (7, 7, 1)])
def test_shapes_that_differ_are_named(shape):
    message = r"rdm does not fit: .*\(7, 8, 2\).*" + re.escape(str(shape))
    with pytest.raises(ValueError, match=message):
        rdm_loss(FEATURES["series"], np.zeros(shape))


def test_features_need_an_axis_of_their_own():
    with pytest.raises(ValueError, match=r"student_features does not fit: .*\(3,\)"):
        rdm_loss(np.zeros(3), np.zeros((3, 3)))
    message = r"student_features: expected two features or more .*\(3, 1\)"
    with pytest.raises(ValueError, match=message):
        rdm_loss(np.zeros((3, 1)), np.zeros((3, 3)))
    assert rdm_loss(np.zeros((3, 1)), np.zeros((3, 3)), distance="cosine") == 0


@pytest.mark.parametrize("name", ["distance", "match"])
def test_unknown_fields_are_refused(name):
    message = f"{name}: expected 'correlation' or .*, found 'euclidean'"
    with pytest.raises(ValueError, match=message):
        rdm_loss(FEATURES["series"], some_rdm(7), **{name: "euclidean"})
