import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdjax import augment
from kdjax.augment import series
from kdjax.errors import InputError

NAMES = [
    "channel_dropout",
    "crop_resize",
    "permutation",
    "rotation",
    "scaling",
    "simclr_series",
    "time_warp",
]
N, TIME, CHANNELS = 300, 32, 6


@functools.cache
def compiled(name, **ranges):
    return jax.jit(augment.build({"name": name, **ranges}))


def run(keys, x, name, **ranges):
    return np.asarray(compiled(name, **ranges)(keys, x))


@pytest.fixture(scope="module")
def keys():
    return augment.example_keys(jax.random.key(0), jnp.arange(N))


@pytest.fixture(scope="module")
def batch():
    return jax.random.normal(jax.random.key(1), (N, TIME, CHANNELS))


@pytest.fixture(scope="module")
def ramp():
    """Each sample is its own place in time: what comes out is where it was taken."""
    return jnp.broadcast_to(jnp.arange(TIME, dtype=jnp.float32)[:, None], (N, TIME, 1))


@pytest.mark.parametrize("name", NAMES)
def test_view_is_a_window_made_by_its_key(name, keys, batch):
    made = run(keys, batch, name)
    assert made.shape == batch.shape
    assert made.dtype == np.float32
    np.testing.assert_array_equal(run(keys, batch, name), made)
    assert (run(keys[::-1], batch, name) != made).any()
    half = jax.eval_shape(
        augment.build({"name": name}), keys, batch.astype(jnp.bfloat16)
    )
    assert half.dtype == jnp.bfloat16


@pytest.mark.parametrize("name", NAMES)
def test_compiled_batch_equals_one_by_one(name, keys, batch):
    one = augment.AUGMENTATIONS[name]
    each = [one(k, x) for k, x in zip(keys[:2], batch[:2], strict=True)]
    made = run(keys, batch, name)[:2]
    np.testing.assert_allclose(made, jnp.stack(each), atol=2e-5)


@pytest.mark.parametrize(
    ("name", "ranges"),
    [
        ("channel_dropout", {"probability": 0}),
        ("crop_resize", {"min_fraction": 1}),
        ("permutation", {"segments": 1}),
        ("rotation", {"degrees": 0}),
        ("scaling", {"std": 0}),
        ("time_warp", {"max_fraction": 0}),
        (
            "simclr_series",
            {"crop_fraction": 0, "warp": 0, "segments": 1}
            | {"scaling_std": 0, "noise_std": 0},
        ),
    ],
)
def test_nothing_changes_at_zero(name, ranges, keys, batch):
    np.testing.assert_allclose(run(keys, batch, name, **ranges), batch, atol=5e-5)


def test_crop_of_a_ramp_is_a_flatter_ramp(keys, ramp):
    made = run(keys, ramp, "crop_resize", min_fraction=0.4)[..., 0]
    slope = np.diff(made, axis=1)
    np.testing.assert_allclose(slope, slope[:, :1].repeat(TIME - 1, 1), atol=1e-4)
    assert slope.min() > 0.4 - 1e-4
    assert slope.max() < 1 + 1e-4
    assert slope.mean() == pytest.approx(0.7, abs=4 * 0.174 / N**0.5)
    assert made.min() >= 0
    assert made.max() <= TIME - 1


def test_scaling_is_one_factor_a_channel(keys):
    factor = run(keys, jnp.ones((N, TIME, CHANNELS)), "scaling", std=0.2)
    assert (factor == factor[:, :1]).all()
    drawn = factor[:, 0]
    assert drawn.mean() == pytest.approx(1, abs=4 * 0.2 / drawn.size**0.5)
    assert drawn.std() == pytest.approx(0.2, rel=0.07)
    assert abs(np.corrcoef(drawn[:, 0], drawn[:, 1])[0, 1]) < 0.25


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**31 - 1), fraction=st.floats(0, 0.96875, width=32))
def test_warp_is_monotone_and_keeps_the_ends(seed, fraction):
    x = jnp.arange(TIME, dtype=jnp.float32)[:, None]
    made = series.time_warp(jax.random.key(seed), x, max_fraction=float(fraction))[:, 0]
    assert (jnp.diff(made) > 0).all()
    assert made[0] == 0
    assert float(made[-1]) == pytest.approx(TIME - 1, rel=1e-5)
    speed = np.diff(np.asarray(made))
    assert speed.max() / speed.min() <= (1 + fraction) / (1 - fraction) * 1.01


def test_warp_is_smooth_and_moves_time(keys, ramp):
    made = run(keys, ramp, "time_warp", max_fraction=0.5)[..., 0]
    assert np.abs(made - ramp[..., 0]).max() > 1
    # Speed goes from 0.5 to 1.5 (about 1) over a knot's distance at most.
    assert np.abs(np.diff(made, n=2, axis=1)).max() < 2.5 * 5 / (TIME - 1)


# --- a beat's ticks ------------------------------------------------------------------

BEAT, R, TICKS = 320, 140, 7


@pytest.fixture(scope="module")
def warped(keys):
    """A ramp [300, 320]: what comes out is where it was taken."""
    ramp = jnp.arange(BEAT, dtype=jnp.float32)[:, None]
    return run(keys, jnp.broadcast_to(ramp, (N, BEAT, 1)), "tick_warp")[..., 0]


def kept(warped):
    """[n, 320]: which samples are in what came out."""
    return np.stack([np.isin(np.arange(BEAT), row) for row in warped])


def test_tick_warp_is_a_beat_made_by_its_key(keys):
    batch = jax.random.normal(jax.random.key(1), (3, BEAT, 2))
    made = run(keys[:3], batch, "tick_warp")
    assert made.shape == batch.shape
    assert made.dtype == np.float32
    np.testing.assert_array_equal(run(keys[:3], batch, "tick_warp"), made)
    assert (run(keys[1:4], batch, "tick_warp") != made).any(axis=(1, 2)).all()
    each = [series.tick_warp(k, x) for k, x in zip(keys[:3], batch, strict=True)]
    np.testing.assert_allclose(made, jnp.stack(each), atol=2e-6)
    half = jax.eval_shape(
        augment.build({"name": "tick_warp"}), keys[:3], batch.astype(jnp.bfloat16)
    )
    assert half.dtype == jnp.bfloat16


def test_tick_warp_leaves_out_as_many_samples_as_it_adds(warped):
    """On either side of R; what it adds is the mean of a sample and the next."""
    left_out, added = ~kept(warped), warped % 1
    for part, inside in ((slice(R), warped < R), (slice(R, None), warped >= R)):
        assert (left_out[:, part].sum(axis=1) == TICKS).all()
        assert ((added == 0.5) & inside).sum(axis=1).tolist() == [TICKS] * N
    assert set(np.unique(added)) == {0, 0.5}
    assert (np.diff(warped, axis=1) > 0).all()
    where, place = np.nonzero(added)
    np.testing.assert_array_equal(
        warped[where, place - 1], np.floor(warped[where, place])
    )


def test_tick_warp_keeps_the_r_peak_and_the_last_sample(warped):
    """Or the first sample after R that is left, if R itself is not."""
    found = kept(warped)
    after = R + np.argmax(found[:, R:], axis=1)
    np.testing.assert_array_equal(warped[:, R], after)
    assert (after == R).mean() > 0.9
    assert (after > R).any()
    assert (warped[:, -1] == BEAT - 1).all()
    assert not found[:, 0].all()


def test_tick_warp_chooses_every_tick_equally_often(warped):
    gone = ~kept(warped)
    twice = np.stack([np.isin(np.arange(BEAT) + 0.5, row) for row in warped])
    for part in (slice(R), slice(R, BEAT - 1)):
        chance = TICKS / (part.stop - (part.start or 0))
        bound = 5 * (N * chance) ** 0.5
        for chosen in (gone, twice):
            count = chosen[:, part].sum(axis=0)
            assert abs(count - N * chance).max() < bound
            assert count.min() > 0
            # Early and late ones alike.
            early = count[: len(count) // 2].mean() / N
            assert early == pytest.approx(chance, rel=0.1)


@pytest.mark.parametrize(
    ("shape", "ranges", "message"),
    [
        ((153, 1), {}, r"14 samples or more on either side of 140, .*\(153, 1\)"),
        ((320, 1), {"centre": 13}, "on either side of 13"),
        ((320, 1), {"ticks": 71}, "142 samples or more"),
    ],
)
def test_tick_warp_needs_so_many_samples(shape, ranges, message):
    with pytest.raises(ValueError, match=message):
        series.tick_warp(jax.random.key(0), jnp.zeros(shape), **ranges)


def test_tick_warp_of_every_sample():
    """The least that there can be: on either side, half are left out."""
    x = jnp.arange(29, dtype=jnp.float32)[:, None]
    made = series.tick_warp(jax.random.key(0), x, centre=14)[:, 0]
    assert (made % 1 == 0.5).sum() == 14
    assert made[-1] == 28


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**31 - 1), segments=st.sampled_from([1, 3, 8]))
def test_permutation_shuffles_a_few_whole_pieces(seed, segments):
    x = jnp.arange(TIME, dtype=jnp.float32)[:, None]
    made = series.permutation(jax.random.key(seed), x, segments=segments)[:, 0]
    np.testing.assert_array_equal(np.sort(made), x[:, 0])
    assert np.count_nonzero(np.diff(made) != 1) < segments


def test_permutation_uses_every_number_of_pieces(keys, ramp):
    made = run(keys, ramp, "permutation", segments=4)[..., 0]
    breaks = np.bincount((np.diff(made, axis=1) != 1).sum(1), minlength=4)
    assert len(breaks) == 4
    assert (breaks > N // 20).all()


@pytest.mark.parametrize("probability", [0.3, 1.0])
def test_dropout_zeroes_whole_channels_never_all(probability, keys, batch):
    made = run(keys, batch, "channel_dropout", probability=probability)
    gone = (made == 0).all(1)
    assert (gone == (made == 0).any(1)).all()
    assert not gone.all(1).any()
    # One that is saved in p^C of the windows.
    expected = probability - probability**CHANNELS / CHANNELS
    spread = 4 * (0.25 / gone.size) ** 0.5
    assert gone.mean() == pytest.approx(expected, abs=spread)
    kept = np.broadcast_to(~gone[:, None], made.shape)
    np.testing.assert_array_equal(made[kept], np.asarray(batch)[kept])


def test_rotation_keeps_norms_and_turns_all_triples_alike(keys, batch):
    same = jnp.concatenate([batch[..., :3], batch[..., :3]], -1)
    made = run(keys, same, "rotation", degrees=40).reshape(N, TIME, 2, 3)
    before = np.asarray(same).reshape(made.shape)
    np.testing.assert_allclose(
        np.linalg.norm(made, axis=-1), np.linalg.norm(before, axis=-1), rtol=1e-5
    )
    np.testing.assert_allclose(made[:, :, 0], made[:, :, 1], atol=1e-6)
    axes = jnp.broadcast_to(jnp.eye(3), (N, 3, 3))
    matrix = run(keys, axes, "rotation", degrees=40)
    np.testing.assert_allclose(np.linalg.det(matrix), 1, rtol=1e-5)
    cosine = np.clip((np.trace(matrix, axis1=1, axis2=2) - 1) / 2, -1, 1)
    angle = np.degrees(np.arccos(cosine))
    assert angle.max() < 40.1
    assert angle.mean() == pytest.approx(20, abs=4 * 11.6 / N**0.5)


def test_rotation_needs_triples(batch):
    with pytest.raises(ValueError, match=r"rotation: .* multiple of 3, found 4"):
        series.rotation(jax.random.key(0), batch[0, :, :4])


def test_view_takes_every_part(keys, batch):
    off = {"crop_fraction": 0, "warp": 0, "segments": 1}
    off |= {"scaling_std": 0, "noise_std": 0}
    on = {"crop_fraction": 0.5, "warp": 0.3, "segments": 4, "rotation": 90}
    on |= {"scaling_std": 0.1, "noise_std": 0.1, "dropout": 0.5}
    for name, value in on.items():
        made = run(keys, batch, "simclr_series", **off | {name: value})
        assert not np.allclose(made, batch), name


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("segments", 2.0, "an integer >= 1, found 2.0"),
        ("segments", 0, "an integer >= 1, found 0"),
        ("dropout", 1.1, r"a number in \[0, 1\], found 1.1"),
        ("warp", 2, r"a number in \[0, 1\], found 2"),
        ("crop_fraction", -1, r"a number in \[0, 1\], found -1"),
        ("noise_std", True, "a number >= 0, found True"),
        ("noise_std", float("nan"), "a number >= 0, found nan"),
        ("noise_std", float("inf"), "a finite number >= 0, found inf"),
    ],
)
def test_ranges_are_checked_by_name(field, value, message):
    with pytest.raises(InputError, match=f"augment.{field}: expected {message}"):
        augment.build({"name": "simclr_series", field: value})
