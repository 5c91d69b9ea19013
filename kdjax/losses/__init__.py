"""Losses that distil, contrast and oppose: pure functions of arrays, channels last."""

from kdjax.losses.adversarial import beatgan_discriminator_loss, beatgan_generator_loss
from kdjax.losses.angular import amd_loss
from kdjax.losses.contrastive import nt_xent
from kdjax.losses.distillation import (
    cross_entropy,
    distillation_kl,
    eskd_loss,
    kd_loss,
    soft_target_loss,
)
from kdjax.losses.features import attention_transfer_loss
from kdjax.losses.self_distillation import bernoulli_kl, frskd_loss

__all__ = [
    "amd_loss",
    "attention_transfer_loss",
    "beatgan_discriminator_loss",
    "beatgan_generator_loss",
    "bernoulli_kl",
    "cross_entropy",
    "distillation_kl",
    "eskd_loss",
    "frskd_loss",
    "kd_loss",
    "nt_xent",
    "soft_target_loss",
]
