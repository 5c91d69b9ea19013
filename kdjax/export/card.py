"""model_card.md: what an exported stage is, takes and gives, and how well it does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kdjax.errors import InputError
from kdjax.export.checking import METRICS
from kdjax.export.sources import OWN, SOURCES, TRIALS, Source
from kdjax.report.tables import spread, table
from kdjax.stages.record import RESULTS, Stage, in_brief, read_record
from kdjax.tasks import ALL
from kdjax.training.metrics import Metric

MEANINGS = {
    "probabilities": "the probability of each class, in the order of the classes",
    "scores": "how far from normal an example is: higher is less normal",
    "embeddings": "the encoder's representation",
    "outputs": "the outputs at each time step",
}
GROUPS = 40  # as many are listed


def of_stage(
    stage: Stage,
    results: Mapping[str, Any],
    checkpoint: str,
    known: Mapping[str, Any],
) -> str:
    """The card of a stage, `known` being what export.json says, as Markdown."""
    sections = (
        _title(stage, checkpoint),
        _data(stage),
        _metrics(stage, results, checkpoint),
        _signature(stage, known),
        _artefacts(known),
        _quantisation(known),
        _provenance(stage, known),
    )
    return "\n\n".join(section for section in sections if section) + "\n"


def _title(stage: Stage, checkpoint: str) -> str:
    record = stage.record
    model = record["settings"].get("config.model", {})
    fields = {k: v for k, v in sorted(model.items()) if k != "name" and v is not None}
    made = ", ".join(f"{key} {value}" for key, value in fields.items())
    name = (stage.config.get("model") or {}).get("name", record["task"])
    lines = [f"# {record['stage']}: {name} on {record['data']}", ""]
    if record["synthetic"]:
        lines += ["> **Synthetic data**: it says nothing about real recordings.", ""]
    lines.append(
        f"A stage of the task `{record['task']}`, seed {record['seed']}, checkpoint "
        f"`{checkpoint}`, trained by kdjax." + (f" Network: {made}." if made else "")
    )
    taught = [f"`{read['stage']}` ({section})" for section, read in _reads(record)]
    lines += [f"It learnt from {', '.join(taught)}."] if taught else []
    return "\n".join(lines)


def _reads(record: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield from record["reads"].items()


def _data(stage: Stage) -> str:
    record = stage.record
    source = _source(stage)
    lines = ["## Data", "", f"- {record['data']}; licence: {source.licence}."]
    classes = ", ".join(record["classes"])
    lines += [f"- {len(record['classes'])} classes: {classes}."] if classes else []
    sizes = ", ".join(f"{n:,} {name}" for name, n in record["examples"].items())
    lines.append(f"- Examples: {sizes}.")
    for name, split in record["split"].items():
        groups = split["groups"]
        if groups is not None:
            some = ", ".join(map(str, groups[:GROUPS]))
            more = ", ..." if len(groups) > GROUPS else ""
            lines.append(f"- {name}: groups (people, patients or files) {some}{more}.")
    if record["split"] and all(s["groups"] is None for s in record["split"].values()):
        lines.append("- Split by example: the data have no groups, or ignore them.")
    return "\n".join(lines)


def _source(stage: Stage) -> Source:
    if "data" not in stage.config:
        return TRIALS
    return SOURCES.get(stage.config["data"]["name"], OWN)


def _metrics(stage: Stage, results: Mapping[str, Any], checkpoint: str) -> str:
    """The test metrics of this seed, and the mean over the run's seeds."""
    test = results["checkpoints"][checkpoint].get("test", {})
    names = [n for n in ALL.metrics if isinstance(test.get(n), int | float)]
    runs = list(_seeds(stage.folder))
    rows = []
    for name in names:
        metric = _written(name, results)
        own = f"{metric.scale * test[name]:{metric.form}}"
        values = [
            found["checkpoints"][checkpoint]["test"][name]
            for found in runs
            if name in found["checkpoints"].get(checkpoint, {}).get("test", {})
        ]
        over = spread(values, scale=metric.scale, form=metric.form)
        rows.append((f"{metric.label}{metric.unit}", own, over))
    several = f"mean of {len(runs)} seeds" + " ± half the 95 % interval" * (
        len(runs) > 1
    )
    text = table(("test metric", f"seed {stage.record['seed']}", several), rows)
    rule = results["selection"]["rule"]
    return (
        f"## Metrics\n\nOf kdjax's own network, from results.json; `best` is the epoch "
        f"with the {rule}.\n\n{text}"
    )


def _written(name: str, results: Mapping[str, Any]) -> Metric:
    """A metric as it is written, by the name that its own task gives it."""
    known: Metric = ALL.metrics[name]
    return known._replace(label=results["metrics"].get(name, known.label))


def _seeds(folder: Path) -> Iterator[Mapping[str, Any]]:
    """The results of the same stage of every finished seed of the run."""
    same = sorted(folder.resolve().parent.parent.glob(f"seed_*/{folder.name}"))
    for place in same or [folder]:
        try:
            yield read_record(place, RESULTS)
        except InputError:  # not done, or damaged: its own seed says so when it is read
            continue


def _signature(stage: Stage, known: Mapping[str, Any]) -> str:
    given, made = known["input"], known["output"]
    about = stage.record["input"].get("about", f"Raw: {_source(stage).units}.")
    lines = [
        "## Input and output",
        "",
        f"- Input `{given['name']}`: float32 {_shape(given)}. {about}",
    ]
    if known["channels"]:
        lines.append(f"- Channels, in this order: {', '.join(known['channels'])}.")
    for step in stage.record["preprocessing"]:
        constants = {k: v for k, v in step.items() if k != "name"}
        said = f" {constants}" if constants else ""
        lines.append(f"- Done inside: `{step['name']}`{said}.")
    if any(s["name"] == "range_of_example" for s in stage.record["preprocessing"]):
        lines.append(
            "- `range_of_example` is float32 here and float64 in kdjax: up to 5e-7 of "
            "its range of 2 apart."
        )
    meaning = MEANINGS[made["name"]]
    lines.append(f"- Output `{made['name']}`: float32 {_shape(made)}, {meaning}.")
    return "\n".join(lines)


def _shape(tensor: Mapping[str, Any]) -> str:
    """`[batch, 128, 9]`."""
    return f"[{', '.join(map(str, ('batch', *tensor['shape'])))}]"


def _artefacts(known: Mapping[str, Any]) -> str:
    head = ("file", "bytes", "batch", "largest difference", "same predictions")
    metric = METRICS.get(known["output"]["name"], "")
    rows = []
    for file, entry in known["artefacts"].items():
        checked = "difference" in entry
        value = (entry.get("metric") or {}).get("value")
        equal = entry.get("equal")
        rows.append(
            (
                file,
                f"{entry['bytes']:,}",
                str(entry.get("batch", "-")),
                f"{entry['difference']:.2g}" if checked else "-",
                "-" if equal is None else f"{equal:,} of {entry['examples']:,}",
                "-" if value is None else f"{value:.4f}",
                f"{entry['ms']:.2f}" if checked else "-",
            )
        )
    where = known["environment"]
    own = known["metric"]
    text = [
        "## Files",
        "",
        "Each was run by its own runtime on the whole test split, beside kdjax's own "
        f"network in float32. ms: the median at batch 1 on {where['processor']}, one "
        f"thread (stablehlo: {where['threads']})."
        + (f" The stage's own test {metric}: {own:.4f}." if own is not None else ""),
        "",
        table((*head, metric or "metric", "ms"), rows),
        "",
    ]
    for file, entry in known["artefacts"].items():
        if "readable" in entry:
            text.append(f"- {file} ({entry['version']}): {entry['readable']}.")
        elif entry["format"] == "npz":
            text.append(
                f"- {file}: {entry['arrays']} arrays and the record, for a runtime of "
                "one's own; nothing in it runs."
            )
        elif "version" in entry:
            opset = f", opset {entry['opset']}" if "opset" in entry else ""
            text.append(f"- {file}: {entry['version']}{opset}.")
    return "\n".join(text)


def _quantisation(known: Mapping[str, Any]) -> str:
    entries = {k: e for k, e in known["artefacts"].items() if e["quantised"]}
    if not entries:
        return ""
    lines = ["## Quantisation", ""]
    for file, entry in entries.items():
        before = known["artefacts"].get(file.replace("_int8", ""), {})
        lines.append(
            f"- {file}: post-training, calibrated on {entry['calibrated_on']} training "
            f"examples, none augmented; {entry['kept']}. Ranges leave out the share"
            f" {entry['rare']:g}, of {len(entry['differences_by_rare'])} tried, the"
            " nearest to float32 on those examples."
        )
        lines.append(_loss(entry, before))
        for tensor in entry.get("tensors", ()):
            lines.append(
                f"  - {tensor['what']}: int8, scale {tensor['scale']:.6g}, zero point "
                f"{tensor['zero_point']}."
            )
        lines += _device(entry.get("device", {}))
    return "\n".join(lines)


def _loss(entry: Mapping[str, Any], before: Mapping[str, Any]) -> str:
    parts = []
    if entry.get("metric") and before.get("metric"):
        one, other = before["metric"]["value"], entry["metric"]["value"]
        parts.append(f"{entry['metric']['name']} {one:.4f} -> {other:.4f}")
    for key, unit, form in (("bytes", "bytes", ",.0f"), ("ms", "ms", ".2f")):
        if key in before:
            parts.append(f"{before[key]:{form}} -> {entry[key]:{form}} {unit}")
    return f"  - Before and after: {'; '.join(parts)}."


def _device(device: Mapping[str, Any]) -> Sequence[str]:
    if "failed" in device:
        return [f"  - {device['failed']}"]
    if not device:
        return []
    return [
        f"  - {device['version']}'s estimate for {device['accelerator']} "
        f"({device['system']}), nothing was run: {device['sram_kib']:.1f} KiB SRAM, "
        f"{device['flash_kib']:.1f} KiB flash, {device['ms']:.3f} ms; "
        f"{device['npu']} operators on it, {device['cpu']} on the CPU, whose time is "
        "not in it."
    ]


def _provenance(stage: Stage, known: Mapping[str, Any]) -> str:
    exported = {"environment": known["environment"]}
    return (
        f"## Made with\n\n- Trained: {in_brief(stage.record)}; "
        f"{stage.record['environment']['date'][:10]}.\n"
        f"- Exported: {in_brief(exported)}; {known['environment']['date'][:10]}."
    )
