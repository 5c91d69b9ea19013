"""The command that exports a stage: its flags, its errors, and missing tools."""

import importlib

import pytest

from kdjax.errors import InputError
from kdjax.export import tools


def test_a_missing_tool_is_said_with_the_command_that_installs_it(monkeypatch):
    class Finder:
        def find_spec(self, name, path=None, target=None):
            if name == "jax2onnx":
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.delitem(importlib.sys.modules, "jax2onnx", raising=False)
    monkeypatch.setattr("sys.meta_path", [Finder(), *importlib.sys.meta_path])
    with pytest.raises(InputError) as error:
        tools.need("jax2onnx", what="onnx")
    said = str(error.value)
    assert said.startswith("onnx needs jax2onnx, which is not installed: ")
    assert said.endswith(f"-m pip install --no-deps -r {tools.REQUIREMENTS}")
    assert tools.REQUIREMENTS.is_file()
    assert "\n" not in said


def test_every_requirement_is_pinned_and_says_why():
    lines = tools.REQUIREMENTS.read_text().splitlines()
    for line in filter(None, lines):
        name, _, why = line.partition("#")
        assert why.strip()
        assert not name.strip() or name.count("==") == 1


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ((), "missing argument: expected STAGE_FOLDER"),
        (("a", "b"), "unexpected argument 'b'; flags start with --"),
        (("nowhere",), "--format: missing, and it has no default"),
        (("nowhere", "--format=npz"), "nowhere: no stage here"),
        (("x", "--format=npz", "--checkpoint=first"), "flag --checkpoint=first"),
    ],
)
def test_what_is_wrong_is_one_line(python, flags, words):
    done = python("-m", "kdjax", "export", *flags, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
