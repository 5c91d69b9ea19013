"""A decoder's attention as a part of its stage: the images that its rows show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kdjax.checks import integers, one_of
from kdjax.data.dataset import SPLITS, Examples, as_float, rows_of, take
from kdjax.errors import InputError, record_settings, recorded_settings
from kdjax.stages import batches
from kdjax.tasks.brain.decoding.attention import (
    attention_maps,
    image_features,
    shares,
)
from kdjax.tasks.brain.decoding.decoders import Fit, Labels, Responses
from kdjax.tasks.brain.decoding.folds import Fold, leave_one_run_out

WHERE = "config.attention"
DECODER, CONTRAST = SOURCES = ("decoder", "contrast")


class Images(NamedTuple):
    """The features [n, 2 * cells] of each row's image, the grid, what maps are of."""

    features: NDArray[np.float32]
    grid: tuple[int, int]
    source: str


def build(
    *,
    key: NDArray[Any],
    seed: int,
    data: Mapping[str, Any],
    grid: Any,
    source: str = DECODER,
) -> Images:
    """What the config's section `attention` says, of the rows of these keys.

    data: fields of kdjax.data.load of images, whichever split they are in, each under
      the key of the row that shows it.
    grid: [rows, columns] of the maps, no more than the images have pixels.
    source: "decoder": where the decoder looked. "contrast", a baseline: where the image
      has edges, whatever the decoder.

    Raises InputError for data that are no images, and a row whose image is not there.
    """
    one_of(source, SOURCES, where=f"{WHERE}.source")
    down, across = integers(grid, length=2, low=1, where=f"{WHERE}.grid")
    parts = _load(data, seed)
    shape = parts[0].x.shape[1:]
    if len(shape) != 3 or min(shape[:2]) < 2:
        raise InputError(
            f"{WHERE}.data: expected images [h, w, channels] of 2 x 2 pixels or more, "
            f"found examples of shape {shape}"
        )
    if down > shape[0] or across > shape[1]:
        raise InputError(
            f"{WHERE}.grid: expected {shape[0]} x {shape[1]} cells at the most, as the "
            f"images have pixels, found {down} x {across}"
        )
    there = np.concatenate([part.key for part in parts])
    rows = rows_of(there, key, where=f"{WHERE}.data: key")
    cells = np.empty((len(key), 2 * down * across), np.float32)
    start = 0
    for part in parts:
        inside = np.flatnonzero((rows >= start) & (rows < start + len(part.y)))
        if len(inside):  # of images in files, those that were shown are read
            shown = as_float(take(part, rows[inside] - start).x)
            cells[inside] = image_features(shown, (down, across))
        start += len(part.y)
    return Images(cells, (down, across), source)


def maps(
    images: Images,
    x: Responses,
    y: Labels,
    run: NDArray[Any],
    *,
    fit: Fit,
    classes: int,
    in_sample: bool,
) -> NDArray[np.float32]:
    """The rows' maps [n, rows, columns]: `attention_maps`, or the images' contrast.

    Every run is left out in turn, or with `in_sample` none.
    """
    if images.source == CONTRAST:
        found = shares(images.features[:, images.features.shape[1] // 2 :])
    else:
        every = np.arange(len(y))
        folds = [Fold(every, every, ())] if in_sample else leave_one_run_out(run)
        found = attention_maps(
            x, y, run, images.features, fit=fit, classes=classes, folds=folds
        )
    return found.reshape(-1, *images.grid)


def _load(data: Mapping[str, Any], seed: int) -> list[Examples]:
    """The splits of the images; their settings and errors are those of this section."""
    try:
        with recorded_settings() as settings:
            dataset = batches.load(data, seed)
    except InputError as error:
        said = str(error)
        own = said.removeprefix("config.")
        raise InputError(f"{WHERE}.{own}" if own != said else said) from error
    record_settings({f"{WHERE}.data": settings.get("config.data", {})})
    return [getattr(dataset, name) for name in SPLITS]
