"""What results.json holds beside metrics, for tests that fabricate a workdir."""

import json

from kdjax.stages.record import FORMAT

ENVIRONMENT = {
    "kdjax": "0.2.0",
    "python": "3.11.7",
    "versions": {"jax": "0.10.2", "flax": "0.12.8", "numpy": "2.4.6"},
    "commit": "0123456789" * 4,
    "clean": True,
    "platform": "cpu",
    "device": "cpu",
    "devices": 1,
    "processor": "a processor",
    "threads": 2,
    "date": "2026-11-24T12:00:00+00:00",
}


def record(table, select, *, task="distill", **reads):
    """The fields that every results.json has beside data, sizes and checkpoints."""
    return {
        "format": FORMAT,
        "task": task,
        "reads": {section: read for section, read in reads.items() if read},
        "metrics": {name: metric.label for name, metric in table.items()},
        "selection": {"metric": select, "rule": table[select].chosen_as},
        "environment": ENVIRONMENT,
    }


def edit(path, **changes):
    """Changes fields of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def png_size(path):
    """(width, height), from a PNG's own header."""
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    return tuple(int.from_bytes(content[at : at + 4]) for at in (16, 20))
