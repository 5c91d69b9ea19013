"""Decoders: their logits beside scikit-learn's, what they choose, what they refuse."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.feature_selection import SelectKBest, f_classif
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from kdjax.errors import InputError
from kdjax.tasks.brain.decoding import decoders

ALL = [
    {"name": "ridge"},
    {"name": "ridge", "penalties": (3,)},
    {"name": "logistic"},
    {"name": "logistic", "penalties": (1, 100)},
    {"name": "lda"},
    {"name": "lda", "shrinkage": 0.3},
    {"name": "class_mean"},
    {"name": "class_mean", "distance": "correlation"},
]


def named(section):
    return "-".join(map(str, section.values()))


def standardised(train, x):
    train, x = train.astype(np.float64), x.astype(np.float64)
    return [(part - train.mean(axis=0)) / train.std(axis=0) for part in (train, x)]


def relative(logits):
    """Logits less each row's mean: what their softmax depends on."""
    return logits - logits.mean(axis=1, keepdims=True)


@pytest.mark.parametrize("voxels", [None, 7])
@pytest.mark.parametrize("section", ALL, ids=named)
def test_signal_is_decoded_and_noise_is_not(section, voxels, responses):
    fit = decoders.build(section | {"voxels": voxels})
    x, y, run = responses(runs=8, informative=10)
    train, test = run <= 5, run > 5
    predict = fit(x[train], y[train], run[train], 3)
    logits = predict(x[test])
    assert logits.dtype == np.float32
    assert logits.shape == (18, 3)
    assert np.mean(logits.argmax(axis=1) == y[test]) > 0.7
    x, y, run = responses(runs=40, signal=0)
    train, test = run <= 10, run > 10
    guess = fit(x[train], y[train], run[train], 3)(x[test]).argmax(axis=1)
    assert abs(np.mean(guess == y[test]) - 1 / 3) < 0.12


@settings(max_examples=15, deadline=None)
@given(
    section=st.sampled_from(ALL),
    voxels=st.sampled_from([None, 5]),
    classes=st.integers(2, 4),
    seed=st.integers(0, 99),
)
def test_names_of_runs_order_of_rows_and_units_say_nothing(
    section, voxels, classes, seed, responses
):
    x, y, run = responses(seed=seed, classes=classes, voxels=9)
    fit = decoders.build(section | {"voxels": voxels})
    new = responses(seed=seed + 1, classes=classes, voxels=9)[0]
    expected = relative(fit(x, y, run, classes)(new))
    rng = np.random.default_rng(seed)
    rows, names = rng.permutation(len(x)), rng.permutation(20)
    unit = np.float32(2) ** rng.integers(-3, 4, 9).astype(np.float32)
    predict = fit(unit * x[rows], y[rows], names[run[rows]], classes)
    size = np.abs(expected).max()
    np.testing.assert_allclose(
        relative(predict(unit * new)), expected, atol=0.01 * size
    )


@pytest.mark.parametrize("voxels", [12, 60])
@pytest.mark.parametrize("penalty", [0.5, 50.0])
def test_ridge_is_scikit_learn_s_in_units_of_the_left_out_runs(
    voxels, penalty, responses
):
    x, y, run = responses(runs=5, voxels=voxels)
    new = responses(seed=1, voxels=voxels)[0]
    found = decoders.ridge(penalties=[penalty])(x, y, run, 3)(new)
    train, test = standardised(x, new)
    targets = np.eye(3)[y]
    expected = Ridge(alpha=penalty).fit(train, targets).predict(test)
    held_out = np.empty((len(x), 3))
    for number in range(1, 6):
        out = run == number
        peer = Ridge(alpha=penalty).fit(train[~out], targets[~out])
        held_out[out] = peer.predict(train[out])
    size = np.sqrt(np.square(relative(held_out)).mean())
    np.testing.assert_allclose(found, expected / size, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("voxels", [None, 8])
@pytest.mark.parametrize("seed", range(3))
def test_ridge_chooses_the_penalty_by_leaving_runs_out(seed, voxels, responses):
    x, y, run = responses(seed=seed, runs=5, voxels=40, signal=0.6, informative=10)
    new = responses(seed=9, voxels=40)[0]
    tried, right = (1.0, 30.0, 1000.0, 30000.0), []
    for penalty in tried:
        hits = 0
        for number in range(1, 6):
            out = run == number
            train, test = x[~out], x[out]
            if voxels is not None:
                best = SelectKBest(f_classif, k=voxels).fit(train, y[~out])
                train, test = best.transform(train), best.transform(test)
                train, test = standardised(train, test)
            else:
                whole = standardised(x, x)[0]
                train, test = whole[~out], whole[out]
            peer = Ridge(alpha=penalty).fit(train, np.eye(3)[y[~out]])
            hits += (peer.predict(test).argmax(axis=1) == y[out]).sum()
        right.append(hits)
    best = max(p for p, hits in zip(tried, right, strict=True) if hits == max(right))
    assert len(set(right)) > 1
    found = decoders.ridge(penalties=tried[::-1], voxels=voxels)(x, y, run, 3)(new)
    expected = decoders.ridge(penalties=[best], voxels=voxels)(x, y, run, 3)(new)
    np.testing.assert_array_equal(found, expected)


def test_a_tie_goes_to_the_largest_penalty(responses):
    x, y, run = responses(signal=20)
    found = decoders.ridge(penalties=[1, 10])(x, y, run, 3)(x)
    np.testing.assert_array_equal(
        found, decoders.ridge(penalties=[10])(x, y, run, 3)(x)
    )
    one = np.ones(len(run), int)
    found = decoders.logistic(penalties=[1, 10])(x, y, one, 3)(x)
    expected = decoders.logistic(penalties=[10])(x, y, one, 3)(x)
    np.testing.assert_array_equal(found, expected)


def test_the_volumes_of_a_single_run_are_left_out_in_its_place(responses):
    x, y, run = responses()
    one = decoders.ridge()(x, y, np.ones(len(run), int), 3)(x)
    np.testing.assert_array_equal(one, decoders.ridge()(x, y, np.arange(len(x)), 3)(x))


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("voxels", [6, 50])
def test_logistic_is_scikit_learn_s(classes, voxels, responses):
    """Solved along principal axes there are no more unknowns than volumes."""
    x, y, run = responses(classes=classes, voxels=voxels)
    new = responses(seed=1, classes=classes, voxels=voxels)[0]
    found = decoders.logistic(penalties=[2])(x, y, run, classes)(new)
    train, test = standardised(x, new)
    peer = LogisticRegression(C=0.5, max_iter=9999, tol=1e-8).fit(train, y)
    expected = relative(peer.predict_log_proba(test))
    np.testing.assert_allclose(relative(found), expected, atol=0.02)


def test_logistic_chooses_the_likeliest_penalty_of_left_out_runs(responses):
    x, y, run = responses(runs=5, signal=0.5)
    tried, likelihood = (0.1, 10.0, 1000.0), []
    for penalty in tried:
        total = 0.0
        for number in range(1, 6):
            out = run == number
            train, test = standardised(x[~out], x[out])
            peer = LogisticRegression(C=1 / penalty, max_iter=9999).fit(train, y[~out])
            log_p = peer.predict_log_proba(test)
            total += log_p[np.arange(len(test)), y[out]].sum()
        likelihood.append(total)
    best = tried[int(np.argmax(likelihood))]
    assert best == 10
    found = decoders.logistic(penalties=tried)(x, y, run, 3)(x)
    expected = decoders.logistic(penalties=[best])(x, y, run, 3)(x)
    np.testing.assert_array_equal(found, expected)


def test_a_class_of_one_run_alone_does_not_choose_the_penalty(responses):
    x, y, run = responses(classes=2)
    y = np.where((run == 1) & (y == 1), 2, y).astype(np.int32)
    logits = decoders.logistic(penalties=[1, 10])(x, y, run, 3)(x)
    assert np.mean(logits.argmax(axis=1) == y) > 0.8


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("shrinkage", ["auto", 0.2])
def test_lda_is_scikit_learn_s(classes, shrinkage, responses):
    x, y, run = responses(classes=classes)
    new = responses(seed=1, classes=classes)[0]
    found = decoders.lda(shrinkage=shrinkage)(x, y, run, classes)(new)
    train, test = standardised(x, new)
    peer = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage).fit(train, y)
    expected = peer.predict_proba(test)
    chances = np.exp(found - np.logaddexp.reduce(found, axis=1)[:, None])
    np.testing.assert_allclose(chances, expected, atol=1e-3)


def test_class_means_are_near(responses):
    x, y, run = responses()
    new = responses(seed=1)[0]
    train, test = standardised(x, new)
    means = np.stack([train[y == k].mean(axis=0) for k in range(3)])
    found = decoders.class_mean()(x, y, run, 3)(new)
    square = np.square(test[:, None] - means).sum(axis=2)
    np.testing.assert_allclose(found, -square / 60, rtol=1e-4)
    peer = make_pipeline(StandardScaler(), NearestCentroid()).fit(x, y)
    assert found.argmax(axis=1).tolist() == peer.predict(new).tolist()
    found = decoders.class_mean(distance="correlation")(x, y, run, 3)(new)
    expected = np.corrcoef(test, means)[: len(test), len(test) :]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_constant_volume_correlates_with_nothing(responses):
    x, y, run = responses(voxels=1)
    found = decoders.class_mean(distance="correlation")(x, y, run, 3)(x)
    assert (found == 0).all()


def test_voxels_are_chosen_and_scaled_on_training_volumes(responses):
    x, y, run = responses(voxels=20, informative=4, signal=3)
    loud = x.copy()
    loud[:, 4:] += 1000
    predict = decoders.class_mean(voxels=4)(x, y, run, 3)
    np.testing.assert_array_equal(predict(loud), predict(x))


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"voxels": 3}, "config.decoder.name: missing, and it has no default"),
        ({"name": "rige"}, r"config.decoder.name: unknown name .*did you mean 'ridge'"),
        ({"name": "lda", "penalties": [1]}, "config.decoder.penalties: unknown field"),
        ({"name": "ridge", "penalties": []}, r"\.penalties: expected one or more, fou"),
        ({"name": "ridge", "penalties": [1, 0]}, r"\.penalties\[1\]: .* > 0, found 0"),
        ({"name": "lda", "shrinkage": "aut"}, r"\.shrinkage: expected one of 'auto', "),
        ({"name": "lda", "shrinkage": 2}, r"\.shrinkage: .* in \[0, 1\], found 2"),
        ({"name": "class_mean", "distance": "L1"}, r"\.distance: expected one of 'euc"),
        *(
            ({"name": name, "voxels": 0}, r"^config.decoder.voxels: .* >= 1, found 0$")
            for name in decoders.DECODERS
        ),
    ],
)
def test_fields_that_are_wrong(section, message):
    with pytest.raises(InputError, match=message):
        decoders.build(section)


@pytest.mark.parametrize("name", decoders.DECODERS)
def test_volumes_that_no_decoder_can_be_fitted_to(name, responses):
    x, y, run = responses()
    fit = decoders.build({"name": name})
    with pytest.raises(InputError, match=r"^y: expected labels 0 to 1, found 0 to 2$"):
        fit(x, y, run, 2)
    with pytest.raises(InputError, match=r"^y: expected labels 0 to 2, found -1 to 2"):
        fit(x, np.where(run == 1, -1, y).astype(np.int32), run, 3)
    with pytest.raises(InputError, match=r"^y: expected labels 0 to 2, found none$"):
        fit(x[:0], y[:0], run[:0], 3)
    least = 2 if name == "lda" else 1
    with pytest.raises(
        InputError,
        match=rf"^class 3: expected {least} or more training volumes, found 0$",
    ):
        fit(x, y, run, 4)
    with pytest.raises(
        InputError, match=r"^config.decoder.voxels: .* in \[1, 30\], found 31$"
    ):
        decoders.build({"name": name, "voxels": 31})(x, y, run, 3)
