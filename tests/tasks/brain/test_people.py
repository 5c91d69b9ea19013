"""Votes and dissimilarities of people as stages, and what networks share with IT."""

import json

import numpy as np
import pytest
from scipy.special import softmax

from kdjax import data, experiment
from kdjax.data.dissimilarities import spearman
from kdjax.data.human.cifar10h import read_human_labels
from kdjax.data.human.human92 import SUBJECTS, read_human92
from kdjax.data.soft_labels import FILE, Keyed
from kdjax.data.stored_rdm import FILE as RDM
from kdjax.data.stored_rdm import Stored, read_rdm
from kdjax.errors import InputError
from kdjax.files import read_arrays, read_json
from kdjax.tasks.brain import rdm, similarity, votes
from kdjax.tasks.brain.decoding import permutation
from kdjax.training.task import Training

pytestmark = pytest.mark.usefixtures("undrawn")

UNTRAINED = Training(epochs=0, batch_size=16, eval_batch_size=92)
SMALL = {
    "model": {"name": "mlp", "widths": [16]},
    "optimizer": {"name": "adam", "schedule": {"name": "constant", "value": 1e-2}},
    "losses": {"cross_entropy": {"weight": 1.0}},
}
NOTHING = dict.fromkeys(SMALL)


def run(folder, **config):
    whole = {"seeds": [1], "training": {"epochs": 0, "batch_size": 16}} | config
    experiment.run(json.loads(json.dumps(whole)), folder)
    return folder / "seed_1"


@pytest.fixture(scope="module")
def photographs(shared_data):
    return {"name": "human92", "root": str(shared_data / "human92"), "size": 8}


@pytest.fixture(scope="module")
def real(photographs, shared_data):
    return read_human92(shared_data / "human92")


@pytest.fixture(scope="module")
def taught(photographs, tmp_path_factory):
    """A network of the photographs' own labels, taught by IT; and what they share."""
    untrained = {"task": "similarity", "data": photographs, "losses": None}
    untrained |= {"training": {"epochs": 0, "select": "loss"}, "optimizer": None}
    of_it = {"source": "human_it", "subject": "others"}
    return run(
        tmp_path_factory.mktemp("taught"),
        **SMALL,
        task="distill",
        data=photographs,
        stages={
            "it": NOTHING | {"task": "rdm", "rdm": of_it, "permutations": 20},
            "monkey": NOTHING | {"task": "rdm", "rdm": {"source": "monkey_it"}},
            "student": {
                "companions": {"stage": "it"},
                "losses": {"rdm": {"weight": 3.0, "layers": ["hidden1"]}},
                "training": {"epochs": 30},
            },
            "judged": untrained | {"model": None, "encoder": {"stage": "student"}},
            "untrained": untrained,
        },
        report={"metric": "it", "order": ["it"]},
    )


def metrics(folder, split="test"):
    return read_json(folder / "results.json")["checkpoints"]["last"][split]


def test_classes_are_read_from_the_nearest_images(taught):
    """As data/human/test_human92.py has it: the monkey's neurons say .739."""
    assert metrics(taught / "monkey")["accuracy"] == pytest.approx(68 / 92)
    stored = read_arrays(taught / "monkey" / FILE, Keyed)
    assert len(set(stored.fold.tolist())) == 92  # each image from the others
    hits = stored.logits.argmax(axis=1) == stored.label
    assert hits.mean() == pytest.approx(68 / 92)
    tested = read_json(taught / "it" / permutation.FILE)
    assert tested["p"] == pytest.approx(1 / 21)
    assert tested["null_mean"] < 0.25 < tested["accuracy"]


def test_a_subject_is_left_out_of_what_teaches(taught, real):
    rdm_of_others = read_rdm(taught / "it" / RDM, real.key)
    others = [i for i in range(4) if i != 1]  # seed 1 leaves out the second
    expected = real.human_it[others].mean(axis=(0, 1))
    np.testing.assert_allclose(rdm_of_others, expected, rtol=1e-6)
    record = read_json(taught / "judged" / "results.json")
    assert record["subject"] == SUBJECTS[1]
    assert record["noise_ceiling"] == pytest.approx([0.372, 0.666], abs=5e-4)
    report = (taught.parent / "report.md").read_text()
    assert "of all images 0.372 to 0.666" in report


def test_similarity_is_of_the_images_and_the_subject_left_out(
    taught, real, photographs
):
    dataset = data.load(
        "human92", **{k: photographs[k] for k in ("root", "size")}, seed=1
    )
    for split in ("test", "validation"):
        keys = getattr(dataset, split).key
        found = metrics(taught / "judged", split)
        own = read_rdm(taught / "judged" / RDM, keys)
        places = np.searchsorted(real.key, keys)
        brain = real.human_it[1].mean(axis=0)[np.ix_(places, places)]
        assert found["it"] == pytest.approx(spearman(own, brain), abs=1e-4), split
        assert found["loss"] == pytest.approx(1 - found["it"])
        assert found["lower"] < found["upper"]


def test_a_network_is_taught_what_it_finds_alike(taught, real):
    """On the images that it learnt from it comes nearer to those who taught it."""
    key = read_arrays(taught / "judged" / RDM, Stored).key[:-20]
    teacher = read_rdm(taught / "it" / RDM, key)
    near = {
        name: spearman(read_rdm(taught / name / RDM, key), teacher)
        for name in ("judged", "untrained")
    }
    assert near["judged"] > near["untrained"] + 0.1


def make_rdm(photographs, section, **changes):
    given = {"data": photographs, "rdm": section, "training": UNTRAINED, "seed": 1}
    return rdm.make(**(given | changes))


def test_permuted_dissimilarities_are_the_same_of_other_images(real):
    own = rdm.source_rdm(found=real, seed=0)
    control = rdm.source_rdm(found=real, seed=0, permuted=True)
    np.testing.assert_allclose(np.sort(own, None), np.sort(control, None))
    assert abs(spearman(own, control)) < 0.1
    one = rdm.source_rdm(found=real, seed=3, subject="another")
    np.testing.assert_array_equal(one, real.human_it[0].mean(axis=0))


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"source": "human"}, r"config\.rdm\.source.*'human'.*'human_it'"),
        ({"subject": "XY"}, r"config\.rdm\.subject: expected one of 'others'"),
        (
            {"source": "pixels", "subject": "BE"},
            "subject: expected None, for 'pixels' has no subjects, found 'BE'",
        ),
        ({"sauce": "pixels"}, r"config\.rdm\.sauce.*'source'"),
    ],
)
def test_a_source_that_does_not_fit_is_named(photographs, section, message):
    with pytest.raises(InputError, match=message):
        make_rdm(photographs, section)


def test_other_data_have_no_dissimilarities(photographs):
    digits = {"name": "digits"}
    for make in (
        lambda: make_rdm(photographs, {}, data=digits),
        lambda: similarity.make(data=digits, training=UNTRAINED, seed=0),
    ):
        with pytest.raises(InputError, match=r"data\.name: expected 'human92'"):
            make()
    with pytest.raises(InputError, match="epochs: expected 0, for an RDM is not"):
        make_rdm(photographs, {}, training=Training(epochs=1, batch_size=4))


@pytest.fixture(scope="module")
def cifar(shared_data):
    return {"name": "cifar10", "root": str(shared_data / "cifar10"), "swap": True}


def test_votes_are_the_shares_of_each_image_s_own(cifar, shared_data, tmp_path):
    folder = shared_data / "cifar10h"
    stage = {"task": "votes", "data": cifar, "votes": {"path": str(folder)}}
    made = run(tmp_path, stages={"votes": stage}) / "votes"
    found = read_arrays(made / FILE, Keyed)
    expected = read_human_labels(folder, cifar10=shared_data / "cifar10")
    order = np.argsort(found.key)
    np.testing.assert_array_equal(found.key[order], expected.key)
    np.testing.assert_allclose(
        softmax(found.logits[order], axis=1), expected.probability, atol=1e-5
    )
    assert (found.fold == 0).all()  # nobody saw a label
    p = expected.probability
    own = p[np.arange(len(p)), expected.label]
    assert metrics(made)["accuracy"] == pytest.approx(
        np.mean(p.argmax(axis=1) == expected.label)
    )
    assert metrics(made)["loss"] == pytest.approx(
        -np.mean(np.log(own + 1e-6)), rel=0.01
    )


def test_images_without_votes_are_named(cifar, shared_data):
    section = {"path": str(shared_data / "cifar10h")}
    given = {"votes": section, "training": UNTRAINED, "seed": 0}
    with pytest.raises(InputError, match="expected the image of key 'data_batch_1/"):
        votes.make(data=cifar | {"swap": False}, **given)
    with pytest.raises(InputError, match=r"config\.votes\.path: missing"):
        votes.make(data=cifar, **(given | {"votes": {}}))
