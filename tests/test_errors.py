"""A config section is a call; its mistakes are named."""

import pytest

from kdjax import files
from kdjax.errors import InputError, call, lookup, split_name


def make(*, width, depth=10, seed):
    return width, depth, seed


def test_call_passes_fields_and_given():
    assert call(make, {"width": 2}, where="config.model", seed=1) == (2, 10, 1)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"widht": 2}, r"config.model.widht: unknown field \(did you mean 'width'\?\)"),
        ({}, r"config.model.width: missing"),
        ({"width": 1, "seed": 3}, r"config.model.seed: unknown field"),
        ({"width": 1, "zzz": 3}, r"unknown field \(known: depth, width\)"),
    ],
)
def test_call_names_the_field(fields, message):
    with pytest.raises(InputError, match=message):
        call(make, fields, where="config.model", seed=1)


def test_lookup_names_the_nearest():
    with pytest.raises(InputError, match=r"x: unknown name 'mpl' .*'mlp'"):
        lookup("mpl", {"mlp": 1, "resnet": 2}, where="x")


@pytest.mark.parametrize("name", [None, 3, ["mlp"]])
def test_a_name_that_is_no_text_is_unknown(name):
    with pytest.raises(InputError, match=r"x: unknown name .*mlp"):
        lookup(name, {"mlp": 1, "resnet": 2}, where="x")


@pytest.mark.parametrize("section", [0.1, "mlp", None, ["name"]])
def test_a_section_has_fields(section):
    with pytest.raises(InputError, match=r"x: expected a section with a name, found"):
        split_name(section, where="x")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.json"
    files.write_json(path, {"a": 1})

    def fill(file):
        file.write(b"half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        files.write(path, fill)
    assert files.read_json(path) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_read_json_names_the_file(tmp_path):
    (tmp_path / "half.json").write_text('{"a": ')
    with pytest.raises(InputError, match=r"half.json: cannot be read as JSON"):
        files.read_json(tmp_path / "half.json")
    with pytest.raises(InputError, match=r"none.json: no such file"):
        files.read_json(tmp_path / "none.json")
