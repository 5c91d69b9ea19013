import os

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kdjax.data.fmri.stimuli import find_images, read_stimuli, write_stimuli
from kdjax.errors import InputError


@pytest.fixture
def folder(tmp_path):
    """Images by class, and one name in two folders."""
    for name in ("cat/1.png", "cat/2.JPEG", "dog/1.png", "top.jpg", "cat/notes.txt"):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "images"


def test_images_are_found_by_path_or_name(folder):
    keys = ["2", "cat/1", "dog/1.png", "top", "top.jpg", "2.JPEG", "2"]
    found = find_images(keys, folder)
    assert {key: str(path.relative_to(folder)) for key, path in found.items()} == {
        "2": "cat/2.JPEG",
        "cat/1": "cat/1.png",
        "dog/1.png": "dog/1.png",
        "top": "top.jpg",
        "top.jpg": "top.jpg",
        "2.JPEG": "cat/2.JPEG",
    }


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("1", "key '1': expected one image, found 2: cat/1.png, dog/1.png"),
        ("3", "key '3': expected an image, found none"),
        ("notes", "key 'notes': expected an image, found none"),
        ("", "key '': expected an image, found none"),
    ],
)
def test_a_missing_or_ambiguous_key_names_itself(folder, key, message):
    with pytest.raises(InputError, match=f"^{folder}: {message}$"):
        find_images(["2", key], folder)
    with pytest.raises(
        InputError, match=r"nowhere: expected a folder of images, found"
    ):
        find_images([key], folder / "nowhere")


def test_two_suffixes_are_two_images(folder):
    (folder / "cat" / "2.png").touch()
    with pytest.raises(InputError, match=r"key 'cat/2': expected one image, found 2"):
        find_images(["cat/2"], folder)
    assert find_images(["cat/2.png"], folder)["cat/2.png"].name == "2.png"


def shown(subject, tmp_path):
    """Volumes, and an image for each key, one of them outside the table's folder."""
    made = subject()
    images = {}
    for k, key in enumerate(sorted(set(made.stimulus.tolist()) - {""})):
        path = tmp_path / ("elsewhere" if k == 0 else "here/images") / f"{key}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        images[key] = path
    return made, images


def test_the_table_says_which_volume_showed_which_image(subject, tmp_path):
    made, images = shown(subject, tmp_path)
    path = tmp_path / "here" / "stimuli.csv"
    write_stimuli(path, made, images)
    lines = path.read_text().splitlines()
    assert lines[0] == "row,key,class,image"
    key = made.stimulus[6]
    assert f"6,{key},n04572121,images/{key}.png" in lines
    found = read_stimuli(path, volumes=made)
    rows = np.flatnonzero(made.stimulus != "")
    np.testing.assert_array_equal(found.row, rows)
    np.testing.assert_array_equal(found.key, made.stimulus[rows])
    np.testing.assert_array_equal(found.label, np.array(made.classes)[made.y[rows]])
    for key, image in zip(found.key, found.image, strict=True):
        assert os.path.samefile(image, images[key])


def test_the_order_of_its_lines_changes_nothing(subject, tmp_path):
    made, images = shown(subject, tmp_path)
    path = tmp_path / "stimuli.csv"
    write_stimuli(path, made, images)
    expected = read_stimuli(path)
    head, *lines = path.read_text().splitlines()
    order = np.random.default_rng(0).permutation(len(lines))
    path.write_text("\n".join([head, "", *(lines[k] for k in order)]))
    found = read_stimuli(path, volumes=made)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(keys=st.lists(st.text("a,\"'é ;", min_size=1), min_size=4, max_size=4))
def test_any_key_is_read_as_written(subject, tmp_path, keys):
    made = subject(runs=1, blocks=4, length=1)._replace(stimulus=np.array(keys))
    image = {key: tmp_path / f"{k}.png" for k, key in enumerate(keys)}
    made = made._replace(y=np.full(4, 1, np.int32))
    for path in image.values():
        path.touch()
    write_stimuli(tmp_path / "stimuli.csv", made, image)
    found = read_stimuli(tmp_path / "stimuli.csv", volumes=made)
    assert found.key.tolist() == keys


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected the columns row,key,class,image, found $"),
        ("row,key,image\n", "expected the columns row,key,class,image, found row,key,"),
        ("HEAD\n1,a,cat\n", "line 2: expected 4 fields, found 3"),
        ("HEAD\n-1,a,cat,1.png\n", "line 2: row: expected a number from 0, found '-1'"),
        ("HEAD\n1,,cat,1.png\n", "line 2: key: expected a name, found none"),
        ("HEAD\n1,a,cat,\n", "line 2: image: expected a name, found none"),
        (
            "HEAD\n1,a,cat,1.png\n1,b,cat,2.png\n",
            "row 1: expected it once, found it tw",
        ),
        (
            "HEAD\n1,a,cat,1.png\n2,a,dog,1.png\n",
            "key 'a': expected one class, found 'cat' and 'dog'",
        ),
        (
            "HEAD\n1,a,cat,1.png\n2,a,cat,2.png\n",
            "key 'a': expected one image, found '1.png' and '2.png'",
        ),
        (
            "HEAD\n1,a,cat,1.png\n2,b,cat,1.png\n",
            "image '1.png': expected one key, found 'a' and 'b'",
        ),
        ("HEAD\n1,a,cat,3.png\n", "key 'a': expected the image 3.png, found none"),
    ],
)
def test_a_wrong_table_is_named(tmp_path, text, message):
    for k in (1, 2):
        (tmp_path / f"{k}.png").touch()
    path = tmp_path / "stimuli.csv"
    path.write_text(text.replace("HEAD", "row,key,class,image"))
    with pytest.raises(InputError, match=message) as caught:
        read_stimuli(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_table_of_other_volumes_is_refused(subject, tmp_path):
    made, images = shown(subject, tmp_path)
    path = tmp_path / "stimuli.csv"
    write_stimuli(path, made, images)
    stimulus, y = made.stimulus.copy(), made.y.copy()
    stimulus[6], y[6:9] = stimulus[3], 0
    absent, extra = made.stimulus.copy(), made.stimulus.copy()
    absent[3], extra[0] = "", "another"
    cases = {
        r"row 6: expected key 'n02071294_22564', which S1 was shown, found 'n045": (
            made._replace(stimulus=stimulus)
        ),
        r"row 3: expected key '', which S1 was shown, found 'n02071294_22564'": (
            made._replace(stimulus=absent)
        ),
        r"row 0: expected key 'another', which S1 was shown, found ''": made._replace(
            stimulus=extra
        ),
        r"key 'n04572121_22565': expected class 'n01443537', as in the volumes, foun": (
            made._replace(y=y)
        ),
    }
    for message, other in cases.items():
        with pytest.raises(InputError, match=message):
            read_stimuli(path, volumes=other)
    with pytest.raises(InputError, match=r"row 35: expected rows 0 to 23, the volumes"):
        read_stimuli(path, volumes=subject(runs=2))
    del images[str(made.stimulus[6])]
    with pytest.raises(
        InputError, match=r"key 'n04572121_22565': expected an image, f"
    ):
        write_stimuli(path, made, images)
    with pytest.raises(InputError, match=r"none.csv: expected this file, found none"):
        read_stimuli(tmp_path / "none.csv")
    path.write_bytes(b"\xff")
    with pytest.raises(InputError, match=r"stimuli.csv: cannot be read as CSV \("):
        read_stimuli(path)
