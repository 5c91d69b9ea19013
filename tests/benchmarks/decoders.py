"""Accuracy and time of each decoder of configs/brain_haxby.py beside scikit-learn's.

    python tests/benchmarks/decoders.py --path=FILE [--seeds=3] [--stages ridge mlp]
        [--width=1] [--tiny]

FILE is a BData file. Both decode the same block means, each run by what was fitted to
the others, without a temperature. Printed: the per cent of blocks whose class is right,
the mean over seeds and, where they differ, in brackets each seed's; the CPU seconds of
all folds, their median over seeds, compilation among them; and in how many per cent of
the blocks both say the same. `--width` is that of residual networks, in the place of
the config's. `--tiny` is what the tests run: the config's smoke size.
"""

import importlib
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import sklearn
from sklearn_decoders import PEERS, blocks, classes_of
from stepping import parser, print_machine

import kdjax
from kdjax.tasks.brain.decoding import decoders
from kdjax.tasks.brain.decoding.predictions import out_of_fold
from kdjax.training import host

ROOT = Path(__file__).resolve().parents[2]


def sections(*, tiny, width):
    """{stage: decoder} of the config's stages of all voxels."""
    sys.path.insert(0, str(ROOT))
    config = importlib.import_module("kdjax.configs.brain_haxby").get_config(
        "smoke" if tiny else ""
    )
    found = {}
    for name in config.report.order:
        stage = config.stages[name].to_dict()
        if "data" in stage:  # of some voxels
            continue
        found[name] = stage["decoder"]
        if width and found[name].get("model", {}).get("name") == "resnet":
            found[name]["model"]["width"] = width
    return found


def ours(section, responses, seed):
    """(class of each block, CPU seconds)"""
    fit = decoders.build(section, seed=seed)
    classes = len(responses.classes)
    rows = responses.x, responses.y, responses.run
    start = time.process_time()
    found = out_of_fold(*rows, fit=fit, classes=classes, calibration=None)
    return found.logits.argmax(axis=1), time.process_time() - start


def theirs(section, responses, seed):
    """(class of each block, CPU seconds), or None"""
    model = PEERS[section["name"]](section, seed)
    if model is None:
        return None
    start = time.process_time()
    return classes_of(model, responses), time.process_time() - start


def cells(runs, y):
    """[accuracy, seconds] of runs [(classes, seconds)], as text."""
    right = [100 * np.mean(guess == y) for guess, _ in runs]
    accuracy = f"{np.mean(right):.1f}"
    if len(set(right)) > 1:
        accuracy += f" ({', '.join(f'{value:.1f}' for value in right)})"
    return [accuracy, f"{statistics.median(seconds for _, seconds in runs):.2f}"]


def row(section, responses, seeds):
    """The cells of a decoder's row."""
    pairs = [
        (ours(section, responses, seed), theirs(section, responses, seed))
        for seed in range(seeds)
    ]
    own = cells([one for one, _ in pairs], responses.y)
    if pairs[0][1] is None:
        return [*own, "-", "-", "-"]
    peer = cells([other for _, other in pairs], responses.y)
    same = np.mean([one[0] == other[0] for one, other in pairs])
    return [*own, *peer, f"{100 * same:.1f}"]


def main(arguments):
    flags = parser(__doc__, timed=False)
    flags.add_argument("--path", type=Path, required=True, metavar="FILE")
    flags.add_argument("--seeds", type=int, default=3)
    flags.add_argument("--stages", nargs="+", metavar="STAGE", help="default: all")
    flags.add_argument("--width", type=float)
    given = flags.parse_args(arguments)
    host.keep_freed_memory()
    print_machine()
    print(f"kdjax {kdjax.__version__}, scikit-learn {sklearn.__version__}")
    responses = blocks(given.path)
    print(
        "| decoder | right (%) | CPU s | scikit-learn's (%) | CPU s | same class (%) |"
    )
    print("|---|--:|--:|--:|--:|--:|")
    for name, section in sections(tiny=given.tiny, width=given.width).items():
        if not given.stages or name in given.stages:
            line = " | ".join([name, *row(section, responses, given.seeds)])
            print(f"| {line} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
