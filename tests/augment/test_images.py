import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdjax import augment
from kdjax.augment import images
from kdjax.errors import InputError

NAMES = [
    "blur",
    "color_jitter",
    "flip",
    "grayscale",
    "random_resized_crop",
    "simclr_image",
]
N, SIDE = 200, 12
ALWAYS = {"probability": 1.0}


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
    return jax.random.uniform(jax.random.key(1), (N, SIDE, SIDE, 3))


def luma(x):
    return np.asarray(x) @ np.array([0.299, 0.587, 0.114], np.float32)


@pytest.mark.parametrize("name", NAMES)
def test_view_is_an_image_made_by_its_key(name, keys, batch):
    made = run(keys, batch, name)
    assert made.shape == batch.shape
    assert made.dtype == np.float32
    assert made.min() >= 0
    assert made.max() <= 1
    np.testing.assert_array_equal(run(keys, batch, name), made)
    assert (run(keys[::-1], batch, name) != made).any()


@pytest.mark.parametrize("name", NAMES)
def test_compiled_batch_equals_one_by_one(name, keys, batch):
    one = augment.AUGMENTATIONS[name]
    each = [one(k, x) for k, x in zip(keys[:2], batch[:2], strict=True)]
    made = run(keys, batch, name)[:2]
    np.testing.assert_allclose(made, jnp.stack(each), atol=2e-6)


@pytest.mark.parametrize(
    ("name", "ranges"),
    [
        ("blur", {"probability": 0}),
        ("color_jitter", {"strength": 0, "probability": 1}),
        ("color_jitter", {"probability": 0.0}),
        ("flip", {"probability": 0.0}),
        ("grayscale", {"probability": 0.0}),
        (
            "simclr_image",
            {"flip": 0, "jitter": 0, "grayscale": 0, "blur": 0, "min_area": 1},
        ),
    ],
)
def test_nothing_changes_at_zero(name, ranges, keys, batch):
    # A whole square may still be cut to nothing but itself: area 1 has one aspect.
    np.testing.assert_allclose(run(keys, batch, name, **ranges), batch, atol=2e-6)


@pytest.mark.parametrize("name", ["flip", "color_jitter", "grayscale", "blur"])
def test_probability_holds_in_the_mean(name, keys, batch):
    changed = (run(keys, batch, name, probability=0.3) != batch).any((1, 2, 3))
    assert changed.mean() == pytest.approx(0.3, abs=4 * (0.21 / N) ** 0.5)


def test_crop_of_a_ramp_is_a_flatter_ramp(keys):
    # One channel rises down the image, one to the right; h and w differ.
    h, w = 16, 24
    down, right = np.meshgrid(np.arange(h) / h, np.arange(w) / w, indexing="ij")
    x = jnp.asarray(np.stack([down, right], -1), jnp.float32)
    made = run(keys, jnp.broadcast_to(x, (N, *x.shape)), "random_resized_crop")
    np.testing.assert_allclose(made[:, :, :1, 0] - made[:, :, :, 0], 0, atol=1e-5)
    np.testing.assert_allclose(made[:, :1, :, 1] - made[:, :, :, 1], 0, atol=1e-5)
    # The middle, away from where the border is held.
    height = np.diff(made[:, :, 0, 0], axis=1)[:, h // 2] * h
    width = np.diff(made[:, 0, :, 1], axis=1)[:, w // 2] * w
    area, aspect = height * width, width * w / (height * h)
    assert area.min() > 0.08 - 1e-3
    assert area.max() < 1 + 1e-3
    assert area.mean() == pytest.approx(0.54, abs=4 * 0.27 / N**0.5)
    assert (aspect[area < 0.5] > 0.74).all()
    assert (aspect[area < 0.5] < 1.35).all()
    assert np.log(aspect[area < 0.5]).mean() == pytest.approx(0, abs=0.08)


def test_crop_agrees_with_jax_image(keys, batch):
    start, size = np.float32([0.2, 0.1]), np.float32([0.5, 0.75])
    rows, columns = (
        images._resize_weights(jnp.asarray(a), jnp.asarray(b), SIDE)
        for a, b in zip(start, size, strict=True)
    )
    made = jnp.einsum("ih,jw,hwc->ijc", rows, columns, batch[0])
    expected = jax.image.scale_and_translate(
        batch[0], batch[0].shape, (0, 1), 1 / size, -start * SIDE / size, "linear"
    )
    np.testing.assert_allclose(made, expected, atol=1e-5)


def test_flip_reverses_columns(keys, batch):
    made = run(keys, batch, "flip", **ALWAYS)
    np.testing.assert_array_equal(made, batch[:, :, ::-1])


def test_gray_is_luma_in_all_channels(keys, batch):
    made = run(keys, batch, "grayscale", **ALWAYS)
    np.testing.assert_allclose(made, luma(batch)[..., None].repeat(3, -1), atol=1e-6)


def test_jitter_moves_color_and_light(keys):
    gray = jnp.full((N, 4, 4, 3), 0.4)
    light = run(keys, gray, "color_jitter", strength=0.5, **ALWAYS)
    # A gray pixel has no chroma to move, a flat image no contrast: brightness is left.
    np.testing.assert_allclose(light, light[..., :1].repeat(3, -1), atol=1e-5)
    factor = light[:, 0, 0, 0] / 0.4
    assert factor.min() == pytest.approx(0.6, abs=0.03)
    assert factor.max() == pytest.approx(1.4, abs=0.03)


@settings(max_examples=10, deadline=None)
@given(angle=st.floats(-3, 3, width=32), saturation=st.floats(0, 2, width=32))
def test_hue_and_saturation_keep_luma_and_gray(angle, saturation):
    # Colours near gray, so that nothing is clipped.
    x = 0.5 + 0.1 * (jax.random.uniform(jax.random.key(2), (5, 5, 3)) - 0.5)
    made = images._saturate_and_turn(x, jnp.float32(saturation), jnp.float32(angle))
    np.testing.assert_allclose(luma(made), luma(x), atol=1e-5)
    back = images._saturate_and_turn(made, jnp.float32(1), jnp.float32(-angle))
    expected = luma(x)[..., None] + saturation * (x - luma(x)[..., None])
    np.testing.assert_allclose(back, expected, atol=1e-5)


def test_blur_spreads_a_point_and_keeps_the_sum(keys):
    x = jnp.zeros((N, 60, 60, 1)).at[:, 30, 30].set(1)
    made = run(keys, x, "blur", **ALWAYS)
    np.testing.assert_allclose(made.sum((1, 2, 3)), 1, rtol=1e-5)
    assert (made[:, 27:34, 27:34] > 0)[:, :, :, 0].any(0).all()
    assert made[:, :27].max() == 0, "a kernel of 10 %: 3 pixels to each side"
    np.testing.assert_allclose(made, made.transpose(0, 2, 1, 3), atol=1e-6)
    flat = run(keys, jnp.full((N, 8, 8, 1), 0.7), "blur", **ALWAYS)
    np.testing.assert_allclose(flat, 0.7, rtol=1e-5)


def test_one_channel_is_jittered_in_light_alone(keys, batch):
    gray = batch[:, :8, :8, :1]
    off = {"flip": 0, "blur": 0, "min_area": 1}
    made = run(keys, gray, "simclr_image", jitter=1, grayscale=1, **off)
    assert made.shape == gray.shape
    assert (made != gray).any((1, 2, 3)).all()
    same = run(keys, gray, "simclr_image", jitter=0, grayscale=1, **off)
    np.testing.assert_allclose(same, gray, atol=2e-6)


@pytest.mark.parametrize("name", ["color_jitter", "grayscale", "simclr_image"])
def test_colors_need_three_channels(name, batch):
    with pytest.raises(ValueError, match=rf"{name}: expected .* found \(12, 12, 2\)"):
        augment.AUGMENTATIONS[name](jax.random.key(0), batch[0, :, :, :2])


@pytest.mark.parametrize(
    ("field", "value"),
    [("flip", 1.5), ("blur", -0.1), ("min_area", 2), ("jitter", True)],
)
def test_ranges_are_checked_by_name(field, value):
    with pytest.raises(
        InputError, match=rf"augment.{field}: .* a number in \[0, 1\], found"
    ):
        augment.build({"name": "simclr_image", field: value})
    augment.build({"name": "simclr_image", "strength": 2})
