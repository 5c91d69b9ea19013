import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdjax.data.fmri import labels
from kdjax.errors import InputError


def test_ids_are_those_of_the_paper_s_files():
    ids = np.array(
        [1443537.022563, 4572121.003262, 2071294.0, 0, np.nan, 3626115.019498]
    )
    label, stimulus = labels.from_stimulus_id(ids, where="f")
    assert label.tolist() == [
        *("n01443537", "n04572121", "n02071294", "", "", "n03626115"),
    ]
    assert stimulus.tolist() == [
        *("n01443537_22563", "n04572121_3262", "", "", "", "n03626115_19498"),
    ]


images = st.tuples(st.integers(1, 99_999_999), st.integers(0, 999_999))


@settings(max_examples=40, deadline=None)
@given(st.lists(images, min_size=1))
def test_ids_are_written_and_read(pairs):
    label = np.array([f"n{w:08d}" for w, _ in pairs])
    stimulus = np.array([f"n{w:08d}_{i}" if i else "" for w, i in pairs])
    ids = labels.to_stimulus_id(label, stimulus)
    assert ids is not None
    np.testing.assert_allclose(ids, [w + i / 1e6 for w, i in pairs], rtol=1e-15)
    for off in (0, 1e-8, -1e-8):
        found = labels.from_stimulus_id(ids + off * (ids > 1), where="f")
        np.testing.assert_array_equal(found[0], label)
        np.testing.assert_array_equal(found[1], stimulus)


@pytest.mark.parametrize(
    ("label", "stimulus"),
    [
        ("cat", ""),
        ("n0144353", ""),
        ("n00000000", ""),
        ("n01443537", "n01443538_1"),
        ("n01443537", "n01443537_1000000"),
        ("n01443537", "n01443537_022563"),
        ("n01443537", "other"),
        ("", "n01443537_22563"),
    ],
)
def test_other_names_are_no_ids(label, stimulus):
    assert labels.to_stimulus_id(np.array([label]), np.array([stimulus])) is None


@pytest.mark.parametrize("wrong", [-1.0, 1e8, np.inf, 0.022563])
def test_what_is_no_id_is_refused(wrong):
    with pytest.raises(InputError, match=r"^f: stimulus_id: expected .* in row 1$"):
        labels.from_stimulus_id(np.array([1443537.5, wrong]), where="f")


def test_names_of_a_column():
    vmap = {0.0: "rest", 2.0: "cat", 1.0: "shoe", 3.0: "cat"}
    found = labels.from_vmap(np.array([2.0, np.nan, 0, 3]), vmap, key="L", where="f")
    assert found.tolist() == ["cat", "", "rest", "cat"]
    assert labels.in_order_of_value(vmap, ("rest",)) == ["shoe", "cat"]
    with pytest.raises(
        InputError,
        match=r"^f: L: expected values that its vmap names \(0, 1, 2, 3\), found 1.5 in"
        r" row 1$",
    ):
        labels.from_vmap(np.array([0, 1.5]), vmap, key="L", where="f")


@pytest.mark.parametrize(
    ("index", "label", "kind", "said"),
    [
        ([1, 2, 1, 2], "abab", "ttuu", ""),
        ([2, 1, 2, 1], "abab", "tttt", ""),
        ([1, 2, 2, 1], "abab", "ttuu", ""),
        ([1, np.nan, 2, 9], ["a", "b", "b", ""], "tttt", ""),
        ([1, 2, 2, 1], "abab", "tttt", "(2 numbers, 2 classes, 4 pairs in t)"),
        ([1, 1, 1, 1], "abab", "tttt", "(1 numbers, 2 classes, 2 pairs in t)"),
        ([1, 2, 3, 4], "abab", [""] * 4, "(4 numbers, 2 classes, 4 pairs)"),
    ],
)
def test_an_index_that_is_no_renaming_is_said(capsys, index, label, kind, said):
    labels.warn_of_category_index(
        np.array(index, float), np.array(list(label)), np.array(list(kind)), where="f"
    )
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == bool(said)
    assert not said or error.startswith("kdjax: f: category_index disagrees with")
