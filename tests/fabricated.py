"""What results.json holds beside metrics, for tests that fabricate a workdir."""

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


def record(*, task="distill", select="accuracy", labels=None, **reads):
    """The fields that every results.json has beside data, sizes and checkpoints."""
    labels = labels or {"accuracy": "accuracy", "loss": "cross-entropy"}
    most = "lowest" if select == "loss" else "highest"
    return {
        "format": 2,
        "task": task,
        "reads": {name: read for name, read in reads.items() if read},
        "metrics": labels,
        "selection": {"metric": select, "rule": f"{most} validation {labels[select]}"},
        "environment": ENVIRONMENT,
    }
