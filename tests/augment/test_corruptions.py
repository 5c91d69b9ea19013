"""Corruptions of images against NumPy, SciPy and Pillow."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from kdjax import augment
from kdjax.errors import InputError

NAMES = ["gaussian_noise", "gaussian_blur", "contrast", "pixelate"]
SEVERITIES = range(1, 6)
N = 4


@functools.cache
def compiled(name, severity):
    return jax.jit(augment.build({"name": name, "severity": severity}))


def by_severity(*constants):
    return list(zip(SEVERITIES, constants, strict=True))


def run(name, severity, x, rng=0):
    keys = augment.example_keys(jax.random.key(rng), jnp.arange(len(x)))
    return np.asarray(compiled(name, severity)(keys, jnp.asarray(x)))


@pytest.fixture(scope="module")
def batch():
    """Smooth waves and noise: what the files of photographs hold."""
    rng = np.random.default_rng(0)
    waves = np.sin(np.linspace(0, 9, 32))[None, :, None, None]
    x = 0.5 + 0.3 * waves + 0.15 * rng.normal(size=(N, 32, 32, 3))
    return np.clip(x, 0, 1).astype(np.float32)


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("name", NAMES)
def test_it_is_an_image_that_differs_more_the_worse_it_is(name, severity, batch):
    made = run(name, severity, batch)
    assert made.shape == batch.shape
    assert made.dtype == np.float32
    assert made.min() >= 0
    assert made.max() <= 1
    change = np.square(made - batch).mean()
    assert change > 0
    if severity > 1:
        assert change > np.square(run(name, severity - 1, batch) - batch).mean()


@pytest.mark.parametrize(("severity", "std"), by_severity(0.04, 0.06, 0.08, 0.09, 0.10))
def test_noise_has_its_spread_and_is_clipped(severity, std):
    grey = np.full((N, 32, 32, 3), 0.5, np.float32)
    drawn = run("gaussian_noise", severity, grey) - 0.5
    assert drawn.mean() == pytest.approx(0, abs=4 * std / drawn.size**0.5)
    assert drawn.std() == pytest.approx(std, rel=0.03)
    channels = drawn.reshape(-1, 3)
    assert abs(np.corrcoef(channels, rowvar=False)[0, 1]) < 0.07
    white = run("gaussian_noise", severity, np.ones_like(grey))
    np.testing.assert_allclose(white, np.minimum(1 + drawn, 1), atol=1e-6)


def test_noise_depends_on_the_key_alone_and_the_others_on_no_key(batch):
    flat = [np.full_like(batch, level) for level in (0.45, 0.55)]
    one, other = (run("gaussian_noise", 1, x) - x for x in flat)
    np.testing.assert_allclose(one, other, atol=1e-6)
    assert (
        run("gaussian_noise", 1, batch, rng=1) != run("gaussian_noise", 1, batch)
    ).any()
    for name in NAMES[1:]:
        np.testing.assert_array_equal(run(name, 3, batch, rng=1), run(name, 3, batch))


@pytest.mark.parametrize(("severity", "sigma"), by_severity(0.4, 0.6, 0.7, 0.8, 1.0))
def test_blur_equals_scipy(severity, sigma, batch):
    """As scikit-image has it: the nearest pixel beyond the border, up to 4 sigma."""
    expected = [
        gaussian_filter(x.astype(np.float64), (sigma, sigma, 0), mode="nearest")
        for x in batch
    ]
    np.testing.assert_allclose(
        run("gaussian_blur", severity, batch), expected, atol=1e-6
    )


@pytest.mark.parametrize(("severity", "factor"), by_severity(0.75, 0.5, 0.4, 0.3, 0.15))
def test_contrast_keeps_the_mean_of_each_channel(severity, factor, batch):
    exact = batch.astype(np.float64)
    mean = exact.mean((1, 2), keepdims=True)
    expected = mean + factor * (exact - mean)
    np.testing.assert_allclose(run("contrast", severity, batch), expected, atol=1e-6)


@pytest.mark.parametrize("shape", [(32, 32), (33, 24)])
@pytest.mark.parametrize(("severity", "size"), by_severity(0.95, 0.9, 0.85, 0.75, 0.65))
def test_pixelate_equals_pillow(severity, size, shape):
    x = np.random.default_rng(1).random((1, *shape, 1)).astype(np.float32)
    h, w = shape
    small = Image.fromarray(x[0, :, :, 0]).resize(
        (int(w * size), int(h * size)), Image.Resampling.BOX
    )
    expected = np.asarray(small.resize((w, h), Image.Resampling.BOX))
    made = run("pixelate", severity, x)[0, :, :, 0]
    np.testing.assert_allclose(made, expected, atol=1e-6)
    assert len(np.unique(made)) <= int(w * size) * int(h * size)


def test_an_image_of_one_pixel_stays():
    x = np.full((1, 1, 1, 3), 0.25, np.float32)
    for name in NAMES[1:]:
        np.testing.assert_allclose(run(name, 5, x), x, atol=1e-7)


@pytest.mark.parametrize("level", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("name", NAMES[1:])
def test_a_flat_image_stays(name, level):
    x = np.full((1, 12, 10, 3), level, np.float32)
    np.testing.assert_allclose(run(name, 5, x), x, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_half_precision_stays(name):
    x = jnp.full((8, 8, 3), 0.5, jnp.bfloat16)
    made = augment.IMAGES[name](jax.random.key(0), x)
    assert made.dtype == jnp.bfloat16
    assert made.shape == x.shape


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("severity", [0, 6, -1, 3.0, True, "3"])
def test_a_severity_outside_1_to_5_is_refused(name, severity):
    message = r"augment.severity: expected an integer in \[1, 5\], found "
    with pytest.raises(InputError, match=message):
        augment.build({"name": name, "severity": severity})


@pytest.mark.parametrize("severity", [0, 6, -1])
@pytest.mark.parametrize("name", NAMES)
def test_a_direct_call_with_another_severity_is_refused(name, severity):
    x = jnp.zeros((4, 4, 3))
    with pytest.raises(ValueError, match=f"expected 1 to 5, found {severity}"):
        augment.IMAGES[name](jax.random.key(0), x, severity=severity)


def test_series_are_not_images():
    with pytest.raises(ValueError, match=r"contrast takes \[n, h, w, channels\]"):
        run("contrast", 3, np.zeros((2, 8, 3), np.float32))
