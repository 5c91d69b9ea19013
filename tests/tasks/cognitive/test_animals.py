"""Animals' files, right and wrong, and one factor on their coherences."""

import numpy as np
import pytest

from kdjax.errors import InputError
from kdjax.tasks.cognitive import animals, psychometrics

HEADER = "monkey,abs_coherence_percent,percent_correct,rt_ms\n"
NETWORK = psychometrics.PsychometricFit(0.06, 1.3, 0.02, np.nan)


def write(folder, text):
    path = folder / "animals.csv"
    path.write_text(text)
    return path


def refusal(path):
    with pytest.raises(InputError) as caught:
        animals.read_animals(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


def like(fit, coherence):
    return animals.Animal(coherence, fit.curve(coherence), np.full(len(coherence), 1.0))


def test_columns_in_any_order_and_beside_others(tmp_path):
    text = (
        "\ufeffrt_ms, monkey,session,percent_correct,abs_coherence_percent\n"
        "450.5,A,x,60,4\n\n400,B,x,100,50\n430,A,x,90.5,12.5\n"
    )
    found = animals.read_animals(write(tmp_path, text))
    assert list(found) == ["A", "B"]
    np.testing.assert_allclose(found["A"].coherence, [0.04, 0.125])
    np.testing.assert_allclose(found["A"].correct, [0.6, 0.905])
    np.testing.assert_allclose(found["A"].rt, [450.5, 430])
    np.testing.assert_allclose(np.ravel(found["B"]), [0.5, 1, 400])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: expected column monkey, the file is empty"),
        (HEADER, "line 2: expected rows below the names, found none"),
        (
            HEADER.replace("rt_ms", "rt_s"),
            "line 1: expected column rt_ms (did you mean 'rt_s'?)",
        ),
        (
            HEADER + "A,4,60,450\nA,5,many,450\n",
            "line 3: column percent_correct: expected a number, found 'many'",
        ),
        (
            HEADER + "A,4,60,\n",
            "line 2: column rt_ms: expected a number, found ''",
        ),
        (
            HEADER + "A,4,60,450\n\nA,101,60,450\n",
            "line 4: column abs_coherence_percent: expected a number in [0, 100], "
            "found 101.0",
        ),
        (
            HEADER + "A,4,-1,450\n",
            "line 2: column percent_correct: expected a number in [0, 100], found -1.0",
        ),
        (
            HEADER + "A,4,nan,450\n",
            "line 2: column percent_correct: expected a number in [0, 100], found nan",
        ),
        (
            HEADER + "A,4,60,inf\n",
            "line 2: column rt_ms: expected a finite number >= 0, found inf",
        ),
        (HEADER + "A,4,60\n", "line 2: expected 4 fields, found 3"),
        (HEADER + " ,4,60,450\n", "line 2: column monkey: expected a name, found none"),
    ],
)
def test_a_wrong_file_is_named_by_line_and_column(tmp_path, text, message):
    assert refusal(write(tmp_path, text)) == message


def test_a_file_that_is_absent_or_none(tmp_path):
    assert refusal(tmp_path / "none.csv") == "expected this file, found none"
    assert "cannot be read as CSV" in refusal(tmp_path)
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    assert "cannot be read as CSV" in refusal(tmp_path / "binary.csv")


@pytest.mark.parametrize("factor", [0.02, 0.4, 1.0, 30.0])
def test_a_scaled_network_gets_its_factor_back(factor):
    coherence = np.array([0.01, 0.03, 0.06, 0.12, 0.4]) / factor
    animal = like(
        NETWORK._replace(threshold=NETWORK.threshold / factor), np.array(coherence)
    )
    found = animals.fit_scale(NETWORK, animal)
    assert found.factor == pytest.approx(factor, rel=1e-5)
    assert found.residual < 1e-6
    # and its slope is the network's, whatever the factor
    own = psychometrics.fit_weibull(animal.coherence, animal.correct, 1)
    assert own.slope == pytest.approx(NETWORK.slope, rel=1e-3)


def test_no_factor_is_likelier_and_the_residual_is_what_it_says():
    coherence = np.array([0.04, 0.1, 0.2, 0.3, 0.6])
    animal = like(NETWORK._replace(threshold=0.15, slope=2.0, lapse=0.05), coherence)
    found = animals.fit_scale(NETWORK, animal)

    def likelihood(factor):
        p = NETWORK.curve(factor * coherence)
        q = animal.correct
        return (q * np.log(p) + (1 - q) * np.log(1 - p)).sum()

    factors = found.factor * np.geomspace(1e-2, 1e2, 2001)
    assert max(map(likelihood, factors)) <= likelihood(found.factor) + 1e-9
    left = NETWORK.curve(found.factor * coherence) - animal.correct
    assert found.residual == pytest.approx(np.sqrt((left**2).mean()))
    assert found.residual > 0.02


def test_an_animal_without_evidence_has_no_factor():
    animal = animals.Animal(np.zeros(2), np.full(2, 0.5), np.full(2, 400.0))
    with pytest.raises(InputError, match="coherence: expected one above 0"):
        animals.fit_scale(NETWORK, animal)


def test_the_two_monkeys(shared_data):
    found = animals.read_animals(
        shared_data / "monkey" / "checkerboard_psychometric.csv"
    )
    assert list(found) == ["T", "O"]
    fits = {}
    for monkey, animal in found.items():
        assert animal.coherence.shape == (7,)
        assert animal.coherence[0] == 0.04
        assert animal.rt[0] > animal.rt[-2]  # slower where it is harder
        fit = psychometrics.fit_weibull(animal.coherence, animal.correct, 1)
        np.testing.assert_allclose(
            fit.curve(animal.coherence), animal.correct, atol=0.01
        )
        fits[monkey] = fit[:3]
    assert fits["T"] == pytest.approx((0.1075, 1.262, 0.0037), rel=0.02)
    assert fits["O"] == pytest.approx((0.1530, 1.210, 0.0217), rel=0.02)
    # one monkey's curve describes the other's after a scale, but for its lapses
    fit = psychometrics.fit_weibull(found["T"].coherence, found["T"].correct, 1)
    scale = animals.fit_scale(fit, found["O"])
    assert scale.factor < 1
    assert scale.residual < 0.03
