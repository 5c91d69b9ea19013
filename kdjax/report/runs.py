"""Runs: what training left in a workdir, stages x seeds, with gaps."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kdjax import plan
from kdjax.checks import number
from kdjax.errors import InputError, call, lookup
from kdjax.files import read_json
from kdjax.report.sweeps import Choice, choose
from kdjax.stages.record import CONFIG, read_record
from kdjax.training.metrics import CLASSIFICATION, Metric, read_log

_FIELDS = {  # what every results.json has
    "data": str,
    "synthetic": bool,
    "classes": list,
    "examples": dict,
    "checkpoints": dict,
    "selection": dict,
    "reads": dict,
    "metrics": dict,
    "environment": dict,
}

# (name, caption) of a picture -> the file to draw it to
Place = Callable[[str, str], Path]


class Settings(NamedTuple):
    """The `report` section of a config.

    `comparisons`: pairs (stage, reference), None for every student against `scratch`;
    `confusion`: stages whose confusion matrix is drawn, None for the first four;
    `order`: stages as the report lists them, None for teachers first, then by name;
    `temperature`: at which the teachers' soft labels are shown beside T = 1;
    `metric`: the primary outcome, by which stages are compared, None for the headline
    that most stages have.
    """

    checkpoint: str = "last"
    comparisons: Sequence[Any] | None = None
    confusion: Sequence[str] | None = None
    order: Sequence[str] | None = None
    temperature: float = 4.0
    metric: str | None = None


class Run(NamedTuple):
    """One finished stage of one seed.

    record: all of results.json. reads: {section: {"stage", "checkpoint"}} of the stages
    it read. labels: {metric: its name for people}. history: the lines of metrics.jsonl.
    """

    stage: str
    seed: int
    task: str
    data: str
    synthetic: bool
    classes: tuple[str, ...]
    examples: Mapping[str, int]
    checkpoints: Mapping[str, Mapping[str, Any]]
    selection: Mapping[str, str]
    reads: Mapping[str, Mapping[str, str]]
    labels: Mapping[str, str]
    cost: Mapping[str, float]
    history: Sequence[Mapping[str, Any]]
    record: Mapping[str, Any]
    folder: Path

    def file(self, name: str) -> Path:
        """A file that the stage may have left."""
        return self.folder / name

    def metric(self, name: str, *, checkpoint: str, split: str = "test") -> Any:
        """A metric of one checkpoint on one split, None where there is none."""
        return self.checkpoints.get(checkpoint, {}).get(split, {}).get(name)


class Experiment(NamedTuple):
    """Stages in the report's order, seeds ascending, and the runs that are finished.

    metrics: how the metrics of all systems are written, and which are headlines.
    choices: the stages that were swept, which stand for their tries.
    """

    stages: tuple[str, ...]
    seeds: tuple[int, ...]
    runs: Mapping[tuple[str, int], Run]
    settings: Settings
    metrics: Mapping[str, Metric]
    choices: Sequence[Choice] = ()


def report_settings(
    config: Mapping[str, Any],
    stages: Collection[str],
    metrics: Mapping[str, Metric] = CLASSIFICATION,
) -> Settings:
    """`config["report"]`, checked before anything trains as well as when it is read.

    InputError: an unknown field, a stage that is not one of `stages`, or a metric that
    is none of `metrics`.
    """
    fields = config.get("report") or {}
    settings: Settings = call(Settings, fields, where="config.report")
    _check(settings, stages)
    if settings.metric is not None:
        lookup(settings.metric, metrics, where="config.report.metric")
    return settings


def read_experiment(
    workdir: Path, metrics: Mapping[str, Metric] = CLASSIFICATION
) -> Experiment:
    """The experiment in `workdir`: every stage and seed planned or found.

    A stage without results.json is a gap, not an error. InputError: no finished stage
    at all, a damaged file, or a report section that names an unknown field or stage.
    """
    runs = {(run.stage, run.seed): run for run in _runs(workdir)}
    if not runs:
        raise InputError(
            f"{workdir}: expected finished stages (seed_<k>/<stage>/results.json),"
            " found none"
        )
    _check_one_config(runs)
    config = _optional(workdir / "config.json")
    planned = plan.resolve(dict(config)) if config.get("stages") else {}
    swept = plan.swept(dict(config)) if planned else {}
    tries = {name for names in swept.values() for name in names}
    names = ({*planned, *swept} | {stage for stage, _ in runs}) - tries
    seeds = set(config.get("seeds") or ()) | {seed for _, seed in runs}
    settings = report_settings(config, names, metrics)
    runs, choices = choose(runs, swept, metrics, settings.checkpoint)
    stages = _ordered(names, runs, settings.order or ())
    return Experiment(stages, tuple(sorted(seeds)), runs, settings, metrics, choices)


def stage_runs(experiment: Experiment, stage: str) -> list[Run]:
    """The finished runs of `stage`, by seed."""
    runs = (experiment.runs.get((stage, seed)) for seed in experiment.seeds)
    return [run for run in runs if run is not None]


def headlines(experiment: Experiment) -> list[Metric]:
    """The metrics that stages are compared by, if the settings do not choose."""
    return [metric for metric in experiment.metrics.values() if metric.headline]


def headline(experiment: Experiment) -> Metric:
    """The settings' metric, else the headline that most stages have on the test split,
    the first if none has."""
    chosen = experiment.settings.metric
    if chosen is not None:
        # each task has its own `loss`: whose it is the stages say that are compared
        pairs = experiment.settings.comparisons or ()
        compared = {name for pair in pairs for name in pair} or set(experiment.stages)
        labels = {
            run.labels[chosen]
            for run in experiment.runs.values()
            if run.stage in compared and chosen in run.labels
        }
        label = labels.pop() if len(labels) == 1 else chosen
        return experiment.metrics[chosen]._replace(label=label)

    def stages(candidate: Metric) -> int:
        return len(stages_with(experiment, candidate.name))

    return max(headlines(experiment), key=stages)


def stages_with(experiment: Experiment, metric: str) -> list[str]:
    """The stages that have this metric on the test split."""
    return [s for s in experiment.stages if scores(experiment, s, metric=metric)]


def scores(
    experiment: Experiment,
    stage: str,
    *,
    metric: str | None = None,
    checkpoint: str | None = None,
    split: str = "test",
) -> dict[int, float]:
    """`{seed: metric}` of the finished runs that have it: the headline's metric at the
    headline checkpoint, unless others are named.

    A stage whose own metric of the headline's name is another one has none.
    """
    label = None
    if metric is None:
        found = headline(experiment)
        metric, label = found.name, found.label
    checkpoint = checkpoint or experiment.settings.checkpoint
    values = {}
    for run in stage_runs(experiment, stage):
        if label not in (None, metric, run.labels.get(metric, label)):
            continue
        value = run.metric(metric, checkpoint=checkpoint, split=split)
        if value is not None and np.isfinite(value):
            values[run.seed] = float(value)
    return values


def confusion(run: Run, checkpoint: str) -> np.ndarray | None:
    """Test counts int `[true class, predicted class]`, None where none are kept."""
    counts = run.metric("confusion", checkpoint=checkpoint)
    if counts is None:
        return None
    matrix = np.asarray(counts, dtype=np.int64)
    expected = (len(run.classes), len(run.classes))
    if matrix.shape != expected:
        field = f"{run.folder / 'results.json'}: {checkpoint}.test.confusion"
        raise InputError(f"{field}: expected shape {expected}, found {matrix.shape}")
    return matrix


def data_names(experiment: Experiment, stages: Sequence[str]) -> str:
    """The data of these stages, and of those they read, synthetic ones said to be."""
    every = list(stages)
    for stage in every:  # which grows
        for run in stage_runs(experiment, stage):
            read = [other["stage"] for other in run.reads.values()]
            every += [name for name in read if name not in every]
    runs = [run for stage in every for run in stage_runs(experiment, stage)]
    names = {run.data: run.synthetic for run in runs}
    return ", ".join(
        f"{name} (synthetic)" if synthetic and "synthetic" not in name.lower() else name
        for name, synthetic in names.items()
    )


def teachers(experiment: Experiment) -> list[str]:
    """Stages that another stage learns from, in the report's order."""
    named = _teachers(experiment.runs)
    return [stage for stage in experiment.stages if stage in named]


def gaps(experiment: Experiment) -> dict[str, list[int]]:
    """`{stage: seeds that have not finished}`, stages that are complete left out."""
    missing = {
        stage: [s for s in experiment.seeds if (stage, s) not in experiment.runs]
        for stage in experiment.stages
    }
    return {stage: seeds for stage, seeds in missing.items() if seeds}


def _runs(root: Path) -> list[Run]:
    folders = sorted(root.iterdir(), key=str) if root.exists() else []
    seeds = [f for f in folders if re.fullmatch(r"seed_\d+", f.name) and f.is_dir()]
    stages = [stage for seed in seeds for stage in sorted(seed.iterdir(), key=str)]
    return [_run(stage) for stage in stages if (stage / "results.json").exists()]


def _run(folder: Path) -> Run:
    path = folder / "results.json"
    results = read_record(folder, path.name)
    place = (folder.name, int(folder.parent.name.removeprefix("seed_")))
    for field, kind in _FIELDS.items():
        if not isinstance(results.get(field), kind):
            raise InputError(
                f"{path}: {field}: expected {kind.__name__}, found"
                f" {results.get(field)!r}"
            )
    found = (results.get("stage", place[0]), results.get("seed", place[1]))
    if found != place:
        raise InputError(f"{path}: expected stage and seed {place}, found {found}")
    return Run(
        stage=place[0],
        seed=place[1],
        task=results["task"],
        data=results["data"],
        synthetic=results["synthetic"],
        classes=tuple(results["classes"]),
        examples=results["examples"],
        checkpoints=results["checkpoints"],
        selection=results["selection"],
        reads=results["reads"],
        labels=results["metrics"],
        cost=_optional(folder / "cost.json"),
        history=_history(folder / "metrics.jsonl"),
        record=results,
        folder=folder,
    )


def _history(path: Path) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl; of two for one step the later, written on resuming."""
    rows = {(row["kind"], row["step"]): row for row in read_log(path)}
    return sorted(rows.values(), key=lambda row: row["step"])


def _check_one_config(runs: Mapping[tuple[str, int], Run]) -> None:
    """The seeds of a stage must be of one config; those without a file are not seen."""
    first: dict[str, tuple[Run, Any]] = {}
    for (stage, _), run in sorted(runs.items()):
        config = {k: v for k, v in _optional(run.file(CONFIG)).items() if k != "seed"}
        known, expected = first.setdefault(stage, (run, config))
        if config and expected and config != expected:
            raise InputError(
                f"{run.folder}: expected the config of {known.folder}, found another; "
                "runs of different configs go to different workdirs"
            )


def _check(settings: Settings, stages: Collection[str]) -> None:
    known, where = dict.fromkeys(stages), "config.report"
    checkpoints = {"last": None, "best": None}
    lookup(settings.checkpoint, checkpoints, where=f"{where}.checkpoint")
    for field in ("comparisons", "confusion", "order"):
        value = getattr(settings, field)
        if value is not None and not isinstance(value, list | tuple):
            raise InputError(f"{where}.{field}: expected a list, found {value!r}")
    pairs = settings.comparisons or ()
    for pair in pairs:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise InputError(
                f"{where}.comparisons: expected [stage, reference], found {pair!r}"
            )
    for field, names in (
        ("comparisons", [stage for pair in pairs for stage in pair]),
        ("confusion", settings.confusion or ()),
        ("order", settings.order or ()),
    ):
        for stage in names:
            lookup(stage, known, where=f"{where}.{field}")
    number(settings.temperature, above=0, where=f"{where}.temperature")


def _optional(path: Path) -> Mapping[str, Any]:
    return read_json(path) if path.exists() else {}


def _teachers(runs: Mapping[tuple[str, int], Run]) -> set[str]:
    return {r.reads["teacher"]["stage"] for r in runs.values() if "teacher" in r.reads}


def _ordered(
    stages: set[str],
    runs: Mapping[tuple[str, int], Run],
    order: Sequence[str],
) -> tuple[str, ...]:
    rest = stages - set(order)
    first = _teachers(runs) | {"teacher"}
    by_role = sorted(rest, key=lambda stage: (stage not in first, stage))
    return (*dict.fromkeys(order), *by_role)
