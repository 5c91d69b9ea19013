"""The task `decode`: classes read from responses by what was not fitted to them."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from kdjax import files
from kdjax.checks import boolean, integer, one_of
from kdjax.data.dataset import as_float
from kdjax.data.stored_attention import FILE, write_attention
from kdjax.errors import InputError, call
from kdjax.stages import batches
from kdjax.tasks.brain import attended, predicted
from kdjax.tasks.brain.decoding import decoders, permutation, predictions
from kdjax.tasks.brain.decoding.permutation import permutation_test
from kdjax.training.task import Task, Training

OUT_OF_FOLD, IN_SAMPLE = PROTOCOLS = ("leave_one_run_out", "in_sample")
DECODER = "decoder.json"
LEARNT = "accuracy_on_learnt_labels"  # of decoder.json
SMALL = 2**22  # numbers; threads cost so small fits 100 x on busy cores
PERMUTED = 1  # which of a seed's streams permutes the labels
ARTEFACTS = {
    DECODER: "the protocol, and each fold's temperature",
    permutation.FILE: "accuracy beside that of permuted labels, and its p",
    FILE: "where in its image each response's decoder looked, by the image's key",
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
    permuted_labels: bool = False,
    attention: Mapping[str, Any] | None = None,
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
      permuted_labels: the decoder learns labels permuted among all examples by the
        seed: a teacher with nothing to teach. It is judged on the true ones, and its
        soft labels are stored with them.
      attention: {"data", "grid", "source"}, fields of `attended.build`: the images that
        the rows' keys name. Maps of where in them the decoder looked are then left
        beside the soft labels (`stored_attention`), by models of the same runs.

    Raises InputError on anything in the config or the data that does not fit.
    """
    dataset = batches.load(data, seed)
    one_of(protocol, PROTOCOLS, where="config.protocol")
    integer(calibration, low=2, where="config.calibration")
    integer(permutations, low=0, where="config.permutations")
    boolean(permuted_labels, where="config.permuted_labels")
    fit = decoders.build(decoder, seed=seed)
    if permutations and (decoder["name"] != "ridge" or decoder.get("voxels")):
        raise InputError(
            "config.permutations: expected 0, for the permutation test is that of the "
            f"ridge without a choice of voxels; found {permutations}"
        )
    training.check_untrained("a decoder")
    rows = predicted.rows_in(dataset)
    parts = batches.splits(dataset).values()
    x = np.concatenate([as_float(part.x).reshape(len(part.y), -1) for part in parts])
    learnt = rows.y
    if permuted_labels:
        learnt = np.random.default_rng([seed, PERMUTED]).permutation(rows.y)
    responses = x, learnt, np.concatenate([part.group for part in parts])
    classes = len(dataset.classes)
    images = None
    if attention is not None:
        where = attended.WHERE
        images = call(attended.build, attention, where=where, key=rows.key, seed=seed)

    how: dict[str, Any] = {"protocol": protocol, "calibration": calibration}
    how |= {"fit": fit, "classes": classes, "images": images, "seed": seed}
    solve = functools.cache(functools.partial(_decode, *responses, **how))

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
    header = {"seed": seed, "protocol": protocol, "permuted_labels": permuted_labels}

    def finish(folder: Path) -> None:
        found = solve()
        _leave(folder, found.predictions, learnt, protocol)
        if test is not None:
            permutation.write(folder, test())
        if found.maps is not None:
            write_attention(
                folder / FILE,
                key=rows.key,
                fold=found.predictions.fold,
                maps=found.maps,
                header={"stage": folder.name, **header, "attention": attention},
            )

    def solved() -> predicted.Solved:
        (logits, fold, _), maps = solve()
        extra = {} if maps is None else {"attention": maps}
        return predicted.Solved(logits, fold, extra)

    return predicted.task(dataset, rows, solved, header=header, finish=finish)


class _Decoded(NamedTuple):
    """What decoders said, and where they looked: maps [n, rows, columns], if asked."""

    predictions: predictions.Predictions
    maps: NDArray[np.float32] | None


def _decode(
    *responses: Any,
    fit: decoders.Fit,
    classes: int,
    images: attended.Images | None,
    protocol: str,
    calibration: int,
    seed: int,
) -> _Decoded:
    fields: dict[str, Any] = {"fit": fit, "classes": classes}
    seen, small = protocol == IN_SAMPLE, responses[0].size < SMALL
    threads = threadpool_limits(1 if small else None, user_api="blas")
    # `init` is traced first, for its shapes
    with threads, jax.ensure_compile_time_eval():
        maps = None
        if images is not None:  # first: it may refuse the decoder
            maps = attended.maps(images, *responses, **fields, in_sample=seen)
        if seen:
            return _Decoded(predictions.in_sample(*responses, **fields), maps)
        fields |= {"calibration": calibration, "seed": seed}
        return _Decoded(predictions.out_of_fold(*responses, **fields), maps)


def _leave(
    folder: Path,
    found: predictions.Predictions,
    learnt: NDArray[np.int32],
    protocol: str,
) -> None:
    """Writes DECODER."""
    right = found.logits.argmax(axis=1) == learnt
    said = {
        "protocol": protocol,
        LEARNT: float(right.mean()),
        "temperatures": found.temperatures.tolist(),
    }
    files.write_json(folder / DECODER, said)
