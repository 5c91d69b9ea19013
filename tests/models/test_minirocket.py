"""MiniRocket's features against the paper's definition, in float64 and by loops."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.errors import InputError
from kdjax.models import minirocket


def series(n, time, channels, seed=0):
    drawn = np.random.default_rng(seed).normal(size=(n, time, channels))
    return np.cumsum(drawn, axis=1).astype(np.float32)


def transform(fitted, x):
    return np.asarray(jax.jit(minirocket.transform)(fitted, jnp.asarray(x)))


def convolution(x, kernel, dilation, channels):
    """C of one series [time, channels], summed over some of its channels."""
    weights = np.zeros(8 * dilation + 1)  # with gaps of dilation - 1
    weights[::dilation] = -1
    weights[np.array(kernel) * dilation] = 2
    summed = x[:, channels > 0].astype(np.float64).sum(axis=1)
    whole = np.convolve(summed, weights[::-1])
    return whole[4 * dilation : 4 * dilation + len(x)]


def by_definition(fitted, x):
    """Every feature, in order; padding alternates over kernels and dilations."""
    features = np.zeros((len(x), len(fitted["biases"])))
    kernels = [*itertools.combinations(range(9), 3)]
    plan = minirocket.dilations(x.shape[1], features.shape[1])
    column = 0
    for (i, (dilation, count)), (k, kernel) in itertools.product(
        enumerate(plan), enumerate(kernels)
    ):
        biases = fitted["biases"][column : column + count].astype(np.float64)
        for row, one in enumerate(x):
            c = convolution(one, kernel, dilation, fitted["channels"][i, k])
            if (i + k) % 2:
                c = c[4 * dilation : len(c) - 4 * dilation]
            share = (c[:, None] > biases).mean(axis=0)
            features[row, column : column + count] = share
        column += count
    return features


@pytest.mark.parametrize(
    ("time", "channels", "features"), [(9, 1, 84), (30, 3, 84 * 7), (41, 1, 500)]
)
def test_features_are_those_of_the_definition(time, channels, features):
    x = series(6, time, channels)
    fitted = minirocket.fit(x, features=features, seed=0)
    unseen = series(3, time, channels, seed=1)
    found, expected = transform(fitted, unseen), by_definition(fitted, unseen)
    assert found.shape == (3, features // 84 * 84)
    # an output within rounding of a bias is above it in float32 or in float64
    assert np.mean(abs(found - expected) > 1e-6) < 2e-3
    np.testing.assert_allclose(found, expected, atol=1.01 / (time - 8 * (time // 9)))
    assert found.std() > 0.1


def test_biases_are_quantiles_of_the_drawn_examples():
    """Of one example there is no choice."""
    x = series(1, 30, 1)
    fitted = minirocket.fit(x, features=84 * 7, seed=0)
    plan = minirocket.dilations(30, 84 * 7)
    expected, place = [], 0
    kernels = itertools.combinations(range(9), 3)
    for (dilation, count), kernel in itertools.product(plan, [*kernels]):
        c = convolution(x[0], kernel, dilation, np.ones(1))
        for _ in range(count):
            place += 1
            expected.append(np.quantile(c, place * (np.sqrt(5) + 1) / 2 % 1))
    np.testing.assert_allclose(fitted["biases"], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("time", "features", "expected"),
    [
        (9, 840, [(1, 10)]),
        # exponents 0, 1, 2, 3 of the longest dilation, (65 - 1) / (9 - 1) = 8
        (65, 84 * 4, [(1, 1), (2, 1), (4, 1), (8, 1)]),
        # 2^(3.63 i / 31) to 12; the 119 features of a kernel are 3.7 a step
        (
            100,
            9_996,
            [
                *((1, 34), (2, 19), (3, 15), (4, 8), (5, 12), (6, 4), (7, 8), (8, 7)),
                *((9, 3), (10, 3), (11, 3), (12, 3)),
            ],
        ),
    ],
)
def test_dilations_are_spread_over_octaves(time, features, expected):
    assert minirocket.dilations(time, features) == expected
    assert sum(count for _, count in expected) == features // 84


def test_channels_are_drawn_and_summed():
    x = series(20, 30, 12)
    fitted = minirocket.fit(x, features=84 * 20, seed=0)
    counts = fitted["channels"].sum(axis=2)
    assert set(np.unique(fitted["channels"])) == {0.0, 1.0}
    assert counts.min() == 1
    assert counts.max() == 9, "no kernel sees more channels than it has weights"
    # 2^u, u uniform to log2(10): one channel with probability log10(2)
    assert abs(np.mean(counts == 1) - np.log10(2)) < 0.05
    assert (fitted["channels"].sum(axis=(0, 1)) > 0).all()


def test_the_seed_decides_all():
    x, unseen = series(20, 30, 3), series(4, 30, 3, seed=1)
    one, same, other = (minirocket.fit(x, features=840, seed=s) for s in (0, 0, 1))
    jax.tree.map(np.testing.assert_array_equal, one, same)
    assert not np.allclose(one["biases"], other["biases"])
    assert not np.array_equal(one["channels"], other["channels"])
    np.testing.assert_array_equal(transform(one, unseen), transform(same, unseen))


def test_a_series_features_do_not_depend_on_the_others():
    x = series(8, 30, 3)
    fitted = minirocket.fit(x, features=840, seed=0)
    whole = transform(fitted, x)
    np.testing.assert_array_equal(transform(fitted, x[::-1])[::-1], whole)
    np.testing.assert_allclose(transform(fitted, x[2:3]), whole[2:3], atol=0.13)
    assert whole.min() >= 0
    assert whole.max() <= 1


@pytest.mark.parametrize(
    ("time", "features", "message"),
    [
        (8, 84, "config.data: expected series of 9 samples or more, found 8"),
        (20, 83, "config.features: expected an integer >= 84, found 83"),
    ],
)
def test_what_does_not_fit_is_named(time, features, message):
    with pytest.raises(InputError, match=message):
        minirocket.dilations(time, features)
