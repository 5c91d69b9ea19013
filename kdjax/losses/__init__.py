"""Losses that distil, contrast, oppose and cost: pure functions of arrays.

Logits, labels and stored probabilities
    cross_entropy              a network and its labels
    distillation_kl            a student and its teacher's logits, standardised or not
    kd_loss                    both of these
    eskd_loss                  the same, without the teacher from some step on
    decoupled_kd_loss          the label apart from all other classes
    dist_loss                  correlations, in the place of a divergence
    multi_teacher_kl           several teachers, weighted
    soft_target_loss           a student and stored probabilities
    marginal_likelihood_loss   the same, where even ones say nothing
    teacher_free_loss          a student and a teacher made of the labels
    bernoulli_kl               a student and its teacher, of one logit each

Feature maps
    fitnet_loss               the maps themselves
    variational_loss          the same, with a variance that is learnt
    attention_transfer_loss   where the energy of two maps is
    amd_loss                  the same, as angles with a margin
    frskd_loss                a network and the self-teacher that refines its maps
    rdm_loss                  what the student finds alike, and what a brain does

Pairs of examples
    similarity_loss                 how alike they are, by maps
    relational_loss                 how far apart, and at which angles, by embeddings
    pkt_loss                        which are neighbours
    correlation_loss                how correlated, by a Gaussian kernel
    contrastive_distillation_loss   each example's two embeddings, and all others'

Embeddings and reconstructions
    nt_xent                      two views of each example, over one device or many
    beatgan_discriminator_loss   real examples and reconstructions
    beatgan_generator_loss       a reconstruction and its original

Recurrent networks in continuous time
    euler_step   their rates a time step later
    ctrnn_loss   errors, rates and weights: all that a CTRNN is paid for
    rate_l1      what firing costs
    rate_l2      the same, squared
    weight_l1    what weights cost
    weight_l2    the same, squared

All work under jit, grad and vmap, channels last. Arrays may be JAX's, NumPy's or lists
of numbers, are computed in float32 or wider, and have the shapes that the signatures
name: one name is one size in all arguments, `*space` any number of axes, '' a scalar.
`Scalar` is a number or a traced scalar. What does not fit raises a ValueError that
names the argument, before anything is compiled. Teachers and targets are detached.
Losses of examples leave out those where `where` [batch] is 0 or False.

Not here: OFD (overhaul), ReviewKD, SemCKD, SimKD, SRRL, CAT-KD, NST, FSP, AB and MLLD.

>>> from kdjax.losses import kd_loss
>>> loss = kd_loss(student_logits, teacher_logits, labels, temperature=4.0, alpha=0.9)
"""

from kdjax.losses.adversarial import beatgan_discriminator_loss, beatgan_generator_loss
from kdjax.losses.angular import amd_loss
from kdjax.losses.contrastive import nt_xent
from kdjax.losses.distillation import (
    cross_entropy,
    distillation_kl,
    eskd_loss,
    kd_loss,
    marginal_likelihood_loss,
    soft_target_loss,
    teacher_free_loss,
)
from kdjax.losses.features import (
    attention_transfer_loss,
    fitnet_loss,
    variational_loss,
)
from kdjax.losses.logits import decoupled_kd_loss, dist_loss, multi_teacher_kl
from kdjax.losses.recurrent import (
    ctrnn_loss,
    euler_step,
    rate_l1,
    rate_l2,
    weight_l1,
    weight_l2,
)
from kdjax.losses.relations import (
    contrastive_distillation_loss,
    correlation_loss,
    pkt_loss,
    relational_loss,
    similarity_loss,
)
from kdjax.losses.representation import rdm_loss
from kdjax.losses.self_distillation import bernoulli_kl, frskd_loss

__all__ = [
    "amd_loss",
    "attention_transfer_loss",
    "beatgan_discriminator_loss",
    "beatgan_generator_loss",
    "bernoulli_kl",
    "contrastive_distillation_loss",
    "correlation_loss",
    "cross_entropy",
    "ctrnn_loss",
    "decoupled_kd_loss",
    "dist_loss",
    "distillation_kl",
    "eskd_loss",
    "euler_step",
    "fitnet_loss",
    "frskd_loss",
    "kd_loss",
    "marginal_likelihood_loss",
    "multi_teacher_kl",
    "nt_xent",
    "pkt_loss",
    "rate_l1",
    "rate_l2",
    "rdm_loss",
    "relational_loss",
    "similarity_loss",
    "soft_target_loss",
    "teacher_free_loss",
    "variational_loss",
    "weight_l1",
    "weight_l2",
]
