"""Data without a folder layout: scikit-learn's digits, and arrays of one's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kdjax import archives, files
from kdjax.checks import number
from kdjax.data.dataset import (
    SPLITS,
    TEST_SEED,
    Dataset,
    Examples,
    as_float,
    check,
    digests,
    hold_out_groups,
    hold_out_stratified,
    standardise,
    take,
)
from kdjax.data.preprocessing import scaled
from kdjax.errors import InputError

DIGITS_TEST = 1 / 3
SIXTEENTHS = {"name": "divide", "by": 16}


def digits(*, seed: int, validation: float = 0.2) -> Dataset:
    """scikit-learn's 1,797 digits, [8, 8, 1]: pixels / 16, in [0, 1].

    Test: a third of each class, the same for every seed. Validation: that fraction of
    each class of the rest, drawn by `seed`. Alpaydin & Kaynak 1998 (UCI).
    """
    # Imported here: it takes a second, and only this loader needs it.
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    examples = Examples(
        x=scaled(images, SIXTEENTHS).reshape(-1, 8, 8, 1),
        y=labels.astype(np.int32),
        group=np.arange(len(labels), dtype=np.int32),
        key=np.array([f"{row:04d}" for row in range(len(labels))]),
    )
    rest, test = hold_out_stratified(
        examples.y, fraction=DIGITS_TEST, seed=TEST_SEED, where="test"
    )
    pool = take(examples, rest)
    train, held = hold_out_stratified(
        pool.y, fraction=validation, seed=seed, where="config.data.validation"
    )
    dataset = Dataset(
        name="digits",
        classes=tuple(str(digit) for digit in range(10)),
        train=take(pool, train),
        validation=take(pool, held),
        test=take(examples, test),
        synthetic=False,
        preprocessing=(SIXTEENTHS,),
    )
    return check(dataset, where="digits")


def arrays(
    *,
    path: str,
    seed: int,
    validation: float = 0.2,
    test: float = 0.2,
    scale: bool = True,
) -> Dataset:
    """One's own .npz file (nothing in it is unpickled).

    Arrays: `x` [n, ...] numbers, channels last; `y` [n] integers 0..C-1, each present.
    Optional: `group` [n] (subject, integers or strings), `key` [n] (unique),
    `classes` [C] (names), `split` [n] ("train", "validation", "test").

    With `split`, it decides, and the field `test` is not used; if it has no
    "validation", that is drawn from "train". Without `split`, the test set is drawn
    once for all seeds, validation by `seed`. Both are fractions: of the groups, whole
    ones, if there are groups, else of each class; at least one is drawn. `scale`
    standardises. Raises an InputError that names the array.
    """
    table = _read_npz(files.local(path, where="config.data.path"))
    examples, classes = _examples(table, where=path)
    content = digests(as_float(examples.x))
    grouped = "group" in table
    if "split" in table:
        index = _given_splits(table["split"], len(examples.y), where=path)
    else:
        rest, held = _hold_out(examples, grouped, test, TEST_SEED, "config.data.test")
        index = {"train": rest, "test": held}
    if "validation" not in index:
        pool = index["train"]
        rest, held = _hold_out(
            take(examples, pool), grouped, validation, seed, "config.data.validation"
        )
        index |= {"train": pool[rest], "validation": pool[held]}
    dataset = Dataset(
        name=Path(path).stem,
        classes=classes,
        train=take(examples, index["train"]),
        validation=take(examples, index["validation"]),
        test=take(examples, index["test"]),
        synthetic=False,
        content=tuple(content[index[split]] for split in SPLITS),
    )
    check(dataset, where=path)
    return standardise(dataset) if scale else dataset


def _read_npz(path: Path) -> dict[str, NDArray]:
    if not path.is_file():
        raise InputError(f"{path}: expected this file, found none")
    table = archives.read_npz(path, expected="an .npz file of plain arrays")
    for name in ("x", "y"):
        if name not in table:
            found = ", ".join(sorted(table)) or "none"
            raise InputError(f"{path}: {name}: expected this array, found {found}")
    return table


def _examples(
    table: dict[str, NDArray], *, where: str
) -> tuple[Examples, tuple[str, ...]]:
    x, y = table["x"], table["y"]
    if x.dtype.kind not in "fiu" or x.ndim < 2:
        raise InputError(
            f"{where}: x: expected numbers [n, ..., channels], "
            f"found {x.dtype} {x.shape}"
        )
    if y.dtype.kind not in "iu" or y.ndim != 1:
        raise InputError(
            f"{where}: y: expected integers [n], found {y.dtype} {y.shape}"
        )
    n, known = len(y), np.unique(y)
    names = table.get("classes", np.arange(len(known)))
    if names.ndim != 1:
        raise InputError(f"{where}: classes: expected names [C], found {names.shape}")
    classes = tuple(str(name) for name in names)
    if not np.array_equal(known, np.arange(len(classes))):
        raise InputError(
            f"{where}: y: expected labels 0 to {len(classes) - 1}, each present, "
            f"found {known[:8].tolist()}"
        )
    group = np.unique(table.get("group", np.arange(n)), return_inverse=True)[1]
    key = table.get("key", np.array([f"{row:06d}" for row in range(n)]))
    for name, field in (("x", x), ("y", y), ("group", group), ("key", key)):
        if field.shape[:1] != (n,) or (name != "x" and field.ndim != 1):
            raise InputError(
                f"{where}: {name}: expected {n} entries, as in y, found {field.shape}"
            )
    examples = Examples(
        x.astype(np.float32),
        y.astype(np.int32),
        group.astype(np.int32),
        key.astype(str),
    )
    return examples, classes


def _given_splits(split: NDArray, n: int, *, where: str) -> dict[str, NDArray[np.intp]]:
    if split.shape != (n,):
        raise InputError(f"{where}: split: expected ({n},), found {split.shape}")
    names = [str(name) for name in np.unique(split)]
    unknown = [name for name in names if name not in SPLITS]
    missing = [name for name in ("train", "test") if name not in names]
    if unknown or missing:
        raise InputError(
            f"{where}: split: expected 'train', 'test' and perhaps 'validation', "
            f"found {', '.join(map(repr, names[:8]))}"
        )
    return {name: np.flatnonzero(split == name) for name in names}


def _hold_out(
    examples: Examples, grouped: bool, fraction: float, seed: int, where: str
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    if not grouped:
        return hold_out_stratified(
            examples.y, fraction=fraction, seed=seed, where=where
        )
    number(fraction, low=0, high=1, where=where)
    groups = len(np.unique(examples.group))
    count = max(1, min(round(fraction * groups), groups - 1))
    return hold_out_groups(examples.group, count=count, seed=seed, where=where)
