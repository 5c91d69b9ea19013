"""Soft labels whose file is whole but holds something else."""

import numpy as np
import pytest

from kdjax.data import soft_labels
from kdjax.errors import InputError

WHOLE = {
    "key": np.array(["a", "b", "c"]),
    "label": np.arange(3),
    "split": np.array(["train", "train", "test"]),
    "fold": np.zeros(3, int),
    "logits": np.ones((3, 2)),
}


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("key", np.array("a")),
        ("key", np.arange(3)),
        ("key", np.array([["a", "b", "c"]])),
        ("label", np.ones(3)),
        ("label", np.zeros((3, 1), int)),
        ("label", np.array(1)),
        ("fold", np.zeros(2, int)),
        ("fold", np.zeros(3, bool)),
        ("logits", np.array(["a", "b", "c"])),
        ("logits", np.ones((3, 2), int)),
        ("logits", np.ones((2, 3))),
        ("logits", np.array(1.0)),
    ],
)
def test_an_array_of_another_kind_is_named(tmp_path, name, array):
    np.savez(tmp_path / soft_labels.FILE, **WHOLE | {name: array})
    with pytest.raises(InputError, match="expected") as raised:
        soft_labels.read_where_there(tmp_path / soft_labels.FILE, EXAMPLES, 2)
    assert f"{soft_labels.FILE}: " in str(raised.value)


def test_text_as_bytes_is_no_text(tmp_path):
    np.savez(tmp_path / soft_labels.FILE, **WHOLE | {"split": np.array([b"x"] * 3)})
    with pytest.raises(InputError, match=r"split: expected text \[n\], found \|S1"):
        soft_labels.read_soft_labels(tmp_path / soft_labels.FILE, classes=2)


EXAMPLES = soft_labels.Examples(
    np.zeros((3, 1), np.float32),
    np.arange(3, dtype=np.int32),
    np.arange(3, dtype=np.int32),
    WHOLE["key"],
)
