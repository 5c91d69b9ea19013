"""Units and weights by hand: a census, the tasks they serve, and life without them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdjax.tasks.cognitive.dynamics import units

quick = settings(deadline=None, max_examples=30)


def test_census_by_hand():
    # from unit: 0 excites, 1 inhibits with one violation, 2 is silent and unconnected
    recurrent = np.array([[0.0, 0.5, 5e-3], [-1.0, 0.0, 5e-4], [0.0, 0.0, 0.0]])
    rates = np.zeros((2, 4, 3))
    rates[0, 1] = [10.0, 0.011, 0.009]
    found = units.census(rates, recurrent, np.array([True, False, True]))
    assert (found.active, found.units) == (2, 3)
    assert found.density == {0.0: 4 / 9, 1e-3: 3 / 9, 1e-2: 2 / 9}
    assert found.excitatory_units == pytest.approx(2 / 3)
    assert found.excitatory_weights == pytest.approx(0.5055 / 1.5055)
    assert found.dale_violations == 1 / 4
    assert units.census(rates, recurrent, threshold=1e-4).active == 3


def test_census_without_a_mask_takes_a_unit_for_what_it_mostly_does():
    recurrent = np.array([[0.0, 2.0, -0.5], [-1.0, 0.0, -1.0], [0.0, 3.0, 0.0]])
    found = units.census(np.ones((1, 1, 3)), recurrent)
    assert found.excitatory_units == pytest.approx(2 / 3)
    assert found.dale_violations == 1 / 5


def test_census_counts_negative_rates_as_activity():
    rates = np.array([-1.0, 0.5, 0.0]).reshape(1, 1, 3)
    assert units.census(rates, np.eye(3)).active == 2


@quick
@given(rank=st.integers(1, 6), seed=st.integers(0, 1000))
def test_ranks_of_k_equal_singular_values_are_k(rank, seed):
    rng = np.random.default_rng(seed)
    u, v = (np.linalg.qr(rng.normal(size=(8, rank)))[0] for _ in range(2))
    found = units.census(np.ones((1, 1, 8)), 3 * u @ v.T)
    assert found.effective_rank == pytest.approx(rank, rel=1e-5)
    assert found.participation_rank == pytest.approx(rank)


def test_ranks_differ_where_singular_values_do():
    # 3 and 1: p = 3/4, 1/4; (9 + 1)^2 / (81 + 1)
    found = units.census(np.ones((1, 1, 2)), np.diag([3.0, -1.0]))
    assert found.effective_rank == pytest.approx(4 / 3**0.75)
    assert found.participation_rank == pytest.approx(100 / 82)


def test_census_of_a_silent_unconnected_network():
    found = units.census(np.zeros((1, 2, 3)), np.zeros((3, 3)))
    assert found.active == 0
    assert found.dale_violations == found.excitatory_weights == 0.0


# --- task variance -------------------------------------------------------------------


def test_task_variance_is_over_conditions_and_not_over_time():
    time = np.arange(4.0)[None, :, None]
    moves = np.tile(time, (2, 1, 1))  # in time, alike in both conditions
    tells = np.array([1.0, -1.0])[:, None, None] * time  # variance t^2
    rates = {"first": np.concatenate([moves, tells], axis=2)}
    rates["second"] = np.concatenate([tells, np.zeros((2, 4, 1))], axis=2)
    variance = units.task_variance(rates)
    np.testing.assert_allclose(variance, [[0.0, 3.5], [3.5, 0.0]])
    np.testing.assert_allclose(units.normalised(variance), [[0, 1], [1, 0]])


def test_task_variance_leaves_out_steps_that_are_not_there():
    rates = np.array([[1.0, 5.0, np.nan], [3.0, np.nan, np.nan]])[:, :, None]
    # step 0: 1; step 1: one condition, 0; step 2: none
    assert units.task_variance({"task": rates})[0, 0] == pytest.approx(0.5)


def test_normalised_variance_of_an_idle_unit_is_zero():
    variance = np.array([[2.0, 1.0], [0.0, 0.0]])
    np.testing.assert_array_equal(units.normalised(variance), [[1.0, 0.5], [0, 0]])


def test_fractional_variance():
    variance = np.array([[2.0, 0.0], [0.0, 3.0], [1.0, 3.0], [0.0, 0.0]])
    found = units.fractional_variance(variance, 0, 1)
    np.testing.assert_array_equal(found, [1.0, -1.0, -0.5, np.nan])


@pytest.mark.parametrize("seed", [0, 1, 2])  # k-means numbers them differently
def test_clusters_are_the_groups_that_the_units_were_made_in(seed):
    rng = np.random.default_rng(0)
    kinds = rng.permutation(np.repeat([0, 1, 2], [12, 9, 6]))
    profile = np.array([[1.0, 0.1, 0.1], [0.1, 1.0, 0.1], [0.1, 0.8, 1.0]])
    strength = rng.uniform(0.5, 5, size=(27, 1))
    variance = profile[kinds] * strength * (1 + 0.05 * rng.normal(size=(27, 3)))
    variance = np.concatenate([variance, np.full((2, 3), 1e-5)])
    found = units.clusters(variance, counts=range(2, 7), seed=seed)
    assert max(found.scores, key=found.scores.get) == 3
    # ordered by the task that their units vary in most, which here are 0, 1 and 2
    np.testing.assert_array_equal(found.labels[:27], kinds)
    assert found.labels[27:].tolist() == [-1, -1]
    assert list(found.scores) == [2, 3, 4, 5, 6]


def test_clusters_of_too_few_units_are_one():
    found = units.clusters(np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]))
    assert found.labels.tolist() == [0, 0, -1]
    assert found.scores == {}


# --- lesions -------------------------------------------------------------------------


def test_lesions_are_beside_random_groups_of_the_same_size():
    seen = []

    def evaluate(mask):
        seen.append(mask)
        return {"correct": float(mask[:3].sum() / 3)}

    groups = {"needed": np.array([0, 1, 2]), "idle": np.array([8, 9])}
    intact, found = units.lesions(evaluate, groups, 20, draws=50, seed=1)
    assert intact == {"correct": 1.0}
    assert found["needed"].performance == {"correct": 0.0}
    assert found["idle"].performance == {"correct": 1.0}
    assert [found[k].units for k in groups] == [3, 2]
    # each of the three is in a control of 3 of 20 units with chance 3/20
    controls = [c["correct"] for c in found["needed"].controls]
    assert len(controls) == 50
    assert np.mean(controls) == pytest.approx(0.85, abs=0.1)
    removed = sorted((mask == 0).sum() for mask in seen)
    assert removed == [0] + [2] * 51 + [3] * 51


def test_lesion_controls_follow_the_seed_and_the_candidates():
    def evaluate(mask):
        return {"lost": float(np.flatnonzero(mask == 0).sum())}

    def controls(**options):
        groups = {"group": np.array([0, 1])}
        _, found = units.lesions(evaluate, groups, 50, **options)
        return [c["lost"] for c in found["group"].controls]

    assert controls(seed=3) == controls(seed=3) != controls(seed=4)
    among = np.array([10, 20, 30])
    assert set(controls(among=among, draws=20)) == {30.0, 40.0, 50.0}


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([], "one or more"),
        ([1, 1], "different units"),
        ([4, 5], r"units in \[0, 5\)"),
        ([-1], r"units in \[0, 5\)"),
        ([0, 1, 2], "at most 2 units"),
    ],
)
def test_lesions_refuse_groups_that_cannot_be(members, message):
    with pytest.raises(ValueError, match=rf"groups\['g'\]: .*{message}"):
        units.lesions(
            lambda mask: {},
            {"g": np.array(members, int)},
            5,
            among=np.array([3, 4]),
        )
