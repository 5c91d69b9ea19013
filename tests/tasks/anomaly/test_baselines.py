"""Detectors that are solved: their scores, what they are fitted to and leave."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax import data
from kdjax.errors import InputError
from kdjax.stages import networks
from kdjax.tasks.anomaly import baselines, detectors, metrics
from kdjax.training.checkpoint import load_model
from tests.running import DATA, ENCODER, pretrained, run, training

SOLVED = training(epochs=0)
FEW = {"name": "pca", "components": 4}


def make(name="pca", **changes):
    sections = {"data": DATA, "detector": {"name": name}, "training": SOLVED, "seed": 0}
    return baselines.make(**(sections | changes))


def cloud(n, width, seed):
    """Correlated float32 examples [n, width] about another mean than 0."""
    rng = np.random.default_rng(7)
    mix, mean = rng.normal(size=(width, width)), rng.normal(size=width)
    drawn = np.random.default_rng(seed).normal(size=(n, width))
    return (drawn @ mix + mean).astype(np.float32)


# --- what they solve -----------------------------------------------------------------


def principal_by_hand(normal, x, components):
    """(reconstruction, score) of x, in float64."""
    normal, x = normal.astype(np.float64), x.astype(np.float64)
    mean = normal.mean(axis=0)
    axes = np.linalg.svd(normal - mean, full_matrices=False)[2][:components]
    reconstruction = mean + (x - mean) @ axes.T @ axes
    return reconstruction, np.square(x - reconstruction).mean(axis=1)


def test_pca_scores_the_error_of_its_reconstruction():
    normal, validation, x = (cloud(n, 8, n) for n in (60, 30, 20))
    fitted = detectors.pca(seed=0, components=3)(normal, validation)
    reconstruction, score = principal_by_hand(normal, x, 3)
    np.testing.assert_allclose(
        fitted.reconstruct(x), reconstruction, rtol=1e-4, atol=1e-4
    )
    np.testing.assert_allclose(fitted.score(x), score, rtol=1e-4)
    missed = principal_by_hand(normal, validation, 3)[1].sum() * 8
    whole = np.square(validation - normal.mean(axis=0)).sum()
    assert fitted.about["components"] == 3
    assert fitted.about["unexplained"] == pytest.approx(missed / whole, rel=1e-4)


# Training variances 25, 16, 9, 4, 1 along the axes; the fractions of validation's.
FRACTIONS = np.array([0.4, 0.1, 0.3, 0.15, 0.05])


@pytest.mark.parametrize(
    ("unexplained", "components"),
    [(1, 1), (0.61, 1), (0.59, 2), (0.49, 3), (0.21, 3), (0.19, 4), (0.06, 4), (0, 5)],
)
def test_the_fewest_components_that_explain_the_validation_normals(
    unexplained, components
):
    normal, validation = np.diag([5.0, 4, 3, 2, 1]), np.diag(np.sqrt(FRACTIONS))
    normal = np.concatenate([normal, -normal])
    fit = detectors.pca(seed=0, unexplained=unexplained)
    about = fit(normal, validation).about
    left = 1 - FRACTIONS[:components].sum()
    assert about["components"] == components
    assert about["unexplained"] == pytest.approx(left, abs=1e-9)


def test_all_components_where_none_explain_enough():
    """Validation lies outside the plane of training."""
    normal = np.pad(cloud(20, 2, 0), [(0, 0), (0, 3)])
    validation = normal + np.float32([0, 0, 9, 0, 0])
    fit = detectors.pca(seed=0, unexplained=0.05)
    assert fit(normal, validation).about["components"] == 5


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("isolation_forest", {"trees": 30}),
        ("knn", {}),
        ("one_class_svm", {}),
        ("pca", {"components": 2}),
    ],
)
def test_an_outlier_is_above_all_normal_examples(name, fields):
    rng = np.random.default_rng(0)
    drawn = rng.normal(20, [4, 3, 2, 1], size=(200, 4)).astype(np.float32)
    normal, validation = drawn[:150], drawn[150:]
    outlier = np.full((1, 4), -180, np.float32)
    scores = []
    for _ in range(2):
        fitted = detectors.DETECTORS[name](seed=3, **fields)(normal, validation)
        assert fitted.score(outlier)[0] > fitted.score(drawn).max()
        scores.append(fitted.score(validation))
    np.testing.assert_array_equal(*scores)
    assert len(set(scores[0])) > 40


@pytest.mark.parametrize("name", ["knn", "one_class_svm"])
def test_the_seed_draws_where_there_are_too_many(name):
    normal, validation = cloud(100, 3, 0), cloud(30, 3, 1)

    def scores(seed, max_samples):
        fit = detectors.DETECTORS[name](seed=seed, max_samples=max_samples)
        return fit(normal, validation).score(validation)

    assert not np.allclose(scores(0, 30), scores(1, 30))
    np.testing.assert_array_equal(scores(0, 100), scores(1, 101))


def test_the_seed_draws_the_cuts_of_a_forest():
    normal, validation = cloud(100, 3, 0), cloud(30, 3, 1)
    one, other = (
        detectors.isolation_forest(seed=seed, trees=5)(normal, validation)
        for seed in (0, 1)
    )
    assert not np.allclose(one.score(validation), other.score(validation))


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def nearest_by_hand(bank, x, neighbours):
    """The mean distance between unit vectors, in float64."""
    bank, x = unit(bank.astype(np.float64)), unit(x.astype(np.float64))
    distance = np.linalg.norm(x[:, None] - bank[None], axis=2)
    return np.sort(distance, axis=1)[:, :neighbours].mean(axis=1)


@pytest.mark.parametrize("neighbours", [1, 4, 50])
def test_neighbours_are_those_by_brute_force(neighbours):
    normal, x = cloud(40, 6, 0), cloud(15, 6, 1)
    fitted = detectors.knn(seed=0, neighbours=neighbours)(normal, x)
    expected = nearest_by_hand(normal, x, neighbours)
    np.testing.assert_allclose(fitted.score(x), expected, rtol=1e-4)
    assert fitted.reconstruct is None


def test_the_bank_is_so_many_of_the_normal_examples():
    normal = cloud(40, 6, 0)
    fitted = detectors.knn(seed=0, neighbours=1, max_samples=25)(normal, normal)
    assert np.sum(fitted.score(normal) < 1e-5) == 25
    assert fitted.about == {"bank": 25}


# --- whole stages --------------------------------------------------------------------


@pytest.fixture(scope="module")
def beats():
    return data.load(**DATA, seed=0)


def flat(examples):
    return examples.x.reshape(len(examples.y), -1)


def normals(examples):
    return flat(examples)[examples.y == metrics.NORMAL]


def stored(path):
    with np.load(path, allow_pickle=False) as found:
        return dict(found)


@pytest.fixture(scope="module")
def solved(tmp_path_factory):
    """(folder, metrics, about) of a PCA stage."""
    folder = tmp_path_factory.mktemp("pca")
    task = make(detector=FEW)
    return folder, run(task, SOLVED, folder), task.about


def test_every_held_out_beat_has_its_score(solved, beats):
    folder, _, about = solved
    scores = stored(folder / "scores.npz")
    held = np.concatenate([flat(beats.validation), flat(beats.test)])
    expected = principal_by_hand(normals(beats.train), held, 4)[1]
    np.testing.assert_allclose(scores["last"], expected, rtol=1e-3)
    np.testing.assert_array_equal(scores["best"], scores["last"])
    for name in ("key", "group"):
        parts = [getattr(beats.validation, name), getattr(beats.test, name)]
        np.testing.assert_array_equal(scores[name], np.concatenate(parts))
    assert about["examples"]["test abnormal"] == (beats.test.y > 0).sum()


def test_metrics_are_those_of_the_raw_scores(solved):
    folder, found, _ = solved
    assert found["last"] == found["best"]
    scores = stored(folder / "scores.npz")
    for split in ("validation", "test"):
        rows = scores["split"] == split
        label, score = scores["label"][rows], scores["last"][rows]
        values = found["last"][split]
        for name, value in metrics.detection(label > 0, score).items():
            assert values[name] == pytest.approx(value, rel=1e-6)
        assert values["loss"] == pytest.approx(score[label == 0].mean(), rel=1e-5)
        assert values["examples"] == len(label) == 60
        assert values["auc_by_class"]["V"] == pytest.approx(
            metrics.auc(score[label == 0], score[label == 2])
        )


def test_pca_leaves_reconstructions(solved, beats):
    folder, _, _ = solved
    shown = stored(folder / "examples.npz")
    assert shown["reconstruction"].shape == shown["x"].shape == (9, 320, 1)
    rows = shown["x"].reshape(9, -1)
    reconstruction, score = principal_by_hand(normals(beats.train), rows, 4)
    np.testing.assert_allclose(
        shown["reconstruction"].reshape(9, -1), reconstruction, atol=1e-4
    )
    np.testing.assert_allclose(shown["score"], score, rtol=1e-3)
    said = json.loads((folder / "detector.json").read_text())
    assert said["components"] == 4
    assert 0 < said["unexplained"] < 1


def test_neighbours_on_the_representations_of_a_frozen_encoder(tmp_path, beats):
    section = pretrained(tmp_path / "encoder")
    knn = {"name": "knn", "neighbours": 3}
    task = make(detector=knn, encoder=section)
    module = networks.build(ENCODER, beats.classes)
    shapes = networks.shapes(module, jnp.zeros((1, 320, 1)))
    model = load_model(tmp_path / "encoder", "last", shapes)

    @jax.jit
    def represent(model, x):
        return networks.representation(networks.predict(module, model, x))

    rows = np.concatenate([beats.train.x, beats.test.x])
    train, test = np.split(np.asarray(represent(model, rows)), [len(beats.train.y)])
    bank = train[beats.train.y == metrics.NORMAL]
    expected = nearest_by_hand(bank, test, 3)
    run(task, SOLVED, tmp_path / "knn")
    scores = stored(tmp_path / "knn" / "scores.npz")
    found = scores["last"][scores["split"] == "test"]
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=1e-5)
    assert not (tmp_path / "knn" / "examples.npz").exists()
    said = json.loads((tmp_path / "knn" / "detector.json").read_text())
    assert said == {"bank": len(bank)}


@pytest.mark.parametrize(
    "section",
    [
        {"name": "isolation_forest", "trees": 10},
        {"name": "knn"},
        {"name": "one_class_svm", "unexplained": 0.5},
        {"name": "pca"},
    ],
)
def test_only_normal_beats_are_learnt_from(section, tmp_path, beats):
    """Changed abnormal and test beats change no score but their own."""
    parts = beats.train, beats.validation, beats.test
    x = np.concatenate([part.x for part in parts])
    y = np.concatenate([part.y for part in parts])
    split = np.repeat(["train", "validation", "test"], [len(part.y) for part in parts])
    changed = (split == "test") | (y != metrics.NORMAL)

    def scores(path, x):
        np.savez(path, x=x, y=y, split=split)
        table = {"name": "arrays", "path": str(path), "scale": False}
        return make(data=table, detector=section).constants()["score"]

    before = scores(tmp_path / "before.npz", x)
    x[changed] = 0.3 - 0.5 * x[changed]
    after = scores(tmp_path / "after.npz", x)
    np.testing.assert_array_equal(after[~changed], before[~changed])
    assert (after[changed] != before[changed]).mean() > 0.9


# --- what is refused -----------------------------------------------------------------

WAVES = {"name": "synthetic_wearable", "samples": 32, "windows": 8}
OTHER = {"folder": "w/p", "config": {"data": WAVES, "model": ENCODER, "seed": 0}}


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"name": "pac"}, "name: unknown name 'pac' .*'pca'"),
        ({}, "name: missing"),
        ({"name": "pca", "component": 3}, "component: .*'components'"),
        ({"name": "pca", "seed": 3}, "seed: unknown field"),
        (
            {"name": "pca", "components": 0},
            "components: expected an integer >= 1, found 0",
        ),
        ({"name": "pca", "components": True}, "components: expected an integer"),
        ({"name": "pca", "unexplained": 1.5}, "unexplained: .*1.*, found 1.5"),
        (
            {"name": "isolation_forest", "trees": 0},
            "trees: expected an integer >= 1, found 0",
        ),
        ({"name": "isolation_forest", "unexplained": -1}, "unexplained: .*found -1"),
        (
            {"name": "one_class_svm", "nu": 0},
            r"nu: expected a number in \(0, 1\], found 0",
        ),
        ({"name": "one_class_svm", "nu": 1.5}, "nu: .*found 1.5"),
        (
            {"name": "one_class_svm", "max_samples": 1},
            "max_samples: expected an integer >= 2, found 1",
        ),
        ({"name": "one_class_svm", "unexplained": 2}, "unexplained: .*found 2"),
        (
            {"name": "knn", "neighbours": 0},
            "neighbours: expected an integer >= 1, found 0",
        ),
        (
            {"name": "knn", "max_samples": 0},
            "max_samples: expected an integer >= 1, found 0",
        ),
    ],
)
def test_a_field_out_of_range_is_named(section, message):
    with pytest.raises(InputError, match=f"config.detector.{message}"):
        make(detector=section)


def test_more_components_than_there_can_be_are_refused():
    task = make(detector={"name": "pca", "components": 33})  # 32 normal beats
    with pytest.raises(
        InputError, match=r"components: expected an integer in \[1, 31\], found 33"
    ):
        task.constants()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"training": training()},
            "config.training.epochs: expected 0, .* is not trained; found 1",
        ),
        (
            {"training": training(epochs=0, select="accuracy")},
            "config.training.select: unknown name 'accuracy'",
        ),
        (
            {"encoder": OTHER},
            r"config.encoder: the encoder takes .*\(32, 3\), .*\(320, 1\)",
        ),
        ({"encoder": {"checkpoint": "last"}}, "config.encoder.stage: missing"),
        ({"encoder": {"folder": "none"}}, "none: no stage here"),
    ],
)
def test_what_does_not_fit_is_said(changes, message):
    with pytest.raises(InputError, match=message):
        make(**changes)
