"""Condition means, their axes and what can be decoded, on populations made by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdjax.tasks.cognitive.dynamics import trajectories

quick = settings(deadline=None, max_examples=30)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def orthonormal(rows, units, seed=0):
    return np.linalg.qr(normal(units, rows, seed=seed))[0].T


# --- condition means -----------------------------------------------------------------


def test_by_condition_is_the_mean_of_each_combination_that_occurs():
    rates = normal(5, 3, 2)
    conditions = {
        "choice": np.array([1, 0, 1, 0, 1]),
        "context": np.array(["b", "a", "a", "a", "b"]),
    }
    means = trajectories.by_condition(rates, conditions)
    assert means.conditions["choice"].tolist() == [0, 1, 1]
    assert means.conditions["context"].tolist() == ["a", "a", "b"]
    assert means.trials.tolist() == [2, 1, 2]
    expected = [rates[[1, 3]].mean(0), rates[2], rates[[0, 4]].mean(0)]
    np.testing.assert_allclose(means.rates, expected)
    assert means.steps.tolist() == [0, 1, 2]


def test_by_condition_aligned_to_an_event_has_nan_where_no_trial_reaches():
    rates = np.arange(10.0).reshape(2, 5, 1)
    means = trajectories.by_condition(
        rates,
        {"choice": np.array([0, 1])},
        events=np.array([1, 3]),
        lengths=np.array([4, 5]),
    )
    assert means.steps.tolist() == [-3, -2, -1, 0, 1, 2, 3]
    nan = np.nan
    expected = [[nan, nan, 0, 1, 2, 3, nan], [5, 6, 7, 8, 9, nan, nan]]
    np.testing.assert_array_equal(means.rates[:, :, 0], expected)


def test_by_condition_is_the_mean_of_the_trials_that_reach():
    rates = np.array([[1.0, 1.0], [3.0, 3.0]])[:, :, None]
    means = trajectories.by_condition(
        rates, {"choice": np.array([0, 0])}, lengths=np.array([1, 2])
    )
    assert means.rates[0, :, 0].tolist() == [2.0, 3.0]


@quick
@given(events=st.lists(st.integers(0, 6), min_size=1, max_size=5))
def test_align_puts_every_event_at_step_0_and_loses_nothing(events):
    rates = normal(len(events), 7, 2)
    aligned, steps = trajectories.align(rates, np.array(events))
    origin = steps.tolist().index(0)
    for trial, event in enumerate(events):
        np.testing.assert_array_equal(aligned[trial, origin], rates[trial, event])
        there = aligned[trial][~np.isnan(aligned[trial]).any(axis=1)]
        np.testing.assert_array_equal(there, rates[trial])
    assert not np.isnan(aligned).all(axis=(0, 2)).any()


def test_by_condition_refuses_what_does_not_fit():
    rates = normal(3, 4, 2)
    with pytest.raises(ValueError, match=r"conditions\['choice'\]: .*\(3,\).*\(2,\)"):
        trajectories.by_condition(rates, {"choice": np.zeros(2)})
    with pytest.raises(ValueError, match="events: expected steps in"):
        trajectories.align(rates, np.array([0, 4, 1]))


# --- principal components ------------------------------------------------------------


def test_principal_components_are_scikit_learns():
    from sklearn.decomposition import PCA

    rates = normal(4, 10, 6) * np.arange(1.0, 7.0)
    found = trajectories.principal_components(rates, components=3)
    pca = PCA(3, svd_solver="full").fit(rates.reshape(-1, 6))
    np.testing.assert_allclose(found.explained, pca.explained_variance_ratio_)
    np.testing.assert_allclose(
        np.abs(found.axes @ pca.components_.T), np.eye(3), atol=1e-10
    )
    projected = (rates - found.center) @ found.axes.T
    np.testing.assert_allclose(found.projections, projected, atol=1e-12)
    largest = np.abs(found.axes).argmax(axis=1)
    assert (found.axes[np.arange(3), largest] > 0).all()


def test_principal_components_leave_out_steps_that_no_trial_reaches():
    rates = normal(4, 10, 3)
    rates[1, 7:] = np.nan
    found = trajectories.principal_components(rates)
    kept = rates.reshape(-1, 3)[~np.isnan(rates).any(axis=2).ravel()]
    np.testing.assert_allclose(found.center, kept.mean(axis=0))
    assert np.isnan(found.projections[1, 7:]).all()
    assert np.isfinite(found.projections[0]).all()


def test_principal_components_of_silence_explain_nothing():
    found = trajectories.principal_components(np.zeros((2, 3, 4)))
    assert not found.explained.any()
    assert not found.projections.any()


# --- targeted axes -------------------------------------------------------------------


def population(*, noise, units=40, repeats=10, seed=0):
    """Trials whose choice grows late, and coherence early, along known axes."""
    rng = np.random.default_rng(seed)
    choice, coherence, _ = (
        m.ravel()
        for m in np.meshgrid([-1.0, 1.0], [-0.5, -0.1, 0.1, 0.5], np.arange(repeats))
    )
    time = np.linspace(0, 1, 20)
    axes = np.sign(orthonormal(2, units, seed)) / np.sqrt(units)
    signal = choice[:, None, None] * time[None, :, None] * axes[0]
    bump = np.exp(-(((time - 0.3) / 0.1) ** 2))
    signal = signal + 2 * coherence[:, None, None] * bump[None, :, None] * axes[1]
    rates = 5 + signal + noise * rng.normal(size=signal.shape)
    return rates, {"choice": choice, "coherence": coherence}, axes


def test_targeted_axes_are_those_that_the_population_was_made_with():
    rates, variables, axes = population(noise=0.3)
    found = trajectories.targeted_axes(rates, variables, components=4)
    # in z-scored units, as the axes found are
    true = axes / found.scale[None, :]
    true = true / np.linalg.norm(true, axis=1, keepdims=True)
    q = np.linalg.qr(true.T)[0].T
    q = q * np.sign(np.sum(q * true, axis=1))[:, None]
    alike = found.axes @ q.T
    assert np.diag(alike).min() > 0.97
    assert np.abs(alike - np.diag(np.diag(alike))).max() < 0.15
    np.testing.assert_allclose(found.axes @ found.axes.T, np.eye(2), atol=1e-10)
    assert found.names == ("choice", "coherence")
    assert found.peaks[0] >= 17  # choice grows to the end
    assert abs(found.peaks[1] - 6) <= 1  # the bump is at .3 of 20 steps
    choice = found.means.conditions["choice"]
    last = found.projections[:, -1, 0]
    assert last[choice > 0].min() > 0 > last[choice < 0].max()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_targeted_axes_denoise(seed):
    # with all 40 components nothing is taken away: the regressions as they are
    rates, variables, axes = population(noise=1.0, seed=seed)
    alike = {}
    for components in (4, 40):
        found = trajectories.targeted_axes(rates, variables, components=components)
        true = axes[0] / found.scale
        alike[components] = found.axes[0] @ true / np.linalg.norm(true)
    assert alike[4] > max(0.9, alike[40] + 0.05)


def test_targeted_axes_keep_the_first_variables_direction():
    rates, variables, _ = population(noise=0.1)
    swapped = dict(reversed(variables.items()))
    # what two axes span does not depend on the order; the first one's direction does
    first = trajectories.targeted_axes(rates, variables, components=2).axes
    second = trajectories.targeted_axes(rates, swapped, components=2).axes
    np.testing.assert_allclose(first.T @ first, second.T @ second, atol=1e-8)
    z = rates - rates.mean(axis=(0, 1))
    z = z / z.std(axis=(0, 1))
    c = variables["choice"]
    means = trajectories.by_condition(z, variables)
    pcs = trajectories.principal_components(means.rates, components=2).axes
    # choice and coherence are uncorrelated here: a regression on one is enough
    slope = np.einsum("n,ntu->tu", c, z) / np.sum(c**2) @ pcs.T @ pcs
    slope = slope[np.linalg.norm(slope, axis=1).argmax()]
    np.testing.assert_allclose(first[0], slope / np.linalg.norm(slope), atol=1e-6)


def test_targeted_axes_use_the_steps_that_trials_have():
    rates, variables, _ = population(noise=0.1)
    rates[:, -3:] = np.nan
    rates[::2, 10:] = np.nan
    found = trajectories.targeted_axes(rates, variables, components=4)
    assert np.isnan(found.norms[:, -3:]).all()
    assert np.isfinite(found.norms[:, :17]).all()
    assert found.peaks.max() < 17


def test_targeted_axes_refuse_what_cannot_be_told_apart():
    rates, variables, _ = population(noise=0.1)
    both = variables | {"twice": 2 * variables["choice"]}
    with pytest.raises(ValueError, match=r"variables: .*linear dependence"):
        trajectories.targeted_axes(rates, both)
    with pytest.raises(ValueError, match="linear dependence"):
        trajectories.targeted_axes(rates, {"constant": np.ones(len(rates))})
    with pytest.raises(ValueError, match="components: expected at least 2"):
        trajectories.targeted_axes(rates, variables, components=1)


# --- decoding ------------------------------------------------------------------------


def test_decoding_of_noise_is_chance_where_a_leak_would_be_perfect():
    # more units than trials: a classifier is always right on trials it was fitted to
    rates, labels = normal(60, 12, 80), np.repeat([0, 1, 2], 20)
    found = trajectories.decode(rates, labels)
    assert found.chance == 1 / 3
    assert found.folds.shape == (5, 12)
    # sd of the mean of 12 independent times of 60 trials: .018
    assert found.accuracy.mean() == pytest.approx(1 / 3, abs=0.06)


def test_decoding_finds_when_the_labels_are_told():
    rates, labels = normal(80, 6, 5), np.array(["left", "right"] * 40)
    rates[:, 3:, 2] += np.where(labels == "left", 4.0, -4.0)[:, None]
    found = trajectories.decode(rates, labels)
    assert found.accuracy[3:].min() > 0.95
    assert found.accuracy[:3].max() < 0.75
    wide = trajectories.decode(rates[:, :5], labels, width=2)
    assert wide.accuracy.shape == (2,)


def test_decoding_across_times_tells_a_code_that_stays_from_one_that_turns():
    rates, labels = 0.5 * normal(60, 3, 6), np.repeat([0, 1], 30)
    sign = np.where(labels == 1, 2.0, -2.0)
    rates[:, :, 0] += sign[:, None] * np.array([1.0, 1.0, -1.0])
    across = trajectories.decode(rates, labels, across_times=True).accuracy
    expected = [[1, 1, 0], [1, 1, 0], [0, 0, 1]]
    np.testing.assert_allclose(across, expected, atol=0.05)
    own = trajectories.decode(rates, labels).accuracy
    np.testing.assert_array_equal(np.diag(across), own)


def test_decoding_standardises_and_fits_by_the_training_trials_alone(monkeypatch):
    from sklearn.preprocessing import StandardScaler

    seen, fit = [], StandardScaler.fit

    def watched(self, x, *args, **kwargs):
        seen.append(np.sort(x[:, 0]))
        return fit(self, x, *args, **kwargs)

    monkeypatch.setattr(StandardScaler, "fit", watched)
    rates, labels = normal(20, 1, 3), np.repeat([0, 1], 10)
    trajectories.decode(rates, labels)
    assert [len(x) for x in seen] == [16] * 5
    left_out = [np.setdiff1d(rates[:, 0, 0], x) for x in seen]
    np.testing.assert_array_equal(
        np.sort(np.concatenate(left_out)), np.sort(rates[:, 0, 0])
    )


def test_decoding_of_rare_classes_has_the_same_chance():
    rates, labels = normal(200, 8, 4), np.repeat([0, 1], [180, 20])
    found = trajectories.decode(rates, labels)
    # the share of the common class is .9: accuracy that is not balanced would be there
    assert found.accuracy.mean() == pytest.approx(0.5, abs=0.1)
    # two normals 2 sd apart: .84 at the midpoint, .72 where the rare class counts less
    rates[:, :, 0] += 2.0 * labels[:, None]
    found = trajectories.decode(rates, labels)
    assert found.accuracy.mean() > 0.78


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros(10, int), "two or more classes"),
        (np.repeat([0, 1], [7, 3]), r"at least 5 trials.*\{0: 7, 1: 3\}"),
    ],
)
def test_decoding_refuses_labels_that_cannot_be_split(labels, message):
    with pytest.raises(ValueError, match=message):
        trajectories.decode(normal(10, 2, 3), labels)


def test_decoding_refuses_nan():
    rates = normal(10, 2, 3)
    rates[0, 1] = np.nan
    with pytest.raises(ValueError, match="finite"):
        trajectories.decode(rates, np.repeat([0, 1], 5))


# --- dimensions ----------------------------------------------------------------------


@quick
@given(k=st.integers(1, 6), seed=st.integers(0, 1000))
def test_participation_ratio_of_k_equal_directions_is_k(k, seed):
    # orthonormal, centred columns: the same variance in k directions exactly
    x = np.linalg.qr(np.c_[np.ones(50), normal(50, k, seed=seed)])[0][:, 1:]
    rates = 3 + x @ orthonormal(k, 9, seed=seed + 1)
    ratio = trajectories.participation_ratio(rates.reshape(5, 10, 9))
    assert ratio == pytest.approx(k)


def test_participation_ratio_of_unequal_directions_is_by_hand():
    # variances 3 and 1: 16 / 10
    x = np.array([[1.0, 1], [1, -1], [-1, 1], [-1, -1]]) * np.sqrt([3.0, 1.0])
    assert trajectories.participation_ratio(x) == pytest.approx(1.6)
    assert trajectories.participation_ratio(np.ones((4, 2))) == 0.0
