"""Comparisons of networks: what they must not see, and what they must."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import expm, orthogonal_procrustes
from scipy.stats import ortho_group

from kdjax.tasks.cognitive.dynamics import similarity

quick = settings(deadline=None, max_examples=20)
seeds = st.integers(0, 2**16)
GEOMETRY = {
    "procrustes": (similarity.procrustes, 0.0),
    "cka": (similarity.cka, 1.0),
    "debiased cka": (lambda a, b: similarity.cka(a, b, debiased=True), 1.0),
    "rsa": (similarity.rsa, 1.0),
}


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def rotation(n, seed=0):
    return ortho_group.rvs(n, random_state=seed)


@pytest.fixture(params=GEOMETRY, ids=lambda name: name.replace(" ", "_"))
def geometry(request):
    return GEOMETRY[request.param]


@quick
@given(seed=seeds, scale=st.sampled_from([1e-3, 1.0, 50.0]), shift=st.floats(-5, 5))
@pytest.mark.parametrize("name", GEOMETRY)
def test_geometry_is_the_same_under_rotation_shift_and_scale(name, seed, scale, shift):
    compare, same = GEOMETRY[name]
    a, b = normal(3, 5, 4, seed=seed), normal(3, 5, 6, seed=seed + 1)
    turned = scale * b @ rotation(6, seed) + shift
    assert compare(b, b) == pytest.approx(same, abs=1e-6)
    assert compare(b, turned) == pytest.approx(same, abs=1e-5)
    assert compare(a, turned) == pytest.approx(compare(a, b), abs=1e-6)
    assert compare(a, b) == pytest.approx(compare(b, a), abs=1e-9)


@quick
@given(seed=seeds)
def test_procrustes_is_a_metric(seed):
    a, b, c = (normal(3, 5, 4, seed=seed + i) for i in range(3))
    sides = [similarity.procrustes(*pair) for pair in ((a, b), (b, c), (a, c))]
    assert max(sides) <= sum(sides) - max(sides) + 1e-9
    assert all(0 < side <= np.pi / 2 for side in sides)


def test_procrustes_is_what_scipys_rotation_leaves():
    a, b = normal(4, 5, 3), normal(4, 5, 3, seed=1)
    x, y = (m.reshape(20, 3) - m.reshape(20, 3).mean(axis=0) for m in (a, b))
    x, y = x / np.linalg.norm(x), y / np.linalg.norm(y)
    best, _ = orthogonal_procrustes(x, y)
    angle = 2 * np.arcsin(np.linalg.norm(x @ best - y) / 2)
    assert similarity.procrustes(a, b) == pytest.approx(angle)


def test_cka_is_high_by_chance_and_its_debiased_estimate_is_not():
    plain, debiased = [], []
    for seed in range(20):
        a, b = normal(3, 10, 100, seed=seed), normal(3, 10, 100, seed=100 + seed)
        plain.append(similarity.cka(a, b))
        debiased.append(similarity.cka(a, b, debiased=True))
    assert np.mean(plain) > 0.7
    assert abs(np.mean(debiased)) < 3 * np.std(debiased) / np.sqrt(20) + 1e-3


def test_cka_by_hand():
    # centred already; X^T Y = 4, X^T X = 4, Y^T Y = diag(4, 4): 16 / (4 sqrt(32))
    a = np.array([1.0, 1.0, -1.0, -1.0]).reshape(4, 1, 1)
    b = np.stack([a, np.array([1.0, -1.0, 1.0, -1.0]).reshape(4, 1, 1)], axis=2)
    assert similarity.cka(a, b[..., 0]) == pytest.approx(16 / (4 * np.sqrt(32)))


def test_rsa_follows_the_order_of_distances_alone():
    a = np.array([0.0, 1.0, 3.0, 7.0]).reshape(4, 1, 1)
    # distances a: 1 3 7 2 6 4, and b in the same order
    b = np.array([0.0, 1.0, 2.5, 9.0]).reshape(4, 1, 1)
    assert similarity.rsa(a, b) == pytest.approx(1.0)
    c = np.array([7.0, 0.0, 3.0, 1.0]).reshape(4, 1, 1)
    assert similarity.rsa(a, c) < 0.2


def test_rsa_by_correlation_reads_the_zero():
    a = normal(3, 5, 4)
    assert similarity.rsa(a, a, distance="correlation") == pytest.approx(1.0)
    shifted = similarity.rsa(a, a + np.arange(4.0), distance="correlation")
    assert shifted < 0.99
    with pytest.raises(ValueError, match="distance: expected one of 'euclidean'"):
        similarity.rsa(a, a, distance="cosine")


def test_geometry_leaves_out_samples_that_either_lacks(geometry):
    compare, _ = geometry
    a, b = normal(3, 6, 4), normal(3, 6, 5, seed=1)
    short = compare(a[:, :4], b[:, :4])
    a[:, 4], b[:, 5, 2] = np.nan, np.nan
    assert compare(a, b) == pytest.approx(short)


def test_geometry_refuses_what_does_not_match_or_vary(geometry):
    compare, _ = geometry
    a = normal(3, 5, 4)
    with pytest.raises(ValueError, match=r"found \(3, 5\) and \(3, 4\)"):
        compare(a, a[:, :4])
    with pytest.raises(ValueError, match=r"expected rates that vary.*second"):
        compare(a, np.ones((3, 5, 2)))


# --- dynamics ------------------------------------------------------------------------


def turning(angles, radii, *, units=8, conditions=6, time=40, seed=0):
    """A linear system of damped rotations, each per step, read by random units."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(conditions, len(angles))) * np.exp(
        2j * np.pi * rng.uniform(size=(conditions, len(angles)))
    )
    steps = (np.array(radii) * np.exp(1j * np.array(angles)))[None, :] ** np.arange(
        time
    )[:, None]
    z = x[:, None, :] * steps[None, :, :]
    state = np.concatenate([z.real, z.imag], axis=2)
    return state @ rng.normal(size=(2 * len(angles), units))


SLOW = turning([0.3, 0.8], [0.98, 0.95])


@settings(deadline=None, max_examples=5)
@given(seed=seeds)
def test_dsa_does_not_see_rotation_scale_or_shift(seed):
    turned = 3.0 * SLOW @ rotation(8, seed) - 2.0
    assert similarity.dsa(SLOW, turned, delays=4, starts=2) < 1e-5
    assert similarity.dsa(SLOW, SLOW, delays=4, starts=2) < 1e-5


def test_dsa_sees_the_dynamics_and_procrustes_does_not():
    # the same system from other starts, read by other units; and one that turns faster
    same = turning([0.3, 0.8], [0.98, 0.95], units=12, seed=3)
    other = turning([0.1, 1.6], [0.98, 0.95], units=12, seed=3)
    alike = similarity.dsa(SLOW, same, delays=4)
    apart = similarity.dsa(SLOW, other, delays=4)
    assert alike < 0.1
    assert apart > 0.4
    assert similarity.procrustes(SLOW, same) > 0.8
    assert similarity.dsa(other, SLOW, delays=4) == pytest.approx(apart, abs=1e-3)


def test_dsa_sees_dimensions_that_one_lacks():
    more = turning([0.3, 0.8, 0.5], [0.98, 0.95, 0.9])
    assert similarity.dsa(SLOW, more, delays=4) > 0.3


def test_linear_operator_has_the_systems_eigenvalues():
    operator = similarity.linear_operator(SLOW + 1.0, delays=3, rank=10)
    assert operator.shape == (4, 4)  # four dimensions in the data, whatever the rank
    found = np.sort_complex(np.linalg.eigvals(operator))
    turns = [0.98 * np.exp(0.3j), 0.95 * np.exp(0.8j)]
    expected = np.sort_complex(np.array([*turns, *np.conj(turns)]))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_linear_operator_uses_no_pair_that_spans_a_gap():
    cut = SLOW.copy()
    cut[0, 20:] = np.nan
    operator = similarity.linear_operator(cut, delays=3, rank=4)
    found = np.sort(np.abs(np.linalg.eigvals(operator)))
    np.testing.assert_allclose(found, [0.95, 0.95, 0.98, 0.98], atol=1e-6)


def test_linear_operator_refuses_too_little():
    with pytest.raises(ValueError, match="delays: expected at most 39"):
        similarity.linear_operator(SLOW, delays=40, rank=4)
    with pytest.raises(ValueError, match="vary"):
        similarity.linear_operator(np.ones((2, 9, 3)), delays=2, rank=4)
    with pytest.raises(ValueError, match="rank: expected fewer than the 3 pairs"):
        similarity.linear_operator(normal(1, 4, 9), delays=1, rank=9)


@quick
@given(seed=seeds)
def test_conjugate_is_the_best_of_all_in_two_dimensions(seed):
    a, b = normal(2, 2, seed=seed), normal(2, 2, seed=seed + 1)
    angles = np.linspace(0, 2 * np.pi, 2001)
    cos, sin = np.cos(angles), np.sin(angles)
    turns = np.array([[cos, -sin], [sin, cos]]).transpose(2, 0, 1)
    turns = np.concatenate([turns, turns * np.array([1.0, -1.0])])
    everywhere = np.einsum("ij,nik,kl,njl->n", a, turns, b, turns)
    value, c = similarity.conjugate(a, b, starts=4)
    assert value == pytest.approx(everywhere.max(), rel=1e-4, abs=1e-4)
    assert value >= everywhere.max() - 1e-6
    np.testing.assert_allclose(c @ c.T, np.eye(2), atol=1e-9)
    assert value == pytest.approx(np.sum(a * (c @ b @ c.T)))


def test_conjugate_recovers_a_rotated_matrix_and_more_starts_are_no_worse():
    a, other = normal(7, 7), normal(7, 7, seed=1)
    q = rotation(7)
    value, c = similarity.conjugate(a, q.T @ a @ q, starts=1)
    assert value == pytest.approx(np.sum(a * a))
    np.testing.assert_allclose(c @ (q.T @ a @ q) @ c.T, a, atol=1e-6)
    values = [similarity.conjugate(a, other, starts=n)[0] for n in (1, 3, 8)]
    assert values == sorted(values)


def test_conjugate_ends_where_no_small_rotation_is_better():
    a, b = normal(6, 6), normal(6, 6, seed=1)
    value, c = similarity.conjugate(a, b, starts=2)
    for seed in range(20):
        k = normal(6, 6, seed=seed)
        near = c @ expm(1e-3 * (k - k.T))
        assert np.sum(a * (near @ b @ near.T)) < value
