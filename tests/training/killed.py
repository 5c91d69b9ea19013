"""Run by test_processes.py: trains `tiny` as one of two processes, to be killed.

killed.py FOLDER I PORT
"""

import sys
from pathlib import Path

from kdjax.training import host, loop, parallel, processes
from tests.training.tiny import STEPS, settings, tiny

EPOCHS = 30


def trained(folder, epochs, by):
    """What `tiny` reaches in a folder, where it goes on; its examples are streamed."""
    task = tiny(best_at=3 * STEPS, streamed=True)
    training = settings(epochs=epochs)
    reached = loop.run(task, training, folder=folder, seed=0, devices=by, label="")
    return [reached[kind]["test"]["loss"] for kind in ("last", "best")]


def main():
    host.cache_compilation()
    folder, own, port = sys.argv[1:]
    with processes.ending():
        processes.meet(f"127.0.0.1:{port},2,{own}")
        trained(Path(folder) / "killed", EPOCHS, parallel.make("pmap", devices=4))


if __name__ == "__main__":
    main()
