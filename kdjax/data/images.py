"""Image datasets read from their official files: CIFAR-10, and folders of classes."""

from __future__ import annotations

import functools
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kdjax import files
from kdjax.checks import boolean, integer
from kdjax.data.dataset import (
    Dataset,
    Examples,
    check,
    concatenate,
    hold_out_fold,
    hold_out_stratified,
    take,
)
from kdjax.data.preprocessing import scaled
from kdjax.data.stream import ImageFiles
from kdjax.errors import InputError

CIFAR10_FOLDER = "cifar-10-batches-bin"
CIFAR10_CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
CIFAR10_RECORD = 1 + 3 * 32 * 32
CIFAR10_OFFICIAL = (50_000, 10_000)

SUFFIXES = (".jpeg", ".jpg", ".png")
RGB = ("red", "green", "blue")
PIXELS = ({"name": "divide", "by": 255},)


def cifar10(
    *,
    root: str,
    seed: int,
    validation: float = 0.1,
    swap: bool = False,
    folds: int | None = None,
) -> Dataset:
    """CIFAR-10 in its binary layout: 10 classes, [32, 32, 3], RGB in [0, 1].

    `root` is the official folder or its parent. Training: those of data_batch_1.bin to
    data_batch_5.bin that are there. Test: test_batch.bin. Validation: that fraction of
    each class of training, drawn by `seed`; or with `folds` one of so many folds, that
    of the seed, so that seeds 0 to folds - 1 validate on each image once. Not
    standardised.

    `swap` trains on test_batch.bin and tests on data_batch_*.bin, keys unchanged:
    CIFAR-10H has people's votes for the former alone. The name says so.

    The files are read once in a process. Krizhevsky 2009.
    """
    recorded, test = read_cifar10(root)
    sizes = len(recorded.y), len(test.y)
    name = "CIFAR-10"
    if sizes != CIFAR10_OFFICIAL:
        name += f" ({sum(sizes):,} images)"
    if boolean(swap, where="config.data.swap"):
        name += ", training and test images swapped"
        recorded, test = test, recorded
    if folds is None:
        rest, held = hold_out_stratified(
            recorded.y, fraction=validation, seed=seed, where="config.data.validation"
        )
    else:
        where = "config.data.folds"
        rest, held = hold_out_fold(recorded.y, folds=folds, seed=seed, where=where)
    dataset = Dataset(
        name=name,
        classes=CIFAR10_CLASSES,
        train=_scaled(take(recorded, rest)),
        validation=_scaled(take(recorded, held)),
        test=_scaled(test),
        synthetic=False,
        preprocessing=PIXELS,
        channels=RGB,
    )
    return check(dataset, where=root)


def image_folder(
    *, root: str, seed: int, size: int = 224, validation: float = 0.01
) -> Dataset:
    """ImageNet's layout: train/<class>/*.{jpeg,jpg,png}, and val/ (or test/) likewise.

    The classes are train's folders, sorted. Test: val/, or test/ if there is none.
    Validation: that fraction of each class of train/, drawn by `seed`. `x` is an
    `ImageFiles` of `size` x `size` pixels: nothing is decoded here, and the folders are
    listed once in a process.

    Every image is the same centre square in training, too: what an augmentation crops
    is cut out of it and enlarged. SimCLR and supervised ImageNet recipes crop the whole
    image before they resize it.
    """
    integer(size, low=1, high=2**14, where="config.data.size")
    folder = files.local(root, where="config.data.root").resolve()
    classes, recorded, test = _list_folders(folder, size)
    rest, held = hold_out_stratified(
        recorded.y, fraction=validation, seed=seed, where="config.data.validation"
    )
    dataset = Dataset(
        name=f"{folder.name} ({len(recorded.y) + len(test.y):,} images)",
        classes=classes,
        train=take(recorded, rest),
        validation=take(recorded, held),
        test=test,
        synthetic=False,
        preprocessing=PIXELS,
        channels=RGB,
    )
    return check(dataset, where=root)


def _scaled(examples: Examples) -> Examples:
    assert not isinstance(examples.x, ImageFiles)
    return examples._replace(x=scaled(examples.x, *PIXELS))


def _own_groups(train: Examples, test: Examples) -> tuple[Examples, Examples]:
    """Each image is its own group, over both splits."""
    group = np.arange(len(train.y) + len(test.y), dtype=np.int32)
    own, others = np.split(group, [len(train.y)])
    return train._replace(group=own), test._replace(group=others)


def read_cifar10(root: str | Path) -> tuple[Examples, Examples]:
    """The examples of data_batch_*.bin and of test_batch.bin, `x` uint8, as in files.

    Keys are "test_batch/00012": the file's name and the row, from 0. Read once in a
    process. InputError: no such files, or damaged ones.
    """
    return _read_cifar10(files.local(root, where="config.data.root").resolve())


@functools.lru_cache(maxsize=1)
def _read_cifar10(root: Path) -> tuple[Examples, Examples]:
    for folder in (root, root / CIFAR10_FOLDER):
        files = sorted(folder.glob("data_batch_[1-5].bin"))
        if files:
            train = concatenate([_read_cifar10_file(file) for file in files])
            return _own_groups(train, _read_cifar10_file(folder / "test_batch.bin"))
    raise InputError(
        f"config.data.root: expected {CIFAR10_FOLDER}/data_batch_1.bin to "
        f"data_batch_5.bin, found none at {str(root)!r}"
    )


def _read_cifar10_file(path: Path) -> Examples:
    """Records of a label and three planes of 32 x 32: `x` uint8, `group` all zero."""
    try:
        content = np.fromfile(path, np.uint8)
    except FileNotFoundError:
        raise InputError(f"{path}: expected this file, found none") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error})") from error
    if not content.size or content.size % CIFAR10_RECORD:
        raise InputError(
            f"{path}: expected records of {CIFAR10_RECORD} bytes, "
            f"found {content.size:,} bytes"
        )
    records = content.reshape(-1, CIFAR10_RECORD)
    y = records[:, 0].astype(np.int32)
    if y.max() >= len(CIFAR10_CLASSES):
        raise InputError(f"{path}: expected labels 0 to 9, found {y.max()}")
    planes = records[:, 1:].reshape(-1, 3, 32, 32)
    return Examples(
        x=np.ascontiguousarray(planes.transpose(0, 2, 3, 1)),
        y=y,
        group=np.zeros(len(y), np.int32),
        key=np.array([f"{path.stem}/{row:05d}" for row in range(len(y))]),
    )


@functools.lru_cache(maxsize=1)
def _list_folders(root: Path, size: int) -> tuple[tuple[str, ...], Examples, Examples]:
    parts = [name for name in ("val", "test") if (root / name).is_dir()]
    if not (root / "train").is_dir() or not parts:
        raise InputError(
            "config.data.root: expected the folders train and val (or test), "
            f"found not both at {str(root)!r}"
        )
    classes, other = _class_folders(root / "train"), _class_folders(root / parts[0])
    if other != classes:
        name = sorted(set(classes).symmetric_difference(other))[0]
        raise InputError(
            f"{root / parts[0]}: expected the classes of train, found {name!r} in one "
            "of them alone"
        )
    train = _list_images(root, "train", classes, size)
    test = _list_images(root, parts[0], classes, size)
    return classes, *_own_groups(train, test)


def _class_folders(folder: Path) -> tuple[str, ...]:
    return tuple(
        sorted(
            entry.name
            for entry in folder.iterdir()
            if entry.is_dir() and not entry.name.startswith(".")
        )
    )


def _list_images(
    root: Path, part: str, classes: tuple[str, ...], size: int
) -> Examples:
    names: list[str] = []
    counts = []
    for label in classes:
        found = [
            f"{part}/{label}/{name}"
            for name in sorted(os.listdir(root / part / label))
            if name.lower().endswith(SUFFIXES) and not name.startswith(".")
        ]
        if not found:
            raise InputError(
                f"{root / part / label}: expected images ({', '.join(SUFFIXES)}), "
                "found none"
            )
        names += found
        counts.append(len(found))
    key: NDArray[np.str_] = np.array(names, np.str_)
    return Examples(
        x=ImageFiles(root, key, size),
        y=np.repeat(np.arange(len(classes), dtype=np.int32), counts),
        group=np.zeros(len(key), np.int32),
        key=key,
    )
