"""The loaders on small files in the official formats, and on real CIFAR-10."""

import shutil

import numpy as np
import pytest
from PIL import Image

from kdjax import data
from kdjax.data import dataset as ds
from kdjax.data.soft_labels import write_soft_labels
from kdjax.errors import InputError


def write_batch(path, *, n=40, seed=0):
    """n records, labels 0..9 in turn; returns their planes [n, 3, 32, 32]."""
    records = np.zeros((n, 3073), np.uint8)
    records[:, 0] = np.arange(n) % 10
    planes = records[:, 1:].reshape(n, 3, 32, 32)
    planes[:] = np.random.default_rng(seed).integers(0, 256, planes.shape, np.uint8)
    records.tofile(path)
    return planes


@pytest.fixture
def official(tmp_path):
    root = tmp_path / "cifar10" / "cifar-10-batches-bin"
    root.mkdir(parents=True)
    write_batch(root / "data_batch_1.bin")
    write_batch(root / "data_batch_2.bin", seed=1)
    write_batch(root / "test_batch.bin", n=20, seed=2)
    return root


def load(root, **fields):
    return data.load("cifar10", **{"root": str(root), "seed": 0} | fields)


def test_cifar10(official):
    made = load(official, validation=0.25)
    assert made.name == "CIFAR-10 (100 images)"
    assert [made.classes[k] for k in (0, 9)] == ["airplane", "truck"]
    for split, count in zip(made[2:5], (6, 2, 2), strict=True):
        assert np.bincount(split.y).tolist() == [count] * 10
        assert split.x.dtype == np.float32
    keys = {key for split in made[2:5] for key in split.key}
    assert {"data_batch_1/00000", "data_batch_2/00039", "test_batch/00019"} < keys
    other = load(official, validation=0.25, seed=1)
    np.testing.assert_array_equal(made.test.key, other.test.key)
    assert set(made.validation.key) != set(other.validation.key)
    np.testing.assert_array_equal(load(official.parent).test.x, made.test.x)


def test_cifar10_validates_on_each_image_once(official):
    held = [load(official, folds=5, seed=seed).validation.key for seed in range(5)]
    trained = load(official, folds=5).train.key
    every = np.sort(np.concatenate(held))
    np.testing.assert_array_equal(every, np.sort(np.append(trained, held[0])))


def test_cifar10_swapped(official):
    made, swapped = load(official), load(official, swap=True)
    assert swapped.name == "CIFAR-10 (100 images), training and test images swapped"
    trained = np.sort(np.append(swapped.train.key, swapped.validation.key))
    np.testing.assert_array_equal(trained, made.test.key)
    tested = np.sort(np.append(made.train.key, made.validation.key))
    np.testing.assert_array_equal(swapped.test.key, tested)
    for split in swapped[2:5]:
        rows = {key: i for i, key in enumerate(split.key)}
        for other in made[2:5]:
            for i in np.flatnonzero(np.isin(other.key, split.key)):
                row = rows[other.key[i]]
                np.testing.assert_array_equal(split.x[row], other.x[i])
                assert split.y[row] == other.y[i]


def test_cifar10_planes_become_channels(official):
    planes = write_batch(official / "test_batch.bin", n=20, seed=2)
    x = load(official).test.x
    assert x.shape == (20, 32, 32, 3)
    np.testing.assert_allclose(x[7, 3, 5], planes[7, :, 3, 5] / 255, rtol=1e-6)


def cut(path):
    path.write_bytes(path.read_bytes()[:-5])


def relabel(path):
    path.write_bytes(b"\x0a" + path.read_bytes()[1:])


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("data_batch_2.bin", cut, "records of 3073 bytes, found 122,915 bytes"),
        ("data_batch_1.bin", lambda p: p.write_bytes(b""), "3073 .*, found 0 bytes"),
        ("data_batch_1.bin", relabel, "expected labels 0 to 9, found 10"),
        ("test_batch.bin", lambda p: p.unlink(), "expected this file, found none"),
    ],
)
def test_cifar10_damage_names_the_file(official, name, damage, message):
    damage(official / name)
    with pytest.raises(InputError, match=message) as caught:
        load(official)
    assert name in str(caught.value)


def test_cifar10_elsewhere_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"config.data.root: .*data_batch_1.bin to"):
        load(tmp_path)


def test_real_cifar10(shared_data):
    made = load(shared_data / "cifar10", label_fraction=0.01)
    assert made.name == "CIFAR-10 (12,000 images)"
    assert [len(split.y) for split in made[2:5]] == [9000, 1000, 2000]
    assert np.bincount(made.train.y[made.train.y >= 0]).tolist() == [9] * 10
    assert (made.train.x.min(), made.train.x.max()) == (0.0, 1.0)
    # Natural images are smooth; misread planes are not.
    assert np.abs(np.diff(made.test.x, axis=2)).mean() < 0.06
    swapped = load(shared_data / "cifar10", swap=True)
    assert [len(split.y) for split in swapped[2:5]] == [1800, 200, 10_000]


def load_folder(root, **fields):
    fields = {"root": str(root), "seed": 0, "size": 16, "validation": 0.25} | fields
    return data.load("image_folder", **fields)


def test_image_folder(pets, save_image):
    save_image(pets / "train" / "cat" / "more.PNG")
    (pets / "train" / "cat" / "notes.txt").write_text("not an image")
    made = load_folder(pets)
    assert made.name == "pets (13 images)"
    assert made.classes == ("cat", "dog")
    assert [split.x.shape for split in made[2:5]] == [
        (7, 16, 16, 3),
        (2, 16, 16, 3),
        (4, 16, 16, 3),
    ]
    assert made.test.key.tolist()[:3] == [
        "val/cat/0.jpg",
        "val/cat/1.jpg",
        "val/dog/0.jpg",
    ]
    assert made.test.y.tolist() == [0, 0, 1, 1]
    few = load_folder(pets, labels_per_class=1).train
    assert sorted(few.y.tolist()) == [-1] * 5 + [0, 1]
    assert few.x.read().shape == few.x.shape


def test_nothing_is_decoded_at_load(pets):
    damaged = pets / "train" / "cat" / "0.jpg"
    damaged.write_bytes(b"not a JPEG")
    made = load_folder(pets)
    row = np.flatnonzero(
        np.append(made.train.key, made.validation.key) == "train/cat/0.jpg"
    )
    assert row.size == 1
    both = [e.x for e in (made.train, made.validation)]
    with pytest.raises(InputError, match=r"cat/0.jpg: expected a JPEG or PNG image"):
        [x.read() for x in both]


def test_taking_examples_takes_their_files(pets):
    test = load_folder(pets).test
    taken = ds.take(test, np.array([3, 0]))
    np.testing.assert_array_equal(taken.x.read(), test.x.read()[[3, 0]])
    np.testing.assert_allclose(
        ds.as_float(taken.x[:1])[0], taken.x.read()[0] / 255, rtol=1e-6
    )


def test_test_stands_in_for_val(pets):
    expected = load_folder(pets).test.x.read()
    (pets / "val").rename(pets / "test")
    data.images._list_folders.cache_clear()
    made = load_folder(pets).test
    assert made.key[0] == "test/cat/0.jpg"
    np.testing.assert_array_equal(made.x.read(), expected)


def rename_class(root):
    (root / "val" / "dog").rename(root / "val" / "cow")


def empty_class(root):
    for file in (root / "train" / "dog").iterdir():
        file.unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (rename_class, r"pets/val: expected the classes of train, found 'cow'"),
        (empty_class, r"pets/train/dog: expected images \(.jpeg, .jpg, .png\), found"),
        (lambda root: shutil.rmtree(root / "val"), r"data.root: .* train and val"),
        (lambda root: shutil.rmtree(root / "train"), r"data.root: .* train and val"),
    ],
)
def test_image_folder_names_what_is_wrong(pets, damage, message):
    damage(pets)
    with pytest.raises(InputError, match=message):
        load_folder(pets)


def test_soft_labels_of_files(pets, tmp_path):
    made = load_folder(pets, labels_per_class=1)
    splits = {"train": made.train, "test": made.test}
    path = tmp_path / "soft_labels.npz"
    write_soft_labels(path, lambda x: x.mean((1, 2)), splits, {}, batch_size=4)
    with np.load(path) as table:
        assert table["label"].tolist() == [*made.train.y, *made.test.y]
        expected = ds.as_float(made.test.x).mean((1, 2))
        np.testing.assert_allclose(table["logits"][-4:], expected, rtol=1e-6)


def test_read_image_cuts_the_centre(tmp_path):
    """Three bars of 40 pixels: only the middle one is left, but at its borders."""
    bars = np.zeros((40, 120, 3), np.uint8)
    bars[:, :40, 0] = bars[:, 40:80, 1] = bars[:, 80:, 2] = 255
    for name, array in (("wide", bars), ("tall", bars.transpose(1, 0, 2))):
        path = tmp_path / f"{name}.png"
        Image.fromarray(array).save(path)
        for size in (40, 10, 80):
            image = data.stream.read_image(path, size=size)
            assert image.shape == (size, size, 3)
            assert (image[2:-2, 2:-2] == [0, 255, 0]).all()


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK"])
def test_read_image_makes_rgb_of_other_modes(tmp_path, mode):
    path = tmp_path / ("image.jpg" if mode == "CMYK" else "image.png")
    Image.new("RGB", (9, 9), (102, 102, 102)).convert(mode).save(path)
    image = data.stream.read_image(path, size=9)
    assert image.shape == (9, 9, 3)
    np.testing.assert_allclose(image, 102, atol=3)


def test_read_image_agrees_with_resizing_then_cropping(tmp_path, save_image):
    path = save_image(tmp_path / "image.png", width=200, height=120)
    with Image.open(path) as image:
        whole = np.asarray(image.resize((100, 60), Image.Resampling.BILINEAR))
    made = data.stream.read_image(path, size=60)
    np.testing.assert_allclose(made, whole[:, 20:80].astype(float), atol=1)


@pytest.mark.parametrize("name", ["image.jpg", "image.png"])
def test_truncated_images_are_named(tmp_path, save_image, name):
    path = save_image(tmp_path / name, width=200, height=120)
    whole = path.read_bytes()
    for size in (len(whole) // 2, 20, 0):
        path.write_bytes(whole[:size])
        with pytest.raises(InputError, match=f"{name}: expected a JPEG") as caught:
            data.stream.read_image(path, size=8)
        assert "\n" not in str(caught.value)
