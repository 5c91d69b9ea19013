"""Ridge regression's hat matrices, beside the normal equations and scikit-learn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge

from kdjax.tasks.brain.decoding import ridge

PENALTIES = (0.1, 10.0, 1000.0)


def drawn(n, voxels, seed=0, outputs=3):
    """Correlated volumes about another mean than 0, and targets."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, voxels)) @ rng.normal(size=(voxels, voxels)) + 5
    return x, rng.normal(size=(n, outputs))


def by_normal_equations(x, targets, penalty):
    """Weights and intercept that minimise the penalised squares, in float64."""
    design = np.column_stack([x, np.ones(len(x))])
    penalties = penalty * np.eye(design.shape[1])
    penalties[-1, -1] = 0
    found = np.linalg.solve(design.T @ design + penalties, design.T @ targets)
    return found[:-1], found[-1]


@pytest.mark.parametrize(("n", "voxels"), [(30, 8), (12, 40), (20, 20)])
@pytest.mark.parametrize("penalty", PENALTIES)
def test_weights_solve_the_normal_equations(n, voxels, penalty):
    x, targets = drawn(n, voxels)
    fitted = ridge.spectrum(x)
    weights, intercept = ridge.coefficients(fitted, targets, penalty=penalty)
    expected = by_normal_equations(x, targets, penalty)
    np.testing.assert_allclose(weights, expected[0], atol=1e-8)
    np.testing.assert_allclose(intercept, expected[1], atol=1e-8)
    peer = Ridge(alpha=penalty).fit(x, targets)
    np.testing.assert_allclose(weights, peer.coef_.T, atol=1e-8)
    np.testing.assert_allclose(intercept, peer.intercept_, atol=1e-8)


@pytest.mark.parametrize("voxels", [8, 40])
def test_dual_and_primal_are_one(voxels):
    """More voxels of nothing, or volumes thrice with thrice the penalty, change the
    form that is solved and no prediction."""
    x, targets = drawn(20, voxels)
    new = drawn(5, voxels, seed=1)[0]
    narrow = ridge.hat(ridge.spectrum(x), new, PENALTIES) @ targets
    wide = np.pad(x, [(0, 0), (0, 70)])
    padded = ridge.hat(ridge.spectrum(wide), np.pad(new, [(0, 0), (0, 70)]), PENALTIES)
    np.testing.assert_allclose(padded @ targets, narrow, atol=1e-9)
    long = ridge.spectrum(np.tile(x, (3, 1)))
    thrice = ridge.hat(long, new, [3 * penalty for penalty in PENALTIES])
    np.testing.assert_allclose(thrice @ np.tile(targets, (3, 1)), narrow, atol=1e-9)


@settings(max_examples=30, deadline=None)
@given(
    n=st.integers(2, 12),
    voxels=st.integers(1, 20),
    seed=st.integers(0, 999),
    penalty=st.floats(1e-2, 1e6),
)
def test_a_hat_is_the_fit_s_predictions(n, voxels, seed, penalty):
    x, targets = drawn(n, voxels, seed)
    new = drawn(4, voxels, seed + 1)[0]
    fitted = ridge.spectrum(x)
    (found,) = ridge.hat(fitted, new, [penalty])
    weights, intercept = ridge.coefficients(fitted, targets, penalty=penalty)
    np.testing.assert_allclose(found @ targets, new @ weights + intercept, atol=1e-6)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-9)
    np.testing.assert_allclose(
        fitted.axes.T @ fitted.axes, np.eye(len(fitted.squares)), atol=1e-6
    )


@pytest.mark.parametrize("voxels", [6, 50])
def test_left_out_groups_are_as_if_they_did_not_exist(voxels):
    x, targets = drawn(23, voxels)
    group = np.random.default_rng(0).permutation(np.arange(23) % 5)
    fitted = ridge.spectrum(x)
    found = ridge.held_out_hat(fitted, group, PENALTIES)
    predicted = ridge.held_out(fitted, group, PENALTIES, targets)
    np.testing.assert_allclose(predicted, found @ targets, atol=1e-10)
    for label in range(5):
        out = group == label
        assert (found[:, out][:, :, out] == 0).all()
        for k, penalty in enumerate(PENALTIES):
            peer = Ridge(alpha=penalty).fit(x[~out], targets[~out])
            np.testing.assert_allclose(
                found[k, out] @ targets, peer.predict(x[out]), atol=1e-7
            )


def test_voxels_that_say_nothing_predict_the_mean():
    targets = drawn(6, 1)[1]
    fitted = ridge.spectrum(np.full((6, 4), 3.3))
    assert fitted.axes.shape == (4, 0)
    (found,) = ridge.hat(fitted, np.ones((2, 4)), [1.0])
    np.testing.assert_allclose(found @ targets, [targets.mean(axis=0)] * 2)
    weights, intercept = ridge.coefficients(fitted, targets, penalty=1.0)
    assert (weights == 0).all()
    np.testing.assert_allclose(intercept, targets.mean(axis=0))


def test_the_largest_value_has_the_largest_penalty_of_a_tie():
    right = np.array([[3, 1, 2, 5], [3, 2, 2, 4], [1, 2, 2, 3]])
    assert ridge.best(right).tolist() == [1, 2, 2, 0]
