"""Distillation and contrastive losses: pure functions of arrays, channels last."""

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

__all__ = [
    "amd_loss",
    "attention_transfer_loss",
    "cross_entropy",
    "distillation_kl",
    "eskd_loss",
    "kd_loss",
    "nt_xent",
    "soft_target_loss",
]
