"""Datasets: the arrays that every loader returns, how they are split and checked.

Everything here is NumPy. Whatever is drawn is a pure function of the seed given.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kdjax.checks import integer, number, one_of
from kdjax.data.preprocessing import Step, scaled
from kdjax.data.stream import ImageFiles
from kdjax.errors import InputError

SPLITS = ("train", "validation", "test")

# What a seed is used for: each purpose has its own stream of random numbers.
HOLD_OUT, PER_CLASS, FRACTION, CONTROL = range(4)

# A test set is drawn once, so that it is the same one for every seed.
TEST_SEED = 0

MOST_MADE = 2**26  # 256 MiB in float32
# The label of a training example whose own is not to be used.
UNLABELLED = -1


class Examples(NamedTuple):
    """Examples in a fixed order.

    `x` float32 [n, time, channels], [n, h, w, channels] or [n, features], or, where the
    images stay in their files, `ImageFiles`, uint8 [n, size, size, 3];
    `y` int32 [n], 0..C-1, or in training `UNLABELLED`, -1, if few labels are asked for;
    `group` int32 [n], the subject (without subjects, each example is its own group);
    `key` str [n], unique within the dataset and the same in every run.
    """

    x: NDArray[Any] | ImageFiles
    y: NDArray[np.int32]
    group: NDArray[np.int32]
    key: NDArray[np.str_]


class Dataset(NamedTuple):
    """Three splits that share no group; `name` is for people, as in a report.

    `preprocessing`: the steps of `kdjax.data.preprocessing` that were applied, and must
    be to raw examples. `channels`: their names, where they have some. `loader`: whose
    keys these are. `content`: of train, validation and test, what each example is
    whatever its key, where keys say nothing about another file's. `counts`: of each
    file that was read row by row, {"file": its name, what: how many rows}.
    """

    name: str
    classes: tuple[str, ...]
    train: Examples
    validation: Examples
    test: Examples
    synthetic: bool
    preprocessing: tuple[Step, ...] = ()
    channels: tuple[str, ...] = ()
    loader: str = ""
    content: tuple[NDArray[Any], ...] | None = None
    counts: tuple[Mapping[str, Any], ...] = ()
    intervals: tuple[NDArray[np.float32], ...] | None = None


def take(examples: Examples, index: NDArray[np.integer]) -> Examples:
    """The examples at `index`, in its order."""
    x, y, group, key = examples
    return Examples(x[index], y[index], group[index], key[index])


def train_on(dataset: Dataset, rows: NDArray[np.intp]) -> Dataset:
    """The dataset with these rows of its training split alone."""

    def cut(parts: tuple[NDArray[Any], ...] | None) -> tuple[NDArray[Any], ...] | None:
        return parts and (parts[0][rows], *parts[1:])

    return dataset._replace(
        train=take(dataset.train, rows),
        content=cut(dataset.content),
        intervals=cut(dataset.intervals),
    )


def normals(examples: Examples) -> NDArray[np.intp]:
    """The rows of class 0, the normal one where there are anomalies."""
    return np.flatnonzero(examples.y == 0)


def learn_normal(dataset: Dataset, normal: str, *, where: str) -> Dataset:
    """The dataset with the class `normal` first, and it alone to train on.

    The other classes keep their order. InputError that names the field `where` if there
    is no such class, or no training example of it.
    """
    one_of(normal, dataset.classes, where=where)
    order = sorted(dataset.classes, key=lambda name: name != normal)
    place = np.array([order.index(name) for name in dataset.classes], np.int32)
    splits = {name: getattr(dataset, name) for name in SPLITS}
    splits = {name: part._replace(y=place[part.y]) for name, part in splits.items()}
    dataset = dataset._replace(classes=tuple(order), **splits)
    rows = normals(dataset.train)
    if not len(rows):
        raise InputError(f"{where}: expected training examples of {normal!r}, found 0")
    return train_on(dataset, rows)


def as_float(x: NDArray[Any] | ImageFiles) -> NDArray[np.float32]:
    """`x` as an array float32: files are read, uint8 pixels become 0 to 1."""
    array: NDArray[Any] = x.read() if isinstance(x, ImageFiles) else x
    if array.dtype == np.uint8:
        array = array / np.float32(255)
    return array


def digests(x: NDArray[np.float32]) -> NDArray:
    """What each example is, by its numbers: 16 hexadecimal digits."""
    found = (hashlib.blake2b(example.tobytes(), digest_size=8) for example in x)
    return np.array([digest.hexdigest() for digest in found], np.str_)


def concatenate(parts: list[Examples]) -> Examples:
    """The examples of all parts, in order."""
    return Examples(*(np.concatenate(fields) for fields in zip(*parts, strict=True)))


def hold_out_groups(
    group: NDArray[np.int32],
    *,
    count: int,
    seed: int,
    where: str,
    y: NDArray[np.int32] | None = None,
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Draws `count` whole groups by `seed`: the indices of the others, and of theirs.

    With labels `y`, only groups of two classes or more are drawn: a subject who did one
    activity says little about a model. At least one group stays. Raises an InputError
    that names the field `where` if there are too few.
    """
    names = np.unique(group)
    drawable = names
    if y is not None:
        drawable = np.array([g for g in names if np.ptp(y[group == g]) > 0], np.int32)
    limit = min(len(drawable), len(names) - 1)
    if limit < 1:
        expected = "two groups" if y is None else "a group of two classes"
        raise InputError(
            f"{where}: expected {expected} to draw from, found {len(drawable)}"
        )
    integer(count, low=1, high=limit, where=where)
    rng = np.random.default_rng([seed, HOLD_OUT])
    held = np.isin(group, rng.choice(drawable, size=count, replace=False))
    return np.flatnonzero(~held), np.flatnonzero(held)


def hold_out_stratified(
    y: NDArray[np.int32], *, fraction: float, seed: int, where: str
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Draws `fraction` of each class by `seed`: the indices of the others, and of it.

    Rounded to whole examples; a class of two or more has at least one on either side,
    a class of one stays with the others.
    """
    number(fraction, low=0, high=1, where=where)
    rng = np.random.default_rng([seed, HOLD_OUT])
    held = np.zeros(len(y), bool)
    for label in np.unique(y):
        members = rng.permutation(np.flatnonzero(y == label))
        count = round(fraction * len(members))
        held[members[: min(max(count, 1), len(members) - 1)]] = True
    return np.flatnonzero(~held), np.flatnonzero(held)


def hold_out_fold(
    y: NDArray[np.int32], *, folds: int, seed: int, where: str
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Holds out one of so many folds, the seed's: the indices of the others, and of it.

    The examples are dealt out to the folds in turn, class by class and in their order,
    so that the folds are the same for all seeds; held out is `seed % folds`. Seeds 0 to
    folds - 1 hold out each example once. InputError: fewer examples than folds.
    """
    integer(folds, low=2, high=max(2, len(y)), where=where)
    fold = np.empty(len(y), np.int64)
    fold[np.argsort(y, kind="stable")] = np.arange(len(y)) % folds
    held = fold == seed % folds
    return np.flatnonzero(~held), np.flatnonzero(held)


def draw_per_class(
    y: NDArray[np.int32], *, count: int, seed: int, where: str
) -> NDArray[np.intp]:
    """Indices of `count` examples of each class, drawn by `seed`, in rising order."""
    labels, available = np.unique(y, return_counts=True)
    integer(count, low=1, high=int(available.min(initial=len(y))), where=where)
    rng = np.random.default_rng([seed, PER_CLASS])
    drawn = [
        rng.choice(np.flatnonzero(y == label), size=count, replace=False)
        for label in labels
    ]
    return np.sort(np.concatenate(drawn))


def draw_fraction(
    y: NDArray[np.int32], *, fraction: float | int, seed: int, where: str
) -> NDArray[np.intp]:
    """Indices of `fraction` of each class, drawn by `seed`, in rising order.

    Rounded to whole examples, at least one of each class. A smaller fraction's are
    among a larger one's of the same seed. 0 is refused.
    """
    number(fraction, above=0, high=1, where=where)
    rng = np.random.default_rng([seed, FRACTION])
    drawn = []
    for label in np.unique(y):
        members = rng.permutation(np.flatnonzero(y == label))
        drawn.append(members[: max(1, round(fraction * len(members)))])
    return np.sort(np.concatenate(drawn))


def draw_groups(
    group: NDArray[np.int32], *, count: int, seed: int, where: str
) -> NDArray[np.intp]:
    """The rows of `count` groups, drawn by `seed`; those of fewer are among them."""
    groups = np.unique(group)
    integer(count, low=1, high=len(groups), where=where)
    drawn = np.random.default_rng(seed).permutation(groups)[:count]
    return np.flatnonzero(np.isin(group, drawn))


def keep_labels(train: Examples, index: NDArray[np.integer]) -> Examples:
    """The same examples, all but those at `index` `UNLABELLED`."""
    y = np.full_like(train.y, UNLABELLED)
    y[index] = train.y[index]
    return train._replace(y=y)


def standardise(dataset: Dataset) -> Dataset:
    """(x - mean) / std per channel (last axis), both of the training split alone.

    A channel that is constant there is only centred. InputError for a channel with so
    large a value that scaling by it leaves the others alike: the middle half of its
    values, if not the same, lies within 1e-6 std.
    """
    train = as_float(dataset.train.x)
    axes = tuple(range(train.ndim - 1))
    mean = train.mean(axis=axes, dtype=np.float64).astype(np.float32)
    with np.errstate(over="ignore"):
        square = np.square(train - mean).mean(axis=axes, dtype=np.float64)
    for channel in np.flatnonzero(np.isinf(square)):
        x = train[..., channel].astype(np.float64)
        square[channel] = np.square(x - mean[channel]).mean()
    std = np.where(square > 0, np.sqrt(square), 1).astype(np.float32)
    _check_scale(dataset, train, std)

    step = {"name": "standardise", "mean": mean.tolist(), "std": std.tolist()}

    def scale(examples: Examples) -> Examples:
        return examples._replace(x=scaled(as_float(examples.x), step))

    return dataset._replace(
        train=scale(dataset.train),
        validation=scale(dataset.validation),
        test=scale(dataset.test),
        preprocessing=(*dataset.preprocessing, step),
    )


def _check_scale(
    dataset: Dataset, train: NDArray[np.float32], std: NDArray[np.float32]
) -> None:
    """The InputError of `standardise`; the middle half is that of 10,000 values."""
    values = train.reshape(-1, train.shape[-1])
    some = values[:: max(1, len(values) // 10_000)].astype(np.float64)
    low, high = np.quantile(some, (0.25, 0.75), axis=0)
    for channel in np.flatnonzero((low < high) & (high - low < 1e-6 * std)):
        row = int(np.argmax(abs(values[:, channel])))
        key = str(dataset.train.key[row // (len(values) // len(train))])
        raise InputError(
            f"{dataset.name}: train x: channel {channel}: expected values of one "
            f"scale, found {values[row, channel]:g} in {key!r} where half "
            f"are {low[channel]:g} to {high[channel]:g}"
        )


def check(dataset: Dataset, *, where: str, one_class: tuple[str, ...] = ()) -> Dataset:
    """The dataset, if it can be trained on; else an InputError that names `where`.

    Refused: an empty split, a split of one class unless `one_class` names it, labels
    outside 0..C-1, NaN or Inf, arrays that disagree in length or splits in shape, a key
    used twice, a group in two splits. Images in files are not read.
    """
    splits = dataset.train, dataset.validation, dataset.test
    for split, examples in zip(SPLITS, splits, strict=True):
        label = f"{where}: {split}"
        _check_split(examples, dataset.classes, where=label)
        if split not in one_class:
            _check_two_classes(examples.y, dataset.classes, where=label)
        expected, found = dataset.train.x.shape[1:], examples.x.shape[1:]
        if found != expected:
            raise InputError(
                f"{where}: {split} x: expected {expected} an example, as in train, "
                f"found {found}"
            )
    keys = np.concatenate([examples.key for examples in splits])
    check_once(keys, "unique keys", where=f"{where}: key")
    for one, other in ((0, 1), (0, 2), (1, 2)):
        shared = np.intersect1d(splits[one].group, splits[other].group)
        if shared.size:
            raise InputError(
                f"{where}: group: expected each group in one split, found group "
                f"{shared[0]} in both {SPLITS[one]} and {SPLITS[other]}"
            )
    return dataset


def check_made(values: int) -> None:
    """InputError where synthetic data would be more numbers than anyone means."""
    integer(values, high=MOST_MADE, where="config.data: numbers to be made in all")


def check_once(key: NDArray[Any], expected: str, *, where: str) -> None:
    """InputError that names the first key that stands twice or more."""
    known, uses = np.unique(key, return_counts=True)
    if (uses > 1).any():
        raise InputError(
            f"{where}: expected {expected}, found {str(known[uses > 1][0])!r} "
            f"{uses.max()} times"
        )


def rows_of(stored: NDArray[Any], key: NDArray[Any], *, where: str) -> NDArray[np.intp]:
    """The rows of a file whose keys are `stored` that hold `key`, in its order.

    InputError: a stored key twice, or one of `key` that is not there.
    """
    check_once(stored, "each once", where=where)
    absent = ~np.isin(key, stored)
    if absent.any():
        raise InputError(
            f"{where}: expected every example, found none for {absent.sum()} of "
            f"{len(absent)}, such as {str(key[absent][0])!r}"
        )
    order = np.argsort(stored)
    rows: NDArray[np.intp] = order[np.searchsorted(stored[order], key)]
    return rows


def _check_split(examples: Examples, classes: tuple[str, ...], *, where: str) -> None:
    x, y, group, key = examples
    for name, field in (("y", y), ("group", group), ("key", key)):
        if field.shape != x.shape[:1]:
            raise InputError(
                f"{where} {name}: expected {x.shape[:1]}, one for each example of x "
                f"{x.shape}, found {field.shape}"
            )
    if not len(x):
        raise InputError(f"{where}: expected examples, found none")
    if y.min() < 0 or y.max() >= len(classes):
        raise InputError(
            f"{where} y: expected labels 0 to {len(classes) - 1}, "
            f"found {y.min()} to {y.max()}"
        )
    if isinstance(x, ImageFiles):
        return
    bad = ~np.isfinite(x).all(axis=tuple(range(1, x.ndim)))
    if bad.any():
        raise InputError(
            f"{where} x: expected finite values, found NaN or Inf in {bad.sum()} of "
            f"{len(x)} examples, first in {str(key[bad][0])!r}"
        )


def _check_two_classes(
    y: NDArray[np.int32], classes: tuple[str, ...], *, where: str
) -> None:
    if y.min() == y.max():
        raise InputError(
            f"{where} y: expected two classes or more, found {classes[y[0]]!r} alone"
        )


def epoch_order(n: int, *, seed: int, epoch: int, stream: int = 0) -> NDArray[np.int32]:
    """A permutation of 0..n-1: a pure function of (n, seed, epoch, stream)."""
    entropy = [seed, epoch, stream] if stream else [seed, epoch]
    bits = np.random.Philox(np.random.SeedSequence(entropy))
    return np.random.Generator(bits).permutation(n).astype(np.int32)


def index_batches(
    n: int,
    batch_size: int,
    *,
    order: NDArray[np.integer] | None = None,
    drop_remainder: bool = False,
) -> Iterator[dict[str, NDArray]]:
    """Batches of n examples: {"index": int32 [B], "mask": float32 [B]}, B = batch_size.

    In `order`, else 0..n-1. A ragged last batch is dropped, or padded with index 0 and
    mask 0. Raises an InputError if dropping would leave no batch.
    """
    most = n if drop_remainder else 2**31 - 1
    integer(batch_size, low=1, high=most, where="batch_size")
    order = np.arange(n) if order is None else order
    if order.shape != (n,):
        raise ValueError(f"order: expected ({n},), found {order.shape}")
    for start in range(0, n, batch_size):
        part = order[start : start + batch_size]
        if drop_remainder and len(part) < batch_size:
            return
        index = np.zeros(batch_size, np.int32)
        index[: len(part)] = part
        mask = (np.arange(batch_size) < len(part)).astype(np.float32)
        yield {"index": index, "mask": mask}
