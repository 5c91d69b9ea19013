"""scikit-learn's decoders on the blocks and folds of ours, for a test and a table."""

import warnings

import numpy as np
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import GridSearchCV, LeaveOneGroupOut
from sklearn.neighbors import NearestCentroid
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from kdjax.data.fmri.bdata import read_bdata
from kdjax.data.fmri.preprocessing import block_means, clean
from kdjax.data.fmri.volumes import check, take
from kdjax.tasks.brain.decoding.decoders import RIDGE_PENALTIES

LAG = 2  # volumes of 2.5 s: the haemodynamic delay of some 5 s


def blocks(path):
    """The mean response of each block that has a class, as volumes."""
    volumes = check(read_bdata(path), drop_constant=True)
    cleaned = volumes._replace(x=clean(volumes.x, volumes.run))
    means = block_means(cleaned, lag=LAG)
    return take(means, means.y >= 0)


def ridge(section, seed):
    """The penalty by leaving one more run out; of equal ones the largest, as ours."""
    penalties = sorted(section.get("penalties", RIDGE_PENALTIES), reverse=True)
    return GridSearchCV(RidgeClassifier(), {"alpha": penalties}, cv=LeaveOneGroupOut())


def logistic(section, seed):
    return LogisticRegression(max_iter=9999)


def lda(section, seed):
    return LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")


def class_mean(section, seed):
    return NearestCentroid()


def network(section, seed):
    """Ours' layers, Adam, rate, batches and epochs; its decay is an L2 penalty."""
    if section["model"]["name"] != "mlp":
        return None
    return MLPClassifier(
        section["model"]["widths"],
        batch_size=section["batch_size"],
        learning_rate_init=section["learning_rate"],
        max_iter=section["epochs"],
        n_iter_no_change=section["epochs"],
        random_state=seed,
    )


# (a section `decoder` of a config, seed) -> scikit-learn's model, None if it has none
PEERS = {f.__name__: f for f in (ridge, logistic, lda, class_mean, network)}


def classes_of(model, blocks):
    """The class of each block by `model`, scaled and fitted on the other runs."""
    x, guess = blocks.x.astype(np.float64), np.empty_like(blocks.y)
    for train, test in LeaveOneGroupOut().split(x, blocks.y, blocks.run):
        pipeline = make_pipeline(StandardScaler(), model)
        searches = "gridsearchcv" in pipeline.named_steps
        groups = {"gridsearchcv__groups": blocks.run[train]} if searches else {}
        with warnings.catch_warnings():  # the MLP's epochs are as many as it is given
            warnings.simplefilter("ignore", ConvergenceWarning)
            pipeline.fit(x[train], blocks.y[train], **groups)
        guess[test] = pipeline.predict(x[test])
    return guess
