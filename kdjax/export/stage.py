"""Exports a trained stage: each artefact is written aside, checked, then left."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from kdjax import files
from kdjax.console import say
from kdjax.errors import InputError, lookup
from kdjax.export import card, checking, graph, raw, vela
from kdjax.export.formats import FORMATS, Format
from kdjax.export.tools import need
from kdjax.loading import finished
from kdjax.stages.record import RESULTS, read_record
from kdjax.training import environment, parallel

FILE, FOLDER = "export.json", "export"
QUANTISED = ("int8",)
SCRIPTS = Path(__file__).resolve().with_name("scripts")


@dataclasses.dataclass(frozen=True)
class Work:
    """One export: a graph, what it is held against, and where it goes."""

    graph: graph.Graph
    raw: raw.Raw
    expected: checking.Outputs
    into: Path


def export(
    folder: str | Path,
    formats: Sequence[str],
    *,
    checkpoint: str = "best",
    quantize: str | None = None,
    into: Path | None = None,
) -> Path:
    """Writes a finished stage in these formats; the folder with all that belongs to it.

    Beside the artefacts: `model_card.md`, `export.json` with all figures, and a script
    for each format. `quantize` "int8" adds int8 files of the formats that have them.
    What an earlier call left of the same parameters stays in both.
    InputError: no finished stage, data that changed, an unknown format, a tool that is
    missing, a network that a converter cannot take, or an artefact that does not give
    what the stage's predictor gives, which is then not left.
    """
    chosen = {name: lookup(name, FORMATS, where="--format") for name in formats}
    _check_quantize(quantize, chosen)
    stage = finished(folder)
    for name, each in chosen.items():
        for module in each.tools:
            need(module, what=name)
    made = graph.of_stage(stage, checkpoint)
    examples = raw.of_stage(stage, made.output)
    expected = checking.outputs(made.predictor, examples)
    work = Work(made, examples, expected, into or stage.folder / FOLDER)
    work.into.mkdir(parents=True, exist_ok=True)
    results = read_record(stage.folder, RESULTS)
    known: dict[str, Any] = {
        "stage": str(stage.folder.resolve()),
        "checkpoint": checkpoint,
        "model": _digest(made.predictor.model),
        "input": {"name": graph.INPUT, "dtype": "float32", "shape": [*made.shape]},
        "output": {
            "name": made.output,
            "dtype": "float32",
            "shape": [*expected.shape[1:]],
        },
        "classes": list(made.predictor.classes),
        "channels": list(made.predictor.channels),
        "metric": checking.recorded(results, checkpoint, made.output),
        "environment": environment.describe(parallel.make("pmap", devices=1)),
    }
    artefacts = _kept(work.into, known)
    for name, each in chosen.items():
        artefacts[each.file] = _written(work, name, each, known["metric"])
        shutil.copyfile(SCRIPTS / f"run_{name}.py", work.into / f"run_{name}.py")
        if quantize is not None and each.quantise is not None:
            file = _int8(each.file)
            before = artefacts[each.file]
            artefacts[file] = _quantised(work, name, each, before)
    known["artefacts"] = artefacts
    files.write_json(work.into / FILE, known)
    files.write_text(
        work.into / "model_card.md", card.of_stage(stage, results, checkpoint, known)
    )
    return work.into


def _check_quantize(quantize: str | None, chosen: Mapping[str, Format]) -> None:
    if quantize is None:
        return
    lookup(quantize, dict.fromkeys(QUANTISED), where="--quantize")
    able = [name for name, each in FORMATS.items() if each.quantise is not None]
    if not set(able) & set(chosen):
        raise InputError(
            f"--quantize: expected --format with {' or '.join(able)}, "
            f"found {', '.join(chosen)}"
        )


def _digest(model: Any) -> str:
    """SHA-256 of a model's arrays: some stages, solved at once, have no checkpoint."""
    sha = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(model):
        sha.update(jax.tree_util.keystr(path).encode())
        sha.update(np.ascontiguousarray(leaf).data)
    return sha.hexdigest()


def _int8(file: str) -> str:
    return file.replace("model", "model_int8")


def _kept(into: Path, known: Mapping[str, Any]) -> dict[str, Any]:
    """What an earlier call left of the same parameters."""
    path = into / FILE
    if not path.exists():
        return {}
    before = files.read_json(path)
    same = isinstance(before, dict) and before.get("model") == known["model"]
    artefacts = before.get("artefacts", {}) if same else {}
    return {k: v for k, v in artefacts.items() if (into / k).exists()}


def _written(
    work: Work, name: str, each: Format, recorded: float | None
) -> dict[str, Any]:
    """Writes one format and checks it: what export.json says of it."""

    def write(aside: Path) -> dict[str, Any]:
        said = each.write(work.graph, aside)
        if each.run is None:
            return said
        found = _checked(work, each, aside)
        if not found.close:
            raise InputError(
                f"{name}: expected what kdjax gives to {checking.CLOSE:g}, found "
                f"{found.difference:.2g} from it: {each.file} is not left"
            )
        return said | _figures(found)

    entry = {"format": name, "quantised": None} | _aside(work.into / each.file, write)
    say(_line(each.file, entry, recorded))
    return entry


def _quantised(
    work: Work, name: str, each: Format, before: Mapping[str, Any]
) -> dict[str, Any]:
    """The int8 file of a format that is written; its figures beside the float's."""
    examples = work.raw.calibration
    expected = work.graph.predictor(examples)

    def write(aside: Path) -> dict[str, Any]:
        said = _best_range(work.into / each.file, aside, each, examples, expected)
        return said | _figures(_checked(work, each, aside))

    path = work.into / _int8(each.file)
    entry = {"format": name, "quantised": "int8", "calibrated_on": len(examples)}
    entry["batch"] = before["batch"]
    entry |= _aside(path, write)
    if name == "tflite":
        entry["device"] = vela.estimate(path)
    metric = before.get("metric") or {}
    say(_line(path.name, entry, metric.get("value"), of="float32"))
    return entry


def _best_range(
    path: Path,
    into: Path,
    each: Format,
    examples: NDArray[np.float32],
    expected: NDArray[np.float32],
) -> dict[str, Any]:
    """Quantises with each range that may be, and leaves the one nearest to float32.

    By the mean difference of the outputs on the examples that are calibrated on: no
    label, and no example that is tested on, has a say.
    """
    assert each.quantise is not None
    assert each.run is not None
    tries: dict[str, float] = {}
    said: dict[str, Any] = {}
    trial = into.with_name(f"{into.stem}.trial{into.suffix}")
    try:
        for rare in each.rare:
            about = each.quantise(path, trial, examples, rare)
            apart = float(np.mean(abs(each.run(trial)(examples) - expected)))
            if apart < min(tries.values(), default=np.inf):
                trial.replace(into)
                said = about | {"rare": rare}
            tries[f"{rare:g}"] = apart
    finally:
        trial.unlink(missing_ok=True)
    if not said:
        raise InputError(f"{path.name}: not to be had in int8: outputs are not finite")
    return said | {"differences_by_rare": tries}


def _aside(path: Path, write: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    """`write` to a file beside `path`, which is renamed if nothing is raised."""
    aside = path.with_name(f".{path.stem}.aside{path.suffix}")
    try:
        said = write(aside)
        said["bytes"] = aside.stat().st_size
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
    return said


def _checked(work: Work, each: Format, path: Path) -> checking.Check:
    assert each.run is not None
    return checking.check(each.run(path), work.raw, work.expected, work.graph.output)


def _figures(found: checking.Check) -> dict[str, Any]:
    return {k: v for k, v in found._asdict().items() if k != "close"}


def _line(
    file: str,
    entry: Mapping[str, Any],
    other: float | None,
    *,
    of: str = "results.json",
) -> str:
    """What is said of one artefact."""
    parts = [f"{file}: {entry['bytes']:,} bytes"]
    if "difference" in entry:
        same = ""
        if entry["equal"] is not None:
            same = f", {entry['equal']:,} predictions the same"
        parts.append(
            f"{entry['examples']:,} test examples: largest difference "
            f"{entry['difference']:.2g}{same}"
        )
        parts.append(f"{entry['ms']:.2f} ms at batch 1")
    if entry.get("metric"):
        beside = "" if other is None else f" ({of} {other:.4f})"
        metric = entry["metric"]
        parts.append(f"test {metric['name']} {metric['value']:.4f}{beside}")
    if "calibrated_on" in entry:
        parts.append(f"calibrated on {entry['calibrated_on']} training examples")
    device = entry.get("device", {})
    if "ms" in device:
        parts.append(
            f"{device['accelerator']}: {device['sram_kib']:.1f} KiB SRAM, "
            f"{device['flash_kib']:.1f} KiB flash, {device['ms']:.2f} ms, "
            f"{device['npu']} operators on it and {device['cpu']} on the CPU"
        )
    parts += [device["failed"]] if "failed" in device else []
    return "; ".join(parts)
