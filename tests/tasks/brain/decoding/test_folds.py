"""Folds of whole runs, and what cannot be decoded."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdjax.errors import InputError
from kdjax.tasks.brain.decoding.folds import (
    Fold,
    check_folds,
    check_rows,
    k_fold,
    leave_one_run_out,
)


def test_each_run_is_left_out_in_turn():
    run = np.array([4, 4, 2, 9, 2, 9, 9])
    folds = leave_one_run_out(run)
    assert [fold.held for fold in folds] == [(2,), (4,), (9,)]
    assert [fold.test.tolist() for fold in folds] == [[2, 4], [0, 1], [3, 5, 6]]
    assert folds[0].train.tolist() == [0, 1, 3, 5, 6]


@settings(max_examples=50, deadline=None)
@given(
    run=st.lists(st.integers(0, 9), min_size=2, max_size=30).filter(
        lambda run: len(set(run)) > 1
    ),
    seed=st.integers(0, 99),
    data=st.data(),
)
def test_folds_share_no_run_and_test_each_once(run, seed, data):
    run = np.array(run)
    runs = len(np.unique(run))
    count = data.draw(st.integers(2, runs))
    drawn = k_fold(run, count=count, seed=seed)
    assert len(drawn) == count
    sizes = [len(fold.held) for fold in drawn]
    assert max(sizes) - min(sizes) <= 1
    for folds in (drawn, leave_one_run_out(run)):
        tested = np.concatenate([fold.test for fold in folds])
        assert sorted(tested) == list(range(len(run)))
        for fold in folds:
            assert set(run[fold.test]) == set(fold.held)
            assert not set(run[fold.train]) & set(fold.held)
            assert len(fold.train) + len(fold.test) == len(run)


def test_the_seed_draws_the_runs_of_a_fold():
    run = np.arange(12)
    held = [
        [fold.held for fold in k_fold(run, count=4, seed=seed)] for seed in (0, 0, 1)
    ]
    assert held[0] == held[1] != held[2]


def test_too_few_runs_for_folds():
    with pytest.raises(InputError, match=r"^run: expected 2 runs or more, found 1$"):
        leave_one_run_out(np.ones(4, int))
    for count in (1, 4):
        with pytest.raises(InputError, match=r"^folds.count: .* \[2, 3\], found "):
            k_fold(np.arange(3), count=count, seed=0)


def rows(**changes):
    """Nine volumes of three runs and classes, decodable unless changed."""
    good = {
        "x": np.arange(18, dtype=np.float32).reshape(9, 2),
        "y": np.tile(np.arange(3, dtype=np.int32), 3),
        "run": np.repeat([1, 2, 3], 3),
    }
    return good | changes


NAN = np.where(np.arange(18).reshape(9, 2) == 7, np.nan, 1).astype(np.float32)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": np.ones(9)}, r"x: expected \[volumes, voxels\], found shape \(9,\)"),
        ({"y": np.zeros(8, int)}, r"y: expected \(9,\), found \(8,\)"),
        ({"run": np.zeros((9, 1))}, r"run: expected \(9,\), found \(9, 1\)"),
        ({"x": NAN}, "x: expected finite numbers, found nan in volume 3, voxel 1"),
        (
            {"y": np.array([0, 1, 2, 0, 1, 3, 0, 1, 2])},
            "y: expected -1 to 2, found 3 in volume 5",
        ),
        (
            {"y": np.array([0, 1, 2, 0, -2, 2, 0, 1, 2])},
            "y: expected -1 to 2, found -2 in volume 4",
        ),
        ({"run": np.arange(9) % 2}, "run: expected 3 runs or more, found 2"),
        (
            {"y": np.array([0, 1, 2, -1, -1, -1, 0, 1, 2])},
            "run 2: expected a class in some volume, found none",
        ),
    ],
)
def test_volumes_that_cannot_be_decoded(changes, message):
    check_rows(**rows(), classes=3)
    with pytest.raises(InputError, match=f"^{message}$"):
        check_rows(**rows(**changes), classes=3)


def test_one_class_is_nothing_to_decode():
    with pytest.raises(InputError, match=r"^classes: expected an integer >= 2, found"):
        check_rows(**rows(y=np.zeros(9, np.int32)), classes=1)


def test_folds_that_leak_or_leave_out():
    y, run = rows()["y"], rows()["run"]
    good = leave_one_run_out(run)
    check_folds(good, y, run, classes=3)
    with pytest.raises(
        InputError,
        match=r"^folds: volume 3: expected to be tested once, found 0 times$",
    ):
        check_folds([good[0], good[2]], y, run, classes=3)
    with pytest.raises(InputError, match=r"^folds: volume 0: .* found 2 times$"):
        check_folds([*good, good[0]], y, run, classes=3)
    with pytest.raises(InputError, match=r"^folds: volume 0: .* found 0 times$"):
        check_folds([], y, run, classes=3)
    leaky = Fold(np.arange(1, 9), good[0].test, (1,))
    with pytest.raises(
        InputError,
        match=r"^folds: run 1: expected to be trained on or tested, found both$",
    ):
        check_folds([leaky, *good[1:]], y, run, classes=3)
    y = np.array([0, 1, 2, 0, 1, 1, 0, 1, 1])
    with pytest.raises(
        InputError,
        match=r"^class 2: expected in the training runs of each fold, found none "
        r"without run 1$",
    ):
        check_folds(good, y, run, classes=3)
