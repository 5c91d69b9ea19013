"""What is exported: one function of raw examples, the trained network inside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from kdjax.errors import InputError
from kdjax.export.steps import in_graph
from kdjax.loading import predictor_of
from kdjax.models.ops import forms
from kdjax.stages.predictor import EXACT, Predictor
from kdjax.stages.record import Stage

INPUT = "x"  # its name in every artefact


class Graph(NamedTuple):
    """A stage as a function of raw float32 examples [n, *shape].

    function: to what `predictor` gives, float32, by XLA's own operations.
    predictor: of the stage in float32, also where it was trained in bfloat16, whose
      convolutions other runtimes do not have. Its `kind` is the output's name.
    """

    function: Callable[[Array], Array]
    predictor: Predictor

    @property
    def shape(self) -> tuple[int, ...]:
        return self.predictor.shape

    @property
    def output(self) -> str:
        return self.predictor.kind


def of_stage(stage: Stage, checkpoint: str) -> Graph:
    """The graph of a finished stage; InputError where it cannot be loaded, or scaled
    inside a graph, or needs more than an example."""
    exact = stage._replace(record=in_float32(stage.record))
    predictor = predictor_of(exact, checkpoint)
    forward = predictor.forward
    if forward is None:
        raise InputError(
            f"{stage.folder}: a stage of the task {stage.record['task']!r} scores each "
            "example beside the rest of its recording: no graph of one example gives "
            "that"
        )
    scale = in_graph(stage.record["preprocessing"], where=str(stage.folder))

    def function(x: Array) -> Array:
        with jax.named_scope(EXACT):
            x = scale(x)
        with forms.of_xla():
            return forward(predictor.model, x).astype(jnp.float32)

    return Graph(function, predictor)


def in_float32(record: Mapping[str, Any]) -> dict[str, Any]:
    """A stage's record with every network of it computing in float32."""

    def exact(value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        fields = {name: exact(field) for name, field in value.items()}
        return fields | ({"dtype": "float32"} if "dtype" in fields else {})

    made_of = ("settings", "encoder")  # a probe's network is in `encoder`
    return {k: exact(v) if k in made_of else v for k, v in record.items()}
