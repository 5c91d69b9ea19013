"""Ridge regression against its closed form and scikit-learn; the penalty's choice."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from kdjax.errors import InputError
from kdjax.stages import ridge


def made_up(n, width, seed=0):
    """Three classes, each a direction; features with means of their own."""
    rng = np.random.default_rng(seed)
    y = (np.arange(n) % 3).astype(np.int32)
    x = rng.normal(size=(n, width)) + rng.normal(size=width)
    x[np.arange(n), y] += 1.5
    return x.astype(np.float32), y


@pytest.mark.parametrize("shape", [(60, 7), (7, 60), (20, 20), (5000, 6)])
@pytest.mark.parametrize("penalty", [0.1, 100.0])
def test_it_is_scikit_learns(shape, penalty):
    """More examples than features and fewer; more than are multiplied at once."""
    x, y = made_up(*shape)
    found = ridge.fit(x, y, x, y, classes=3, penalties=(penalty,))
    exact = Ridge(alpha=penalty).fit(x.astype(np.float64), np.eye(3)[y])
    np.testing.assert_allclose(found.kernel, exact.coef_.T, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(found.bias, exact.intercept_, rtol=1e-3, atol=1e-5)
    assert found.penalty == penalty


@pytest.mark.parametrize("shape", [(60, 7), (7, 60)])
def test_without_a_penalty_it_takes_the_least_solution(shape):
    """Of a feature that stands there twice."""
    x, y = made_up(*shape)
    x[:, -1] = x[:, 3]
    found = ridge.fit(x, y, x, y, classes=3, penalties=(0.0,))
    centred, targets = x - x.mean(0), np.eye(3)[y] - np.eye(3)[y].mean(0)
    least = np.linalg.pinv(centred.astype(np.float64), rcond=1e-5) @ targets
    np.testing.assert_allclose(found.kernel, least, atol=1e-3)


def test_the_held_out_examples_choose_the_penalty():
    """The first of equals; the others' labels do not count."""
    x, y = made_up(30, 25)
    held, truth = made_up(300, 25, seed=1)
    penalties = (1e-3, 10.0, 1e6)
    right = []
    for penalty in penalties:
        one = ridge.fit(x, y, held, truth, classes=3, penalties=(penalty,))
        right.append(np.mean((held @ one.kernel + one.bias).argmax(1) == truth))
    assert len(set(right)) == 3, "each penalty must have its own accuracy"
    found = ridge.fit(x, y, held, truth, classes=3, penalties=penalties)
    assert found.penalty == penalties[int(np.argmax(right))]
    absent = np.full_like(truth, -1)  # all wrong alike
    found = ridge.fit(x, y, held, absent, classes=3, penalties=penalties)
    assert found.penalty == penalties[0]


@pytest.mark.parametrize(
    ("penalties", "message"),
    [
        ([], "here: expected one or more, found none"),
        ([1.0, -1], r"here\[1\]: expected a number >= 0, found -1"),
    ],
)
def test_wrong_penalties_are_named(penalties, message):
    with pytest.raises(InputError, match=message):
        ridge.checked(penalties, where="here")
