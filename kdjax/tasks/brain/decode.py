"""The task of the decoders: classes read from responses by what was not fitted to them.

A decoder has no training loop: every row's logits are computed once, on the host, and
are the stage's parameters, so that a stage that reads its soft labels knows which.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from kdjax import files
from kdjax.checks import integer, one_of
from kdjax.data.dataset import SPLITS, Examples, as_float, concatenate, index_batches
from kdjax.data.soft_labels import FILE, write_rows
from kdjax.errors import InputError
from kdjax.stages import batches
from kdjax.tasks.brain import decoders, predictions
from kdjax.tasks.brain.permutation import PermutationTest, permutation_test
from kdjax.training.metrics import (
    CLASSIFICATION,
    Metric,
    Sums,
    by_name,
    classification_metrics,
    classification_sums,
)
from kdjax.training.parallel import AXIS
from kdjax.training.state import no_step, untrained_state
from kdjax.training.task import Source, Task, Training

Tree = Any
OUT_OF_FOLD, IN_SAMPLE = PROTOCOLS = ("leave_one_run_out", "in_sample")
DECODER, PERMUTATIONS = "decoder.json", "permutations.json"
METRICS = CLASSIFICATION | by_name(Metric("entropy", "entropy (nats)", False))
ARTEFACTS = {
    DECODER: "the protocol, and each fold's temperature",
    PERMUTATIONS: "accuracy beside that of permuted labels, and its p",
}


def make(
    *,
    data: Mapping[str, Any],
    decoder: Mapping[str, Any],
    training: Training,
    seed: int,
    protocol: str = OUT_OF_FOLD,
    calibration: int = predictions.CALIBRATION_FOLDS,
    permutations: int = 0,
) -> Task:
    """The task of one stage; nothing is fitted here.

    Args:
      data: fields of kdjax.data.load, whose groups are runs. All of its examples are
        decoded, whatever their split, each as the vector of its numbers.
      decoder: {"name": a key of decoders.DECODERS, **its fields}.
      training: `epochs` must be 0.
      protocol: "leave_one_run_out": each row by a decoder, and a temperature, that saw
        nothing of its run. "in_sample": by one that was fitted to it, as published
        studies have done: it says nothing about decoding, and its soft labels teach
        only a stage that asks for them.
      calibration: folds of runs that a temperature is fitted on.
      permutations: of the labels within runs, for the p of the ridge's accuracy.

    Raises InputError on anything in the config or the data that does not fit.
    """
    dataset = batches.load(data, seed)
    one_of(protocol, PROTOCOLS, where="config.protocol")
    integer(calibration, low=2, where="config.calibration")
    integer(permutations, low=0, where="config.permutations")
    fit = decoders.build(decoder)
    if permutations and (decoder["name"] != "ridge" or decoder.get("voxels")):
        raise InputError(
            "config.permutations: expected 0, for the permutation test is that of the "
            f"ridge without a choice of voxels; found {permutations}"
        )
    training.check_untrained("a decoder")
    splits = batches.splits(dataset)
    every = _every(splits)
    responses = as_float(every.x), every.y, every.group
    classes = len(dataset.classes)

    @functools.cache
    def solve() -> predictions.Predictions:
        if protocol == IN_SAMPLE:
            return predictions.in_sample(*responses, fit=fit, classes=classes)
        return predictions.out_of_fold(
            *responses, fit=fit, classes=classes, calibration=calibration, seed=seed
        )

    size = len(every.y)
    rows = Source(size, lambda batch_size, *, epoch: index_batches(size, batch_size))
    sources = dict.fromkeys(SPLITS, rows)  # each is predicted out of fold
    test = None
    if permutations:
        test = functools.partial(
            permutation_test,
            *responses,
            classes=classes,
            permutations=permutations,
            seed=seed,
            **{name: decoder[name] for name in ("penalties",) if name in decoder},
        )
    return Task(
        init=lambda rng: untrained_state({"logits": jnp.asarray(solve().logits)}),
        step=no_step,
        evaluate=_evaluate,
        summarize=_summarize,
        metrics=METRICS,
        data=sources,
        constants=lambda: {"y": every.y},
        finish=functools.partial(
            _finish, every, splits, solve, test, {"seed": seed, "protocol": protocol}
        ),
        about=batches.about(dataset, sources) | {"protocol": protocol},
    )


def _every(splits: Mapping[str, Examples]) -> Examples:
    """All examples, whichever split they are in, each a vector."""
    flat = [e._replace(x=as_float(e.x).reshape(len(e.y), -1)) for e in splits.values()]
    return concatenate(flat)


def _evaluate(model: Tree, batch: Tree, constants: Tree) -> Sums:
    logits = model["params"]["logits"][batch["index"]]
    labels, mask = constants["y"][batch["index"]], batch["mask"]
    log_p = jax.nn.log_softmax(logits)
    entropy = -jnp.sum(jnp.exp(log_p) * log_p, axis=-1)
    sums = {"entropy": (jnp.sum(entropy * mask), jnp.sum(mask))}
    return classification_sums(logits, labels, mask) | lax.psum(sums, AXIS)


def _summarize(total: Mapping[str, tuple[Any, Any]]) -> dict[str, Any]:
    entropy = float(total["entropy"][0] / total["entropy"][1])
    return classification_metrics(total) | {"entropy": entropy}


def _finish(
    every: Examples,
    splits: Mapping[str, Examples],
    solve: Callable[[], predictions.Predictions],
    test: Callable[[], PermutationTest] | None,
    header: Mapping[str, Any],
    reached: Mapping[str, Tree],
    folder: Path,
) -> None:
    del reached
    found = solve()
    write_rows(
        folder / FILE,
        key=every.key,
        label=every.y,
        split=np.repeat([*splits], [len(split.y) for split in splits.values()]),
        fold=found.fold,
        logits=found.logits,
        header={"stage": folder.name, **header},
    )
    temperatures = found.temperatures.tolist()
    said = {"protocol": header["protocol"], "temperatures": temperatures}
    files.write_json(folder / DECODER, said)
    if test is not None:
        tested = test()
        files.write_json(
            folder / PERMUTATIONS,
            {
                "accuracy": tested.accuracy,
                "p": tested.p,
                "permutations": len(tested.null),
                "null_mean": float(np.mean(tested.null)),
                "null_max": float(np.max(tested.null)),
            },
        )
