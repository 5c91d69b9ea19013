"""A real subject: eight classes decoded from one slice, beside scikit-learn."""

import numpy as np
import pytest

from kdjax.tasks.brain.decoding import decoders
from kdjax.tasks.brain.decoding.calibration import decoding_metrics
from kdjax.tasks.brain.decoding.permutation import permutation_test
from kdjax.tasks.brain.decoding.predictions import out_of_fold
from tests.benchmarks import sklearn_decoders


@pytest.fixture(scope="module")
def blocks(shared_data):
    """96 block means of 12 runs, in each of which every class is shown once."""
    path = shared_data / "haxby" / "haxby2001_sub001_slice.h5"
    return sklearn_decoders.blocks(path)


@pytest.mark.parametrize(
    "section",
    [
        {"name": "ridge", "penalties": (1,)},
        {"name": "ridge", "penalties": (1000,)},
        {"name": "logistic"},
        {"name": "lda"},
        {"name": "class_mean"},
    ],
    ids=lambda section: "-".join(map(str, section.values())),
)
def test_accuracy_is_scikit_learn_s_on_the_same_folds(section, blocks):
    fit = decoders.build(section)
    found = out_of_fold(
        blocks.x, blocks.y, blocks.run, fit=fit, classes=8, calibration=None
    )
    accuracy = decoding_metrics(found.logits, blocks.y)["accuracy"]
    peer = sklearn_decoders.PEERS[section["name"]](section, 0)
    expected = np.mean(sklearn_decoders.classes_of(peer, blocks) == blocks.y)
    assert accuracy == pytest.approx(expected, abs=1.5 / 96)
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
