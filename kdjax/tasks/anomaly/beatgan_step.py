"""BeatGAN's training step: the discriminator learns, then the generator against it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Float

from kdjax import augment as augmentations
from kdjax import losses
from kdjax.models import BeatGAN, Outputs
from kdjax.models.beatgan import maps
from kdjax.stages import batches
from kdjax.training.parallel import AXIS
from kdjax.training.state import Metrics, TrainState

Tree = Any
Loss = tuple[Float[Array, ""], tuple[Tree, Metrics]]


class Adversarial(NamedTuple):
    """`weight` of the features that the generator matches; `collapse`: the loss below
    which the discriminator has won, and starts anew (as in the published code)."""

    weight: float = 1.0
    collapse: float = 5e-6


class SelfDistillation(NamedTuple):
    """FRSKD: `alpha` of the logits' Bernoulli KL at `temperature`, `beta` of attention
    transfer over all maps; the self-teacher's own real-or-fake loss has weight 1."""

    temperature: float = 4.0
    alpha: float = 2.0
    beta: float = 100.0


class Contrastive(NamedTuple):
    """`weight` and `temperature` of NT-Xent between two views, draws of `augment`."""

    augment: Mapping[str, Any]
    weight: float = 1.0
    temperature: float = 0.1


class Reconstruction(NamedTuple):
    """`weight` of the squared distance to the teacher's reconstruction of the batch."""

    weight: float = 1.0


class Terms(NamedTuple):
    """The config's `losses` section; a term that is None is left out."""

    adversarial: Adversarial = Adversarial()
    self_distillation: SelfDistillation | None = None
    contrastive: Contrastive | None = None
    reconstruction: Reconstruction | None = None


class Networks(NamedTuple):
    """What a step runs: the networks, the terms of their losses, the view that both
    sides train on, a view for contrast, and the teacher whose reconstructions count."""

    module: BeatGAN
    terms: Terms
    view: augmentations.Augment
    views: augmentations.Augment | None
    teacher: BeatGAN | None


def split_sides(params: Tree) -> dict[str, Tree]:
    """The parameters of either optimiser: the generator's, and all others."""
    generator = {"generator": params["generator"]}
    others = {name: part for name, part in params.items() if name != "generator"}
    return {"generator": generator, "discriminator": others}


def variables(part: str, params: Tree, model_state: Tree) -> dict[str, Tree]:
    """The variables of one part of a BeatGAN."""
    own = {kind: parts[part] for kind, parts in model_state.items() if part in parts}
    return {"params": params[part], **own}


def step(
    networks: Networks,
    optimizer: optax.GradientTransformation,
    schedule: optax.Schedule,
) -> Callable[..., tuple[TrainState, Metrics]]:
    """The step `(state, batch, constants, rng) -> (state, metrics)`.

    The generator runs once: the discriminator sees what it made, learns, and what it
    then says is led back through that same pass. `loss` and `grad_norm` are the
    generator's loss and the norm of all gradients.
    """
    collapse = networks.terms.adversarial.collapse

    def both(
        state: TrainState, batch: Tree, constants: Tree, rng: Array
    ) -> tuple[TrainState, Metrics]:
        view_rng, contrast_rng, restart_rng = jax.random.split(rng, 3)
        example = batches.gather(constants, batch)
        keys = augmentations.example_keys(view_rng, batch["index"])
        x = networks.view(keys, example)
        pair = _two_views(networks, batch["index"], example, contrast_rng)
        sides, opt_state = split_sides(state.params), dict(state.opt_state)

        def update(side: str, gradients: Tree) -> Tree:
            updates, opt_state[side] = optimizer.update(
                gradients, opt_state[side], sides[side]
            )
            return optax.apply_updates(sides[side], updates)

        made, back, model_state = _generate(networks, sides, state.model_state, x)
        d_gradients, model_state, metrics = _discriminator_gradients(
            networks, sides, model_state, x, made, pair
        )
        others = update("discriminator", d_gradients)
        cotangent, model_state, more = _made_gradients(
            networks, others, model_state, x, made, constants["teacher"]
        )
        g_gradients = lax.pmean(back(cotangent)[0], AXIS)
        params = update("generator", g_gradients) | others
        metrics |= more
        if collapse:
            won = metrics["discriminator"] < collapse
            params["discriminator"] = lax.cond(
                won,
                lambda: _new_discriminator(networks.module, restart_rng, x),
                lambda: params["discriminator"],
            )
            metrics["restarts"] = won.astype(jnp.float32)
        metrics |= {
            "grad_norm": optax.tree.norm((g_gradients, d_gradients)),
            "learning_rate": jnp.asarray(schedule(state.step)),
        }
        return TrainState(state.step + 1, params, model_state, opt_state), metrics

    return both


def _generate(
    networks: Networks, sides: Tree, model_state: Tree, x: Array
) -> tuple[Array, Callable[[Array], Any], Tree]:
    """(what the generator makes of x, its gradient's way back, model_state)"""

    def generate(params: Tree) -> tuple[Array, Tree]:
        (made, _), moved = _apply(
            networks.module.generator, "generator", params, model_state, x
        )
        return made, moved

    made, back, moved = jax.vjp(generate, sides["generator"], has_aux=True)
    return made, back, moved


def _discriminator_gradients(
    networks: Networks,
    sides: Tree,
    model_state: Tree,
    x: Array,
    made: Array,
    pair: tuple[Array, Array] | None,
) -> tuple[Tree, Tree, Metrics]:
    """(gradients, model_state, metrics) of all but the generator, over all devices."""

    def loss_fn(params: Tree) -> Loss:
        loss, aux = discriminator_loss(networks, params, model_state, x, made)
        if networks.terms.contrastive is not None and pair is not None:
            agree = contrastive_loss(networks, params, model_state, *pair)
            loss += networks.terms.contrastive.weight * agree
            aux[1]["contrastive"] = agree
        return lax.pmean(loss, AXIS), aux

    gradient_fn = jax.grad(loss_fn, has_aux=True)
    gradients, (moved, metrics) = gradient_fn(sides["discriminator"])
    gradients, metrics = lax.pmean((gradients, metrics), AXIS)
    return gradients, moved, metrics


def _made_gradients(
    networks: Networks,
    params: Tree,
    model_state: Tree,
    x: Array,
    made: Array,
    teacher: Tree,
) -> tuple[Array, Tree, Metrics]:
    """(the generator's loss's gradient in this device's `made`, model_state, metrics)

    The mean of what it leads back to over devices is the gradient of the mean loss.
    """

    def loss_fn(made: Array) -> Loss:
        loss, aux = generator_loss(networks, params, model_state, x, made, teacher)
        return lax.pmean(loss, AXIS), aux

    gradient_fn = jax.value_and_grad(loss_fn, has_aux=True)
    (loss, (moved, metrics)), cotangent = gradient_fn(made)
    return cotangent, moved, lax.pmean(metrics, AXIS) | {"loss": loss}


def _new_discriminator(module: BeatGAN, rng: Array, x: Array) -> Tree:
    params: Tree = module.discriminator.init(rng, x[:1], train=False)["params"]
    return params


def discriminator_loss(
    networks: Networks, params: Tree, model_state: Tree, x: Array, made: Array
) -> Loss:
    """(loss, (model_state, terms)) of one device: what is real and what was made.

    With self-distillation, r_i being the self-teacher's maps and t its logits, either
    sum over the real and the made examples:

        BCE(d) + BCE(t) + alpha KL(d, t) + beta sum_i AT(f_i, r_i)

    KL and AT move the discriminator alone, BCE(t) the self-teacher and, through the
    maps that it reads, the discriminator, as in FRSKD's code; none moves the generator.
    """
    module, settings = networks.module, networks.terms.self_distillation
    judged: list[Outputs] = []
    for examples_ in (x, lax.stop_gradient(made)):
        outputs, model_state = _apply(
            module.discriminator, "discriminator", params, model_state, examples_
        )
        judged.append(outputs)
    loss = losses.beatgan_discriminator_loss(*(outputs.logits for outputs in judged))
    metrics = {"discriminator": loss}
    if settings is None or module.self_teacher is None:
        return loss, (model_state, metrics)
    refined: list[Outputs] = []
    for outputs in judged:
        taught, model_state = _apply(
            module.self_teacher,
            "self_teacher",
            params,
            model_state,
            maps(outputs.features),
        )
        refined.append(taught)
    own = losses.beatgan_discriminator_loss(*(outputs.logits for outputs in refined))
    divergence, attention = jnp.zeros(()), jnp.zeros(())
    for outputs, taught in zip(judged, refined, strict=True):
        divergence += losses.bernoulli_kl(
            outputs.logits, taught.logits, temperature=settings.temperature
        )
        for name, better in taught.features.items():
            attention += losses.attention_transfer_loss(outputs.features[name], better)
    metrics |= {
        "self_teacher": own,
        "distillation": divergence,
        "attention": attention,
    }
    loss += own + settings.alpha * divergence + settings.beta * attention
    return loss, (model_state, metrics)


def contrastive_loss(
    networks: Networks, params: Tree, model_state: Tree, one: Array, other: Array
) -> Float[Array, ""]:
    """NT-Xent of the projections of two views over all devices.

    Batch norm takes the statistics of both views together; the running ones, which are
    of unchanged examples, stay.
    """
    module, settings = networks.module, networks.terms.contrastive
    assert settings is not None
    assert module.projection is not None
    outputs, _ = _apply(
        module.discriminator,
        "discriminator",
        params,
        model_state,
        jnp.concatenate([one, other]),
    )
    seen = next(reversed(outputs.features.values()))  # the representation
    z, _ = _apply(module.projection, "projection", params, model_state, seen)
    z1, z2 = jnp.split(z, 2)
    return losses.nt_xent(z1, z2, temperature=settings.temperature, axis_name=AXIS)


def generator_loss(
    networks: Networks,
    params: Tree,
    model_state: Tree,
    x: Array,
    made: Array,
    teacher: Tree,
) -> Loss:
    """(loss, (model_state, terms)) of one device, to be led back through `made`:

    MSE(made, x) + w MSE(f(made), f(x)) + v MSE(made, what the teacher makes of x)
    """
    module, terms = networks.module, networks.terms
    features = []
    for examples_ in (made, x):
        outputs, model_state = _apply(
            module.discriminator, "discriminator", params, model_state, examples_
        )
        features.append(outputs.features["features"])
    fake, real = features
    loss = losses.beatgan_generator_loss(
        x, made, real, fake, adversarial_weight=terms.adversarial.weight
    )
    metrics = {"reconstruction": jnp.mean(jnp.square(made - x)), "generator": loss}
    if terms.reconstruction is not None and networks.teacher is not None:
        own = variables("generator", teacher["params"], teacher["model_state"])
        target, _ = networks.teacher.generator.apply(own, x, train=False)
        apart = jnp.mean(jnp.square(made - lax.stop_gradient(target)))
        metrics["taught"] = apart
        loss += terms.reconstruction.weight * apart
    return loss, (model_state, metrics)


def _two_views(
    networks: Networks, index: Array, example: Array, rng: Array
) -> tuple[Array, Array] | None:
    """Two draws of the contrast's augmentation, where there is one."""
    if networks.views is None:
        return None
    one, other = (
        networks.views(augmentations.example_keys(key, index), example)
        for key in jax.random.split(rng)
    )
    return one, other


def _apply(
    part: nn.Module, name: str, params: Tree, model_state: Tree, x: Any
) -> tuple[Any, Tree]:
    """(outputs, model_state with this part's new batch statistics), in training."""
    own = variables(name, params, model_state)
    outputs, moved = part.apply(own, x, train=True, mutable=list(model_state))
    merged = {
        kind: parts | ({name: moved[kind]} if kind in moved else {})
        for kind, parts in model_state.items()
    }
    return outputs, merged
