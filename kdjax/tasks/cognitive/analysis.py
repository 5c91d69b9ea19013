"""What is found out about a network when it is trained, and the files that say it."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from kdjax import files
from kdjax.checks import integer, number, one_of
from kdjax.errors import InputError, call, lookup
from kdjax.models import CTRNN, Recurrent
from kdjax.stages import networks
from kdjax.tasks.cognitive import animals, chronometrics, psychometrics
from kdjax.tasks.cognitive.dynamics import (
    recordings,
    search,
    similarity,
    trajectories,
    units,
)
from kdjax.tasks.cognitive.trials.trial import Options, Paradigm
from kdjax.training.checkpoint import KINDS
from kdjax.training.cost import forward_cost

Tree = Any
WHERE = "config.analysis"
BATCH = 256
CURVE = 3  # coherences above 0 that a psychometric curve needs at least
MOST_RATES = 2**30  # bytes of rates that are kept
MOST_CONDITIONS = 64  # past these, trajectories are averaged over all but one name
ARTEFACTS = {
    "behaviour.npz": "each analysed trial's condition, choice, correctness and time",
    "psychometrics.json": "threshold, slope and lapse, with intervals; reaction times",
    "trajectories.npz": "mean rates and outputs of each condition",
    "network.npz": "the weights with their constraints applied",
    "census.json": "active units, density, excitation, ranks, dimensions",
    "fixed_points.npz": "fixed and slow points under held inputs, and their modes",
    "fixed_points.json": "how many there are of each, and what a line attractor takes",
    "decoding.npz": "what can be decoded of each variable over time",
    "similarity.json": "how alike the network and the recordings are",
    "task_variance.npz": "how much each unit varies in each task, and its cluster",
}


class Analysis(NamedTuple):
    """What is found out of a trained network; 0 or False leaves a part out.

    checkpoint: of which. trials: how many of each condition of the cognitive task's
      grid are judged. rates: of how many of them the rates are kept, for trajectories,
      census and starts.
    threshold: at which the difference of two outputs is a decision. samples: of the
      bootstrap of the psychometric curve.
    starts: how many searches for fixed points there are under each held input. held:
      labels of `Paradigm.held`; None: all.
    decode: names of conditions that are decoded over time. bin: ms of its steps.
    animals: a CSV file of animals' behaviour (`animals.read_animals`), to be set beside
      the network's.
    recordings: an .npz of recorded rates (`recordings.read_recordings`), whose geometry
      and dynamics are compared with the network's.
    """

    checkpoint: str = "last"
    trials: int = 200
    rates: int = 20
    threshold: float = 0.5
    samples: int = 200
    starts: int = 300
    held: Sequence[str] | None = None
    decode: Sequence[str] = ()
    bin: float = 100.0
    animals: str | None = None
    recordings: str | None = None


class Observed(NamedTuple):
    """Trials that a network was watched in: [trials, ...] each.

    condition: of each, and what `Paradigm.score` says of it. outputs, rates: [trials,
      time, ...], empty if they are not kept.
    """

    condition: dict[str, np.ndarray]
    score: dict[str, np.ndarray]
    outputs: np.ndarray
    rates: np.ndarray


def build(spec: Mapping[str, Any] | None, paradigm: Paradigm, units: int) -> Analysis:
    """The analysis of a config, checked against the trials of a network of `units`."""
    made: Analysis = call(Analysis, spec or {}, where=WHERE)
    one_of(made.checkpoint, KINDS, where=f"{WHERE}.checkpoint")
    for name in ("trials", "rates", "samples", "starts"):
        integer(getattr(made, name), low=0, where=f"{WHERE}.{name}")
    number(made.threshold, above=0, where=f"{WHERE}.threshold")
    number(made.bin, low=paradigm.dt, where=f"{WHERE}.bin")
    for label in made.held or ():
        lookup(label, paradigm.held, where=f"{WHERE}.held")
    for name in made.decode:
        lookup(name, paradigm.conditions, where=f"{WHERE}.decode")
    if made.animals is not None:
        animals.read_animals(Path(made.animals))  # what is wrong is said now
    if made.recordings is not None:
        silent = np.zeros((_conditions(paradigm), paradigm.steps, 1))
        grid = recordings.Recordings(silent, paradigm.conditions, paradigm.dt)
        recordings.match(recordings.read_recordings(Path(made.recordings)), grid)
    conditions = _conditions(paradigm)
    of_one = 4 * conditions * paradigm.steps * units
    if made.rates * of_one > MOST_RATES:
        raise InputError(
            f"{WHERE}.rates: expected at most {MOST_RATES // of_one} trials of each of "
            f"{conditions} conditions, whose rates take 1 GiB, found {made.rates}"
        )
    for name in ("starts", "recordings"):
        if getattr(made, name) and not made.rates:
            raise InputError(f"{WHERE}.rates: expected 1 or more, for {name}")
    return made


def _conditions(paradigm: Paradigm) -> int:
    """How many conditions the grid has."""
    return len(next(iter(paradigm.conditions.values())))


def finish(
    network: Recurrent,
    paradigm: Paradigm,
    options: Options,
    study: Analysis,
    seed: int,
    models: Mapping[str, Tree],
    folder: Path,
) -> None:
    """Writes cost.json and `ARTEFACTS`, as far as they are asked for and apply."""

    def forward(model: Tree, x: Array) -> Array:
        return networks.predict(network, model, x).logits

    example = np.zeros((1, paradigm.steps, len(paradigm.inputs)), np.float32)
    cost = forward_cost(forward, models["last"], example)
    files.write_json(folder / "cost.json", cost)
    model = models[study.checkpoint]
    watch = functools.partial(observe, network, model, paradigm, options, seed)
    if study.trials:
        keep = ("outputs",) if _graded(paradigm) else ()  # for reaction times
        behaviour(watch(study.trials, keep=keep), paradigm, study, seed, folder)
    if study.rates:
        seen = watch(study.rates, keep=("outputs", "rates"))
        _activity(seen, paradigm, study, seed, folder)
        _made_of(network, model, seen, folder)
        labels = study.held or list(paradigm.held)
        if study.starts and labels:
            held = {label: paradigm.held[label] for label in labels}
            search.write(network, model, held, seen.rates, study.starts, seed, folder)


def observe(
    network: Recurrent,
    model: Tree,
    paradigm: Paradigm,
    options: Options,
    seed: int,
    trials: int,
    *,
    keep: tuple[str, ...] = (),
) -> Observed:
    """So many trials of each condition of the paradigm's grid, without own noise.

    keep: which of "outputs" and "rates".
    """
    run = _runner(network, paradigm.sample, paradigm.score, keep)
    given = {k: np.repeat(v, trials, axis=0) for k, v in paradigm.conditions.items()}
    count = trials * _conditions(paradigm)
    key = jax.random.fold_in(jax.random.key(seed), 2**31 - 1 - ("rates" in keep))
    keys = np.asarray(jax.random.key_data(jax.random.split(key, count)))
    model, options = jax.device_put((model, options))
    parts = []
    for start in range(0, count, BATCH):
        at = np.arange(start, start + BATCH) % count  # the last batch begins anew
        part = run(model, options, keys[at], {k: v[at] for k, v in given.items()})
        kept = min(BATCH, count - start)
        parts.append(jax.tree.map(lambda a, n=kept: np.asarray(a)[:n], part))
    return Observed(*jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts))


@functools.lru_cache(maxsize=8)
def _runner(
    network: Recurrent,
    sample: Callable[..., Any],
    score: Callable[..., Any],
    keep: tuple[str, ...],
) -> Callable[..., Any]:
    """(model, options, keys, conditions) -> Observed, compiled once for all members."""

    @jax.jit
    def run(model: Tree, options: Options, keys: Array, given: dict[str, Array]) -> Any:
        def draw(key: Array, given: dict[str, Array]) -> Any:
            return sample(jax.random.wrap_key_data(key), options, given)

        drawn = jax.vmap(draw)(keys, given)
        outputs, features = networks.predict(network, model, drawn.inputs)
        score_of = jax.vmap(score)(outputs, drawn)
        nothing = jnp.zeros((len(keys), 0, 0))
        return (
            drawn.condition,
            score_of,
            outputs if "outputs" in keep else nothing,
            features["rates"] if "rates" in keep else nothing,
        )

    return run


def _graded(paradigm: Paradigm) -> bool:
    """Whether two choices are made on evidence of enough strengths for a curve."""
    strengths = np.unique(np.abs(paradigm.conditions.get("coherence", [])))
    enough = np.count_nonzero(strengths) >= CURVE
    return bool(enough and len(paradigm.choices) == 2)


def behaviour(
    seen: Observed, paradigm: Paradigm, study: Analysis, seed: int, folder: Path
) -> None:
    """Writes each trial's condition and score; of graded evidence, the curves too."""
    arrays = dict(seen.condition) | {f"answer_{k}": v for k, v in seen.score.items()}
    if _graded(paradigm):
        coherence, correct = seen.condition["coherence"], seen.score["correct"]
        curve = _psychometrics(coherence, correct, paradigm, study, seed)
        if "onset" in seen.condition and len(paradigm.outputs) == 2:
            times = _reactions(seen, paradigm, study, folder)
            if times is not None:
                arrays["reaction_ms"] = times.ms
                right = times.choice == 2 * seen.condition["choice"] - 1
                found = chronometrics.chronometric(coherence, times.ms, right)
                curve["chronometric"] = {
                    k: _plain(v) for k, v in found._asdict().items()
                }
        files.write_json(folder / "psychometrics.json", curve)
    files.write_arrays(folder / "behaviour.npz", arrays)


def _psychometrics(
    coherence: np.ndarray,
    correct: np.ndarray,
    paradigm: Paradigm,
    study: Analysis,
    seed: int,
) -> dict[str, Any]:
    shown, place = np.unique(np.abs(coherence), return_inverse=True)
    trials = np.bincount(place)
    right = np.bincount(place, weights=correct)
    points = np.geomspace(shown[shown > 0].min() / 2, max(shown.max(), 0.1), 60)
    found: dict[str, Any] = {
        "coherence": shown.tolist(),
        "trials": trials.tolist(),
        "correct": (right / trials).tolist(),
        "points": points.tolist(),
    }
    if paradigm.ideal is not None:
        found["ideal"] = paradigm.ideal(shown).tolist()
        found["ideal_curve"] = paradigm.ideal(points).tolist()
    fit = psychometrics.fit_weibull(shown, right, trials)
    found |= fit._asdict() | {"curve": fit.curve(points).tolist()}
    if study.samples:
        rng = np.random.default_rng(seed)
        spread = psychometrics.bootstrap(
            shown, right, trials, rng=rng, samples=study.samples, points=points
        )
        names = ("threshold", "slope", "lapse")
        found["intervals"] = {name: list(getattr(spread, name)) for name in names}
        found["curve_interval"] = spread.curve.tolist()
    if study.animals is not None:
        known = animals.read_animals(Path(study.animals))
        found["animals"] = {k: _beside(v, fit) for k, v in known.items()}
    return found


def _beside(
    animal: animals.Animal, network: psychometrics.PsychometricFit
) -> dict[str, Any]:
    """An animal's behaviour, its own fit, and the scale of its coherences."""
    own = psychometrics.fit_weibull(animal.coherence, animal.correct, 1)
    return (
        {name: values.tolist() for name, values in animal._asdict().items()}
        | {"fit": own._asdict()}
        | animals.fit_scale(network, animal)._asdict()
    )


def _reactions(
    seen: Observed, paradigm: Paradigm, study: Analysis, folder: Path
) -> chronometrics.Reactions | None:
    """When each trial's two outputs part; None, and said, if they never do."""
    evidence = seen.outputs[:, :, 1] - seen.outputs[:, :, 0]
    try:
        return chronometrics.reaction_times(
            evidence,
            seen.condition["onset"],
            threshold=study.threshold,
            dt=paradigm.dt,
        )
    except InputError as error:
        print(f"kdjax: {folder}: no reaction times: {error}", file=sys.stderr)
        return None


def _plain(values: np.ndarray) -> list[float | None]:
    """For JSON, which has no NaN."""
    return [float(v) if np.isfinite(v) else None for v in values]


def _activity(
    seen: Observed, paradigm: Paradigm, study: Analysis, seed: int, folder: Path
) -> None:
    """Writes mean trajectories, what is decoded, and the variance in each task."""
    grid = {name: seen.condition[name] for name in paradigm.conditions}
    size = len(np.unique(np.stack(list(paradigm.conditions.values())), axis=1).T)
    names = list(grid) if size <= MOST_CONDITIONS else list(grid)[:1]
    events = seen.condition.get("onset")
    by = {name: grid[name] for name in names}
    means = trajectories.by_condition(seen.rates, by, events=events)
    outputs = trajectories.by_condition(seen.outputs, by, events=events)
    files.write_arrays(
        folder / "trajectories.npz",
        {f"condition_{k}": v for k, v in means.conditions.items()}
        | {
            "rates": means.rates.astype(np.float32),
            "outputs": outputs.rates.astype(np.float32),
            "steps": means.steps,
            "dt": paradigm.dt,
        },
    )
    if study.decode:
        width = round(study.bin / paradigm.dt)
        found = {
            name: trajectories.decode(
                seen.rates, np.sign(grid[name]), width=width, seed=seed
            )
            for name in study.decode
        }
        files.write_arrays(
            folder / "decoding.npz",
            {name: decoding.accuracy for name, decoding in found.items()}
            | {f"{name}_chance": decoding.chance for name, decoding in found.items()}
            | {"bin": width * paradigm.dt},
        )
    if study.recordings is not None:
        own = recordings.Recordings(seen.rates, grid, paradigm.dt)
        recorded = recordings.read_recordings(Path(study.recordings))
        both = recordings.match(recorded, own)
        alike = similarity.measures(both.recorded, both.network)
        files.write_json(folder / "similarity.json", alike)
    if "rule" in grid:
        _by_rule(seen, grid["rule"], paradigm, folder)


def _by_rule(
    seen: Observed, rule: np.ndarray, paradigm: Paradigm, folder: Path
) -> None:
    names = [n.removeprefix("rule_") for n in paradigm.inputs if n.startswith("rule_")]
    time = np.arange(paradigm.steps)[None, :, None]
    columns = []
    for i in range(len(names)):
        at = rule == i
        there = time < seen.condition["end"][at][:, None, None]
        rates = np.where(there, seen.rates[at], np.nan)
        columns.append(units.task_variance({names[i]: rates}))
    variance = np.concatenate(columns, axis=1)
    grouped = units.clusters(variance)
    files.write_arrays(
        folder / "task_variance.npz",
        {
            "variance": variance,
            "rules": np.array(names),
            "cluster": grouped.labels,
            "clusters": np.array(list(grouped.scores), int),
            "silhouette": np.array(list(grouped.scores.values())),
        },
    )


def _made_of(network: Recurrent, model: Tree, seen: Observed, folder: Path) -> None:
    """Writes the weights of a CTRNN, and a census of its units and weights."""
    if not isinstance(network, CTRNN):
        return
    weights = search.weights_of(network, model)
    recurrent = np.asarray(weights.matrix)
    sign = np.asarray(model["model_state"]["constraints"]["sign"])
    excitatory = sign > 0 if sign.any() else None
    counted = units.census(seen.rates, recurrent, excitatory)._asdict()
    counted["density"] = {f"{k:g}": v for k, v in counted["density"].items()}
    dimensions = trajectories.participation_ratio(seen.rates)
    files.write_json(folder / "census.json", counted | {"dimensions": dimensions})
    files.write_arrays(
        folder / "network.npz",
        {
            "recurrent": recurrent,
            "input": np.asarray(weights.input),
            "readout": np.asarray(weights.readout),
            "bias": np.asarray(weights.bias),
            "sign": sign,
        },
    )
