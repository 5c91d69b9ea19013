"""The record of a stage: all that is needed to use it, or to distrust it.

`record.json` is written when a stage begins, and is held beside the config when it goes
on or is read: `results.json`, which says that it is done, repeats it with the metrics.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from kdjax import files
from kdjax.errors import InputError, Settings
from kdjax.training import environment
from kdjax.training.checkpoint import anew, model_digest
from kdjax.training.parallel import Parallel

FORMAT = 2  # 1 had no record: kdjax 0.1
CONFIG, RECORD, RESULTS = "config.json", "record.json", "results.json"
DAMAGED = "damaged_results.json"
# What every stage may leave in its folder; a system's own are its artefacts.
ALL_LEAVE = {
    CONFIG: "the stage's whole config, with its seed",
    RECORD: "what the stage is: data, split, settings, versions, what it read",
    RESULTS: "the record, and the metrics: the stage is done",
    DAMAGED: "results that could not be read",
    "metrics.jsonl": "training and validation metrics, a line each",
    "cost.json": "parameters, multiply-accumulates, size and time of the network",
    "timing.json": "percentiles of a step's time, and the largest memory, of training",
    "export": "the stage as other runtimes take it, by `kdjax export`",
    "checkpoints": "`last`, to go on from, and `best`",
    "tensorboard": "event files, if asked for",
    "wandb": "the files of Weights & Biases, if asked for",
    "tracking.json": "the run's ids at trackers, if there are any",
}


class Stage(NamedTuple):
    """A trained stage: its folder, its config and its record."""

    folder: Path
    config: Mapping[str, Any]
    record: Mapping[str, Any]

    def section(self, name: str) -> dict[str, Any]:
        """A section of the config with the defaults that the stage was made with.

        kdjax's own may change; what was trained does not.
        """
        return fields_of(self.record["settings"], f"config.{name}")


def fields_of(settings: Settings, where: str) -> dict[str, Any]:
    """The fields of a section, its own sections inside it again."""
    fields = dict(settings.get(where, {}))
    for key in settings:
        parent, _, name = key.rpartition(".")
        if parent == where:
            fields[name] = fields_of(settings, key)
    return fields


def read_stage(folder: Path) -> Stage:
    """What a stage's folder holds; InputError if it is no stage, or of kdjax 0.1."""
    if not (folder / CONFIG).exists():
        raise InputError(f"{folder}: no stage here (one is RUN/seed_<k>/<stage>)")
    config = read_config(folder)
    if "stages" in config:
        raise InputError(
            f"{folder / CONFIG}: expected the config of one stage, found a whole run's;"
            " a stage's folder is RUN/seed_<k>/<stage>"
        )
    return Stage(folder, config, read_record(folder))


def read_config(folder: Path) -> dict[str, Any]:
    """A stage's config.json; InputError if it is absent or damaged."""
    return _read(folder / CONFIG)


def read_record(folder: Path, name: str = RECORD) -> dict[str, Any]:
    """record.json or results.json; InputError if absent, damaged or of kdjax 0.1."""
    path = folder / name
    if not path.exists() and name == RECORD and (folder / CONFIG).exists():
        raise InputError(f"{folder}: {OLD}")
    record = _read(path)
    if record.get("format") != FORMAT:
        raise InputError(f"{path}: {OLD}")
    return record


def _read(path: Path) -> dict[str, Any]:
    try:
        found = files.read_json(path)
    except InputError as error:
        raise InputError(f"{error}; {anew(path.parent)}") from error
    if not isinstance(found, dict):
        kind = type(found).__name__
        raise InputError(
            f"{path}: expected an object, found {kind}; {anew(path.parent)}"
        )
    return found


def is_whole(folder: Path) -> bool:
    """Whether a stage's results are there; damaged ones are set aside, and said."""
    path = folder / RESULTS
    if not path.exists():
        return False
    try:
        if isinstance(files.read_json(path), dict):
            return True
        why = "no object"
    except InputError as error:
        why = str(error)
    aside = folder / DAMAGED
    print(
        f"kdjax: damaged {path} ({why}): set aside as {aside}; the stage goes on from "
        "its checkpoint",
        file=sys.stderr,
    )
    path.replace(aside)
    return False


OLD = (
    "a run of kdjax 0.1, which kept no record of its data and versions; "
    "train it anew in another --workdir, or use kdjax 0.1"
)


def describe(
    *,
    stage: str,
    config: Mapping[str, Any],
    about: Mapping[str, Any],
    settings: Settings,
    fingerprint: str,
    reads: Mapping[str, Any],
    devices: Parallel,
) -> dict[str, Any]:
    """The record of a stage that begins here and now, on these devices."""
    return {
        "format": FORMAT,
        "stage": stage,
        "seed": config["seed"],
        "task": config["task"],
        **about,
        "fingerprint": fingerprint,
        "reads": dict(reads),
        "settings": settings,
        "environment": environment.describe(devices),
    }


class Read(NamedTuple):
    """A section of a config that names an earlier stage, and that stage's config.

    config: None where the stage is of another experiment, whose folder has it.
    """

    section: str
    folder: Path
    checkpoint: str
    config: Mapping[str, Any] | None


def sections_read(fields: Any, path: str = "") -> Iterator[Read]:
    """The sections of a stage's config that name a folder, but for its data's."""
    if not isinstance(fields, Mapping) or path == "data":
        return
    if "folder" in fields and path:
        folder = Path(fields["folder"])
        yield Read(path, folder, fields.get("checkpoint", "best"), fields.get("config"))
        return
    for key, value in fields.items():
        yield from sections_read(value, f"{path}.{key}" if path else key)


def what_is_read(read: Read) -> dict[str, Any]:
    """An earlier stage's name, and the digests of its config, data and checkpoint.

    Of one that is still to be trained, the digest of its config alone. Of one without
    parameters, what it reached stands for its checkpoint.
    """
    names = {"stage": read.folder.name, "checkpoint": read.checkpoint}
    if read.config is not None and not (read.folder / RESULTS).exists():
        return names | {"config": digest(read.config)}
    stage = read_stage(read.folder)
    return names | {
        "config": digest(stage.config),
        "data": stage.record["fingerprint"],
        "model": _model_digest(stage, read.checkpoint),
    }


def _model_digest(stage: Stage, checkpoint: str) -> str:
    kept = stage.folder / "checkpoints" / checkpoint
    if "model" in stage.config or any(kept.glob("*")):
        return model_digest(stage.folder, checkpoint)
    return digest(read_record(stage.folder, RESULTS)["checkpoints"])


def digest(value: Any) -> str:
    """SHA-256 of plain values, whatever the order of their keys."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def why_stale(
    record: Mapping[str, Any], *, fingerprint: str, reads: Mapping[str, Any]
) -> str | None:
    """Why results are no longer those of what they were made of; None if they are.

    `fingerprint` is that of the data as they are now, `reads` what `what_is_read` says
    now of the stages that it reads.
    """
    if record["fingerprint"] != fingerprint:
        return f"its data ({record['data']}) changed since"
    for section, now in reads.items():
        then = record["reads"].get(section)
        if then is None:
            return f"it did not read {now['stage']!r} as its {section}"
        for key, what in (
            ("config", "config"),
            ("data", "data"),
            ("model", "parameters"),
        ):
            if key in now and now[key] != then[key]:
                return f"the {what} of its {section}, {now['stage']!r}, changed since"
    return None


def clear(folder: Path, artefacts: Mapping[str, str]) -> None:
    """Removes what a stage left, so that it begins anew; other files stay.

    The results first and the record last: killed in between, the stage is neither done
    nor gone on with, but still stale.
    """
    first, last = (RESULTS, "checkpoints"), (CONFIG, RECORD)
    others = {*ALL_LEAVE, *artefacts}.difference(first, last)
    for name in (*first, *sorted(others), *last):
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def in_brief(record: Mapping[str, Any]) -> str:
    """A line for people: commit, versions, processor, threads."""
    where = record["environment"]
    commit = where["commit"]
    state = "" if where["clean"] or commit is None else " with changes"
    versions = ", ".join(
        f"{name} {where['versions'][name]}" for name in ("jax", "flax", "numpy")
    )
    device = where["processor"] if where["platform"] == "cpu" else where["device"]
    return (
        f"kdjax {where['kdjax']}"
        + (f" at {commit[:9]}{state}" if commit else "")
        + f", {versions}, Python {where['python']}; {where['devices']} x {device}, "
        f"{where['threads']} threads"
        + (", gone on with later" if record.get("resumed") else "")
    )
