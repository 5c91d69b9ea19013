"""Cognitive tasks, as trials that are drawn on the device from a key."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from kdjax.errors import call, look_up_or_import, split_name
from kdjax.tasks.cognitive.trials.checkerboard import make_checkerboard
from kdjax.tasks.cognitive.trials.decisions import (
    make_mante,
    make_perceptual_decision,
)
from kdjax.tasks.cognitive.trials.flip_flop import make_flip_flop
from kdjax.tasks.cognitive.trials.gym import make_neurogym
from kdjax.tasks.cognitive.trials.memory import (
    make_go_nogo,
    make_match_to_sample,
    make_parametric_working_memory,
)
from kdjax.tasks.cognitive.trials.trial import WHERE, Held, Paradigm, Trial
from kdjax.tasks.cognitive.trials.yang import make_yang

# By name: the maker, or "module:maker".
PARADIGMS: dict[str, Callable[..., Paradigm] | str] = {
    "checkerboard": make_checkerboard,
    "flip_flop": make_flip_flop,
    "go_nogo": make_go_nogo,
    "mante": make_mante,
    "match_to_sample": make_match_to_sample,
    "parametric_working_memory": make_parametric_working_memory,
    "neurogym": make_neurogym,
    "perceptual_decision": make_perceptual_decision,
    "yang": make_yang,
}

__all__ = ["PARADIGMS", "Held", "Paradigm", "Trial", "build"]


def build(spec: Mapping[str, Any]) -> Paradigm:
    """The paradigm `spec["name"]` of `PARADIGMS`, or "module:maker".

    The other fields are the maker's. An unknown name or field, or a value it cannot
    take, is an InputError.
    """
    name, fields = split_name(spec, where=WHERE)
    maker = look_up_or_import(name, PARADIGMS, where=f"{WHERE}.name")
    paradigm: Paradigm = call(maker, fields, where=WHERE)
    return paradigm
