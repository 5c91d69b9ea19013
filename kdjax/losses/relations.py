"""Distillation through pairs of examples: what the teacher finds alike.

Each loss compares the N x N relations of a batch's N examples, so student and teacher
may have features of any width. On several devices a batch's parts have fewer pairs
than the whole: with `axis_name`, a mapped axis, the N examples are all devices', the
value is the same on each, and the mean over devices (`pmean`) of the gradients in the
parameters is its gradient. (`jax.shard_map` with its default `check_vma=True` sums them
by itself; `pmean` then changes nothing.)

Features are computed in float32 or wider, the teacher's are detached, and the result is
a float32 scalar without unit. `where` is [batch], 0 or False for the examples that do
not count, as anchors or partners: whatever they hold, their gradient is 0.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Float, Integer, Shaped

from kdjax.losses._checks import Scalar, check_positive, checked
from kdjax.losses._devices import gathered, matmul, summed
from kdjax.losses._examples import counted, kept
from kdjax.losses._maps import normalize

_TINY = 1e-7  # PKT's, inside its logarithms
_BLOCK = 2**22  # numbers held at once of a batch's triples: 16 MiB


@checked
def similarity_loss(
    student_features: Float[Array, " batch *student_shape"],
    teacher_features: Float[Array, " batch *teacher_shape"],
    *,
    axis_name: str | None = None,
    where: Shaped[Array, " batch"] | None = None,
) -> Float[Array, ""]:
    """How differently student and teacher find the examples of a batch alike.

    `sum_ij (G^s_ij - G^t_ij)^2 / N^2`, where G is the Gram matrix of the examples'
    features, all of an example's in one vector, with each row divided by its norm. Its
    weight beside a cross-entropy is about 3000. Tung & Mori 2019, "Similarity-
    preserving knowledge distillation".

    Args:
        student_features: [batch, ...], of any shape behind the batch.
        teacher_features: [batch, ...], of any other; detached.
        axis_name: a mapped axis, whose devices' examples are one batch.
        where: [batch], 0 or False for examples that do not count.

    Raises:
        ValueError: batches that differ.

    Example:
        >>> student = [[1.0, 0.0], [0.0, 1.0]]  # two examples
        >>> teacher = [[1.0, 0.0], [1.0, 1.0]]
        >>> round(float(similarity_loss(student, teacher)), 4)
        0.1992
    """
    pair, valid = _pair(student_features, teacher_features, where)
    grams = []
    for own in pair:
        gram = matmul(own, gathered(own, axis_name).T)
        grams.append(normalize(gram))
    return _mean_of_pairs(jnp.square(grams[0] - grams[1]), valid, axis_name)


@checked
def relational_loss(
    student_embeddings: Float[Array, "batch student_width"],
    teacher_embeddings: Float[Array, "batch teacher_width"],
    *,
    distance_weight: Scalar = 25.0,
    angle_weight: Scalar = 50.0,
    axis_name: str | None = None,
    where: Shaped[Array, " batch"] | None = None,
) -> Float[Array, ""]:
    """How differently student and teacher space the examples, in lengths and angles.

    `25 mean_ij H(d^s_ij, d^t_ij) + 50 mean_ijk H(a^s_ijk, a^t_ijk)`: d is the Euclidean
    distance over the mean of all that are not 0, a the cosine of the angle at j between
    the directions to i and k, and H the Huber loss, half the square of a difference up
    to 1 and its size less a half beyond. Means are over N^2 and N^3, the diagonals too.
    Distances and directions of equal rows are 0, and have no gradient; so are all, and
    the loss is what the other side's are worth, where all rows are equal.

    Park, Kim, Lu & Cho 2019, "Relational knowledge distillation" (RKD-DA). In their
    code two equal rows give a gradient of the order of 1e11, through the root.

    Args:
        student_embeddings: [batch, width].
        teacher_embeddings: [batch, width], of any other width; detached.
        distance_weight: the weight of the distances.
        angle_weight: the weight of the angles. At a number 0 they are not computed.
        axis_name: a mapped axis, whose devices' examples are one batch.
        where: [batch], 0 or False for examples that do not count.

    Raises:
        ValueError: batches that differ, or embeddings that are not [batch, width].

    Example:
        >>> student = [[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]]
        >>> teacher = [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]
        >>> round(float(relational_loss(student, teacher)), 4)
        0.6522
    """
    pair, valid = _pair(student_embeddings, teacher_embeddings, where)
    everyone = gathered(valid, axis_name)
    both = valid[:, None] & everyone[None]
    scaled = []
    for own in pair:
        distances = jnp.where(both, _distances(own, axis_name), 0.0)
        some = summed(jnp.sum(distances > 0), axis_name)
        mean = summed(jnp.sum(distances), axis_name) / jnp.maximum(some, 1)
        scaled.append(distances / jnp.where(some > 0, mean, 1.0))
    apart = optax.losses.huber_loss(*scaled)
    loss = distance_weight * _mean_of_pairs(apart, valid, axis_name)
    if isinstance(angle_weight, int | float) and angle_weight == 0:
        return loss
    return loss + angle_weight * _angles_apart(pair, valid, axis_name)


@checked
def pkt_loss(
    student_embeddings: Float[Array, "batch student_width"],
    teacher_embeddings: Float[Array, "batch teacher_width"],
    *,
    axis_name: str | None = None,
    where: Shaped[Array, " batch"] | None = None,
) -> Float[Array, ""]:
    """How differently student and teacher would pick each example's neighbours.

    `mean_ij q_ij log((q_ij + e) / (p_ij + e))` over N^2, where p_ij is the student's
    `(cos_ij + 1) / 2` divided by its sum over j, q the teacher's, and e is 1e-7. A row
    without direction has the cosine 0 to all, and no gradient. It is of the order of
    1 / N^2: its weight beside a cross-entropy is about 30000.

    Passalis & Tefas 2018, "Learning deep representations with probabilistic knowledge
    transfer" (PKT).

    Args:
        student_embeddings: [batch, width].
        teacher_embeddings: [batch, width], of any other width; detached.
        axis_name: a mapped axis, whose devices' examples are one batch.
        where: [batch], 0 or False for examples that do not count.

    Raises:
        ValueError: batches that differ, or embeddings that are not [batch, width].

    Example:
        >>> student = [[1.0, 0.0], [0.0, 1.0]]
        >>> teacher = [[1.0, 0.0], [1.0, 1.0]]
        >>> round(float(pkt_loss(student, teacher)), 4)
        0.0173
    """
    pair, valid = _pair(student_embeddings, teacher_embeddings, where)
    everyone = gathered(valid, axis_name)
    p, q = (_neighbours(own, everyone, axis_name) for own in pair)
    apart = q * jnp.log((q + _TINY) / (p + _TINY))
    return _mean_of_pairs(apart, valid, axis_name)


@checked
def correlation_loss(
    student_embeddings: Float[Array, "batch student_width"],
    teacher_embeddings: Float[Array, "batch teacher_width"],
    *,
    gamma: Scalar = 0.4,
    order: int = 2,
    axis_name: str | None = None,
    where: Shaped[Array, " batch"] | None = None,
) -> Float[Array, ""]:
    """How differently student and teacher correlate the examples, by a Gaussian kernel.

    `mean_ij (k^s_ij - k^t_ij)^2` over N^2, where k is the series of the Gaussian kernel
    of unit vectors up to `order` P: `sum_{p <= P} exp(-2 gamma) (2 gamma)^p / p!
    cos_ij^p`. Peng, Jin, Liu, Zhou, Wu, Liu, Zhang & Liu 2019, "Correlation congruence
    for knowledge distillation". (RepDistiller's code by this name multiplies examples
    that are neighbours in the batch: another loss.)

    Args:
        student_embeddings: [batch, width].
        teacher_embeddings: [batch, width], of any other width; detached.
        gamma: of the kernel, above 0.
        order: P, 1 or more.
        axis_name: a mapped axis, whose devices' examples are one batch.
        where: [batch], 0 or False for examples that do not count.

    Raises:
        ValueError: batches that differ, embeddings that are not [batch, width], `gamma`
            not above 0, or `order` below 1.

    Example:
        >>> student = [[1.0, 0.0], [0.0, 1.0]]
        >>> teacher = [[1.0, 0.0], [1.0, 1.0]]
        >>> round(float(correlation_loss(student, teacher)), 4)
        0.0532
    """
    check_positive("gamma", gamma)
    if order < 1:
        raise ValueError(f"order: expected 1 or more, found {order}")
    pair, valid = _pair(student_embeddings, teacher_embeddings, where)
    kernels = []
    for own in pair:
        cosine = _cosines(own, axis_name)
        term = jnp.exp(-2 * jnp.asarray(gamma, own.dtype)) * jnp.ones_like(cosine)
        kernel = term
        for p in range(1, order + 1):
            term = term * (2 * gamma / p) * cosine
            kernel = kernel + term
        kernels.append(kernel)
    return _mean_of_pairs(jnp.square(kernels[0] - kernels[1]), valid, axis_name)


@checked
def contrastive_distillation_loss(
    student_embeddings: Float[Array, "batch width"],
    teacher_embeddings: Float[Array, "batch width"],
    *,
    temperature: Scalar = 0.07,
    learnt_teacher: bool = False,
    labels: Integer[Array, " batch"] | None = None,
    axis_name: str | None = None,
    where: Shaped[Array, " batch"] | None = None,
) -> Float[Array, ""]:
    """How well the student's and the teacher's embedding of an example pick each other.

    `-mean_i (log softmax_j(S_ij)_i + log softmax_j(S_ji)_i) / 2`, in nats, where S_ij
    is the cosine of the student's embedding of i and the teacher's of j over the
    temperature: the negatives are the batch's other examples. A row without direction
    has no gradient.

    In the manner of Tian, Krishnan & Isola 2020, "Contrastive representation
    distillation" (CRD), who keep 16,384 negatives of earlier batches in a memory, with
    which their weight of .8 goes; a batch's are some hundred.

    Args:
        student_embeddings: [batch, width], as a rule projected to 128.
        teacher_embeddings: [batch, width], projected as well; detached.
        temperature: T, above 0.
        learnt_teacher: let the gradient reach the teacher's embeddings, where they are
            those of a projection that learns with the student.
        labels: [batch], integers; other examples of the same class are then no
            negatives, but for those labelled below 0, unknown. Default: all are.
        axis_name: a mapped axis, whose devices' examples are one batch.
        where: [batch], 0 or False for examples that do not count.

    Raises:
        ValueError: shapes that differ, or `temperature` not above 0.

    Example:
        >>> student = [[1.0, 0.0], [0.0, 1.0]]
        >>> teacher = [[1.0, 0.1], [0.1, 1.0]]
        >>> loss = contrastive_distillation_loss(student, teacher, temperature=0.5)
        >>> round(float(loss), 4)
        0.1542
    """
    check_positive("temperature", temperature)
    student, teacher = (
        normalize(kept(where, x)) for x in (student_embeddings, teacher_embeddings)
    )
    if not learnt_teacher:
        teacher = lax.stop_gradient(teacher)
    valid = counted(where, student)
    count = valid.shape[0]
    first = 0 if axis_name is None else lax.axis_index(axis_name) * count
    own_id = first + jnp.arange(count)
    everyone = gathered(valid, axis_name)
    is_own = own_id[:, None] == jnp.arange(len(everyone))[None]
    negative = everyone[None] & ~is_own
    if labels is not None:
        theirs = gathered(labels, axis_name)
        alike = (labels[:, None] == theirs[None]) & (labels >= 0)[:, None]
        negative &= ~alike
    losses = jnp.zeros(count, student.dtype)
    for one, other in ((student, teacher), (teacher, student)):
        logits = matmul(one, gathered(other, axis_name).T) / temperature
        logits = jnp.where(is_own | negative, logits, -jnp.inf)
        # an example that does not count has itself, and so no row without a number
        own = jnp.sum(one * other, axis=-1) / temperature
        losses += (jax.nn.logsumexp(logits, axis=-1) - own) / 2
    total = summed(jnp.sum(kept(valid, losses)), axis_name)
    return total / jnp.maximum(summed(jnp.sum(valid), axis_name), 1)


def _pair(
    student: Float[Array, " batch *student_shape"],
    teacher: Float[Array, " batch *teacher_shape"],
    where: Shaped[Array, " batch"] | None,
) -> tuple[tuple[Array, Array], Array]:
    """Both as [batch, width], 0 where they do not count, the teacher detached; and
    which count."""
    teacher = lax.stop_gradient(teacher)
    flat = [kept(where, x).reshape(len(x), -1) for x in (student, teacher)]
    return (flat[0], flat[1]), counted(where, student)


def _mean_of_pairs(
    x: Float[Array, "batch examples"], valid: Array, axis_name: str | None
) -> Float[Array, ""]:
    """The mean over the pairs of examples that count, of all devices."""
    both = valid[:, None] & gathered(valid, axis_name)[None]
    count = summed(jnp.sum(valid), axis_name)
    total = summed(jnp.sum(jnp.where(both, x, 0.0)), axis_name)
    return total / jnp.maximum(jnp.square(count), 1)


def _cosines(own: Array, axis_name: str | None) -> Float[Array, "batch examples"]:
    rows = normalize(own)
    return matmul(rows, gathered(rows, axis_name).T)


def _neighbours(
    own: Array, everyone: Array, axis_name: str | None
) -> Float[Array, "batch examples"]:
    alike = jnp.where(everyone[None], (_cosines(own, axis_name) + 1) / 2, 0.0)
    total = jnp.sum(alike, axis=1, keepdims=True)
    return alike / jnp.where(total > 0, total, 1.0)


def _distances(own: Array, axis_name: str | None) -> Float[Array, "batch examples"]:
    """Euclidean; 0 without a gradient between equal rows."""
    others = gathered(own, axis_name)

    def of_anchor(row: Array) -> Array:
        square = jnp.sum(jnp.square(others - row[None]), axis=-1)
        apart = square > 0
        return jnp.where(apart, jnp.sqrt(jnp.where(apart, square, 1.0)), 0.0)

    return _by_anchor(of_anchor, own, numbers=others.size)


def _angles_apart(
    pair: tuple[Array, Array], valid: Array, axis_name: str | None
) -> Float[Array, ""]:
    """The mean Huber loss between the cosines of all angles."""
    everyone = gathered(valid, axis_name)
    others = tuple(gathered(own, axis_name) for own in pair)
    count = len(everyone)

    def at_anchor(*anchor: Array) -> Array:
        *rows, counts = anchor
        cosines = []
        for row, rest in zip(rows, others, strict=True):
            directions = normalize(rest - row[None])
            cosines.append(matmul(directions, directions.T))
        apart = optax.losses.huber_loss(*cosines)
        kept_pairs = everyone[:, None] & everyone[None] & counts
        return jnp.sum(jnp.where(kept_pairs, apart, 0.0))

    sums = _by_anchor(at_anchor, *pair, valid, numbers=count * count)
    total = summed(jnp.sum(sums), axis_name)
    number = summed(jnp.sum(valid), axis_name)
    return total / jnp.maximum(number.astype(total.dtype) ** 3, 1)


def _by_anchor(function: Callable[..., Array], *anchors: Array, numbers: int) -> Array:
    """`function` of every anchor, one block of them after another.

    numbers: how many it holds for an anchor. Of a block nothing is kept for the
    gradient: it is computed again.
    """
    count = len(anchors[0])
    block = max(1, min(count, _BLOCK // max(numbers, 1)))
    of_block = jax.vmap(function)
    if block == count:
        return of_block(*anchors)
    blocks = -(-count // block)
    padding = blocks * block - count
    cut = [
        jnp.pad(x, ((0, padding), *((0, 0),) * (x.ndim - 1))).reshape(
            blocks, block, *x.shape[1:]
        )
        for x in anchors
    ]
    found = lax.map(jax.checkpoint(lambda part: of_block(*part)), tuple(cut))
    return found.reshape(blocks * block, *found.shape[2:])[:count]
