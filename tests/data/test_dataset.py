import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdjax import data
from kdjax.data import dataset as ds
from kdjax.errors import InputError


def examples(split, *, n=6, groups=(0, 1), classes=2, shape=(4, 3), seed=0):
    rng = np.random.default_rng(seed)
    return ds.Examples(
        x=rng.normal(size=(n, *shape)).astype(np.float32),
        y=(np.arange(n) % classes).astype(np.int32),
        group=np.array(groups, np.int32)[np.arange(n) % len(groups)],
        key=np.array([f"{split}/{i}" for i in range(n)]),
    )


@pytest.fixture
def dataset():
    return ds.Dataset(
        name="made up",
        classes=("a", "b"),
        train=examples("train", groups=(0, 1)),
        validation=examples("validation", groups=(2,), seed=1),
        test=examples("test", groups=(3,), seed=2),
        synthetic=True,
    )


def test_check_returns_a_sound_dataset(dataset):
    assert ds.check(dataset, where="file") is dataset


def broken(change):
    """`change` edits the fields of the validation split."""

    def apply(dataset):
        return dataset._replace(validation=change(dataset.validation))

    return apply


def with_nan(e):
    x = e.x.copy()
    x[2, 1, 0] = np.nan
    x[4, 0, 0] = np.inf
    return e._replace(x=x)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda e: ds.take(e, np.arange(0)), r"validation: expected examples, found n"),
        (lambda e: e._replace(y=e.y * 0), r"two classes or more, found 'a' alone"),
        (lambda e: e._replace(y=e.y + 1), r"y: expected labels 0 to 1, found 1 to 2"),
        (lambda e: e._replace(y=e.y - 1), r"y: expected labels 0 to 1, found -1 to 0"),
        (with_nan, r"NaN or Inf in 2 of 6 examples, first in 'validation/2'"),
        (lambda e: e._replace(y=e.y[:4]), r"y: expected \(6,\).*found \(4,\)"),
        (lambda e: e._replace(key=e.key[:5]), r"key: expected \(6,\).*found \(5,\)"),
        (lambda e: e._replace(x=e.x[..., :2]), r"x: expected \(4, 3\).*found \(4, 2\)"),
        (lambda e: e._replace(group=e.group * 0 + 3), r"group 3 in both valid.* test"),
        (
            lambda e: e._replace(key=np.char.replace(e.key, "validation", "train")),
            r"key: expected unique keys, found 'train/0' 2 times",
        ),
    ],
)
def test_check_names_the_fault_in_one_line(dataset, change, message):
    with pytest.raises(InputError, match=message) as caught:
        ds.check(broken(change)(dataset), where="some/file")
    assert str(caught.value).startswith("some/file: ")
    assert "\n" not in str(caught.value)


def test_standardise_uses_the_training_split_alone(dataset):
    x = dataset.train.x * np.float32([1, 10, 0]) + np.float32([5, -3, 0.1])
    raw = dataset._replace(train=dataset.train._replace(x=x))
    made = ds.standardise(raw)
    np.testing.assert_allclose(made.train.x.mean((0, 1)), 0, atol=1e-6)
    np.testing.assert_allclose(made.train.x.std((0, 1)), [1, 1, 0], atol=1e-6)
    mean, std = x.mean((0, 1)), [*x.std((0, 1))[:2], 1]
    np.testing.assert_allclose(made.test.x, (raw.test.x - mean) / std, atol=1e-5)
    assert made.test.x.dtype == np.float32
    assert raw.train.x is x, "the given arrays stay as they are"


def test_standardise_takes_flat_features():
    table = {
        split: examples(split, groups=(g,), shape=(3,))
        for g, split in enumerate(ds.SPLITS)
    }
    made = ds.standardise(ds.Dataset("flat", ("a", "b"), **table, synthetic=True))
    np.testing.assert_allclose(made.train.x.mean(0), 0, atol=1e-6)


@pytest.mark.parametrize("value", [1e20, -1e20, 3e38, 1e9])
@pytest.mark.parametrize("shape", [(4, 3), (3,)])
def test_standardise_refuses_a_value_that_blanks_its_channel(dataset, value, shape):
    train = examples("train", n=60, shape=shape)
    train.x[np.index_exp[7, 1, 2] if shape == (4, 3) else np.index_exp[7, 2]] = value
    message = rf"^made up: train x: channel 2: .* found {value:g} in 'train/7'".replace(
        "+", r"\+"
    )
    with pytest.raises(InputError, match=message):
        ds.standardise(dataset._replace(train=train))


def test_standardise_takes_large_values_and_rare_ones(dataset):
    """All of a channel near 1e20, or hardly ever another value than 0."""
    train = examples("train", n=60)
    train.x[..., 1] *= 1e20
    train.x[..., 2] = 0
    train.x[5, 2, 2] = 1e20
    made = ds.standardise(dataset._replace(train=train))
    np.testing.assert_allclose(made.train.x.std((0, 1)), 1, atol=1e-5)
    np.testing.assert_allclose(made.train.x.mean((0, 1)), 0, atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 9), st.integers(1, 8), st.integers(0, 2**31), st.data())
def test_groups_are_held_out_whole(groups, size, seed, draw):
    count = draw.draw(st.integers(1, groups - 1))
    group = np.tile(np.arange(groups, dtype=np.int32), size)
    rest, held = ds.hold_out_groups(group, count=count, seed=seed, where="field")
    assert len(np.unique(group[held])) == count
    assert not np.intersect1d(group[rest], group[held]).size
    np.testing.assert_array_equal(np.union1d(rest, held), np.arange(len(group)))


def test_seed_draws_the_groups():
    group = np.arange(20, dtype=np.int32)

    def held(seed):
        indices = ds.hold_out_groups(group, count=5, seed=seed, where="field")[1]
        return tuple(indices.tolist())

    assert held(3) == held(3)
    assert len({held(seed) for seed in range(10)}) == 10


def test_groups_of_one_class_are_not_drawn():
    group = np.repeat(np.arange(4, dtype=np.int32), 2)
    y = np.array([0, 1, 0, 1, 0, 0, 1, 1], np.int32)
    for seed in range(20):
        held = ds.hold_out_groups(group, count=1, seed=seed, where="f", y=y)[1]
        assert group[held][0] in (0, 1)


@pytest.mark.parametrize(
    ("group", "count", "message"),
    [
        ([0, 1, 2], 3, r"validation_groups: expected an integer in \[1, 2\], found 3"),
        ([0, 1, 2], 0, r"validation_groups: expected an integer in \[1, 2\], found 0"),
        ([7, 7, 7], 1, "validation_groups: expected two groups to draw from, found 1"),
    ],
)
def test_impossible_group_counts_are_refused(group, count, message):
    with pytest.raises(InputError, match=message):
        ds.hold_out_groups(
            np.array(group, np.int32), count=count, seed=0, where="validation_groups"
        )


def test_stratified_hold_out_keeps_the_proportions():
    y = np.repeat(np.arange(4, dtype=np.int32), [40, 20, 2, 1])
    rest, held = ds.hold_out_stratified(y, fraction=0.25, seed=1, where="field")
    np.testing.assert_array_equal(np.bincount(y[held], minlength=4), [10, 5, 1, 0])
    np.testing.assert_array_equal(np.union1d(rest, held), np.arange(63))
    again = ds.hold_out_stratified(y, fraction=0.25, seed=1, where="field")[1]
    other = ds.hold_out_stratified(y, fraction=0.25, seed=2, where="field")[1]
    np.testing.assert_array_equal(held, again)
    assert not np.array_equal(held, other)


def test_folds_hold_out_each_example_once_and_keep_the_proportions():
    y = np.tile(np.repeat(np.arange(3, dtype=np.int32), [7, 2, 4]), 2)
    held = [ds.hold_out_fold(y, folds=4, seed=s, where="field")[1] for s in range(4)]
    np.testing.assert_array_equal(np.sort(np.concatenate(held)), np.arange(26))
    for seed, own in enumerate(held):
        counts = np.bincount(y[own], minlength=3)
        assert (abs(counts - np.array([14, 4, 8]) / 4) < 1).all()
        rest, again = ds.hold_out_fold(y, folds=4, seed=seed + 4, where="field")
        np.testing.assert_array_equal(again, own)
        np.testing.assert_array_equal(np.union1d(rest, own), np.arange(26))
    for folds in (1, 27):
        with pytest.raises(InputError, match="field: expected an integer"):
            ds.hold_out_fold(y, folds=folds, seed=0, where="field")


def test_draw_per_class():
    y = np.tile(np.arange(3, dtype=np.int32), 10)
    drawn = ds.draw_per_class(y, count=4, seed=0, where="field")
    np.testing.assert_array_equal(np.bincount(y[drawn]), [4, 4, 4])
    assert (np.diff(drawn) > 0).all()
    with pytest.raises(
        InputError, match=r"field: expected an integer in \[1, 10\], found 11"
    ):
        ds.draw_per_class(y, count=11, seed=0, where="field")


@settings(max_examples=30, deadline=None)
@given(st.floats(0.001, 1.0), st.floats(0.001, 1.0), st.integers(0, 2**31))
def test_a_smaller_fraction_is_part_of_a_larger(one, other, seed):
    y = np.repeat(np.arange(3, dtype=np.int32), [200, 30, 1])
    small, large = (
        ds.draw_fraction(y, fraction=f, seed=seed, where="field")
        for f in sorted((one, other))
    )
    assert np.isin(small, large).all()
    expected = [max(1, round(min(one, other) * n)) for n in (200, 30, 1)]
    assert np.bincount(y[small], minlength=3).tolist() == expected


@pytest.mark.parametrize(
    ("fraction", "message"),
    [
        (0.0, r"field: expected a number in \(0, 1\], found 0.0"),
        (1.5, r"field: expected a number in \(0, 1\], found 1.5"),
    ],
)
def test_impossible_fractions_are_refused(fraction, message):
    with pytest.raises(InputError, match=message):
        ds.draw_fraction(
            np.zeros(3, np.int32), fraction=fraction, seed=0, where="field"
        )


@pytest.mark.parametrize(
    ("few", "counts"),
    [({"labels_per_class": 4}, [4] * 10), ({"label_fraction": 1}, None)],
)
def test_few_labels_leave_the_rest_as_it_is(few, counts):
    whole, made = data.load("digits", seed=0), data.load("digits", seed=0, **few)
    known = made.train.y != data.UNLABELLED
    found = np.bincount(made.train.y[known]).tolist()
    assert found == (counts or np.bincount(whole.train.y).tolist())
    assert set(made.train.y[~known]) <= {-1}
    np.testing.assert_array_equal(made.train.y[known], whole.train.y[known])
    for name in ("x", "group", "key"):
        one, other = getattr(made.train, name), getattr(whole.train, name)
        np.testing.assert_array_equal(one, other)
    for one, other in zip(made.test, whole.test, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(made.validation.y, whole.validation.y)


def test_seed_draws_the_labels():
    def drawn(seed, **few):
        train = data.load("digits", seed=seed, **few).train
        return tuple(train.key[train.y != data.UNLABELLED])

    for few in ({"labels_per_class": 2}, {"label_fraction": 0.05}):
        assert drawn(0, **few) == drawn(0, **few)
        assert len({drawn(seed, **few) for seed in range(3)}) == 3
    assert set(drawn(0, label_fraction=0.01)) < set(drawn(0, label_fraction=0.1))


def test_labels_of_some_groups_alone():
    waves = {"name": "synthetic_wearable", "seed": 3}
    whole = data.load(**waves).train
    kept = {}
    for count in (1, 3):
        train = data.load(**waves, labelled_groups=count).train
        known = train.y != data.UNLABELLED
        kept[count] = set(train.group[known])
        assert len(kept[count]) == count
        assert not kept[count] & set(train.group[~known]), "whole groups"
        np.testing.assert_array_equal(train.y[known], whole.y[known])
        np.testing.assert_array_equal(train.x, whole.x)
    assert kept[1] < kept[3]
    with pytest.raises(
        InputError, match=r"labelled_groups: .* in \[1, \d+\], found 99"
    ):
        data.load(**waves, labelled_groups=99)
    with pytest.raises(InputError, match="labelled_groups: expected this or label_fra"):
        data.load(**waves, labelled_groups=1, label_fraction=0.5)


def test_impossible_few_labels_are_refused():
    with pytest.raises(
        InputError, match=r"labels_per_class: expected an integer in \[1, \d+\]"
    ):
        data.load("digits", seed=0, labels_per_class=1000)
    with pytest.raises(
        InputError, match=r"label_fraction: expected a number in \(0, 1\]"
    ):
        data.load("digits", seed=0, label_fraction=0.0)
    with pytest.raises(InputError, match=r"label_fraction: .* found both"):
        data.load("digits", seed=0, label_fraction=0.1, labels_per_class=1)


def test_normal_only_leaves_validation_and_test_as_they_are():
    few = {"name": "synthetic_ecg", "seed": 0, "patients": 8, "beats": 10}
    whole, made = data.load(**few), data.load(**few, normal_only=True)
    normal = whole.train.y == 0
    assert 0 < normal.sum() < len(normal)
    for one, other in zip(made.train, whole.train, strict=True):
        np.testing.assert_array_equal(one, other[normal])
    for name in ("validation", "test"):
        assert set(getattr(made, name).y) == {0, 1, 2}
        for one, other in zip(getattr(made, name), getattr(whole, name), strict=True):
            np.testing.assert_array_equal(one, other)


def test_as_float():
    x = np.ones((2, 3), np.float32)
    assert ds.as_float(x) is x
    made = ds.as_float(np.array([[0, 51, 255]], np.uint8))
    assert made.dtype == np.float32
    np.testing.assert_allclose(made, [[0, 0.2, 1]], rtol=1e-6)


def test_epoch_order_is_a_function_of_seed_and_epoch():
    order = data.epoch_order(50, seed=1, epoch=2)
    np.testing.assert_array_equal(np.sort(order), np.arange(50))
    np.testing.assert_array_equal(order, data.epoch_order(50, seed=1, epoch=2))
    for seed, epoch in ((1, 3), (2, 2), (2, 1)):
        other = data.epoch_order(50, seed=seed, epoch=epoch)
        assert not np.array_equal(order, other)


def test_epoch_order_stays_what_it_was():
    # A run resumed under a later version must see the same order.
    expected = [3, 6, 4, 0, 7, 5, 2, 1]
    assert data.epoch_order(8, seed=0, epoch=0).tolist() == expected


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 40), st.integers(1, 16), st.booleans())
def test_batches_cover_the_examples_once(n, size, drop):
    size = min(size, n) if drop else size
    order = data.epoch_order(n, seed=0, epoch=0)
    batches = list(data.index_batches(n, size, order=order, drop_remainder=drop))
    assert len(batches) == (n // size if drop else -(-n // size))
    for batch in batches:
        assert batch["index"].shape == batch["mask"].shape == (size,)
        assert batch["index"].dtype == np.int32
        assert batch["mask"].dtype == np.float32
        assert (batch["index"][batch["mask"] == 0] == 0).all()
    seen = np.concatenate([b["index"][b["mask"] == 1] for b in batches])
    np.testing.assert_array_equal(seen, order[: len(seen)])
    assert len(seen) == (n // size * size if drop else n)


def test_batches_that_would_be_none_are_refused():
    with pytest.raises(
        InputError, match=r"batch_size: expected an integer in \[1, 5\], found 8"
    ):
        next(data.index_batches(5, 8, drop_remainder=True))
    with pytest.raises(ValueError, match=r"order: expected \(5,\), found \(4,\)"):
        next(data.index_batches(5, 2, order=np.arange(4)))


def test_load_names_the_nearest():
    with pytest.raises(InputError, match="did you mean 'uci_har'"):
        data.load("uci-har", seed=0)
    with pytest.raises(InputError, match=r"config.data.noize: .* 'noise'"):
        data.load("synthetic_wearable", seed=0, noize=1.0)
    with pytest.raises(InputError, match=r"config.data.root: missing"):
        data.load("uci_har", seed=0)
    with pytest.raises(InputError, match=r"config.seeds: expected an integer in \[0, "):
        data.load("digits", seed=-1)
