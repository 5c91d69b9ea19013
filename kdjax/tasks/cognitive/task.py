"""The task `cognitive`: a recurrent network learns trials that are drawn as it goes.

No examples are stored. A trial is a function of the step's key and its number in the
batch, in training; of the seed and its number, in validation and test, so that all
stages of a seed are judged on the same trials.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jaxtyping import Array, Float

from kdjax import models
from kdjax.augment import example_keys
from kdjax.checks import boolean, integer
from kdjax.data.dataset import SPLITS, index_batches
from kdjax.errors import call, split_name
from kdjax.models import Recurrent
from kdjax.stages import networks
from kdjax.stages import predictor as predictors
from kdjax.stages.predictor import Predictor
from kdjax.stages.record import Stage
from kdjax.tasks.cognitive import analysis as analyses
from kdjax.tasks.cognitive import constraints as biology
from kdjax.tasks.cognitive import costs, metrics
from kdjax.tasks.cognitive import curriculum as curricula
from kdjax.tasks.cognitive.trials.trial import Paradigm, Trial
from kdjax.training import optim
from kdjax.training.host import compile_once
from kdjax.training.parallel import AXIS
from kdjax.training.state import TrainState, gradient_step
from kdjax.training.task import Source, Task, Training

Tree = Any
SPLIT_SIZE = 2**28  # how far apart the trials of two splits are numbered


def make(
    *,
    trials: Mapping[str, Any],
    model: Mapping[str, Any],
    training: Training,
    optimizer: Mapping[str, Any],
    losses: Mapping[str, Mapping[str, Any] | None],
    seed: int,
    examples: Mapping[str, Any] | None = None,
    constraints: Mapping[str, Any] | None = None,
    curriculum: Mapping[str, Any] | None = None,
    analysis: Mapping[str, Any] | None = None,
    evaluation_noise: bool = False,
) -> Task:
    """The task of one stage; nothing compiles here.

    Args:
      trials: fields of kdjax.tasks.cognitive.trials.build: the cognitive task.
      model: fields of kdjax.models.build_recurrent; a network that computes in bfloat16
        is analysed in float32.
      optimizer: fields of kdjax.training.optim.build.
      losses: {cost: {"weight": ..., **fields} or None}: `squared_error` of the outputs;
        `rate_l1`, `rate_l2` with "reduction" "mean" (default) or "sum", over the whole
        batch; `weight_l1`, `weight_l2` with "reduction" "sum" (default) or "mean" and
        "select", names of parameters (None: all).
      examples: {"train", "validation", "test"}: how many trials are an epoch, and how
        many each evaluation has.
      constraints: fields of kdjax.tasks.cognitive.constraints.constraints.
      curriculum: fields of kdjax.tasks.cognitive.curriculum.curriculum.
      analysis: fields of kdjax.tasks.cognitive.analysis.Analysis, made when the network
        is trained.
      evaluation_noise: whether the network's own noise is there in evaluation as well.

    Raises InputError on anything in the config that does not fit.
    """
    levels = curricula.build(curriculum, trials)
    paradigm = levels.paradigm
    given = "inputs", "outputs", "dt"
    name, fields = split_name(model, where="config.model", given=given)
    network = models.build_recurrent(
        name,
        inputs=len(paradigm.inputs),
        outputs=len(paradigm.outputs),
        dt=paradigm.dt,
        **fields,
    )
    imposed = biology.build(constraints, network)
    paid = costs.build(losses, network)
    boolean(evaluation_noise, where="config.evaluation_noise")
    sources = _sources(examples or {})
    total_steps = training.total_steps(sources["train"].size)
    tx, schedule = optim.build(
        optimizer, total_steps=total_steps, batch_size=training.batch_size
    )
    tx = optim.holding(tx, network.held)
    training.check_metric(metrics.METRICS)
    loss_fn = _loss_fn(network, paradigm, paid)
    after = biology.impose_after(
        imposed.top_k,
        tx,
        total_steps=total_steps,
        accumulate=optimizer.get("accumulate", 1),
    )
    study = analyses.build(analysis, paradigm, network.units)
    last = curricula.at(levels.options, -1)
    exact = network.clone(dtype="float32")
    key_data = np.asarray(jax.random.key_data(jax.random.key(seed)))
    constants = {
        "options": levels.options,
        "criterion": np.float32(levels.criterion),
        "weights": paid.weights,
        "constraints": imposed.numbers,
        "key": key_data,
    }
    return Task(
        init=functools.partial(_init, network, imposed.start, tx),
        step=_step(gradient_step(loss_fn, tx, schedule), schedule, after, levels),
        evaluate=functools.partial(_evaluate, network, paradigm, evaluation_noise),
        summarize=metrics.summarize,
        metrics=metrics.METRICS,
        data=sources,
        constants=lambda: constants,
        finish=functools.partial(analyses.finish, exact, paradigm, last, study, seed),
        about=_about(paradigm, sources),
        program=_program(
            network,
            paradigm,
            constants,
            paid,
            imposed.top_k,
            # what else is compiled in
            (levels.window, evaluation_noise, total_steps, repr(training), optimizer),
        ),
    )


def predictor(stage: Stage, checkpoint: str) -> Predictor:
    """Outputs [n, steps, outputs] of raw trials [n, steps, inputs], without noise."""
    channels, outputs = stage.record["input"]["channels"], stage.record["outputs"]
    name, fields = split_name(stage.section("model"), where="config.model")
    sizes = {"inputs": len(channels), "outputs": len(outputs)}
    module = models.build_recurrent(name, dt=stage.record["dt"], **sizes, **fields)

    def forward(model: Tree, x: Array) -> Array:
        return networks.predict(module, model, x).logits

    model = networks.model_of_stage(stage, checkpoint, module)
    return predictors.of_stage(stage, "outputs", model, forward)


def raw_trials(stage: Stage, split: str, most: int = 256) -> tuple[np.ndarray, None]:
    """The inputs [n, steps, inputs] of a split's first `most` trials, as judged.

    They have no labels: None.
    """
    config, place = stage.config, SPLITS.index(split)
    levels = curricula.build(config.get("curriculum"), config["trials"])
    count = min(most, stage.record["examples"][split])
    index = jnp.arange(count, dtype=jnp.int32) + place * SPLIT_SIZE
    options = curricula.at(levels.options, -1)
    rng = jax.random.key(config["seed"])
    return np.asarray(_judged(levels.paradigm, rng, options, index)[0].inputs), None


def _sources(examples: Mapping[str, Any]) -> dict[str, Source]:
    """Numbers of trials in the place of examples: more of a split begin as fewer."""
    counts: dict[str, int] = call(_counts, examples, where="config.examples")
    sources = {}
    for i, split in enumerate(SPLITS):
        batches = functools.partial(_numbered, counts[split], i * SPLIT_SIZE)
        sources[split] = Source(counts[split], batches)
    return sources


def _counts(
    *, train: Any = 12_800, validation: Any = 1024, test: Any = 4096
) -> dict[str, int]:
    counts = {"train": train, "validation": validation, "test": test}
    return {
        name: integer(count, low=1, high=SPLIT_SIZE, where=f"config.examples.{name}")
        for name, count in counts.items()
    }


def _numbered(count: int, start: int, batch_size: int, *, epoch: int | None) -> Any:
    order = np.arange(start, start + count)
    return index_batches(
        count, batch_size, order=order, drop_remainder=epoch is not None
    )


def _no_trial(network: Recurrent) -> Array:
    return jnp.zeros((1, 1, network.inputs))


@functools.lru_cache(maxsize=8)
def _fresh(network: Recurrent) -> Callable[[Array], Tree]:
    """rng -> variables, compiled once for all members of a population."""
    return compile_once(lambda rng: network.init(rng, _no_trial(network)))


def _init(
    network: Recurrent,
    start: biology.Start,
    optimizer: optax.GradientTransformation,
    rng: Array,
) -> TrainState:
    variables_rng, constraints_rng = jax.random.split(rng)
    variables = _fresh(network)(variables_rng)
    variables = biology.impose_before(start, constraints_rng, variables)
    params = variables.pop("params")
    opt_state = {"optimizer": optimizer.init(params)} | curricula.start()
    return TrainState(jnp.zeros((), jnp.int32), params, dict(variables), opt_state)


def _step(
    gradient: Callable[..., tuple[TrainState, dict[str, Array]]],
    schedule: optax.Schedule,
    impose: Callable[..., TrainState],
    levels: curricula.Levels,
) -> Callable[..., tuple[TrainState, dict[str, Array]]]:
    """The gradient's step, then the constraints', then the curriculum's."""

    def step(
        state: TrainState, batch: Tree, constants: Tree, rng: Array
    ) -> tuple[TrainState, dict[str, Array]]:
        reached = {k: v for k, v in state.opt_state.items() if k != "optimizer"}
        constants = constants | {
            "options": curricula.at(constants["options"], reached["level"])
        }
        state = state._replace(opt_state=state.opt_state["optimizer"])
        rate = jnp.asarray(schedule(state.step))
        state, logged = gradient(state, batch, constants, rng)
        state = impose(state, constants["constraints"], rate)
        reached = levels.advance(reached, logged["correct"], constants["criterion"])
        logged = logged | {"level": reached["level"].astype(jnp.float32)}
        opt_state = {"optimizer": state.opt_state} | reached
        return state._replace(opt_state=opt_state), logged

    return step


def _draw(
    paradigm: Paradigm, keys: Array, options: Tree, conditions: Mapping[str, Array]
) -> Trial:
    """Trials, batch first, some of their conditions given: [batch] by name."""
    return jax.vmap(lambda key, given: paradigm.sample(key, options, given))(
        keys, dict(conditions)
    )


def _loss_fn(
    network: Recurrent, paradigm: Paradigm, paid: costs.Costs
) -> Callable[..., Any]:
    def loss_fn(
        params: Tree, state: TrainState, batch: Tree, constants: Tree, rng: Array
    ) -> tuple[Array, tuple[Tree, dict[str, Array]]]:
        keys = jax.vmap(jax.random.split)(example_keys(rng, batch["index"]))
        drawn = _draw(paradigm, keys[:, 0], constants["options"], {})
        x, targets, mask = (jnp.swapaxes(a, 0, 1) for a in drawn[:3])
        variables = {"params": params, **state.model_state}
        fold: Any = functools.partial(network.apply, variables, method="fold")
        sums, outputs = fold(x, paid.visit, (targets, mask), keys=keys[:, 1])
        parts = paid.parts(sums, params, targets.size, targets.shape[:2])
        loss = sum(constants["weights"][name] * part for name, part in parts.items())
        correct = _score(paradigm, jnp.swapaxes(outputs, 0, 1), drawn)["correct"]
        return loss, (state.model_state, parts | {"correct": jnp.mean(correct)})

    return loss_fn


def _score(paradigm: Paradigm, outputs: Array, drawn: Trial) -> dict[str, Array]:
    return jax.vmap(paradigm.score)(lax.stop_gradient(outputs), drawn)


def _evaluate(
    network: Recurrent,
    paradigm: Paradigm,
    noise: bool,
    model: Tree,
    batch: Tree,
    constants: Tree,
) -> dict[str, tuple[Array, Array]]:
    rng = jax.random.wrap_key_data(constants["key"])
    options = curricula.at(constants["options"], -1)
    drawn, keys = _judged(paradigm, rng, options, batch["index"])
    outputs = run(network, model, drawn.inputs, keys if noise else None)
    error = jnp.mean(drawn.mask * jnp.square(outputs - drawn.targets), axis=(1, 2))
    correct = _score(paradigm, outputs, drawn)["correct"]
    sums = {
        name: (jnp.sum(batch["mask"] * values), jnp.sum(batch["mask"]))
        for name, values in (("loss", error), ("correct", correct))
    }
    return lax.psum(sums, AXIS)


def _judged(
    paradigm: Paradigm, rng: Array, options: Tree, index: Array
) -> tuple[Trial, Array]:
    """The trials of these numbers that a network is judged on, and its noise's keys."""
    keys = jax.vmap(jax.random.split)(example_keys(rng, index))
    given = {"split": index // SPLIT_SIZE} if paradigm.pooled else {}
    return _draw(paradigm, keys[:, 0], options, given), keys[:, 1]


def run(
    network: Recurrent,
    model: Tree,
    inputs: Float[Array, "batch time inputs"],
    keys: Array | None = None,
) -> Float[Array, "batch time outputs"]:
    """A network's outputs; with keys, with its noise. The rates are not kept."""
    variables = {"params": model["params"], **model["model_state"]}
    x = jnp.swapaxes(inputs, 0, 1)

    def nothing(outputs: Array, rates: Array, each: Tree) -> Tree:
        return ()

    fold: Any = functools.partial(network.apply, variables, method="fold")
    _, outputs = fold(x, nothing, keys=keys)
    return jnp.swapaxes(outputs, 0, 1)


def _about(paradigm: Paradigm, sources: Mapping[str, Source]) -> dict[str, Any]:
    return {
        "data": f"{paradigm.name}, trials drawn while training",
        "synthetic": False,
        "classes": list(paradigm.choices),
        "examples": {name: source.size for name, source in sources.items()},
        "input": {
            "shape": [paradigm.steps, len(paradigm.inputs)],
            "channels": list(paradigm.inputs),
        },
        "outputs": list(paradigm.outputs),
        "dt": paradigm.dt,
        "preprocessing": [],
        "split": {},
    }


def _program(
    network: Recurrent,
    paradigm: Paradigm,
    constants: Tree,
    paid: costs.Costs,
    pruning: biology.Pruning,
    others: tuple[Any, ...],
) -> str:
    """All that the compiled step depends on, but for what is in its arguments."""
    shapes = jax.tree.map(lambda a: f"{a.dtype}{a.shape}", constants)
    described = (
        repr(network),
        # functions by where they are: what they close over is not seen
        repr((paradigm.sample, paradigm.score, paradigm.pooled)),
        [paradigm.name, paradigm.steps, paradigm.dt, paradigm.inputs, paradigm.outputs],
        str(shapes),
        paid.described,
        pruning._replace(density=1.0),
        others,
    )
    return json.dumps(described, default=str)
