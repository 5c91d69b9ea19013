import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdjax.data.fmri.bdata import read_bdata
from kdjax.data.fmri.preprocessing import (
    anova_f,
    apply_scaling,
    apply_selection,
    block_means,
    clean,
    detrend,
    fit_scaling,
    fit_selection,
    z_score,
)
from kdjax.errors import InputError


def recorded(lengths=(7, 12, 7), voxels=5, seed=0):
    """Volumes with a level and a drift of each run, runs in turns: x, run."""
    rng = np.random.default_rng(seed)
    run = np.repeat(np.arange(1, len(lengths) + 1), lengths).astype(np.int32)
    time = np.concatenate([np.arange(n) for n in lengths])
    level = rng.normal(1000, 100, (len(lengths) + 1, voxels))[run]
    slope = rng.normal(0, 3, (len(lengths) + 1, voxels))[run]
    x = level + slope * time[:, None] + rng.normal(0, 2, (len(run), voxels))
    return x.astype(np.float32), run


@pytest.mark.parametrize("order", [0, 1, 2, 3])
def test_detrending_is_a_least_squares_fit(order):
    x, run = recorded()
    found = detrend(x, run, order=order)
    assert found.dtype == np.float32
    for number in (1, 2, 3):
        part = x[run == number].astype(np.float64)
        time = np.arange(len(part))
        fit = np.polynomial.polynomial.polyfit(time, part, order)
        expected = part - np.polynomial.polynomial.polyval(time, fit).T
        np.testing.assert_allclose(found[run == number], expected, atol=1e-4)


def test_scores_are_of_each_run():
    x, run = recorded()
    found = z_score(x, run)
    for number in (1, 2, 3):
        part = x[run == number].astype(np.float64)
        expected = (part - part.mean(0)) / part.std(0)
        np.testing.assert_allclose(found[run == number], expected, atol=1e-5)


def test_cleaning_is_both():
    x, run = recorded()
    for order in (0, 1, 2):
        expected = z_score(detrend(x, run, order=order), run)
        np.testing.assert_allclose(clean(x, run, order=order), expected, atol=1e-5)


@settings(max_examples=12, deadline=None)
@given(
    lengths=st.lists(st.integers(5, 11), min_size=1, max_size=4),
    seed=st.integers(0, 99),
    data=st.data(),
)
def test_no_line_is_left_and_runs_are_alone(lengths, seed, data):
    x, run = recorded(lengths, seed=seed)
    found = detrend(x, run)
    scored = clean(x, run)
    for number in np.unique(run):
        part = found[run == number].astype(np.float64)
        time = np.arange(len(part)) - (len(part) - 1) / 2
        np.testing.assert_allclose(part.sum(0), 0, atol=1e-3)
        np.testing.assert_allclose(time @ part, 0, atol=1e-2)
        np.testing.assert_array_equal(
            detrend(x[run == number], run[run == number]), found[run == number]
        )
        np.testing.assert_allclose(scored[run == number].std(0), 1, atol=1e-4)
    order = np.array(data.draw(st.permutations(range(5))))
    np.testing.assert_allclose(clean(x[:, order], run), scored[:, order], atol=1e-5)
    back = np.concatenate([np.flatnonzero(run == n) for n in np.unique(run)[::-1]])
    np.testing.assert_allclose(clean(x[back], run[back]), scored[back], atol=1e-5)


@pytest.mark.parametrize("value", [0.0, 1000.1, -3e5])
def test_what_rounding_leaves_is_nothing(value):
    x, run = recorded()
    x[:, 1] = value
    x[:, 2] = value + 0.1 * np.arange(len(x))
    x[run == 2, 3] = value
    for function in (detrend, clean, lambda x, run: z_score(detrend(x, run), run)):
        found = function(x, run)
        assert (found[:, 1] == 0).all()
        assert (found[:, 2] == 0).all()
        assert (found[run == 2, 3] == 0).all()
        assert found[run == 1, 3].std() > 0.5
    assert (z_score(x, run)[:, 1] == 0).all()


def test_what_went_in_stays(subject):
    made = subject()
    before = made.x.copy()
    for function in (detrend, z_score, clean):
        function(made.x, made.run)
    block_means(made, lag=1)
    apply_scaling(fit_scaling(made.x), made.x)
    np.testing.assert_array_equal(made.x, before)


def test_short_runs_and_wrong_orders_are_refused():
    x, run = recorded((3, 2))
    for function in (detrend, clean):
        with pytest.raises(
            InputError,
            match=r"^run 2: expected more than 2 volumes for a trend of order 1, found",
        ):
            function(x, run)
        assert np.isfinite(function(x, run, order=0)).all()
        with pytest.raises(
            InputError, match=r".order: expected an integer >= 0, found -"
        ):
            function(x, run, order=-1)


@pytest.mark.parametrize("lag", [0, 1, 2, 3, 5])
def test_means_of_blocks_stay_inside_their_run(subject, capsys, lag):
    made = subject(runs=2, blocks=4, length=3)
    found = block_means(made, lag=lag)
    rows = {
        number: np.flatnonzero(made.block == number) + lag for number in range(1, 9)
    }
    ends = {number: 12 if number <= 4 else 24 for number in rows}
    inside = {number: r[r < ends[number]] for number, r in rows.items()}
    kept = [number for number, r in inside.items() if len(r)]
    assert found.block.tolist() == kept
    assert found.run.tolist() == [1 + (number > 4) for number in kept]
    for k, number in enumerate(kept):
        expected = made.x[inside[number]].astype(np.float64).mean(0)
        np.testing.assert_allclose(found.x[k], expected, rtol=1e-6)
        first = np.flatnonzero(made.block == number)[0]
        assert found.y[k] == made.y[first]
        assert found.stimulus[k] == made.stimulus[first]
        assert found.data_type[k] == made.data_type[first]
    lost = 8 - len(kept)
    said = f"kdjax: S1: {lost} of 8 blocks have no volume {lag} later in their run"
    assert capsys.readouterr().err.startswith(said if lost else "")


def test_a_block_of_several_images_has_none(subject):
    made = subject()
    shown = made.stimulus.copy()
    shown[4] = "another"
    assert block_means(made._replace(stimulus=shown), lag=0).stimulus[1] == ""
    run = np.where(np.arange(36) == 4, 2, made.run).astype(np.int32)
    with pytest.raises(
        InputError, match=r"^S1: block 2: expected one run, found \[1, "
    ):
        block_means(made._replace(run=run), lag=0)
    y = np.where(np.arange(36) == 4, -1, made.y).astype(np.int32)
    with pytest.raises(
        InputError, match=r"block 2: expected one class, found rest, n0"
    ):
        block_means(made._replace(y=y), lag=0)
    with pytest.raises(InputError, match=r"lag: 12: expected blocks, found none left$"):
        block_means(made, lag=12)
    with pytest.raises(InputError, match=r"block_means.lag: expected an integer >= 0"):
        block_means(made, lag=-1)


def test_scaling_is_of_the_volumes_it_was_fitted_on():
    x, run = recorded()
    x[:, 4] = 3.3
    scaling = fit_scaling(x[run == 1])
    part = x[run == 1].astype(np.float64)
    std = np.where(np.arange(5) == 4, 1, part.std(0))
    for rows in (run == 1, run == 2):
        expected = (x[rows].astype(np.float64) - part.mean(0)) / std
        np.testing.assert_allclose(apply_scaling(scaling, x[rows]), expected, atol=1e-4)
    with pytest.raises(InputError, match=r"^x: expected 5 voxels, as fitted, found 4$"):
        apply_scaling(scaling, x[:, :4])


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 999), classes=st.integers(2, 5))
def test_f_is_scipy_s(seed, classes):
    from scipy.stats import f_oneway

    rng = np.random.default_rng(seed)
    y = np.concatenate([np.arange(classes), rng.integers(-1, classes, 30)])
    x = (rng.normal(100, 3, (len(y), 6)) + np.outer(y, [0, 0, 0, 1, 2, 9])).astype("f4")
    parts = [x[y == c].astype(np.float64) for c in range(classes)]
    found = anova_f(x, y.astype(np.int32))
    np.testing.assert_allclose(found, f_oneway(*parts).statistic, rtol=1e-6)


def test_constant_voxels_have_no_f():
    y = np.array([0, 0, 0, 1, 1, 1, 1, 2, 2, -1], np.int32)
    x = np.full((10, 3), 0.1, np.float32)
    x[:, 1] = y
    x[:, 2] = np.arange(10) % 4
    assert anova_f(x, y).tolist()[:2] == [0, np.inf]
    assert fit_selection(x, y, count=2).columns.tolist() == [1, 2]


def test_the_most_selective_voxels_are_chosen_in_their_order():
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(3), 20).astype(np.int32)
    x = rng.normal(size=(60, 8)).astype(np.float32)
    x[:, 6] += 3 * y
    x[:, 2] += 2 * y
    x[:, 4] = x[:, 2]
    chosen = fit_selection(x, y, count=3)
    assert chosen.columns.tolist() == [2, 4, 6]
    assert fit_selection(x, y, count=2).columns.tolist() == [2, 6], "the first of a tie"
    np.testing.assert_array_equal(apply_selection(chosen, x[:5]), x[:5, [2, 4, 6]])
    with pytest.raises(InputError, match=r"^x: expected 8 voxels, as fitted, found 7$"):
        apply_selection(chosen, x[:, :7])
    with pytest.raises(InputError, match=r"selection.count: .* in \[1, 8\], found 9$"):
        fit_selection(x, y, count=9)
    with pytest.raises(
        InputError, match=r"two classes or more, .* found 1 classes in 60"
    ):
        fit_selection(x, np.zeros(60, np.int32), count=2)
    with pytest.raises(InputError, match=r"found 3 classes in 3 volumes$"):
        anova_f(x[::20], y[::20])


def test_real_blocks(shared_data):
    made = read_bdata(shared_data / "haxby" / "haxby2001_sub001_slice.h5")
    x = clean(made.x, made.run)
    means = block_means(made._replace(x=x), lag=2)
    assert means.x.shape == (204, 469)
    assert (np.bincount(means.y + 1) == [108, *[12] * 8]).all()
    seen = means.y >= 0
    best = np.sort(anova_f(means.x[seen], means.y[seen]))[::-1]
    shuffled = np.random.default_rng(0).permutation(means.y[seen])
    assert best[50] > 3 * np.sort(anova_f(means.x[seen], shuffled))[::-1][50]


def test_memory_of_cleaning_is_the_result_s():
    import tracemalloc

    x, run = recorded((50,) * 40, voxels=400)
    tracemalloc.start()
    try:
        clean(x, run)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert x.nbytes < peak < 1.5 * x.nbytes
