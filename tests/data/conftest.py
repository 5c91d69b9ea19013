"""Image files for the tests of loaders and streams."""

import numpy as np
import pytest
from PIL import Image


def _save(path, *, width=40, height=30, seed=0):
    """Smooth coloured noise, in the format of `path`'s suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), np.uint8)
    image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    image.save(path)
    return path


@pytest.fixture
def save_image():
    return _save


@pytest.fixture
def pets(tmp_path):
    """ImageNet's layout: 2 classes of 4 images in train/ and 2 in val/."""
    for part, count in (("train", 4), ("val", 2)):
        for c, label in enumerate(("cat", "dog")):
            for n in range(count):
                _save(tmp_path / "pets" / part / label / f"{n}.jpg", seed=100 * c + n)
    return tmp_path / "pets"
