"""The terms of a distillation loss, each with its weight, from the config.

    config.losses = {
        "cross_entropy": {"weight": 0.1},
        "kd": {"weight": 0.9, "temperature": 4.0},
        "focal": {"function": "my_losses:focal_kd", "weight": 1.0, "gamma": 2.0},
    }

A term is a function that returns a scalar: that of its name in TERMS, or its
`function`, "module:name". Its parameters are named for what it is given (`GIVEN`); its
other keyword-only arguments are its fields in the config. So a loss of `kdjax.losses`,
or of one's own module, is a term as it stands. A public loss of labels gives NaN for an
example that has none; a term that is to take part in `unlabelled` training gives such
examples 0 and divides by the whole batch, as `cross_entropy` does here.
"""

from __future__ import annotations

import functools
import inspect
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from kdjax.checks import number
from kdjax.errors import (
    InputError,
    check_fields,
    check_types,
    look_up_or_import,
    lookup,
    section,
)
from kdjax.models import Outputs
from kdjax.stages import networks, taught
from kdjax.stages.attached import Modules, Recorder, module_of
from kdjax.stages.methods import TERMS, Term
from kdjax.training import optim
from kdjax.training.parallel import AXIS

TEACHERS = "teacher_features"

# What a term may ask for by the name of a parameter.
GIVEN = {
    "student_logits": "[batch, classes]",
    "teacher_logits": "[batch, classes]",
    "teacher_probabilities": "their softmax",
    "student_features": "one map, [batch, *space, channels], of each pair of `layers`",
    "teacher_features": "the map it is paired with; the larger is averaged to the"
    " smaller's size; the term is summed over the pairs",
    "student_maps": "all its maps of `layers` at once, in order of depth, by name",
    "student_outputs": "models.Outputs: logits, and all features by name",
    "teacher_outputs": "the same of the teacher",
    "student_embeddings": "[batch, width], the representation, its last feature",
    "teacher_embeddings": "the same of the teacher",
    "adapter": "the module that the term is marked with, `attached.adapted`, applied",
    "companion_features": "of each of `layers`, the student's map of its companions",
    "companion_rdm": "[companions, companions], how unlike they should be",
    "labels": "integers [batch], UNLABELLED (-1) where there is none",
    "step": "the number of the step, an integer scalar",
    "axis_name": "the mapped axis of the devices, over which pairs are of all examples",
}
NO_FIELDS = ("where",)  # of a loss; a term takes the whole batch
Attached = Callable[[str, Callable[..., nn.Module]], Callable[..., Any]]


class Weighted(NamedTuple):
    """A term with its fields given, what it asks for, its layers and its weight.

    layers: {the student's feature map: the teacher's that it is paired with}; None:
      all maps of the student, with those of the same names.
    scheduled: the fields, `weight` among them, that change with the step.
    adapter: the module that the term is marked with, None without one.
    """

    weight: float
    term: Term
    given: tuple[str, ...]
    layers: Mapping[str, str] | None
    scheduled: Mapping[str, optax.Schedule]
    adapter: Callable[..., nn.Module] | None


def build(
    spec: Mapping[str, Any],
    *,
    teacher: bool,
    companions: bool = False,
    total_steps: int = 1,
) -> dict[str, Weighted]:
    """{name: Weighted} of the config's `losses` section, without the absent ones.

    A number may be a section with the `name` of a schedule and its fields, over the
    `total_steps` of the run: {"name": "linear", "end": 1.0, "over": 0.1}.
    """
    terms = {}
    for name, given in section(spec, where="config.losses").items():
        where = f"config.losses.{name}"
        fields = dict(section({} if given is None else given, where=where))
        own = fields.pop("function", None)
        if own is None:
            function: Term = lookup(name, TERMS, where="config.losses")
        elif isinstance(own, str) and ":" in own:
            function = look_up_or_import(own, {}, where=f"{where}.function")
        else:
            raise InputError(f"{where}.function: expected 'module:name', found {own!r}")
        if given is None or given.get("weight") == 0:
            continue
        terms[name] = _weighted(function, fields, where, total_steps)
        for there, needed, prefix in (
            (teacher, "a teacher", "teacher_"),
            (companions, "companions", "companion_"),
        ):
            if not there and any(n.startswith(prefix) for n in terms[name].given):
                raise InputError(f"{where}: needs {needed}, and this stage has none")
    if not terms:
        raise InputError("config.losses: no term with a weight")
    return terms


def _weighted(
    function: Term, fields: dict[str, Any], where: str, total_steps: int
) -> Weighted:
    """A term of its section's fields; InputError for those it does not take."""
    parameters = inspect.signature(function).parameters
    given = tuple(name for name in parameters if name in GIVEN)
    schema: dict[str, Any] = {"weight": inspect.Parameter.empty}
    if any(name.endswith(("_features", "_maps")) for name in given):
        schema["layers"] = None
    for name, parameter in parameters.items():
        if name in GIVEN or name in NO_FIELDS:
            continue
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
            raise InputError(
                f"{where}: parameter {name!r} is none of {', '.join(GIVEN)}; a field "
                "of the config is a keyword-only argument"
            )
        schema[name] = parameter.default
    fields = check_fields(fields, schema, where=where)
    layers = _paired(fields.pop("layers", None), where=f"{where}.layers")
    scheduled = {
        name: optim.schedule(value, total_steps=total_steps, where=f"{where}.{name}")
        for name, value in fields.items()
        if isinstance(value, Mapping)
    }
    # a schedule's first value stands for it where the kind of a field is looked at
    fields |= {name: float(value(0)) for name, value in scheduled.items()}
    weight = number(fields.pop("weight"), low=0, where=f"{where}.weight")
    fields = check_types(function, fields, where=where)
    adapter = module_of(function)
    if (adapter is None) == ("adapter" in given):
        raise InputError(
            f"{where}: expected a term with a parameter 'adapter' to be marked with "
            "its module, and no other (kdjax.stages.attached.adapted)"
        )
    term = functools.partial(function, **fields)
    return Weighted(weight, term, given, layers, scheduled, adapter)


def _paired(layers: Any, *, where: str) -> Mapping[str, str] | None:
    """{student's: teacher's} of a config's `layers`: names, or names by name."""
    if layers is None:
        return None
    if isinstance(layers, Mapping):
        names = [*layers, *layers.values()]
    else:
        names = list(layers) if isinstance(layers, list | tuple) else []
    if names and all(isinstance(name, str) for name in names):
        return layers if isinstance(layers, Mapping) else {n: n for n in names}
    raise InputError(
        f"{where}: expected names of feature maps, or the student's by name with the "
        f"teacher's, found {layers!r}"
    )


def check(
    terms: Mapping[str, Weighted],
    module: nn.Module,
    example: Array,
    *,
    teacher: taught.Teacher | None,
    companions: bool = False,
) -> Modules:
    """Traces each term on shapes alone, so that what does not fit is said at once.

    `example` [1, ...] is what `module`, the student, takes. Returns the adapters that
    the terms ask for. InputError.
    """
    recorder = Recorder()

    def trace(where: str, function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return jax.eval_shape(function, *arguments)
        except InputError:
            raise
        except (ValueError, TypeError) as error:
            line = str(error).splitlines()[0]
            raise InputError(f"{where}: {line}") from error

    def one(name: str, student: Outputs, theirs: Outputs | None) -> Array:
        labels, step = jnp.zeros(2, jnp.int32), jnp.zeros((), jnp.int32)
        seen = (student, jnp.zeros((2, 2))) if companions else None
        term = {name: terms[name]}
        return total(term, student, theirs, labels, step, seen, recorder)[0]

    def on_a_device(*given: Any) -> Array:
        """`one` where there is the axis of devices, over which a term may gather."""
        mapped = jax.vmap(lambda: one(*given), axis_name=AXIS, axis_size=1)
        values: Array = mapped()
        return values

    student = trace("config.model", networks.outputs_like(module), example)
    theirs = teacher and trace(taught.WHERE, teacher.like, example)
    for name in terms:
        where = f"config.losses.{name}"
        trace(where, functools.partial(on_a_device, name), student, theirs)
    return recorder.modules


def total(
    terms: Mapping[str, Weighted],
    student: Outputs,
    teacher: Outputs | None,
    labels: Array,
    step: Array,
    companions: tuple[Outputs, Array] | None = None,
    attached: Attached | None = None,
) -> tuple[Array, dict[str, Array]]:
    """(sum of weight * term, {name: term}), on a device of the axis `AXIS`.

    `companions`: what the student makes of them, and their RDM. `attached`: (name, its
    module) -> an adapter, applied.
    """
    known: dict[str, Any] = {
        "student_outputs": student,
        "student_logits": student.logits,
        "labels": labels,
        "step": step,
        "axis_name": AXIS,
    }
    if teacher is not None:
        known |= {
            "teacher_outputs": teacher,
            "teacher_logits": teacher.logits,
            "teacher_probabilities": jax.nn.softmax(teacher.logits),
        }
    whose = {"student_features": student, "teacher_features": teacher}
    if companions is not None:
        whose["companion_features"], known["companion_rdm"] = companions
    parts, loss = {}, jnp.zeros(())
    for name, weighted in terms.items():
        parts[name] = jnp.zeros(())
        now = {field: value(step) for field, value in weighted.scheduled.items()}
        weight = now.pop("weight", weighted.weight)
        own = known | _embeddings(weighted, student, teacher) | _maps(weighted, student)
        for i, features in enumerate(_features(weighted, student, whose)):
            everything = own | features
            if weighted.adapter is not None:
                assert attached is not None, "a task without adapters has refused it"
                everything["adapter"] = attached(f"{name}_{i}", weighted.adapter)
            given = {name: everything[name] for name in weighted.given}
            parts[name] = parts[name] + weighted.term(**given, **now)
        loss = loss + weight * parts[name]
    return loss, parts


def _embeddings(
    weighted: Weighted, student: Outputs, teacher: Outputs | None
) -> dict[str, Array]:
    """The representations that a term asks for."""
    found = {}
    sides = {"student_embeddings": student, "teacher_embeddings": teacher}
    for name, outputs in sides.items():
        if name not in weighted.given:
            continue
        if outputs is None or not outputs.features:
            raise InputError(
                "config.losses: expected a teacher with features, found one that is "
                "stored as its logits"
            )
        found[name] = networks.representation(outputs)
    return found


def _maps(weighted: Weighted, student: Outputs) -> dict[str, Mapping[str, Array]]:
    """All of the student's maps at once, of a term that asks for them so."""
    if "student_maps" not in weighted.given:
        return {}
    maps = OrderedDict(
        (name, _map(name, "student_features", student))
        for name in _layers(weighted, student)
    )
    return {"student_maps": maps}


def _features(
    weighted: Weighted, student: Outputs, whose: Mapping[str, Outputs | None]
) -> list[dict[str, Array]]:
    """The feature maps of each call of a term: one call where it asks for none."""
    asked = {name: whose[name] for name in weighted.given if name in whose}
    if not asked:
        return [{}]
    return [
        _alike(
            {
                name: _map(theirs if name == TEACHERS else own, name, outputs)
                for name, outputs in asked.items()
            }
        )
        for own, theirs in _layers(weighted, student).items()
    ]


def _layers(weighted: Weighted, student: Outputs) -> Mapping[str, str]:
    """A term's layers, by default all maps of the student; InputError for none."""
    layers = weighted.layers
    if layers is None:
        layers = {name: name for name, f in student.features.items() if f.ndim > 2}
    if not layers:
        raise InputError(
            "config.losses: layers: expected a feature map or more to compare, found "
            "none (an mlp has none)"
        )
    return layers


def _alike(maps: dict[str, Array]) -> dict[str, Array]:
    """The student's and the teacher's map, the larger averaged to the smaller's size.

    Along each axis of space on its own; maps of another rank are the term's to refuse.
    """
    pair = {k: f for k, f in maps.items() if k in ("student_features", TEACHERS)}
    if len(pair) < 2 or len({f.ndim for f in pair.values()}) > 1:
        return maps
    for axis in range(1, maps[TEACHERS].ndim - 1):
        least = min(f.shape[axis] for f in pair.values())
        pair = {k: _averaged(f, axis, least) for k, f in pair.items()}
    return maps | pair


def _averaged(x: Array, axis: int, size: int) -> Array:
    """`x`, the mean along an axis over each of `size` bins of its length."""
    if x.shape[axis] == size:
        return x
    share = jnp.asarray(_bins(x.shape[axis], size), x.dtype)
    return jnp.moveaxis(jnp.tensordot(share, x, (1, axis)), 0, axis)


def _bins(length: int, size: int) -> np.ndarray:
    """[size, length]: bin i is the mean of `floor(i r)` to `ceil((i + 1) r)`, where r
    is length / size, as PyTorch's adaptive average pooling has them."""
    share = np.zeros((size, length))
    for i in range(size):
        bin = slice(i * length // size, -(-(i + 1) * length // size))
        share[i, bin] = 1 / (bin.stop - bin.start)
    return share


def _map(layer: str, kind: str, outputs: Outputs | None) -> Array:
    """The feature map of this name; InputError that lists those there are."""
    features = outputs.features if outputs else {}
    if layer in features:
        return features[layer]
    known = ", ".join(f"{name} {list(f.shape[1:])}" for name, f in features.items())
    raise InputError(
        f"config.losses: layers of the {kind.removesuffix('_features')}: unknown name "
        f"{layer!r}, there are {known or 'none'}"
    )
