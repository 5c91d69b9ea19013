"""Where decoders look: found when it is there, not found when it is not."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict

from kdjax.data.fmri import preprocessing
from kdjax.data.fmri.preprocessing import apply_scaling, fit_scaling
from kdjax.data.fmri.synthetic import synthetic_volumes
from kdjax.errors import InputError
from kdjax.report.statistics import mean_interval
from kdjax.tasks.brain.decoding import attention, decoders
from kdjax.tasks.brain.decoding.folds import leave_one_run_out

GRID = (4, 4)
CLASSES, IMAGES = 3, 360
RNG = np.random.default_rng(0)


def quadrants(seed):
    """Images whose classes differ in the contrast of the first quadrant alone.

    The others' contrasts vary as much from image to image, and say nothing.
    """
    rng = np.random.default_rng(seed)
    labels = (np.arange(IMAGES) % CLASSES).astype(np.int32)
    level = rng.integers(0, CLASSES, (IMAGES, 2, 2))
    level[:, 0, 0] = labels
    contrast = np.array([0.05, 0.2, 0.4])[level].repeat(8, axis=1).repeat(8, axis=2)
    noise = rng.uniform(-1, 1, (IMAGES, 16, 16))
    images = (0.5 + contrast * noise)[..., None].repeat(3, axis=3)
    return images.astype(np.float32), labels


def looked_at(seed):
    """(images, labels, volumes) of a made-up subject who saw them."""
    images, labels = quadrants(seed)
    made = synthetic_volumes(
        images,
        labels,
        np.arange(IMAGES).astype(str),
        classes=("low", "middle", "high"),
        parents=(0, 1, 2),
        test=np.zeros(IMAGES, bool),
        seed=seed,
        signal=(0.5, 0.5),
        images_a_run=72,
        dead=0,
    )
    return images, made._replace(x=preprocessing.clean(made.x, made.run))


def of_region(made, images, region, **changes):
    """Maps [n, rows, columns] of one region's decoder."""
    arrays = {"x": made.x[:, made.rois[region]], "y": made.y, "run": made.run}
    rows = made.stimulus.astype(int)
    fields = {
        "features": attention.image_features(images[rows], GRID),
        "fit": decoders.build({"name": "ridge"}),
        "classes": CLASSES,
        "folds": leave_one_run_out(made.run),
    }
    maps = attention.attention_maps(**arrays | fields | changes)
    return maps.reshape(-1, *GRID)


@pytest.fixture(scope="module")
def seen():
    return looked_at(0)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_region_that_sees_looks_where_the_classes_differ(seed):
    images, made = looked_at(seed)
    share = {
        region: of_region(made, images, region)[:, :2, :2].sum(axis=(1, 2)).mean()
        for region in ("ROI_V1", "ROI_NULL")
    }
    assert share["ROI_V1"] > 0.55
    # a little above: noise that goes with a class in the training runs does so in both
    # models, and what the class's images have in common is in this quadrant
    assert 0.2 < share["ROI_NULL"] < 0.32


def test_maps_of_noise_are_even_where_labels_are_permuted():
    found = []
    for seed in range(5):
        images, made = looked_at(seed)
        permuted = np.random.default_rng(seed).permutation(made.y)
        maps = of_region(made._replace(y=permuted), images, "ROI_NULL")
        found.append(maps[:, :2, :2].sum(axis=(1, 2)).mean())
    interval = mean_interval(found)
    assert interval.low <= 0.25 <= interval.high
    assert interval.high - interval.low < 0.05


def test_a_map_says_nothing_of_its_own_run(seen):
    """Another volume in a run, and other labels there, change no other map of it."""
    images, made = seen
    maps = of_region(made, images, "ROI_V1")
    inside = np.flatnonzero(made.run == 2)
    x, y = made.x.copy(), made.y.copy()
    x[inside[0]] = 7.0
    y[inside] = y[inside][::-1]
    other = of_region(made._replace(x=x, y=y), images, "ROI_V1")
    np.testing.assert_array_equal(other[inside[1:]], maps[inside[1:]])
    assert not np.array_equal(other[inside[0]], maps[inside[0]])
    outside = made.run != 2
    assert np.abs(other[outside] - maps[outside]).max() > 1e-4


def test_maps_are_shares(seen):
    images, made = seen
    maps = of_region(made, images, "ROI_V1")
    assert maps.min() >= 0
    np.testing.assert_allclose(maps.sum(axis=(1, 2)), 1, atol=1e-6)
    values = np.array([[-1.0, 3.0, 1.0], [-1.0, 0.0, -2.0]])
    np.testing.assert_allclose(
        attention.shares(values), [[0, 0.75, 0.25], [1 / 3, 1 / 3, 1 / 3]], rtol=1e-6
    )


def test_unlabelled_volumes_have_maps_and_teach_nothing(seen):
    images, made = seen
    some = made.y.copy()
    some[::7] = -1
    odd = made.x.copy()
    odd[(made.run == 1) & (some == -1)] = 9.0
    maps = of_region(made._replace(y=some), images, "ROI_V1")
    other = of_region(made._replace(y=some, x=odd), images, "ROI_V1")
    np.testing.assert_array_equal(other[made.run != 1], maps[made.run != 1])


AFFINE = [
    {"name": "ridge"},
    {"name": "ridge", "voxels": 20},
    {"name": "logistic"},
    {"name": "lda"},
    {"name": "class_mean"},
]


def trained(seen, section):
    made = seen[1]
    x = made.x[:, made.rois["ROI_V1"]]
    train, test = made.run > 1, made.run == 1
    fit = decoders.build(section)
    predict = fit(x[train], made.y[train], made.run[train], CLASSES)
    return predict, x[test], fit_scaling(x[train])


@pytest.mark.parametrize("section", AFFINE, ids=str)
def test_saliency_sums_to_what_the_decoder_says(seen, section):
    predict, x, scaling = trained(seen, section)
    found = attention.saliency(predict, x, scaling)
    logits = predict(x).astype(np.float64)
    decoded = logits.argmax(axis=1)
    own = logits[np.arange(len(x)), decoded] - logits.mean(axis=1)
    mean = predict(scaling.mean[None])[0].astype(np.float64)
    expected = own - (mean[decoded] - mean.mean())
    np.testing.assert_allclose(found.sum(axis=1), expected, rtol=1e-3, atol=1e-4)
    # a voxel at its mean says nothing, as one that was not chosen
    at_mean = x.copy()
    at_mean[:, 3] = scaling.mean[3]
    assert (attention.saliency(predict, at_mean, scaling)[:, 3] == 0).all()
    if "voxels" in section:
        assert ((found != 0).any(axis=0)).sum() == section["voxels"]


def test_a_decoder_that_is_not_affine_is_refused(seen):
    section = {"name": "class_mean", "distance": "correlation"}
    with pytest.raises(InputError, match=r"config\.attention: expected a decoder"):
        attention.saliency(*trained(seen, section))


def test_fields_are_the_ridge_s_of_the_least_error_left_out():
    n, cells, penalties = 60, 3, (1, 100, 10_000)
    run = np.repeat([1, 2, 3, 4], 15)
    features = RNG.normal(size=(n, 2 * cells)).astype(np.float32)
    scaled = apply_scaling(fit_scaling(features), features).astype(np.float64)
    x = np.stack(
        [
            scaled[:, 0] + 0.1 * RNG.normal(size=n),
            scaled[:, 4] - scaled[:, 1] + 3 * RNG.normal(size=n),
            RNG.normal(size=n),
            np.zeros(n),
        ],
        axis=1,
    ).astype(np.float32)
    found = attention.receptive_fields(features, x, run, penalties=penalties)
    for voxel in range(3):
        target = x[:, voxel].astype(np.float64)
        errors = []
        for penalty in penalties:
            left_out = cross_val_predict(
                Ridge(alpha=penalty), scaled, target, groups=run, cv=LeaveOneGroupOut()
            )
            errors.append(np.square(left_out - target).sum())
        model = Ridge(alpha=penalties[int(np.argmin(errors))]).fit(scaled, target)
        size = np.square(model.coef_).reshape(2, cells).sum(axis=0)
        np.testing.assert_allclose(found[voxel], size / size.sum(), rtol=1e-5)
    assert found[0, 0] > 0.8
    assert (found[3] == 0).all()


def test_more_voxels_than_are_done_at_once_change_nothing(seen, monkeypatch):
    images, made = seen
    whole = of_region(made, images, "ROI_V1")
    monkeypatch.setattr(attention, "AT_ONCE", 7)
    parts = of_region(made, images, "ROI_V1")
    np.testing.assert_allclose(parts, whole, atol=1e-5)


def test_features_are_means_and_contrasts_of_cells():
    images = RNG.uniform(size=(3, 6, 8, 3)).astype(np.float32)
    found = attention.image_features(images, (2, 4))
    luminance = images.astype(np.float64) @ attention.LUMINANCE
    down, right = np.gradient(luminance, axis=(1, 2))
    energy = down**2 + right**2
    means, contrasts = found.reshape(3, 2, 2, 4).transpose(1, 0, 2, 3)
    for row in range(2):
        for column in range(4):
            cell = np.s_[:, 3 * row : 3 * row + 3, 2 * column : 2 * column + 2]
            mean = luminance[cell].mean(axis=(1, 2))
            np.testing.assert_allclose(means[:, row, column], mean, rtol=1e-5)
            root = np.sqrt(energy[cell].mean(axis=(1, 2)))
            np.testing.assert_allclose(contrasts[:, row, column], root, rtol=1e-5)
    grey = images[..., :1]
    same = attention.image_features(grey.repeat(2, axis=3), (2, 4))
    np.testing.assert_allclose(attention.image_features(grey, (2, 4)), same, rtol=1e-6)
