"""Anomaly metrics against brute force, the definitions, and rules that hold."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdjax.errors import InputError
from kdjax.tasks.anomaly import metrics

CLASSES = ("normal", "early", "wide")
# Few values, so that scores tie within and across the kinds.
values = st.integers(min_value=-6, max_value=6)
some = st.lists(values, min_size=1, max_size=12).map(lambda v: np.array(v, float))
quick = settings(deadline=None, max_examples=50)


def kinds(normal, abnormal):
    return np.repeat([False, True], [len(normal), len(abnormal)])


def pairs_won(normal, abnormal):
    """AUC by its definition, over all pairs."""
    won = [(a > n) + 0.5 * (a == n) for a in abnormal for n in normal]
    return np.mean(won)


def at_thresholds(abnormal, score):
    """(threshold, precision, recall) of flagging score >= t, t falling."""
    for t in sorted(set(score.tolist()), reverse=True):
        flagged = score >= t
        hits = (flagged & abnormal).sum()
        yield t, hits / flagged.sum(), hits / abnormal.sum()


@quick
@given(some, some)
def test_auc_is_the_fraction_of_pairs_won(normal, abnormal):
    expected = pytest.approx(pairs_won(normal, abnormal))
    assert metrics.auc(normal, abnormal) == expected
    score = np.concatenate([normal, abnormal])
    found = metrics.detection(kinds(normal, abnormal), score)
    assert found["auc"] == expected


def test_auc_by_hand():
    # 2 beats 1 and ties 2; 3 beats both: (1 + .5 + 1 + 1) / 4
    assert metrics.auc(np.array([1.0, 2.0]), np.array([2.0, 3.0])) == 3.5 / 4


@quick
@given(some, some)
def test_auc_of_the_opposite_score_and_of_a_monotone_one(normal, abnormal):
    area = metrics.auc(normal, abnormal)
    assert metrics.auc(-normal, -abnormal) == pytest.approx(1 - area)
    assert metrics.auc(abnormal, normal) == pytest.approx(1 - area)
    assert metrics.auc(normal**3 - 7, abnormal**3 - 7) == pytest.approx(area)
    assert metrics.auc(np.exp(normal), np.exp(abnormal)) == pytest.approx(area)


@quick
@given(some, some)
def test_average_precision_and_best_f1_are_as_defined(normal, abnormal):
    kind, score = kinds(normal, abnormal), np.concatenate([normal, abnormal])
    found = metrics.detection(kind, score)
    mean, before, f1 = 0.0, 0.0, {}
    for t, precision, recall in at_thresholds(kind, score):
        mean += (recall - before) * precision
        before = recall
        f1[t] = 2 * precision * recall / max(precision + recall, 1e-12)
    assert found["average_precision"] == pytest.approx(mean)
    assert found["best_f1"] == pytest.approx(max(f1.values()))
    assert f1[found["best_f1_threshold"]] == pytest.approx(found["best_f1"])


def test_detection_by_hand():
    # flagged from the top: abnormal, normal, abnormal, normal
    kind = np.array([True, False, True, False])
    found = metrics.detection(kind, np.array([4.0, 3.0, 2.0, 1.0]))
    assert found["auc"] == 3 / 4
    assert found["average_precision"] == pytest.approx(1 / 2 + 1 / 2 * 2 / 3)
    assert found["best_f1"] == pytest.approx(4 / 5)
    assert found["best_f1_threshold"] == 2.0


@quick
@given(some, st.floats(0.01, 0.99))
def test_the_threshold_is_the_lowest_that_keeps_the_false_alarms(normal, fraction):
    limit = metrics.threshold(normal, fraction)
    assert limit in normal
    assert (normal > limit).mean() <= fraction
    lower = normal[normal < limit]
    if lower.size:
        assert (normal > lower.max()).mean() > fraction


@pytest.mark.parametrize(
    ("n", "fraction", "above"),
    [(100, 0.05, 5), (20, 0.05, 1), (19, 0.05, 0), (10, 0.5, 5)],
)
def test_the_fraction_of_false_alarms_is_reached(n, fraction, above):
    normal = np.random.default_rng(n).permutation(n).astype(float)
    assert (normal > metrics.threshold(normal, fraction)).sum() == above


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, 5.0, float("nan")])
def test_a_wrong_fraction_of_false_alarms_is_named(fraction):
    with pytest.raises(InputError, match=f"between 0 and 1, found {fraction}"):
        metrics.threshold(np.arange(5.0), fraction)


@pytest.mark.parametrize("wild", [np.inf, np.nan])
def test_a_wild_score_is_the_largest(wild):
    normal, abnormal = np.array([0.0, 1.0]), np.array([0.5, wild])
    assert metrics.auc(normal, abnormal) == 3 / 4
    found = metrics.detection(
        kinds(normal, abnormal), np.concatenate([normal, abnormal])
    )
    assert found["auc"] == 3 / 4
    assert metrics.threshold(np.array([wild, 0.0, 1.0, 2.0]), 0.25) == 2.0


def split(rng, rows=23):
    """Rows of a dataset, the part of them in a split in some order, and scores."""
    label = rng.integers(0, 3, rows).astype(np.int32)
    index = rng.permutation(rows)[:17].astype(np.int32)
    label[index[:3]] = [0, 1, 2]
    return label, index, rng.normal(size=rows).astype(np.float32)


def summed(label, index, score, size):
    """The split's sums, `size` examples at once, the last batch padded."""
    total = None
    for start in range(0, len(index), size):
        part = index[start : start + size]
        pad = size - len(part)
        at = jnp.asarray(np.pad(part, (0, pad)))
        mask = jnp.asarray(np.pad(np.ones(len(part), np.float32), (0, pad)))
        found = metrics.score_sums(
            jnp.asarray(score)[at], jnp.asarray(label)[at], at, mask, rows=len(label)
        )
        total = found if total is None else jax.tree.map(jnp.add, total, found)
    return jax.device_get(total)


@pytest.mark.parametrize("size", [1, 4, 17, 32])
def test_sums_over_any_batches_give_the_metrics_of_the_whole(size):
    label, index, score = split(np.random.default_rng(3))
    total = summed(label, index, score, size)
    found = metrics.summarize(total, label=label, classes=CLASSES)
    own, y = score[index], label[index]
    assert found["examples"] == 17
    assert found["loss"] == pytest.approx(own[y == 0].mean(), abs=1e-6)
    assert found["auc"] == pytest.approx(pairs_won(own[y == 0], own[y != 0]))
    for number, name in ((1, "early"), (2, "wide")):
        area = pairs_won(own[y == 0], own[y == number])
        assert found["auc_by_class"][name] == pytest.approx(area)


def test_an_infinite_score_of_an_abnormal_example_or_of_padding_stays_where_it_is():
    label, index, score = split(np.random.default_rng(5))
    label[0], outside = 1, 0  # the row that padding repeats
    index = index[index != outside]
    score[outside] = np.inf
    score[index[label[index] == 2]] = np.inf
    total = summed(label, index, score, 7)
    found = metrics.summarize(total, label=label, classes=CLASSES)
    assert found["examples"] == len(index)
    assert found["loss"] == pytest.approx(score[index][label[index] == 0].mean(), 1e-5)
    assert found["auc_by_class"]["wide"] == 1.0


def test_a_split_of_normal_examples_has_a_loss_alone():
    label, index, score = split(np.random.default_rng(7))
    normal = index[label[index] == 0]
    total = summed(label, normal, score, 4)
    found = metrics.summarize(total, label=label, classes=CLASSES)
    assert found.keys() == {"loss", "examples"}
    assert found["loss"] == pytest.approx(score[normal].mean(), abs=1e-6)


def test_a_class_without_examples_has_no_auc():
    label, index, score = split(np.random.default_rng(9))
    index = index[label[index] != 1]
    total = summed(label, index, score, 8)
    found = metrics.summarize(total, label=label, classes=CLASSES)
    assert found["auc_by_class"].keys() == {"wide"}


@quick
@given(
    st.lists(st.floats(2**-10, 2**10, width=32), min_size=2, max_size=30),
    st.floats(2**-5, 2**5, width=32),
)
def test_a_patients_own_level_cancels_in_relative_scores(scores, level):
    score = np.array(scores)
    both = np.concatenate([score, level * score])
    found = metrics.relative(both, np.repeat([3, 8], len(score)))
    np.testing.assert_allclose(found[: len(score)], score / np.quantile(score, 0.25))
    np.testing.assert_allclose(found[: len(score)], found[len(score) :])


def test_relative_scores_of_odd_ones():
    group = np.array([0, 0, 0, 0, 0, 1, 1])
    score = np.array([1.0, 2.0, np.nan, np.inf, 3.0, 0.0, 0.0], np.float32)
    found = metrics.relative(score, group)
    np.testing.assert_array_equal(found[:5], [0.5, 1.0, np.nan, np.inf, 1.5])
    assert found[5:].tolist() == [0.0, 0.0]
