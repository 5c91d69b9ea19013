"""A real subject: eight classes decoded from one slice, beside scikit-learn."""

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from kdjax.data.fmri.bdata import read_bdata
from kdjax.data.fmri.preprocessing import block_means, clean
from kdjax.data.fmri.volumes import check, take
from kdjax.tasks.brain import decoders
from kdjax.tasks.brain.calibration import decoding_metrics
from kdjax.tasks.brain.permutation import permutation_test
from kdjax.tasks.brain.predictions import out_of_fold

LAG = 2  # volumes of 2.5 s: the haemodynamic delay of some 5 s


@pytest.fixture(scope="module")
def blocks(shared_data):
    """96 block means of 12 runs, in each of which every class is shown once."""
    pytest.importorskip("bdpy", reason="no release for this Python")
    path = shared_data / "haxby" / "haxby2001_sub001_slice.h5"
    volumes = check(read_bdata(path, roi="ROI_ALL"), drop_constant=True)
    cleaned = volumes._replace(x=clean(volumes.x, volumes.run))
    means = block_means(cleaned, lag=LAG)
    return take(means, means.y >= 0)


def peer_accuracy(model, blocks):
    pipeline = make_pipeline(StandardScaler(), model)
    folds = LeaveOneGroupOut()
    x, groups = blocks.x.astype(np.float64), blocks.run
    guess = cross_val_predict(pipeline, x, blocks.y, groups=groups, cv=folds)
    return np.mean(guess == blocks.y)


@pytest.mark.parametrize(
    ("section", "peer"),
    [
        ({"name": "ridge", "penalties": (1,)}, RidgeClassifier()),
        ({"name": "ridge", "penalties": (1000,)}, RidgeClassifier(alpha=1000)),
        ({"name": "logistic"}, LogisticRegression(max_iter=9999)),
        (
            {"name": "lda"},
            LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"),
        ),
        ({"name": "class_mean"}, NearestCentroid()),
    ],
    ids=["ridge-1", "ridge-1000", "logistic", "lda", "class_mean"],
)
def test_accuracy_is_scikit_learn_s_on_the_same_folds(section, peer, blocks):
    fit = decoders.build(section)
    found = out_of_fold(
        blocks.x, blocks.y, blocks.run, fit=fit, classes=8, calibration=None
    )
    accuracy = decoding_metrics(found.logits, blocks.y)["accuracy"]
    assert accuracy == pytest.approx(peer_accuracy(peer, blocks), abs=1.5 / 96)
    assert accuracy > 0.4


def test_ridge_decodes_far_above_chance(blocks):
    """.615 with the penalty 1000, .740 with one chosen inside each fold."""
    fit = decoders.ridge()
    found = out_of_fold(blocks.x, blocks.y, blocks.run, fit=fit, classes=8)
    scores = decoding_metrics(found.logits, blocks.y)
    assert 0.6 < scores["accuracy"] < 0.85
    assert scores["log_likelihood"] > -1.2
    assert scores["ece"] < 0.2
    test = permutation_test(blocks.x, blocks.y, blocks.run, classes=8, permutations=200)
    assert test.accuracy == pytest.approx(scores["accuracy"], abs=1e-9)
    assert test.p == 1 / 201
    assert test.null.mean() == pytest.approx(1 / 8, abs=0.02)
    assert test.null.max() < 0.4
