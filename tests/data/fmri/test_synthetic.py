import numpy as np
import pytest

from kdjax.data.fmri import contents, synthetic
from kdjax.data.fmri.bdata import read_bdata
from kdjax.data.fmri.preprocessing import clean
from kdjax.data.fmri.synthetic import synthetic_volumes
from kdjax.data.fmri.volumes import check, keep_voxels
from kdjax.data.fmri.writing import write_bdata
from kdjax.errors import InputError

PARENTS = (0, 0, 0, 1, 1, 1)
CLASSES = tuple(f"class_{c}" for c in range(6))


def pictures(n=300, size=16, seed=0):
    """Images, labels, keys, and 12 test images: smooth noise, striped by its class."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 6
    coarse = rng.uniform(0, 1, (n, size // 4, size // 4, 3))
    images = coarse.repeat(4, axis=1).repeat(4, axis=2) / 2
    stripes = np.sin(np.arange(size) * (1 + labels[:, None]) / 2) > 0
    images += 0.1 * stripes[:, None, :, None]
    keys = np.array([f"image/{k:04d}" for k in range(n)])
    return images.astype(np.float32), labels, keys, np.arange(n) >= n - 12


def make(**fields):
    images, labels, keys, test = pictures()
    fields = {
        "classes": CLASSES,
        "parents": PARENTS,
        "test": test,
        "seed": 0,
        "test_runs": 20,
    } | fields
    return synthetic_volumes(images, labels, keys, **fields)


@pytest.fixture(scope="module")
def made():
    return make()


def alive(made):
    return keep_voxels(made, (made.x != 0).any(axis=0))


def test_says_that_it_is_synthetic(made, tmp_path, assert_same):
    assert made.synthetic
    assert made.subject == "synthetic"
    path = tmp_path / "Subject1.h5"
    write_bdata(path, made)
    found = read_bdata(path)
    assert_same(found, made)
    assert contents.reader()(path).header["synthetic"] == "yes"


def test_regions_are_god_s_in_number(made):
    sizes = {name: int(member.sum()) for name, member in made.rois.items()}
    assert sizes == {
        "ROI_V1": 100,
        "ROI_V2": 102,
        "ROI_V3": 76,
        "ROI_V4": 74,
        "ROI_LOC": 54,
        "ROI_FFA": 57,
        "ROI_PPA": 36,
        "ROI_NULL": 54,
        "ROI_LVC": 278,
        "ROI_HVC": 147,
        "ROI_VC": 499,
    }
    assert made.x.shape[1] == 553
    assert not (made.rois["ROI_NULL"] & made.rois["ROI_VC"]).any()
    full = sum(synthetic.SIZES.values()) - synthetic.SIZES["ROI_NULL"]
    assert full == 4985


def test_each_training_image_is_shown_once_and_test_images_in_each_run(made):
    _, labels, keys, test = pictures()
    training = made.data_type == "training"
    assert sorted(made.stimulus[training]) == sorted(keys[~test])
    assert np.bincount(made.run[training])[1:].tolist() == [48] * 6
    for run in range(7, 27):
        assert sorted(made.stimulus[made.run == run]) == sorted(keys[test])
        assert set(made.data_type[made.run == run]) == {"test"}
    assert made.run.max() == 26
    assert made.block.tolist() == list(range(1, len(made.run) + 1))
    label = dict(zip(keys, labels, strict=True))
    assert made.y.tolist() == [label[key] for key in made.stimulus]
    alone = make(test=np.zeros(300, bool), images_a_run=70)
    assert set(alone.data_type) == {"training"}
    assert np.bincount(alone.run)[1:].tolist() == [60] * 5


def test_it_is_a_function_of_the_seed(made, assert_same):
    assert_same(make(), made)
    other = make(seed=1)
    assert not np.array_equal(other.x, made.x)
    assert not np.array_equal(other.stimulus, made.stimulus)
    louder = make(signal=(0.5, 0.5))
    np.testing.assert_array_equal(louder.stimulus, made.stimulus)


def test_another_session_is_of_the_same_voxels(made, assert_same):
    """Other order, noise and drift; the same images move the voxels as before."""
    assert_same(make(session=0), made)
    loud = {"signal": (1, 1), "dead": 0, "test_runs": 1}
    one, other = make(**loud), make(session=1, **loud)
    assert not np.array_equal(one.stimulus, other.stimulus)
    responses = []
    for session in (one, other):
        x = clean(session.x, session.run)[:, session.rois["ROI_VC"]]
        training = session.data_type == "training"
        order = np.argsort(session.stimulus[training])
        responses.append(x[training][order])
    assert np.corrcoef(*(r.ravel() for r in responses))[0, 1] > 0.9
    noise = [make(session=k, signal=(0, 0)) for k in (0, 1)]
    x = [alive(session).x[:, :20] - 100 for session in noise]
    assert abs(np.corrcoef(x[0].ravel(), x[1].ravel())[0, 1]) < 0.2


def test_dead_voxels_are_found(made, capsys):
    assert (made.x == 0).all(axis=0).sum() == 3
    with pytest.raises(InputError, match=r"^synthetic: .* found 3 of 553 constant"):
        check(made)
    assert check(made, drop_constant=True).x.shape[1] == 550
    capsys.readouterr()
    assert check(make(dead=0)).x.shape[1] == 553


def test_noise_is_that_of_neighbours(made):
    steps = np.linalg.norm(np.diff(made.position, axis=0), axis=1)
    np.testing.assert_allclose(steps, 3)
    assert len(np.unique(made.position, axis=0)) == 553
    noise = clean(make(dead=0, signal=(0, 0)).x, made.run)
    together = np.corrcoef(noise.T)
    assert np.diag(together, 1).mean() == pytest.approx(0.3, abs=0.01)
    assert np.diag(together, 2).mean() == pytest.approx(0.09, abs=0.01)
    assert np.diag(together, 5).mean() == pytest.approx(0, abs=0.01)


def test_runs_have_their_own_level_and_line():
    x, run = make(dead=0).x, make().run
    for number in (1, 4):
        part = x[run == number]
        assert part.mean(0).std() == pytest.approx(1, abs=0.1)
        assert part.mean() == pytest.approx(100, abs=0.2)
        half = len(part) // 2
        rise = part[half:].mean(0) - part[:half].mean(0)
        assert 0.4 < rise.std() < 0.7
    first, second = (x[run == number].mean(0) for number in (1, 2))
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.15


@pytest.mark.parametrize(("low", "high"), [(0.03, 0.05), (0.4, 0.6), (0.0, 0.0)])
def test_a_share_of_the_variance_is_signal(low, high):
    """Two volumes of one image covary by the variance of the signal."""
    data = alive(make(signal=(low, high), test_runs=60))
    x = clean(data.x, data.run)
    for name in ("ROI_V1", "ROI_V4", "ROI_HVC", "ROI_NULL"):
        part = x[:, data.rois[name]]
        shown = [part[data.stimulus == k] for k in np.unique(data.stimulus[-12:])]
        means = np.stack([p.mean(0) for p in shown])
        noise = np.stack([p.var(0, ddof=1) for p in shown]).mean(0)
        share = (means.var(0, ddof=1) - noise / 60).mean()
        expected = 0 if name == "ROI_NULL" else (low + high) / 2
        assert share == pytest.approx(expected, rel=0.35, abs=0.006)


def decoded(data, name):
    """Share of single test volumes whose nearest class mean of training is theirs."""
    data = alive(data)
    x = clean(data.x, data.run)[:, data.rois[name]]
    training = data.data_type == "training"
    means = np.stack([x[training & (data.y == c)].mean(0) for c in range(6)])
    score = x[~training] @ means.T - np.square(means).sum(1) / 2
    return (score.argmax(1) == data.y[~training]).mean()


def test_classes_are_in_the_higher_regions_and_not_in_the_silent_one(made):
    accuracy = {name: decoded(made, name) for name in made.rois}
    assert accuracy["ROI_LOC"] > accuracy["ROI_V1"] + 0.1
    assert accuracy["ROI_HVC"] > 0.5
    chance = 3 * np.sqrt(1 / 6 * 5 / 6 / 240)
    assert abs(accuracy["ROI_NULL"] - 1 / 6) < chance
    silent = make(signal=(0, 0))
    assert abs(decoded(silent, "ROI_VC") - 1 / 6) < chance
    assert decoded(make(signal=(0.5, 0.5)), "ROI_LOC") > accuracy["ROI_LOC"]


def test_classes_of_one_parent_are_alike():
    sizes = {"ROI_LOC": 20_000}
    images, labels, *_ = pictures()
    found = synthetic._responses(images, labels, np.array(PARENTS), sizes, 0)
    means = np.stack([found[:, labels == c].mean(1) for c in range(6)])
    alike = np.corrcoef(means)
    same = np.equal.outer(PARENTS, PARENTS) & ~np.eye(6, dtype=bool)
    np.testing.assert_allclose(alike[same], 0.5, atol=0.04)
    np.testing.assert_allclose(alike[~same & ~np.eye(6, dtype=bool)], 0, atol=0.04)


def test_local_fields_see_their_place_alone():
    size, count = 32, 60
    rng = np.random.default_rng(0)
    plain = np.full((1, size, size), 0.5, np.float32)
    spots = plain.repeat(1 + 64, axis=0)
    for k in range(64):
        top, left = 4 * (k // 8), 4 * (k % 8)
        spots[1 + k, top : top + 4, left : left + 4] = rng.uniform(0, 1, (4, 4))
    found = synthetic._local_fields(spots, count, 1 / 16, np.random.default_rng(1))
    assert found.shape == (count, 65)
    assert abs(found[:, 0]).max() < 2e-3, "an even image has no contrast"
    seen = found[:, 1:] > 0.1 * found[:, 1:].max(axis=1, keepdims=True)
    assert (seen.sum(axis=1) < 32).all()
    assert seen.any(axis=0).mean() > 0.8, "together they see all of it"


def test_energy_is_of_an_orientation():
    """A field answers to a grating of its own angle and ignores where the bars are."""
    size, row = 32, np.arange(32)
    phases = np.linspace(0, 2 * np.pi, 8, endpoint=False)
    angles = np.linspace(0, np.pi, 8, endpoint=False)
    down, right = np.meshgrid(row, row, indexing="ij")
    along = np.cos(angles)[:, None, None] * right + np.sin(angles)[:, None, None] * down
    waves = np.cos(2 * np.pi * along / 9 + phases[:, None, None, None])
    images = 0.5 + 0.5 * waves.reshape(-1, size, size).astype(np.float32)
    rng = np.random.default_rng(1)
    found = synthetic._local_fields(images, 90, 1 / 10, rng).reshape(90, 8, 8)
    tuning = found.mean(axis=1)
    oriented = np.arange(90) % 3 != 2
    depth = (tuning.max(1) - tuning.min(1)) / tuning.max(1)
    assert np.median(depth[oriented]) > 0.8
    assert np.median(depth[~oriented]) < 0.2
    best = found[np.arange(90), :, tuning.argmax(1)][oriented]
    assert np.median(best.std(1) / best.mean(1)) < 0.15
    assert len(np.unique(tuning[oriented].argmax(1))) == 8


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"seed": -1}, r"seed: expected an integer in \[0, "),
        ({"session": -1}, r"session: expected an integer in \[0, "),
        ({"scale": 0}, r"scale: expected a number in \(0, 4\], found 0"),
        ({"images_a_run": 2}, r"images_a_run: expected an integer >= 3, found 2"),
        ({"test_runs": -1}, r"test_runs: expected an integer >= 0, found -1"),
        ({"dead": 553}, r"dead: expected less than 553, the voxels, found 553"),
        ({"signal": (0.5,)}, r"signal: expected a sequence of 2 numbers"),
        (
            {"signal": (0.1, 1.5)},
            r"signal\[1\]: expected a number in \[0, 1\], found 1",
        ),
        ({"signal": (0.5, 0.1)}, r"signal: expected low to high, found 0.5, 0.1"),
        ({"parents": (0, 1)}, r"parents: expected 6, one for each class, found 2"),
        ({"test": np.zeros(3, bool)}, r"test: expected \(300,\), one for .* \(3,\)"),
        (
            {"test": np.arange(300) > 297},
            r"test: expected three test images .* found 2",
        ),
        (
            {"test": np.arange(300) > 1},
            r"test: expected three training images .*found 2",
        ),
        ({"classes": CLASSES[:5], "parents": PARENTS[:5]}, r"labels: .* found 0 to 5"),
    ],
)
def test_impossible_settings_are_refused(fields, message):
    with pytest.raises(InputError, match=f"^synthetic_volumes.{message}"):
        make(**fields)


def test_wrong_images_are_refused():
    images, labels, keys, test = pictures()
    names = {"classes": CLASSES, "parents": PARENTS, "test": test, "seed": 0}
    cases = {
        r"images: expected floats \[n, h, w, 3\], found float32 \(300, 16, 16\)$": (
            (images[..., 0], labels, keys)
        ),
        r"images: expected floats \[n, h, w, 3\], found uint8 ": (
            (np.uint8(255 * images), labels, keys)
        ),
        r"images: expected values in \[0, 1\], found 0 to 255$": (
            (255 * np.round(images), labels, keys)
        ),
        r"keys: expected each once, found 'image/0001' 2 times$": (
            (images, labels, np.where(np.arange(300) == 2, keys[1], keys))
        ),
    }
    for message, given in cases.items():
        with pytest.raises(InputError, match=f"^synthetic_volumes.{message}"):
            synthetic_volumes(*given, **names)
