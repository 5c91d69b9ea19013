"""What is found out about a network when it is trained, and the files that say it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jax import Array

from kdjax import files
from kdjax.models import Recurrent
from kdjax.stages import networks
from kdjax.tasks.cognitive.curriculum import Levels
from kdjax.tasks.cognitive.trials.trial import Paradigm
from kdjax.training.cost import forward_cost

Tree = Any
WHERE = "config.analysis"


class Analysis(NamedTuple):
    """What is to be found out."""

    checkpoint: str = "last"


def build(spec: Mapping[str, Any] | None, paradigm: Paradigm) -> Analysis | None:
    return None


def finish(
    network: Recurrent,
    paradigm: Paradigm,
    levels: Levels,
    study: Analysis | None,
    seed: int,
    models: Mapping[str, Tree],
    folder: Path,
) -> None:
    def forward(model: Tree, x: Array) -> Array:
        return networks.predict(network, model, x).logits

    example = np.zeros((1, paradigm.steps, len(paradigm.inputs)), np.float32)
    cost = forward_cost(forward, models["last"], example)
    files.write_json(folder / "cost.json", cost)
