"""What a run's exported stages take on a device, where `kdjax export` left figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kdjax.files import read_json
from kdjax.report.runs import Experiment, Run
from kdjax.report.tables import NONE, table
from kdjax.stages.record import in_brief

FILE = "export/export.json"
HEADS = ("int8 KiB", "SRAM KiB", "flash KiB", "ms on device")


def said(runs: Sequence[Run]) -> str:
    """The columns in words, '' where no stage of these was exported for a device."""
    devices = {entry["device"]["accelerator"] for entry in _entries(runs)}
    if not devices:
        return ""
    return (
        f" int8 KiB: the int8 TFLite file of `kdjax export`; SRAM, flash and ms: vela's"
        f" estimate for {', '.join(sorted(devices))}, of the operators on it."
    )


def cells(runs: Sequence[Run]) -> list[str]:
    """`HEADS` of one stage: the median over the seeds that were exported."""
    found = [
        (entry["bytes"] / 1024, *(entry["device"][k] for k in _FIELDS))
        for entry in _entries(runs)
    ]
    if not found:
        return ["-"] * len(HEADS)
    forms = (".0f", ".1f", ".1f", ".3g")
    medians = np.median(np.array(found), axis=0)
    return [f"{value:{form}}" for value, form in zip(medians, forms, strict=True)]


_FIELDS = ("sram_kib", "flash_kib", "ms")


def _entries(runs: Sequence[Run]) -> list[Mapping[str, Any]]:
    """The artefacts of these runs that have a device's figures."""
    return [
        entry
        for run in runs
        for entry in _read(run).get("artefacts", {}).values()
        if "ms" in entry.get("device", {})
    ]


def _read(run: Run) -> Mapping[str, Any]:
    """What `kdjax export` left of a stage, {} where it was not exported."""
    path = run.file(FILE)
    return read_json(path) if path.exists() else {}


HEADINGS = (
    *("stage", "file", "KiB", "largest difference", "same predictions"),
    *("test split", "kdjax's own", "ms", "SRAM KiB", "flash KiB", "ms on device"),
)


def exported_section(experiment: Experiment) -> str:
    """A row a file that was exported: what it gives, weighs and takes; '' if none was.

    Files that nothing runs (npz) are left out.
    """
    rows, made = [], dict[str, None]()
    for (stage, seed), run in sorted(experiment.runs.items()):
        found = _read(run)
        for name, entry in found.get("artefacts", {}).items():
            if "metric" in entry:
                of = f"{stage} (seed {seed}, `{found['checkpoint']}`)"
                rows.append((of, name, *_row(entry, found["metric"])))
                made[in_brief({"environment": found["environment"]})] = None
    if not rows:
        return ""
    return (
        "## Exported\n\nEach file was run by its own runtime on every raw test example,"
        " beside kdjax's own network in float32. ms: the median at batch 1; SRAM, flash"
        " and ms on the device: vela's estimate of the operators on an Arm Ethos-U55."
        f"\n\n{table(HEADINGS, rows, words=2)}\n\nExported by {'; '.join(made)}."
    )


def _row(entry: Mapping[str, Any], of_network: float | None) -> list[str]:
    """The cells of one file, from its size on; of_network: what it should reach."""
    equal, device = entry.get("equal"), entry.get("device", {})
    return [
        f"{entry['bytes'] / 1024:,.0f}",
        f"{entry['difference']:.1e}",
        NONE if equal is None else f"{equal:,} of {entry['examples']:,}",
        f"{entry['metric']['name']} {entry['metric']['value']:.4f}",
        NONE if of_network is None else f"{of_network:.4f}",
        f"{entry['ms']:.2f}",
        *(f"{device[k]:,.4g}" if k in device else NONE for k in _FIELDS),
    ]
