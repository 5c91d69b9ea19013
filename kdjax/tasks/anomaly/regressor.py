"""The task `regressor`: a small network that gives an ensemble's score of a heart beat.

It sees the beat, its patient's usual one, and the two intervals that the beat ends and
begins, beside the usual interval: all that the ensemble's score is of. No label is
read: it learns the scores of all training beats, and fewer of them may be odd.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jaxtyping import Array, Float
from numpy.typing import ArrayLike, NDArray

from kdjax import files
from kdjax.data.dataset import SPLITS, Dataset, as_float
from kdjax.data.preprocessing import preprocess
from kdjax.errors import InputError, call
from kdjax.stages import batches, networks
from kdjax.stages.predictor import Predictor, in_batches
from kdjax.stages.record import Stage
from kdjax.tasks.anomaly import metrics, own_median, rhythm, scoring
from kdjax.tasks.anomaly.ensemble import FILE, SoftScores
from kdjax.tasks.anomaly.own_median import TEMPLATES, OfRecording, Templates, Usual
from kdjax.training import optim
from kdjax.training.cost import forward_cost
from kdjax.training.metrics import Metric, by_name
from kdjax.training.parallel import AXIS
from kdjax.training.state import TrainState, gradient_step
from kdjax.training.task import Task, Training

Tree = Any
WHERE = "config.teacher"
METRICS = metrics.METRICS | by_name(
    Metric("loss", "Huber loss against the ensemble's scores", False)
)
ABOUT = (
    "One vector a beat: its samples, from -1 to 1 (lead by lead inside a sample); "
    "those of the patient's usual beat; ln(usual interval / the one before the beat) "
    "and ln(the one after / usual interval), 0 where unknown. `kdjax score` makes it "
    "of a recording."
)


def make(
    *,
    data: Mapping[str, Any],
    model: Mapping[str, Any],
    training: Training,
    optimizer: Mapping[str, Any],
    teacher: Mapping[str, Any],
    seed: int,
) -> Task:
    """The task of one stage; nothing compiles and no teacher's score is read here.

    The loss is the mean Huber loss of the difference from the teacher's score, in the
    units of `rhythm`: half its square up to 1, and its size beyond.

    Args:
      data: fields of kdjax.data.load, those of the teacher.
      model: fields of kdjax.models.build, of a network that takes a vector, as `mlp`.
      teacher: {"folder", "checkpoint"} of a stage of the task `ensemble`.
      optimizer: fields of kdjax.training.optim.build.

    Raises InputError on anything in the config or the data that does not fit.
    """
    inputs = scoring.inputs(data, training, seed)
    dataset = inputs.dataset
    how, kind = _of_teacher(teacher, data, seed)
    folder, past = Path(str(teacher["folder"])), kind == "past"
    sources, constants = batches.inputs(dataset, seed, stream=training.stream)
    module = _network(model)
    width = 2 * math.prod(dataset.train.x.shape[1:]) + 2
    example = jnp.zeros((1, width))
    networks.shapes(module, example)  # an InputError if they do not fit
    tx, schedule = optim.build(
        optimizer,
        total_steps=training.total_steps(sources["train"].size),
        batch_size=training.batch_size,
    )
    score = functools.partial(_score, module)

    @functools.cache
    def seen() -> NDArray[np.float32]:
        templates = files.read_arrays(folder / TEMPLATES, Templates)
        return np.concatenate(
            [_of_split(dataset, name, templates, how, past) for name in SPLITS]
        )

    return Task(
        init=networks.fresh(module, example, tx),
        step=gradient_step(_loss_fn(module), tx, schedule),
        evaluate=functools.partial(_evaluate, score),
        summarize=scoring.summarize(dataset),
        metrics=METRICS,
        data=sources,
        constants=lambda: {
            "y": constants()["y"],
            "x": seen(),
            "score": _soft(folder / FILE, scoring.every(dataset, "key")),
        },
        finish=functools.partial(
            _finish, score, dataset, folder, seen, training.eval_batch_size
        ),
        about=_about(inputs._replace(sources=sources), width, how, kind),
    )


def vectors(
    x: Float[np.ndarray, "n time leads"],
    usual: Float[np.ndarray, "n time leads"],
    intervals: Float[np.ndarray, "n 44"],
    *,
    past: bool,
) -> Float[np.ndarray, "n width"]:
    """What the network sees of beats: width = 2 time leads + 2. See `ABOUT`."""
    parts = (x, usual, rhythm.logarithms(intervals, past=past))
    flat = [part.reshape(len(x), -1) for part in parts]
    return np.concatenate(flat, axis=1).astype(np.float32)


def _of_split(
    dataset: Dataset, split: str, templates: Templates, how: Usual, past: bool
) -> NDArray[np.float32]:
    assert dataset.intervals is not None  # the teacher has them
    part, around = getattr(dataset, split), dataset.intervals[SPLITS.index(split)]
    usual = own_median.by_group(functools.partial(own_median.own, templates, how), part)
    return vectors(as_float(part.x), usual, around, past=past)


def _network(model: Mapping[str, Any]) -> nn.Module:
    return networks.build(model, ("score",))


def _score(module: nn.Module, model: Tree, x: Array) -> Array:
    return networks.predict(module, model, x).logits[:, 0]


def _of_teacher(
    spec: Mapping[str, Any], data: Mapping[str, Any], seed: int
) -> tuple[Usual, str]:
    """How the ensemble finds the usual beat, and which rhythm it adds."""
    networks.check_section(spec, where=WHERE)
    config = networks.config_of(spec, where=WHERE)
    if config.get("task") != "ensemble":
        raise InputError(
            f"{WHERE}: expected a stage of the task 'ensemble', {spec['folder']} is of "
            f"{config.get('task')!r}"
        )
    theirs = batches.fingerprint(config["data"], config["seed"])
    if theirs != batches.fingerprint(data, seed):
        raise InputError(f"{WHERE}: {spec['folder']}: expected a stage of these data")
    how: Usual = call(Usual, config.get("detector") or {}, where="config.detector")
    return how, config.get("rhythm", "whole")


def _soft(path: Path, key: np.ndarray) -> NDArray[np.float32]:
    """The teacher's scores of examples by their keys."""
    stored = files.read_arrays(path, SoftScores)
    known = dict(zip(stored.key.tolist(), stored.score.tolist(), strict=True))
    absent = [one for one in key.tolist() if one not in known]
    if absent:
        raise InputError(
            f"{path}: key: expected every example's, found no {absent[0]!r}"
        )
    return np.asarray([known[one] for one in key.tolist()], np.float32)


def _loss_fn(module: nn.Module) -> Callable[..., Any]:
    def loss_fn(
        params: Tree, state: TrainState, batch: Tree, constants: Tree, rng: Array
    ) -> tuple[Array, tuple[Tree, dict[str, Array]]]:
        del rng
        outputs, model_state = module.apply(
            {"params": params, **state.model_state},
            batches.gather(constants, batch),
            train=True,
            mutable=list(state.model_state),
        )
        apart = optax.losses.huber_loss(
            outputs.logits[:, 0], constants["score"][batch["index"]]
        )
        return jnp.mean(apart), (model_state, {})

    return loss_fn


def _evaluate(
    score: scoring.Score, model: Tree, batch: Tree, constants: Tree
) -> dict[str, tuple[Array, Array]]:
    found = score(model, batches.gather(constants, batch))
    theirs = constants["score"][batch["index"]]
    apart = batch["mask"] * optax.losses.huber_loss(found, theirs)
    loss = lax.psum((jnp.sum(apart), jnp.sum(batch["mask"])), AXIS)
    return scoring.sums(found, batch, constants) | {"loss": loss}


def _about(
    inputs: scoring.DetectorInputs, width: int, how: Usual, kind: str
) -> dict[str, Any]:
    """What results.json says: the vector is the input, made of beats as `beats` has."""
    of_beats = scoring.about(inputs)
    vector = {"shape": [width], "channels": of_beats["input"]["channels"]}
    beats = {
        "shape": of_beats["input"]["shape"],
        "preprocessing": of_beats["preprocessing"],
        "usual": how._asdict(),
        "rhythm": kind,
    }
    return of_beats | {
        "input": vector | {"about": ABOUT},
        "preprocessing": [],
        "beats": beats,
    }


def _finish(
    score: scoring.Score,
    dataset: Dataset,
    teacher: Path,
    seen: Callable[[], NDArray[np.float32]],
    batch_size: int,
    reached: Mapping[str, Tree],
    folder: Path,
) -> None:
    held = seen()[len(dataset.train.y) :]
    of_batch = jax.jit(score)
    models = {kind: jax.device_put(model) for kind, model in reached.items()}
    scores = {
        kind: in_batches(functools.partial(of_batch, model), held, batch_size)
        for kind, model in models.items()
    }
    scoring.write(folder, dataset, scores, None)
    own_median.leave(folder, files.read_arrays(teacher / TEMPLATES, Templates))
    files.write_json(
        folder / "cost.json", forward_cost(score, reached["last"], held[:1])
    )


def predictor(stage: Stage, checkpoint: str) -> OfRecording:
    """Scores [n] of vectors [n, width]; `of_recording` makes them of raw beats."""
    module = _network(stage.section("model"))
    model = networks.model_of_stage(stage, checkpoint, module)
    return _Regressor(
        "scores",
        stage.record,
        jax.device_put(model),
        functools.partial(_score, module),
        templates=files.read_arrays(stage.folder / TEMPLATES, Templates),
        how=Usual(**stage.record["beats"]["usual"]),
    )


def examples(stage: Stage, split: str) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """The vectors of a split of the stage's data, and their labels."""
    dataset = batches.load(stage.config["data"], stage.config["seed"])
    templates = files.read_arrays(stage.folder / TEMPLATES, Templates)
    beats = stage.record["beats"]
    how, past = Usual(**beats["usual"]), beats["rhythm"] == "past"
    x = _of_split(dataset, split, templates, how, past)
    return x, getattr(dataset, split).y


@dataclasses.dataclass(frozen=True, repr=False)
class _Regressor(OfRecording):
    """Called with vectors; of a recording it makes them."""

    def __call__(self, x: ArrayLike) -> NDArray[np.float32]:
        return Predictor.__call__(self, x)

    def of_recording(
        self, x: ArrayLike, intervals: Float[np.ndarray, "n 44"]
    ) -> NDArray[np.float32]:
        """Scores of all of a recording's raw beats, in the order of time."""
        scaled, past = self.beats(x), self.record["beats"]["rhythm"] == "past"
        usual = own_median.own(self.templates, self.how, scaled)
        return self(vectors(scaled, usual, intervals, past=past))

    def beats(self, x: ArrayLike) -> NDArray[np.float32]:
        """Raw beats, checked and scaled."""
        about, raw = self.record["beats"], np.asarray(x)
        if raw.shape[1:] != tuple(about["shape"]):
            raise InputError(
                f"x: expected beats [n, {', '.join(map(str, about['shape']))}], found "
                f"{raw.shape}"
            )
        return preprocess(about["preprocessing"], raw)
