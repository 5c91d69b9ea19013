"""Configs by name and by file."""

import re

import pytest

from kdjax.cli import configfile
from kdjax.errors import InputError


def test_a_name_is_one_of_kdjaxs_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert configfile.load("digits_eskd")["seeds"] == list(range(8))
    assert configfile.load("digits_eskd:smoke")["seeds"] == [0]


def test_a_file_is_found_from_where_the_command_runs(tmp_path, monkeypatch):
    """And imports what kdjax's own configs import; it once had to stand in configs/."""
    (tmp_path / "mine.py").write_text(
        "from kdjax.configs import common, digits_eskd\n"
        "def get_config(arg='x'):\n"
        "    return digits_eskd.get_config() | {'arg': arg}\n"
    )
    (tmp_path / "digits_eskd").write_text("no config, but a file of that name\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="expected a Python file"):
        configfile.load("digits_eskd")
    (tmp_path / "mine.py").write_text(
        "from kdjax.configs import digits_eskd\n"
        "def get_config(arg='x'):\n"
        "    config = digits_eskd.get_config()\n"
        "    config.arg = arg\n"
        "    return config\n"
    )
    assert configfile.load("mine.py")["arg"] == "x"
    assert configfile.load("mine.py:a:b")["arg"] == "a:b"


@pytest.mark.parametrize(
    ("source", "text", "message"),
    [
        ("none.py", None, "no such file none.py"),
        ("configs/har_eskd.py", None, "kdjax's own is --config=har_eskd"),
        ("har_eksd", None, "unknown name 'har_eksd' (did you mean 'har_eskd'?)"),
        ("a.py", "x = 1\n", "a.py: cannot be read: AttributeError"),
        ("a.py", "def get_config(:\n", "a.py, line 1: cannot be read: SyntaxError"),
        ("a.py", "import nothing\n", "a.py, line 1: cannot be read: ModuleNotFound"),
        (
            "a.py",
            "def get_config():\n\n    return 1 / 0\n",
            "a.py, line 3: cannot be read: ZeroDivisionError: division by zero",
        ),
        ("a.py", "def get_config():\n    return 3\n", "expected a ConfigDict"),
        ("a.py:x", "def get_config():\n    return {}\n", "takes 0 positional"),
    ],
)
def test_what_is_no_config(tmp_path, monkeypatch, source, text, message):
    monkeypatch.chdir(tmp_path)
    if text is not None:
        (tmp_path / source.partition(":")[0]).write_text(text)
    with pytest.raises(InputError, match=re.escape(message)) as raised:
        configfile.load(source)
    assert "\n" not in str(raised.value)


def test_the_usual_folder_has_the_configs_name():
    assert configfile.name_of("configs/digits_eskd.py:smoke") == "digits_eskd_smoke"
    assert configfile.name_of("har_eskd") == "har_eskd"
