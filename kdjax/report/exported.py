"""What a run's exported stages take on a device, where `kdjax export` left figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kdjax.files import read_json
from kdjax.report.runs import Run

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
    files = [run.file(FILE) for run in runs]
    known = [read_json(path)["artefacts"].values() for path in files if path.exists()]
    return [
        entry
        for artefacts in known
        for entry in artefacts
        if "ms" in entry.get("device", {})
    ]
