"""A frozen teacher: an earlier stage's network, or the soft labels that it left.

And how a stage leaves some.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from numpy.typing import NDArray

from kdjax import augment as augmentations
from kdjax.checks import boolean, one_of
from kdjax.data.dataset import UNLABELLED, Dataset, Examples, as_float
from kdjax.data.soft_labels import FILE, IN_SAMPLE, read_for, write_soft_labels
from kdjax.data.stored_attention import FILE as MAPS
from kdjax.data.stored_attention import read_attention
from kdjax.errors import InputError, lookup, section
from kdjax.models import Outputs
from kdjax.stages import controls, networks
from kdjax.stages.predictor import in_batches
from kdjax.training.checkpoint import KINDS

Tree = Any
WHERE = "config.teacher"
KEPT_AT_ONCE = 512  # examples in a call of a teacher whose outputs are kept
ATTENTION = "attention"  # the feature of a stored teacher that is its maps


class Teacher(NamedTuple):
    """What a stage is taught by.

    load: () -> its arrays, a part of the constants.
    outputs: (its arrays, batch, x, the student's view of x, rng) -> Outputs of a batch.
    like: example [1, ...] -> Outputs of two examples, for shapes alone.
    """

    load: Callable[[], Tree]
    outputs: Callable[[Tree, Mapping[str, Array], Array, Array, Array], Outputs]
    like: Callable[[Array], Outputs]


def build(spec: Mapping[str, Any], dataset: Dataset, *, seed: int) -> Teacher:
    """The teacher that the config's section says.

    {"stage": NAME, "checkpoint": "best" or "last", "augment": "student" (default: it
    sees the student's view), None or its own augmentation}: its network. With "augment"
    None and "keep" True its logits of the training examples, which then do not change,
    are computed once, before the first step; it has no features then, but for those
    that "keep" names in place of True, which are kept beside them in float32 (examples
    x the map's size x 4 bytes; "pooled" is what losses of embeddings take of most
    networks). Or {"stage": NAME, "stored": True}: the soft labels in its folder, joined
    by the examples' keys; those of examples that it learnt from are refused, unless
    "in_sample" is True. With "control", a name in kdjax.stages.controls (default:
    None), they are made a control of that teacher, by `seed` and the training examples'
    keys and labels (where an example has none, the file's). With "attention" True the
    attention maps in its folder are joined in the same way, as the feature "attention"
    [n, rows, columns, 1]; a control of rows is made of both, its shuffles moving a
    row's two together. Raises InputError on what does not fit.
    """
    spec = section(spec, where=WHERE)
    if boolean(spec.get("stored", False), where=f"{WHERE}.stored"):
        return _stored(spec, dataset, seed)
    if spec.get("control") is not None:
        raise InputError(
            f"{WHERE}.control: expected stored = True beside it, as a control is made "
            f"of stored soft labels; found {spec['control']!r} alone"
        )
    return _network(spec, dataset)


def _network(spec: Mapping[str, Any], dataset: Dataset) -> Teacher:
    fields = ("augment", "stored", "control", "keep")
    trained = networks.read(spec, dataset, where=WHERE, fields=fields)
    if trained.classes != dataset.classes:
        raise InputError(
            f"{WHERE}: {spec['folder']} knows {len(trained.classes)} classes "
            f"({', '.join(trained.classes)}), the student's data have "
            f"{len(dataset.classes)} ({', '.join(dataset.classes)})"
        )
    own = spec.get("augment", "student")
    augment = None
    if own != "student":
        augment = augmentations.build(own, where=f"{WHERE}.augment")
    kept = _names(spec.get("keep", False))
    if kept is not None:
        if own is not None:
            raise InputError(
                f"{WHERE}.keep: expected augment = None beside it, for what is said of "
                f"views that change cannot be kept; found augment = {own!r}"
            )
        return _kept(trained, dataset, kept)

    def outputs(
        model: Tree, batch: Mapping[str, Array], x: Array, view: Array, rng: Array
    ) -> Outputs:
        if augment is not None:
            view = augment(augmentations.example_keys(rng, batch["index"]), x)
        return networks.predict(trained.module, model, view)

    return Teacher(trained.load, outputs, networks.outputs_like(trained.module))


def _names(keep: Any) -> tuple[str, ...] | None:
    """The features that are kept beside the logits; None where nothing is kept."""
    if isinstance(keep, list | tuple) and keep:
        if all(isinstance(name, str) for name in keep):
            return tuple(keep)
    elif isinstance(keep, bool):
        return () if keep else None
    raise InputError(
        f"{WHERE}.keep: expected True, False or names of features, found {keep!r}"
    )


def _kept(
    trained: networks.Trained, dataset: Dataset, names: tuple[str, ...]
) -> Teacher:
    """A network whose outputs of the training examples are computed once."""
    whole = networks.outputs_like(trained.module)

    def of(outputs: Outputs) -> Outputs:
        for name in names:
            lookup(name, outputs.features, where=f"{WHERE}.keep")
        features = outputs.features.items()
        return Outputs(
            outputs.logits,
            OrderedDict((k, f.astype(jnp.float32)) for k, f in features if k in names),
        )

    def load() -> Outputs:
        model = jax.device_put(trained.load())

        @jax.jit
        def predict(model: Tree, x: Array) -> Outputs:
            return of(networks.predict(trained.module, model, x))

        found: Outputs = in_batches(
            lambda part: predict(model, as_float(part)), dataset.train.x, KEPT_AT_ONCE
        )
        return found

    return Teacher(load, _by_row, lambda example: of(whole(example)))


def _by_row(
    stored: Tree, batch: Mapping[str, Array], x: Array, view: Array, rng: Array
) -> Outputs:
    """`Teacher.outputs` of what is stored for each training example."""
    del x, view, rng
    # in the constants the training split comes first
    outputs: Outputs = jax.tree.map(lambda rows: rows[batch["index"]], stored)
    return outputs


def _stored(spec: Mapping[str, Any], dataset: Dataset, seed: int) -> Teacher:
    fields = ("stored", "in_sample", "control", "attention")
    networks.check_section(spec, where=WHERE, fields=fields)
    in_sample = boolean(spec.get("in_sample", False), where=f"{WHERE}.in_sample")
    attention = boolean(spec.get("attention", False), where=f"{WHERE}.attention")
    name, control = spec.get("control"), None
    if name is not None:
        control = lookup(name, controls.CONTROLS, where=f"{WHERE}.control")
        if attention and name not in controls.OF_ROWS:
            raise InputError(
                f"{WHERE}.control: expected one that maps have, too, beside attention "
                f"= True ({', '.join(controls.OF_ROWS)}), found {name!r}"
            )
    folder, train = Path(str(spec["folder"])), dataset.train
    if attention and not spec.get("config", {ATTENTION: True}).get(ATTENTION):
        raise InputError(
            f"{WHERE}.attention: expected a stage that leaves {MAPS}, found "
            f"{folder.name!r}, whose config has no section {ATTENTION!r}"
        )
    classes = len(dataset.classes)

    def load() -> Outputs:
        found = read_for(folder / FILE, train, classes)
        _check_unseen(folder / FILE, "soft labels", found.key, found.fold, in_sample)
        labels = np.where(train.y == UNLABELLED, found.label, train.y)

        def made(rows: NDArray[np.float32]) -> NDArray[np.float32]:
            if control is None:
                return rows
            return controls.apply(control, rows, labels, seed, key=found.key)

        features: OrderedDict[str, Array] = OrderedDict()
        if attention:
            stored = read_attention(folder / MAPS, train.key)
            _check_unseen(folder / MAPS, "maps", stored.key, stored.fold, in_sample)
            with np.errstate(divide="ignore"):  # a share of 0
                logs = np.log(stored.maps.reshape(len(stored.key), -1))
            maps = np.exp(made(logs)).reshape(*stored.maps.shape, 1)
            features[ATTENTION] = jnp.asarray(maps)
        return Outputs(jnp.asarray(made(found.logits)), features)

    def like(example: Array) -> Outputs:
        del example
        maps = {ATTENTION: jnp.zeros((2, 1, 1, 1))} if attention else {}
        return Outputs(jnp.zeros((2, classes)), OrderedDict(maps))

    return Teacher(load, _by_row, like)


def _check_unseen(
    path: Path, what: str, key: NDArray[Any], fold: NDArray[Any], in_sample: bool
) -> None:
    """InputError for examples that the teacher learnt from, unless they are wanted."""
    seen = fold == IN_SAMPLE
    if seen.any() and not in_sample:
        raise InputError(
            f"{path}: fold: expected {what} from outside the teacher's training, found "
            f"{seen.sum()} of {len(seen)} examples that it learnt from, such as "
            f"{str(key[seen][0])!r}; {WHERE}.in_sample = True uses them all the same"
        )


def checkpoint_of(soft_labels: bool | str) -> str | None:
    """The checkpoint whose soft labels a stage leaves, "best" for True; None: none.

    InputError for any other than "best" and "last".
    """
    if isinstance(soft_labels, bool):
        return "best" if soft_labels else None
    return one_of(soft_labels, KINDS, where="config.soft_labels")


def leave(
    folder: Path,
    forward: Callable[[Tree, Array], Array],
    model: Tree,
    splits: Mapping[str, Examples],
    *,
    seed: int,
    checkpoint: str,
) -> None:
    """Writes the soft labels of a stage done: `forward(model, x) -> logits`."""
    predict, resident = jax.jit(forward), jax.device_put(model)
    header = {"stage": folder.name, "seed": seed, "checkpoint": checkpoint}
    write_soft_labels(
        folder / FILE, lambda x: np.asarray(predict(resident, x)), splits, header
    )
