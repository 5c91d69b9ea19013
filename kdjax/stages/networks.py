"""The networks of earlier stages: rebuilt, frozen or started from."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from kdjax import models, patterns
from kdjax.checks import number
from kdjax.data.dataset import SPLITS, Dataset
from kdjax.errors import (
    InputError,
    lookup,
    record_settings,
    recorded_settings,
    section,
    split_name,
)
from kdjax.models import Outputs
from kdjax.stages import batches
from kdjax.stages.record import RESULTS, Stage, fields_of, read_stage
from kdjax.training import optim
from kdjax.training.checkpoint import KINDS, load_model, model_of
from kdjax.training.host import compile_once
from kdjax.training.parallel import AXIS
from kdjax.training.state import TrainState, create_state

Tree = Any
FIELDS = ("folder", "config", "checkpoint")


class Trained(NamedTuple):
    """An earlier stage's network, frozen; `load` reads {"params", "model_state"}.

    spec: its stage's `model` section.
    """

    module: nn.Module
    classes: tuple[str, ...]
    load: Callable[[], Tree]
    spec: Mapping[str, Any]


def build(
    spec: Mapping[str, Any], classes: tuple[str, ...], freeze: tuple[str, ...] = ()
) -> nn.Module:
    """The config's `model`, its batch norm over all devices if not told otherwise.

    And as in evaluation where a pattern of `freeze` matches its statistics.
    """
    given = "classes", "norm_axis", "freeze"
    name, fields = split_name(spec, where="config.model", given=given)
    record_settings({"config.model": {"dtype": "float32", "norm_devices": None}})
    for pattern in freeze:
        patterns.regular(pattern, where="config.freeze")
    return models.build(
        name, classes=len(classes), norm_axis=AXIS, freeze=freeze, **fields
    )


def predict(module: nn.Module, model: Tree, x: Array) -> Outputs:
    """A forward pass with the running statistics."""
    variables = {"params": model["params"], **model["model_state"]}
    return cast(Outputs, module.apply(variables, x, train=False))


def outputs_like(module: nn.Module) -> Callable[[Array], Outputs]:
    """example [1, ...] -> the outputs of two such, for their shapes alone."""

    def like(example: Array) -> Outputs:
        x = jnp.broadcast_to(example, (2, *example.shape[1:]))
        outputs = module.init_with_output(jax.random.key(0), x, train=False)[0]
        return cast(Outputs, outputs)

    return like


def representation(outputs: Outputs) -> Float[Array, "batch width"]:
    """The encoder's last feature, in float32: what a head or a probe is given."""
    return next(reversed(outputs.features.values())).astype(jnp.float32)


def read(
    spec: Mapping[str, Any],
    dataset: Dataset,
    *,
    where: str,
    fields: tuple[str, ...] = (),
    module: Callable[..., nn.Module] = build,
    task: str | None = None,
) -> Trained:
    """The stage that the section `where` names, whose inputs must be `dataset`'s.

    Its fields: "folder" of the stage, "checkpoint" ("best" or "last"), and `fields`,
    which are the caller's. `module` makes its network of its `model` section, `task`
    is the task it must have trained (None: any with such a network). An experiment
    fills in "folder" and "config" from {"stage": name}. Raises InputError, also if that
    stage learnt from what this one validates or tests on; no checkpoint is read before
    `load` is called.
    """
    check_section(spec, where=where, fields=fields)
    checkpoint = spec.get("checkpoint", "best")
    lookup(checkpoint, dict.fromkeys(KINDS), where=f"{where}.checkpoint")
    folder = Path(str(spec["folder"]))
    config = config_of(spec, where=where)
    if task is not None and config.get("task") != task:
        raise InputError(
            f"{where}: expected a stage of the task {task!r}, {folder} is of "
            f"{config.get('task')!r}"
        )
    if not config.get("model"):
        raise InputError(
            f"{where}: {folder}: its task, {config.get('task')!r}, trains no network"
        )
    with recorded_settings() as settings:  # that stage's own, which its record has
        known = batches.load(config["data"], config["seed"])
        network = module(_made_of(folder, config), known.classes)
    _check_same_inputs(known, dataset, where)
    _check_held_out(known, dataset, where)

    def load() -> Tree:
        template = shapes(network, batches.first(dataset))
        return load_model(folder, checkpoint, template)

    own = fields_of(settings, "config.model") | {"name": config["model"]["name"]}
    return Trained(network, known.classes, load, own)


def check_section(
    spec: Mapping[str, Any], *, where: str, fields: tuple[str, ...] = ()
) -> None:
    """InputError unless a section names a stage, and has no fields but these."""
    for name in section(spec, where=where):
        lookup(name, dict.fromkeys((*FIELDS, *fields)), where=where)
    if "folder" not in spec:
        raise InputError(f"{where}.stage: missing, and it has no default")


def config_of(spec: Mapping[str, Any], *, where: str) -> Mapping[str, Any]:
    """The config of the stage that a section names, with its seed.

    InputError for a stage of another experiment that is not done, or whose data
    changed.
    """
    config: Mapping[str, Any] | None = spec.get("config")
    return config or _finished(Path(str(spec["folder"])), where).config


def _finished(folder: Path, where: str) -> Stage:
    """A stage of another experiment; InputError unless it is done, of today's data."""
    stage = read_stage(folder)
    if not (folder / RESULTS).exists():
        raise InputError(f"{where}: {folder}: expected a finished stage; is it done?")
    now = batches.fingerprint(stage.config["data"], stage.config["seed"])
    if stage.record["fingerprint"] != now:
        raise InputError(f"{where}: {folder}: its data changed since it was trained")
    return stage


def _made_of(folder: Path, config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The `model` section of a stage, with the defaults of then if it is trained."""
    if (folder / RESULTS).exists():
        return read_stage(folder).section("model")
    spec: Mapping[str, Any] = config["model"]
    return spec


def model_of_stage(stage: Stage, checkpoint: str, module: nn.Module) -> Tree:
    """{"params", "model_state"} of a stage's `best` or `last`, whose network it is."""
    example = jnp.zeros((1, *stage.record["input"]["shape"]))
    return load_model(stage.folder, checkpoint, shapes(module, example))


def fresh(
    module: nn.Module, example: Array, optimizer: optax.GradientTransformation
) -> Callable[[Array], TrainState]:
    """rng -> the state at step 0."""
    return compile_once(
        lambda rng: create_state(module.init(rng, example, train=False), optimizer)
    )


def by_path(
    optimizer: optax.GradientTransformation,
    module: nn.Module,
    example: Array,
    *,
    freeze: Sequence[str],
    rates: Sequence[Sequence[Any]],
) -> optax.GradientTransformation:
    """`optimizer`, but it leaves what `freeze` matches, at `rates` of its own.

    Both by patterns over whole paths. InputError for one that matches no array, or that
    leaves nothing to train.
    """
    if not freeze and not rates:
        return optimizer
    arrays = shapes(module, example)
    trained = optim.paths(arrays["params"])
    kept = [p for each in arrays["model_state"].values() for p in optim.paths(each)]
    held = patterns.check(freeze, trained + kept, where="config.freeze")
    if set(trained) <= set(held):
        raise InputError("config.freeze: expected an array that is trained, found none")
    factors = {}
    for i, pair in enumerate(rates):
        where = f"config.rates[{i}]"
        if len(pair) != 2 or not isinstance(pair[0], str):
            raise InputError(f"{where}: expected (pattern, factor), found {pair!r}")
        patterns.check(pair[:1], trained, where=where)
        factors[pair[0]] = number(pair[1], low=0, where=where)
    return optim.at_rates(optim.holding(optimizer, freeze), factors)


def starting_from(
    begin: Trained,
    init: Callable[[Array], TrainState],
    module: nn.Module,
    example: Array,
) -> Callable[[Array], TrainState]:
    """`init`, with every parameter that `begin`'s network has by the same name.

    The encoder must be the same; a head may go on otherwise. The optimiser's state must
    not depend on the values of the parameters, as no optimiser's here does. Raises
    InputError where the networks differ.
    """
    where = "config.start"
    overlay(shapes(begin.module, example), shapes(module, example), where=where)

    def initialise(rng: Array) -> TrainState:
        state = init(rng)
        return state._replace(**overlay(begin.load(), model_of(state), where=where))

    return initialise


def shapes(module: nn.Module, example: Array) -> Tree:
    """{"params", "model_state"} of a network as shapes; it must take `example`."""
    init = functools.partial(module.init, train=False)
    variables = dict(jax.eval_shape(init, jax.random.key(0), example))
    return {"params": variables.pop("params"), "model_state": variables}


def overlay(trained: Tree, fresh: Tree, *, where: str) -> Tree:
    """`fresh` with the arrays that `trained` has at the same paths.

    InputError that names `where` if their shapes differ, or an encoder's is missing.
    """
    known = dict(jax.tree_util.tree_leaves_with_path(trained))

    def choose(path: tuple[Any, ...], leaf: Any) -> Any:
        text = jax.tree_util.keystr(path)
        other = known.get(path)
        if other is None:
            if "encoder" in text:
                raise InputError(f"{where}: that stage's network has no {text}")
            return leaf
        if other.shape != leaf.shape:
            raise InputError(
                f"{where}: {text}: expected {leaf.shape}, as in config.model, "
                f"found {other.shape}"
            )
        return other

    return jax.tree_util.tree_map_with_path(choose, fresh)


def _check_same_inputs(known: Dataset, dataset: Dataset, where: str) -> None:
    """A network must see examples as those it learnt from.

    Of the same examples the scaling must be the same; other data are scaled by their
    own training split, as the network's were by theirs.
    """
    shapes = known.test.x.shape[1:], dataset.test.x.shape[1:]
    whose = where.removeprefix("config.")
    if shapes[0] != shapes[1]:
        raise InputError(
            f"{where}: the {whose} takes examples of shape {shapes[0]}, this stage's "
            f"data have {shapes[1]}"
        )
    if _same_test(known, dataset) and known.preprocessing != dataset.preprocessing:
        raise InputError(
            f"{where}: the {whose} learnt on examples standardised otherwise than this "
            "stage's; give both the same training subjects"
        )


def _check_held_out(known: Dataset, dataset: Dataset, where: str) -> None:
    """A network must not have learnt from what it is judged on.

    Keys are one loader's names for its examples, whatever the protocol that splits
    them; the contents are compared where keys mean nothing outside of their file.
    """
    if known.loader != dataset.loader:
        return
    for place, split in enumerate(SPLITS[1:], start=1):
        key = getattr(dataset, split).key
        if dataset.content is None or known.content is None:
            shared = np.isin(key, known.train.key)
        else:
            found = np.isin(dataset.content[place], known.content[0])
            # twins within one data set are its own affair
            found &= ~np.isin(dataset.content[place], dataset.content[0])
            shared = np.any(found.reshape(len(key), -1), axis=-1)
        if shared.any():
            raise InputError(
                f"{where}: that stage was trained on {shared.sum()} of this stage's "
                f"{split} examples, such as {str(key[shared][0])!r}"
            )


def _same_test(one: Dataset, other: Dataset) -> bool:
    """Whether both are tested on the same examples."""
    if one.loader != other.loader:
        return False
    if one.content is not None and other.content is not None:
        return np.array_equal(one.content[-1], other.content[-1])
    return np.array_equal(one.test.key, other.test.key)
