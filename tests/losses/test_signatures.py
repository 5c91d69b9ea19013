"""What every loss has in common: arguments that are arrays, and a readable help()."""

import inspect
import pydoc
import typing

import numpy as np
import pytest

from kdjax import losses

MAPS = np.arange(24.0, dtype=np.float32).reshape(2, 3, 4)


def signature_in_help(name):
    """In one line: Python 3.13 gives each argument of a long one a line of its own."""
    text = pydoc.render_doc(getattr(losses, name), renderer=pydoc.plaintext)
    lines = text.splitlines()[2:]
    end = next(i for i, line in enumerate(lines) if " -> " in line)
    whole = " ".join(line.strip() for line in lines[: end + 1])
    return whole.replace(f"{name}( ", f"{name}(").replace(" ) -> ", ") -> ")


@pytest.mark.parametrize("name", losses.__all__)
def test_help_shows_the_signature_as_it_is_written(name):
    shown = signature_in_help(name)
    assert shown.startswith(f"{name}(")
    returned = ("''", "'*examples'", "'*batch units'")
    assert shown.endswith(tuple(f"-> Float[Array, {shape}]" for shape in returned))
    for noise in ("jaxlib", "jaxtyping.", "<class", '"', "' "):
        assert noise not in shown


def test_help_of_one_loss():
    assert signature_in_help("kd_loss") == (
        "kd_loss(student_logits: Float[Array, 'batch classes'], "
        "teacher_logits: Float[Array, 'batch classes'], "
        "labels: Integer[Array, 'batch'], *, temperature: Scalar = 4.0, "
        "alpha: Scalar = 0.9, reduction: str = 'batchmean', "
        "where: Shaped[Array, 'batch'] | None = None) -> Float[Array, '*examples']"
    )


def test_help_of_the_package_is_a_page():
    text = pydoc.render_doc(losses, renderer=pydoc.plaintext)
    assert "jaxlib" not in text
    described = losses.__doc__.partition("All work under")[0]
    listed = [line.split()[0] for line in described.splitlines() if "   " in line[4:]]
    assert sorted(listed) == sorted(losses.__all__)


@pytest.mark.parametrize("name", losses.__all__)
def test_a_docstring_names_every_argument_and_what_raises(name):
    loss = getattr(losses, name)
    doc = inspect.getdoc(loss)
    first = doc.splitlines()[0]
    assert first.endswith(".")
    assert "`" not in first
    assert "\nRaises:\n    ValueError: " in doc
    arguments = doc.partition("\nArgs:\n")[2].partition("\nRaises:\n")[0]
    for parameter in inspect.signature(loss).parameters:
        assert f"\n    {parameter}: " in "\n" + arguments, parameter


def test_types_are_still_there_for_programs():
    hints = typing.get_type_hints(losses.kd_loss)
    assert hints["student_logits"].dim_str == "batch classes"


@pytest.mark.parametrize(
    ("loss", "arguments", "message"),
    [
        ("amd_loss", ([MAPS], [MAPS]), "amd_loss: student_features: .* a list of 1$"),
        ("amd_loss", (MAPS, (MAPS, MAPS)), "teacher_features: .* found a tuple of 2$"),
        ("amd_loss", ([[MAPS]], MAPS), "student_features: .* found a list of 1$"),
        ("attention_transfer_loss", ([MAPS], [MAPS]), "student_features: .* list of 1"),
        ("nt_xent", (list(MAPS[0]), MAPS[0]), "z1: expected one array, found a list"),
        ("kd_loss", (MAPS[0], MAPS[0], [np.zeros(3, int)]), "labels: .* a list of 1"),
        ("bernoulli_kl", ([MAPS], [MAPS]), "student_logits: .* found a list of 1"),
    ],
)
def test_a_list_of_arrays_is_not_an_array(loss, arguments, message):
    with pytest.raises(ValueError, match=message):
        getattr(losses, loss)(*arguments)


def test_lists_of_numbers_are_arrays():
    value = losses.amd_loss(MAPS.tolist(), (MAPS**2).tolist())
    np.testing.assert_array_equal(value, losses.amd_loss(MAPS, MAPS**2))
    rows = [[np.float32(1), 2.0], (0.5, 0.0)]
    value = losses.cross_entropy(rows, [np.int32(1), 0])
    np.testing.assert_array_equal(value, losses.cross_entropy(np.array(rows), [1, 0]))
