"""SimCLR pretraining: two views of every example agree, and differ from all others.

Chen et al. 2020, "A simple framework for contrastive learning of visual
representations" and "Big self-supervised models are strong semi-supervised learners".
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from kdjax import augment as augmentations
from kdjax import files, losses
from kdjax.errors import InputError, call, lookup
from kdjax.tasks import examples, trained
from kdjax.training import optim
from kdjax.training.cost import forward_cost
from kdjax.training.loop import Task, Training
from kdjax.training.parallel import AXIS
from kdjax.training.state import TrainState, gradient_step

Tree = Any


class Contrast(NamedTuple):
    """The config's `contrast` section.

    temperature, chunk_size, ring: those of losses.nt_xent.
    pieces: encode each device's part of the batch in so many pieces, one after another,
      and back again: the gradient is that of the whole batch's loss, and the memory
      that of a piece and of all projections. Each piece is encoded twice. Batch norm
      sees a piece at a time (over all devices), so with it the result is that of
      batch norm over smaller batches; with `frozen_statistics` or without batch norm it
      is the same as in one piece. Gao et al. 2021, "Scaling deep contrastive learning
      batch size under memory limited setup".
    frozen_statistics: batch norm normalises by its running statistics, which stay.
    """

    temperature: float = 0.1
    chunk_size: int | None = 1024
    ring: bool = False
    pieces: int = 1
    frozen_statistics: bool = False


def make(
    *,
    data: Mapping[str, Any],
    model: Mapping[str, Any],
    training: Training,
    optimizer: Mapping[str, Any],
    augment: Mapping[str, Any] | None,
    seed: int,
    contrast: Mapping[str, Any] | None = None,
    start: Mapping[str, Any] | None = None,
) -> Task:
    """The task of one stage; nothing compiles and no checkpoint is read here.

    Args:
      data: fields of kdjax.data.load; labels are not used.
      model: fields of kdjax.models.build, with the whole `projection` head.
      optimizer: fields of kdjax.training.optim.build.
      augment: fields of kdjax.augment.build; each view is one draw of it.
      contrast: fields of Contrast.
      start: {"folder", "checkpoint"} of the stage whose parameters the network starts
        from.

    Raises InputError on anything in the config or the data that does not fit.
    """
    settings: Contrast = call(Contrast, contrast or {}, where="config.contrast")
    _check(settings, training)
    lookup(training.select, dict.fromkeys(SCORES), where="config.training.select")
    projection = model.get("projection") or {}
    if not projection or projection.get("keep") is not None:
        raise InputError(
            "config.model.projection: expected a whole projection head ('hidden' and "
            "'outputs', no 'keep') to pretrain"
        )
    dataset = examples.load(data, seed)
    module = trained.network(model, dataset.classes)
    sources, constants = examples.inputs(dataset, seed)
    tx, schedule = optim.build(
        optimizer,
        total_steps=training.total_steps(sources["train"].size),
        batch_size=training.batch_size,
    )
    example = examples.first(dataset)
    views = augmentations.build(augment)
    _check_views(views, example)
    init = trained.fresh(module, example, tx)
    if start is not None:
        begin = trained.read(start, dataset, where="config.start")
        init = trained.starting_from(begin, init, module, example)
    return Task(
        init=init,
        step=gradient_step(_loss_fn(module, views, settings), tx, schedule),
        evaluate=functools.partial(_evaluate, module, views, settings),
        figures=figures,
        data=sources,
        constants=constants,
        finish=functools.partial(_finish, module, np.asarray(example)),
        about=examples.about(dataset, sources)
        | {"teacher": None, "start": start and trained.name(start)},
    )


def _check(settings: Contrast, training: Training) -> None:
    where = "config.contrast"
    if not (isinstance(settings.temperature, int | float) and settings.temperature > 0):
        raise InputError(
            f"{where}.temperature: expected a number above 0, "
            f"found {settings.temperature!r}"
        )
    for name, value in (
        ("chunk_size", settings.chunk_size),
        ("pieces", settings.pieces),
    ):
        if value is not None and (not isinstance(value, int) or value < 1):
            raise InputError(f"{where}.{name}: expected an integer >= 1, got {value!r}")
    if settings.pieces is None or training.batch_size % settings.pieces:
        raise InputError(
            f"config.training.batch_size: {training.batch_size} is not divisible by "
            f"{settings.pieces} pieces"
        )
    if training.batch_size < 2:
        raise InputError(
            "config.training.batch_size: expected 2 or more, for the other examples "
            f"are the negatives; got {training.batch_size}"
        )


def _check_views(views: augmentations.Augment, example: Array) -> None:
    """Traces one view on shapes alone, so that what does not fit is said at once."""
    keys = jax.random.split(jax.random.key(0), 1)
    try:
        jax.eval_shape(views, keys, example)
    except (ValueError, TypeError) as error:
        line = str(error).splitlines()[0]
        raise InputError(f"config.augment: {line}") from error


def _loss_fn(
    module: nn.Module, views: augmentations.Augment, settings: Contrast
) -> Callable[..., Any]:
    def loss_fn(
        params: Tree, state: TrainState, batch: Tree, constants: Tree, rng: Array
    ) -> tuple[Array, tuple[Tree, dict[str, Array]]]:
        def encode(model_state: Tree, piece: Tree) -> tuple[Tree, Array]:
            """The projections of a piece's two views, [2, n, dim]."""
            x = examples.look(constants, piece)
            both = [
                views(augmentations.example_keys(key, piece["index"]), x)
                for key in jax.random.split(rng)
            ]
            outputs, model_state = module.apply(
                {"params": params, **model_state},
                jnp.concatenate(both),
                train=not settings.frozen_statistics,
                mutable=list(model_state),
            )
            return model_state, jnp.stack(jnp.split(outputs.logits, 2))

        model_state, (z1, z2) = _by_pieces(encode, state, batch, settings.pieces)
        loss = losses.nt_xent(
            z1,
            z2,
            temperature=settings.temperature,
            axis_name=AXIS,
            chunk_size=settings.chunk_size,
            ring=settings.ring,
        )
        apart = jnp.sum(jnp.square(_unit(z1) - _unit(z2)), axis=-1)
        return loss, (model_state, {"alignment": jnp.mean(apart)})

    return loss_fn


def _by_pieces(
    encode: Callable[[Tree, Tree], tuple[Tree, Array]],
    state: TrainState,
    batch: Tree,
    pieces: int,
) -> tuple[Tree, Array]:
    """`encode` of the whole batch, a piece at a time if there are several.

    Nothing but the projections of a piece is kept for the backward pass, which encodes
    it again.
    """
    size = batch["index"].shape[0]
    if pieces == 1:
        return encode(state.model_state, batch)
    if size % pieces:
        raise InputError(
            f"config.contrast.pieces: a device's {size} examples are not divisible by "
            f"{pieces} pieces"
        )
    cut = jax.tree.map(lambda x: x.reshape(pieces, -1, *x.shape[1:]), batch)
    again = jax.checkpoint(encode, prevent_cse=False)
    model_state, z = lax.scan(again, state.model_state, cut)
    return model_state, jnp.moveaxis(z, 0, 1).reshape(2, size, -1)


# --- how good the projections are ----------------------------------------------------

SCORES = (
    "alignment",
    "loss",
    "projection_rank",
    "rank",
    "retrieval",
    "uniformity",
)
COLLAPSED = 1.5  # an effective rank below this is one direction


def _evaluate(
    module: nn.Module,
    views: augmentations.Augment,
    settings: Contrast,
    model: Tree,
    batch: Tree,
    constants: Tree,
) -> dict[str, tuple[Array, Array]]:
    """Sums over two views of each example, the same at every evaluation."""
    x, mask = examples.look(constants, batch), batch["mask"]
    outputs = []
    for key in jax.random.split(jax.random.key(0)):
        view = views(augmentations.example_keys(key, batch["index"]), x)
        outputs.append(trained.predict(module, model, view))
    z1, z2 = (_unit(found.logits) for found in outputs)
    loss = losses.nt_xent(
        z1,
        z2,
        temperature=settings.temperature,
        axis_name=AXIS,
        chunk_size=settings.chunk_size,
        mask=mask,
    )
    counted = lax.psum(jnp.sum(mask), AXIS)
    sums = contrastive_sums(z1, z2, mask) | {
        "moments": _moments(trained.representation(outputs[0]), mask)
    }
    return lax.psum(sums, AXIS) | {"loss": (loss * counted, counted)}


def contrastive_sums(
    z1: Float[Array, "n dim"], z2: Float[Array, "n dim"], mask: Float[Array, " n"]
) -> dict[str, tuple[Array, Array]]:
    """{name: (sum, count)} over this device's unit vectors, against all devices'.

    alignment: |z1 - z2|^2 over the examples. uniformity: exp(-2 |z1_i - z1_j|^2) over
    the pairs i != j (Wang & Isola 2020). retrieval: whether z2_i is the nearest to z1_i
    of all z2. projection_moments: [dim, dim], z1 z1^T.
    """
    count = mask.shape[0]
    others, targets, valid = lax.all_gather((z1, z2, mask), AXIS, tiled=True)
    own = lax.axis_index(AXIS) * count + jnp.arange(count)
    apart = jnp.sum(jnp.square(z1 - z2), axis=-1)
    pairs = mask[:, None] * valid[None, :]
    pairs *= own[:, None] != jnp.arange(valid.shape[0])[None, :]
    distances = jnp.maximum(2 - 2 * z1 @ others.T, 0.0)
    similar = jnp.where(valid[None, :] > 0, z1 @ targets.T, -jnp.inf)
    hits = jnp.argmax(similar, axis=-1) == own
    return {
        "alignment": (jnp.sum(mask * apart), jnp.sum(mask)),
        "uniformity": (jnp.sum(pairs * jnp.exp(-2 * distances)), jnp.sum(pairs)),
        "retrieval": (jnp.sum(mask * hits), jnp.sum(mask)),
        "projection_moments": _moments(z1, mask),
    }


def figures(total: Mapping[str, tuple[Any, Any]]) -> dict[str, Any]:
    """The scores of a split, whether the projections collapsed, and its examples.

    uniformity is the logarithm of its mean: 0 where all vectors are one, less where
    they spread. The ranks are effective_rank's, of representations and projections.
    """
    means = {
        name: float(total[name][0] / max(total[name][1], 1))
        for name in ("loss", "alignment", "uniformity", "retrieval")
    }
    ranks = {
        "rank": effective_rank(total["moments"][0]),
        "projection_rank": effective_rank(total["projection_moments"][0]),
    }
    found: dict[str, Any] = means | ranks
    found["uniformity"] = float(np.log(max(means["uniformity"], 1e-300)))
    found["collapsed"] = ranks["projection_rank"] < COLLAPSED
    found["examples"] = int(total["alignment"][1])
    return found


def effective_rank(moments: np.ndarray) -> float:
    """`exp(-sum_k p_k log p_k)`, p the singular values over their sum.

    Of the [n, dim] matrix whose second moments, [dim, dim], are given: 1 where all its
    rows are one direction, dim where all directions weigh alike. Roy & Vetterli 2007;
    Garrido et al. 2023 (RankMe).
    """
    if not np.isfinite(moments).all():
        return float("nan")
    singular = np.sqrt(np.maximum(np.linalg.eigvalsh(moments), 0.0))
    total = singular.sum()
    if total == 0:
        return 1.0
    p = singular[singular > 0] / total
    return float(np.exp(-np.sum(p * np.log(p))))


def _moments(x: Float[Array, "n dim"], mask: Float[Array, " n"]) -> tuple[Array, Array]:
    x = x.astype(jnp.float32)
    return (x * mask[:, None]).T @ x, jnp.sum(mask)


def _unit(z: Float[Array, "n dim"]) -> Float[Array, "n dim"]:
    return z / jnp.maximum(jnp.linalg.norm(z, axis=-1, keepdims=True), 1e-12)


def _finish(
    module: nn.Module, example: np.ndarray, reached: Mapping[str, Tree], folder: Path
) -> None:
    def forward(model: Tree, x: Array) -> Array:
        return trained.predict(module, model, x).logits

    files.write_json(
        folder / "cost.json", forward_cost(forward, reached["last"], example)
    )
