"""Representational dissimilarity matrices: checked, compared, made into soft labels.

An RDM is [n, n], symmetric: how unlike images i and j are to a brain, a person or a
network, in any unit. NaN is a pair that nobody measured, and is left out of whatever is
computed; the diagonal is never read. All arithmetic is in float64.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Integer, Num
from scipy.optimize import brentq
from scipy.spatial.distance import pdist, squareform
from scipy.stats import rankdata

from kdjax.errors import InputError

# Of the largest entry: less is rounding, in the float32 that RDMs are kept in.
_ASYMMETRY = 1e-6

# Temperatures below this part of the scores' standard deviation are not told apart:
# all the probability is on one class.
_COLDEST = 0.01


class NoiseCeiling(NamedTuple):
    """Between `lower` and `upper` lies the best correlation that a model can reach."""

    lower: float
    upper: float


def check_rdm(
    rdm: np.ndarray, *, where: str, images: int, missing: bool = False
) -> Float[np.ndarray, "images images"]:
    """The RDM in float64, its diagonal 0, if it is one of so many images.

    Symmetric means to 1e-6 of the largest entry. NaN is refused unless `missing`, Inf
    always. InputError: begins with `where`, names the first pair at fault, from 0.
    """
    if rdm.shape != (images, images):
        raise InputError(
            f"{where}: expected dissimilarities of {images} images, "
            f"({images}, {images}), found {rdm.shape}"
        )
    rdm = rdm.astype(np.float64)
    np.fill_diagonal(rdm, 0)
    bad = np.isinf(rdm) if missing else ~np.isfinite(rdm)
    if bad.any():
        i, j = np.argwhere(bad)[0]
        raise InputError(f"{where}: expected numbers, found {rdm[i, j]} at ({i}, {j})")
    largest = np.nanmax(np.abs(rdm), initial=0)
    same = np.abs(rdm - rdm.T) <= _ASYMMETRY * largest
    differ = ~(same | (np.isnan(rdm) & np.isnan(rdm.T)))
    if differ.any():
        i, j = np.argwhere(differ)[0]
        raise InputError(
            f"{where}: expected a symmetric matrix, found {rdm[i, j]:g} at ({i}, {j}) "
            f"and {rdm[j, i]:g} at ({j}, {i})"
        )
    return rdm


def pairs(rdm: Num[np.ndarray, "*more n n"]) -> Float[np.ndarray, "*more pairs"]:
    """The upper triangle, row by row: one entry a pair, n (n - 1) / 2 of them.

    `scipy.spatial.distance.squareform` is the way back.
    """
    rows, columns = np.triu_indices(rdm.shape[-1], 1)
    return rdm[..., rows, columns].astype(np.float64)


def correlation_rdm(
    x: Num[np.ndarray, "n *space channels"],
) -> Float[np.ndarray, "n n"]:
    """1 - Pearson's correlation of each two images, all pixels (or features) a vector.

    NaN for the pairs of an image that is the same everywhere: it has no correlation.
    """
    rows = x.reshape(len(x), -1).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        distances = pdist(rows, "correlation")
    rdm = squareform(distances, checks=False)
    same = np.ptp(rows, axis=1) == 0
    rdm[same] = rdm[:, same] = np.nan
    np.fill_diagonal(rdm, 0)
    return rdm


def category_rdm(y: Integer[np.ndarray, " n"]) -> Float[np.ndarray, "n n"]:
    """0 for two images of one class, else 1: what a model of the classes alone says."""
    return (y[:, None] != y[None, :]).astype(np.float64)


def spearman(a: Num[np.ndarray, "n n"], b: Num[np.ndarray, "m m"]) -> float:
    """Spearman's rank correlation of two RDMs over the pairs that both have.

    Ties share their mean rank. nan where one of them does not vary. ValueError: RDMs of
    different sizes.
    """
    if a.shape != b.shape:
        raise ValueError(f"expected RDMs of one size, found {a.shape} and {b.shape}")
    x, y = pairs(a), pairs(b)
    there = ~(np.isnan(x) | np.isnan(y))
    return _correlation(rankdata(x[there]), rankdata(y[there]))


def noise_ceiling(rdms: Num[np.ndarray, "subjects n n"]) -> NoiseCeiling:
    """How well the best model could do, given how far the subjects agree.

    Every subject's pairs are replaced by their ranks. `lower` is the mean over subjects
    of Spearman's correlation with the mean ranks of the others, `upper` of that with
    the mean ranks of all, the subject's own among them (Nili et al. 2014, "A toolbox
    for representational similarity analysis"). Averaged without the ranks, in the
    RDM's own unit, another number results. A pair that one subject lacks is left out.
    Scores of a model are held against it as the mean over subjects of `spearman`.
    ValueError: fewer than two subjects.
    """
    each = subject_ceilings(rdms)
    return NoiseCeiling(*(float(np.mean(bound)) for bound in zip(*each, strict=True)))


def subject_ceilings(rdms: Num[np.ndarray, "subjects n n"]) -> list[NoiseCeiling]:
    """Of each subject, the correlations whose means `noise_ceiling` gives."""
    subjects = len(rdms)
    if subjects < 2:
        raise ValueError(f"rdms: expected two subjects or more, found {subjects}")
    each = pairs(rdms)
    ranks = rankdata(each[:, ~np.isnan(each).any(axis=0)], axis=1)
    total = ranks.sum(axis=0)
    return [
        NoiseCeiling(
            _correlation(own, rankdata(total - own)), _correlation(own, rankdata(total))
        )
        for own in ranks
    ]


def _correlation(x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"]) -> float:
    """Pearson's; nan where there is none."""
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    return float(np.corrcoef(x, y)[0, 1])


def class_scores(
    rdm: Num[np.ndarray, "n n"],
    y: Integer[np.ndarray, " n"],
    classes: int,
    *,
    fold: Integer[np.ndarray, " n"] | None = None,
) -> Float[np.ndarray, "n classes"]:
    """How near each image is to each class: minus the mean distance to its images.

    The image itself is left out, and with `fold` all images of its own fold. Its label
    does not enter its own scores. The class of the largest one is the answer.
    InputError: an image that has no distance to any image of a class.
    """
    return _scores(rdm, _one_hot(y, classes), _others(len(y), fold))


def permuted_accuracies(
    rdm: Num[np.ndarray, "n n"],
    y: Integer[np.ndarray, " n"],
    classes: int,
    *,
    permutations: int,
    seed: int,
) -> Float[np.ndarray, " permutations"]:
    """The accuracies of `class_scores` for labels permuted among the images: chance.

    With k of them as high as the true labels' accuracy or higher, the test's p is
    (k + 1) / (permutations + 1).
    """
    rng = np.random.default_rng(seed)
    found = np.empty(permutations)
    for i in range(permutations):
        labels = rng.permutation(y)
        answers = class_scores(rdm, labels, classes).argmax(axis=1)
        found[i] = np.mean(answers == labels)
    return found


def soft_labels_from(
    rdm: Num[np.ndarray, "n n"],
    y: Integer[np.ndarray, " n"],
    classes: int,
    *,
    fold: Integer[np.ndarray, " n"] | None = None,
) -> Float[np.ndarray, "n classes"]:
    """What an RDM says of each image's class: logits, of which softmax is soft labels.

    `logits_i = class_scores_i / T_i`, each row less its mean. T_i is the temperature
    that makes the labels of the other images (of other folds) most likely, image i (all
    of its fold) taken out of the RDM for it: neither the scores nor the temperature of
    an image know its label. It is at least 1 % of the scores' standard deviation within
    an image, which is reached where the others are told apart without error, and the
    soft labels are then all but hard. Where the RDM does not help at all it is
    infinite, and the logits 0.

    Neither the unit nor the zero of the RDM counts. Any two images of a class must
    leave a third, of another fold. InputError: one that has no distance to any image
    of a class, also with any other fold left out.
    """
    member = _one_hot(y, classes)
    others = _others(len(y), fold)
    folds = np.arange(len(y)) if fold is None else fold
    logits = np.empty((len(y), classes))
    for held in np.unique(folds):
        inside = folds == held
        scores = _scores(rdm, member, others & ~inside[None, :])
        scores -= scores.mean(axis=1, keepdims=True)
        inverse = _inverse_temperature(scores[~inside], y[~inside])
        logits[inside] = inverse * scores[inside]
    return logits


def _one_hot(
    y: Integer[np.ndarray, " n"], classes: int
) -> Float[np.ndarray, "n classes"]:
    if len(y) and (y.min() < 0 or y.max() >= classes):
        raise InputError(
            f"y: expected labels 0 to {classes - 1}, found {y.min()} to {y.max()}"
        )
    return np.eye(classes)[y]


def _others(n: int, fold: Integer[np.ndarray, " n"] | None) -> Bool[np.ndarray, "n n"]:
    """Which images each may be compared with: those of other folds."""
    folds = np.arange(n) if fold is None else fold
    return folds[:, None] != folds[None, :]


def _scores(
    rdm: Num[np.ndarray, "n n"],
    member: Float[np.ndarray, "n classes"],
    others: Bool[np.ndarray, "n n"],
) -> Float[np.ndarray, "n classes"]:
    """Minus the mean over the others of each class that have a distance."""
    there = others & ~np.isnan(rdm)
    count = there.astype(np.float64) @ member
    if (count == 0).any():
        image, label = np.argwhere(count == 0)[0]
        raise InputError(
            f"rdm: expected a distance of image {image} to another image of class "
            f"{label}, found none"
        )
    return -(np.where(there, rdm, 0.0) @ member) / count


def _inverse_temperature(
    scores: Float[np.ndarray, "n classes"], y: Integer[np.ndarray, " n"]
) -> float:
    """b >= 0 of the largest likelihood of the labels under softmax(b * scores).

    The log likelihood is concave in b: at its maximum the mean score expected is that
    of the labels.
    """
    spread = float(scores.std())  # the rows are centred
    if spread == 0:
        return 0.0
    unit = scores / spread
    of_label = unit[np.arange(len(y)), y].mean()

    def excess(b: float) -> float:
        weight = np.exp(b * (unit - unit.max(axis=1, keepdims=True)))
        expected = (weight * unit).sum(axis=1) / weight.sum(axis=1)
        return float(expected.mean() - of_label)

    if excess(0.0) >= 0:
        return 0.0
    coldest = 1 / _COLDEST
    if excess(coldest) <= 0:
        return coldest / spread
    return float(brentq(excess, 0.0, coldest, xtol=1e-12)) / spread
