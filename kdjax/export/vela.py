"""What an int8 TFLite file takes on an Arm Ethos-U55, by Arm's own compiler, vela."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from kdjax.export.tools import version

ACCELERATOR = "ethos-u55-128"  # 128 multiply-accumulates a cycle
SYSTEM = "Ethos_U55_High_End_Embedded"  # 500 MHz; vela's default
MEMORY = "Shared_Sram"
MOST_S = 300


def estimate(path: Path) -> dict[str, Any]:
    """{"sram_kib", "flash_kib", "ms", "npu", "cpu", ...}: vela's estimate, no run.

    npu, cpu: operators on either; the time is of the former alone. {"failed": why}
    where vela does not take the file: an artefact is one without it.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "ethosu.vela", str(path)]
        command += ["--accelerator-config", ACCELERATOR, "--system-config", SYSTEM]
        command += ["--memory-mode", MEMORY, "--config", "Arm/vela.ini"]
        try:
            done = subprocess.run(
                [*command, "--output-dir", folder],
                capture_output=True,
                text=True,
                timeout=MOST_S,
            )
        except subprocess.TimeoutExpired:
            return {"failed": f"vela did not end within {MOST_S} s"}
        tables = list(Path(folder).glob("*_summary_*.csv"))
        if done.returncode or not tables:
            said = [*done.stdout.splitlines(), *done.stderr.splitlines()]
            faults = [line for line in said if "rror" in line] or said or ["no word"]
            return {"failed": f"vela: {faults[-1].strip()[:200]}"}
        with tables[0].open(newline="") as file:
            (row,) = csv.DictReader(file)
    return {
        "sram_kib": float(row["sram_memory_used"]),
        "flash_kib": float(row["off_chip_flash_memory_used"]),
        "ms": 1e3 * float(row["inference_time"]),
        "npu": _operators("NPU", done.stdout),
        "cpu": _operators("CPU", done.stdout),
        "accelerator": ACCELERATOR,
        "system": f"{SYSTEM}, {MEMORY}",
        "version": version("ethos-u-vela"),
    }


def _operators(where: str, text: str) -> int:
    found = re.search(rf"^{where} operators = (\d+)", text, re.MULTILINE)
    return int(found[1]) if found else 0
