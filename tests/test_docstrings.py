"""The examples in docstrings give what they say."""

import doctest
import inspect

import pytest

import kdjax
from kdjax import losses


def run(function, names):
    """Runs a docstring's example in a name space; how many lines it has."""
    text = inspect.getdoc(function)
    name = function.__name__
    example = doctest.DocTestParser().get_doctest(text, names, name, None, None)
    said = []
    doctest.DocTestRunner().run(example, out=said.append)
    assert not said, "".join(said)
    return len(example.examples)


@pytest.mark.parametrize("name", losses.__all__)
def test_every_public_loss_has_an_example(name):
    assert run(getattr(losses, name), dict(vars(losses))) > 0


def test_an_experiment_and_its_student_from_python(tmp_path, monkeypatch, undrawn):
    """`kdjax.load` goes on where `kdjax.run` ends."""
    monkeypatch.chdir(tmp_path)
    for function in (kdjax.run, kdjax.load):
        assert run(function, {}) > 3
