"""Animals beside a network: their behaviour from a file, on the network's axis."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import optimize

from kdjax.checks import Number, number
from kdjax.errors import InputError, nearest
from kdjax.tasks.cognitive.psychometrics import (
    PsychometricFit,
    Vector,
    log_likelihood,
)

NAME = "monkey"
REACH = 100  # how far outside an animal's coherences a threshold is sought
# Each column of numbers, and the highest number it may hold.
NUMBERS = {"abs_coherence_percent": 100, "percent_correct": 100, "rt_ms": None}


class Animal(NamedTuple):
    """An animal's behaviour by |coherence| `[n]`, a share as are the others' of 1.

    correct: proportion. rt: mean reaction time in ms.
    """

    coherence: Vector
    correct: Vector
    rt: Vector


def read_animals(path: Path) -> dict[str, Animal]:
    """The animals in a CSV file by name, rows in the file's order.

    Columns, in any order and beside others: monkey, abs_coherence_percent,
    percent_correct (both 0 to 100) and rt_ms. A row is a mean over sessions; how many
    trials it holds is not known, so a fit gives each row the same weight:
    `fit_weibull(animal.coherence, animal.correct, 1)`. Such a fit has no honest
    interval.

    InputError that names the file, and the line and column, at fault.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            names = [name.strip() for name in next(reader, [])]
            rows = [(reader.line_num, row) for row in reader if row]
    except FileNotFoundError:
        raise InputError(f"{path}: expected this file, found none") from None
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as CSV ({error})") from error
    for column in (NAME, *NUMBERS):
        if column not in names:
            found = nearest(column, names) if names else ", the file is empty"
            raise InputError(f"{path}: line 1: expected column {column}{found}")
    if not rows:
        raise InputError(f"{path}: line 2: expected rows below the names, found none")
    animals: dict[str, list[list[float]]] = {}
    for line, row in rows:
        monkey, numbers = _fields(row, names, where=f"{path}: line {line}")
        animals.setdefault(monkey, []).append(numbers)
    columns = {monkey: np.array(rows).T for monkey, rows in animals.items()}
    return {k: Animal(c / 100, p / 100, rt) for k, (c, p, rt) in columns.items()}


def _fields(
    row: Sequence[str], names: Sequence[str], *, where: str
) -> tuple[str, list[float]]:
    """The name and the three numbers of one row, checked."""
    if len(row) != len(names):
        raise InputError(f"{where}: expected {len(names)} fields, found {len(row)}")
    text = dict(zip(names, map(str.strip, row), strict=True))
    if not text[NAME]:
        raise InputError(f"{where}: column {NAME}: expected a name, found none")
    values = []
    for column, high in NUMBERS.items():
        place = f"{where}: column {column}"
        try:
            value = float(text[column])
        except ValueError:
            raise InputError(
                f"{place}: expected a number, found {text[column]!r}"
            ) from None
        values.append(number(value, low=0, high=high, where=place))
    return text[NAME], values


class Scale(NamedTuple):
    """How an animal's coherences are stretched, and what then remains.

    factor: an animal's coherence times this is a network's. residual: root mean square
    over the animal's rows of the difference in proportion correct.
    """

    factor: float
    residual: float


def fit_scale(fit: PsychometricFit, animal: Animal, *, guess: Number = 0.5) -> Scale:
    """The one factor on an animal's coherences that a network's curve fits best.

    An animal's coherence is a share of coloured squares and a network's a mean of its
    inputs: their units differ, so the animal is drawn at `factor * coherence` beside
    the network. The factor maximises the animal's binomial likelihood, each row of the
    same weight, under the network's curve as it is, slope and lapse too. A slope is
    free of the factor: compare those of `fit_weibull` as they are.

    An animal's lapses pull the factor down where the network has none, for they are
    then all but impossible: under a curve of threshold .06, slope 1.1 and no lapse the
    second monkey, who lapses in 2 % of trials, gets .31 with a residual of .021, where
    the least residual is .010, at .36.

    Searched on a grid of factors that put the threshold up to 100 times outside the
    animal's coherences, then refined: the likelihood may have more than one peak.
    """
    shown = animal.coherence[animal.coherence > 0]
    if not shown.size:
        raise InputError("coherence: expected one above 0 of the animal, found none")

    def cost(log_factor: float) -> float:
        p = fit.curve(np.exp(log_factor) * animal.coherence, guess=guess)
        return -log_likelihood(animal.correct, 1, p)

    low, high = np.log(fit.threshold / np.array([shown.max(), shown.min()]))
    grid = np.linspace(low - np.log(REACH), high + np.log(REACH), 400)
    best = int(np.argmin([cost(x) for x in grid]))
    around = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    found = optimize.minimize_scalar(
        cost, bounds=around, method="bounded", options={"xatol": 1e-9}
    )
    factor = float(np.exp(found.x))
    left = fit.curve(factor * animal.coherence, guess=guess) - animal.correct
    return Scale(factor, float(np.sqrt((left**2).mean())))
