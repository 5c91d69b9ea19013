"""Which class and which image a volume of a BData file belongs to, read and written.

GOD's `stimulus_id` holds both in one number, 1443537.022563: the WordNet id of class
n01443537, and in six decimals the number of its image n01443537_22563.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdjax.errors import InputError

IMAGES = 1_000_000  # image numbers that six decimals can tell apart
WORDNET = re.compile(r"n(\d{8})")
IMAGE = re.compile(r"n(\d{8})_([1-9]\d{0,5})")


def from_stimulus_id(
    values: NDArray[np.float64], *, where: str
) -> tuple[NDArray[Any], NDArray[Any]]:
    """(class, key of the image) str [n] of GOD's ids [n]; "" where there is none.

    0 and NaN are no class; a whole number is a class without an image. The decimals are
    rounded, never cut: a float's 1443537.022563 is a little less or more. InputError
    for a number that is negative, infinite, or of more than eight digits.
    """
    known = np.where(np.isnan(values), 0, values)
    wrong = (known < 0) | (known >= 1e8) | ((known > 0) & (known < 1))
    if wrong.any():
        raise InputError(
            f"{where}: stimulus_id: expected a WordNet id and six decimals, "
            f"found {known[wrong][0]:g} in row {np.argmax(wrong)}"
        )
    ids, place = np.unique(
        np.rint(known * IMAGES).astype(np.int64), return_inverse=True
    )
    parts = [divmod(int(i), IMAGES) for i in ids]
    label = np.array([f"n{w:08d}" if w else "" for w, _ in parts], np.str_)
    stimulus = np.array([f"n{w:08d}_{i}" if i else "" for w, i in parts], np.str_)
    return label[place], stimulus[place]


def to_stimulus_id(
    label: NDArray[Any], stimulus: NDArray[Any]
) -> NDArray[np.float64] | None:
    """The ids [n] that `from_stimulus_id` turns into these names.

    None where they cannot be written so: a class that is no WordNet id, an image of
    another class, a number of more than six digits.
    """
    ids = {("", ""): 0.0}
    pairs = {(str(c), str(s)) for c, s in zip(label, stimulus, strict=True)}
    for name, key in pairs - set(ids):
        wordnet, image = WORDNET.fullmatch(name), IMAGE.fullmatch(key)
        same = image is not None and key.startswith(f"{name}_")
        if wordnet is None or not int(wordnet[1]) or (key and not same):
            return None
        number = int(image[2]) if image is not None else 0
        ids[name, key] = (int(wordnet[1]) * IMAGES + number) / IMAGES
    return np.array([ids[str(c), str(s)] for c, s in zip(label, stimulus, strict=True)])


def from_vmap(
    values: NDArray[np.float64], vmap: Mapping[float, str], *, key: str, where: str
) -> NDArray[Any]:
    """The name [n] of each value [n] of a column; NaN is "".

    InputError for a value without a name.
    """
    codes, place = np.unique(values, return_inverse=True)
    for code in codes[~np.isnan(codes)]:
        if float(code) not in vmap:
            known = ", ".join(f"{c:g}" for c in sorted(vmap)) or "none"
            raise InputError(
                f"{where}: {key}: expected values that its vmap names ({known}), "
                f"found {code:g} in row {np.argmax(values == code)}"
            )
    names = ["" if np.isnan(code) else vmap[float(code)] for code in codes]
    return np.array(names, np.str_)[place]


def in_order_of_value(vmap: Mapping[float, str], rest: Sequence[str]) -> list[str]:
    """The names of a vmap, without those of rest, each once."""
    names = [vmap[code] for code in sorted(vmap)]
    return [name for name in dict.fromkeys(names) if name and name not in rest]


def warn_of_category_index(
    index: NDArray[np.float64],
    label: NDArray[Any],
    kind: NDArray[Any],
    *,
    where: str,
) -> None:
    """One line on stderr if `category_index` [n] is no renaming of the classes [n].

    Within each `kind`, as training and test have numbers of their own; volumes without
    a class or an index are not compared.
    """
    both = ~np.isnan(index) & (label != "")
    for name in np.unique(kind):
        rows = both & (kind == name)
        pairs = set(zip(index[rows].tolist(), label[rows].tolist(), strict=True))
        numbers, classes = ({pair[side] for pair in pairs} for side in (0, 1))
        if not len(pairs) == len(numbers) == len(classes):
            print(
                f"kdjax: {where}: category_index disagrees with stimulus_id "
                f"({len(numbers)} numbers, {len(classes)} classes, {len(pairs)} pairs"
                f"{f' in {name}' if name else ''}), as in GOD's files before version "
                "5: the classes are stimulus_id's",
                file=sys.stderr,
            )
            return
