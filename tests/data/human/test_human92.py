"""human92: files of its form that the tests write, and every fact of the real ones."""

import shutil

import numpy as np
import pytest
from scipy.io import savemat
from scipy.spatial.distance import squareform

from kdjax import data
from kdjax.data.dissimilarities import (
    category_rdm,
    class_scores,
    correlation_rdm,
    noise_ceiling,
    pairs,
    permuted_accuracies,
    soft_labels_from,
    spearman,
)
from kdjax.data.human import human92
from kdjax.data.human.human92 import read_human92
from kdjax.errors import InputError

PAIRS = 92 * 91 // 2
COUNTS = (12, 12, 12, 12, 23, 21)


def structs(shape, **fields):
    """A MATLAB struct array; each field has a value for each struct."""
    made = np.empty(shape, [(name, object) for name in fields])
    for name, values in fields.items():
        column = np.empty(made.size, object)
        column[:] = values
        made[name] = column.reshape(shape)
    return made


def contents():
    """{file: variables} of made-up photographs and dissimilarities."""
    rng = np.random.default_rng(0)
    names = [c.replace("body part", "bodypart") for c in human92.CLASSES]
    category = [n for n, k in zip(names, COUNTS, strict=True) for _ in range(k)]
    image = rng.integers(0, 256, (92, 1, 1, 3), np.uint8)
    stimuli = structs(
        92,
        category=category,
        animal=[int("inanimate" not in name) for name in category],
        image=list(np.broadcast_to(image, (92, 175, 175, 3))),
    )
    vectors = rng.uniform(0, 1, (2, PAIRS))
    areas = structs(2, name=["hITvisStim_316vx", human92.MONKEY], RDM=list(vectors))
    squares = [squareform(v).astype(np.float32) for v in rng.uniform(0, 1, (8, PAIRS))]
    sessions = [f"hIT | {s} | Session: {k}" for s in human92.SUBJECTS for k in (1, 2)]
    observers = [squareform(v) for v in rng.uniform(0, 0.03, (16, PAIRS))]
    return {
        human92.PHOTOGRAPHS_FILE: {
            "stimuli_92objs": stimuli,
            "RDMs_mIT_hIT_fig1": areas,
        },
        human92.HUMAN_FILE: {"RDMs": structs((4, 2), name=sessions, RDM=squares)},
        human92.OBSERVERS_FILE: {"rdms_behav_92": structs(16, RDM=observers)},
    }


def write(folder, files):
    for name, variables in files.items():
        (folder / name).unlink(missing_ok=True)
        savemat(folder / name, variables)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("human92")
    write(folder, contents())
    return folder


@pytest.fixture
def folder(tmp_path, written):
    """A copy to be damaged, but for the photographs, which are linked."""
    for path in written.iterdir():
        if path.name == human92.PHOTOGRAPHS_FILE:
            (tmp_path / path.name).symlink_to(path)
        else:
            shutil.copyfile(path, tmp_path / path.name)
    return tmp_path


def test_files_are_read_in_their_order(folder):
    made = read_human92(folder)
    given = contents()
    assert (made.key[0], made.key[91]) == ("human92/00", "human92/91")
    assert np.bincount(made.y).tolist() == list(COUNTS)
    np.testing.assert_array_equal(made.animate, made.y < 4)
    stimuli = given[human92.PHOTOGRAPHS_FILE]["stimuli_92objs"]
    np.testing.assert_array_equal(made.image[7], stimuli["image"][7])
    areas = given[human92.PHOTOGRAPHS_FILE]["RDMs_mIT_hIT_fig1"]
    np.testing.assert_array_equal(pairs(made.monkey_it), areas["RDM"][1])
    sessions = given[human92.HUMAN_FILE]["RDMs"]["RDM"]
    np.testing.assert_array_equal(made.human_it[3, 0], sessions[3, 0])
    observers = given[human92.OBSERVERS_FILE]["rdms_behav_92"]["RDM"]
    np.testing.assert_array_equal(made.observers[15], observers[15])
    assert made.human_it.dtype == made.observers.dtype == np.float64


def spoil(values, where, change):
    """The struct field's array at an index, copied and changed."""
    array = np.array(values[where])
    values[where] = change(array)


def put(*index, value):
    def change(array):
        array[index] = value
        return array

    return change


def stimuli(field, where, change):
    return human92.PHOTOGRAPHS_FILE, "stimuli_92objs", field, where, change


def areas(field, where, change):
    return human92.PHOTOGRAPHS_FILE, "RDMs_mIT_hIT_fig1", field, where, change


def sessions(field, where, change):
    return human92.HUMAN_FILE, "RDMs", field, where, change


def observers(field, where, change):
    return human92.OBSERVERS_FILE, "rdms_behav_92", field, where, change


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (
            sessions("RDM", (2, 1), put(3, 7, value=5)),
            r"RDMs\[2, 1\].RDM: expected a symmetric matrix, found 5 at \(3, 7\) and",
        ),
        (
            observers("RDM", 4, put(8, 1, value=np.nan)),
            r"rdms_behav_92\[4\].RDM: expected numbers, found nan at \(8, 1\)",
        ),
        (
            observers("RDM", 4, lambda rdm: rdm[:91, :91]),
            r"\[4\].RDM: expected dissimilarities of 92 images, .* found \(91, 91\)",
        ),
        (
            observers("RDM", 4, lambda rdm: "none"),
            r"\[4\].RDM: expected numbers, found <U4",
        ),
        (
            areas("RDM", 1, lambda values: values[:-91]),
            r"mIT_674neurons: .* 92 images, \(4186,\), found float64 \(4095,\)",
        ),
        (
            areas("RDM", 1, put(0, value=np.nan)),
            r"mIT_674neurons: expected numbers, found nan at \(0, 1\)",
        ),
        (areas("name", 1, lambda name: "V1"), "expected 'mIT_674neurons', found hIT"),
        (
            sessions("name", (1, 0), lambda name: "hIT | BE | Session: 1"),
            r"RDMs\[1, 0\].name: expected subject KO, session 1, found 'hIT . BE",
        ),
        (
            stimuli("category", 5, lambda name: "vehicle"),
            r"objs\[5\].category: expected one of human face, .* found 'vehicle'",
        ),
        (
            stimuli("image", 5, lambda image: image[:, :100]),
            r"objs\[5\].image: expected uint8 \(175, 175, 3\), found .*\(175, 100, 3\)",
        ),
        (
            stimuli("animal", 5, lambda flag: 2),
            r"\[5\].animal: expected 0 or 1, found 2",
        ),
    ],
)
def test_what_does_not_fit_names_file_and_field(folder, fault, message):
    file, variable, field, where, change = fault
    variables = contents()[file]
    spoil(variables[variable][field], where, change)
    write(folder, {file: variables})
    with pytest.raises(InputError, match=f"{file}: .*{message}"):
        read_human92(folder)


@pytest.mark.parametrize(
    ("file", "variable", "kept", "message"),
    [
        (human92.PHOTOGRAPHS_FILE, "stimuli_92objs", 91, r"\(92,\) structs, .*\(91,\)"),
        (human92.HUMAN_FILE, "RDMs", 3, r"\(4, 2\) structs, found \(3, 2\)"),
        (human92.OBSERVERS_FILE, "rdms_behav_92", 15, r"\(16,\) structs, .*\(15,\)"),
    ],
)
def test_another_number_of_images_or_subjects(folder, file, variable, kept, message):
    variables = contents()[file]
    variables[variable] = variables[variable][:kept]
    write(folder, {file: variables})
    with pytest.raises(InputError, match=f"{file}: {variable}: expected {message}"):
        read_human92(folder)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda p: p.unlink(), "expected this file, found none"),
        (lambda p: p.write_bytes(p.read_bytes()[:5000]), "cannot be read as MATLAB 5"),
        (lambda p: p.write_bytes(b""), "cannot be read as MATLAB 5"),
        (
            lambda p: p.write_bytes(b"not a MATLAB file" * 20),
            "cannot be read as MATLAB",
        ),
        (lambda p: savemat(p, {"x": 1.0}), "expected this variable, found none"),
        (
            lambda p: savemat(p, {"rdms_behav_92": np.zeros(16)}),
            r"rdms_behav_92\[0\].RDM: expected this field, found none",
        ),
    ],
)
def test_damage_names_the_file(folder, damage, message):
    damage(folder / human92.OBSERVERS_FILE)
    with pytest.raises(InputError, match=f"{human92.OBSERVERS_FILE}: .*{message}"):
        read_human92(folder)


@pytest.fixture(scope="module")
def real(shared_data):
    return read_human92(shared_data / "human92")


def test_a_dataset_of_photographs(real, shared_data):
    root = str(shared_data / "human92")
    made = [data.load("human92", root=root, seed=seed, folds=4) for seed in range(4)]
    tested = np.concatenate([d.test.key for d in made])
    np.testing.assert_array_equal(np.sort(tested), real.key)
    for here, following in zip(made, made[1:] + made[:1], strict=True):
        np.testing.assert_array_equal(here.validation.key, following.test.key)
    assert made[0].train.x.shape == (46, 32, 32, 3)
    # each image is a smaller one of its own key
    row = made[0].test
    of_key = real.image[np.searchsorted(real.key, row.key[3])] / 255
    assert abs(row.x[3].mean() - of_key.mean()) < 0.01
    np.testing.assert_array_equal(row.y, real.y[np.searchsorted(real.key, row.key)])
    two = data.load("human92", root=root, seed=0, animate=True, size=16)
    assert two.classes == ("inanimate", "animate")
    np.testing.assert_array_equal(
        two.test.y, real.animate[np.searchsorted(real.key, two.test.key)]
    )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"size": 200}, "config.data.size: expected an integer"),
        ({"folds": 2}, "config.data.folds: expected an integer"),
    ],
)
def test_fields_of_the_photographs_are_refused(tmp_path, fields, message):
    with pytest.raises(InputError, match=message):
        data.load("human92", root=str(tmp_path), seed=0, **fields)


@pytest.fixture(scope="module")
def rdms(real):
    """Human IT's mean, each subject's, monkey IT, the observers' mean, pixels."""
    subjects = real.human_it.mean(axis=1)
    return {
        "human": subjects.mean(axis=0),
        **dict(zip(human92.SUBJECTS, subjects, strict=True)),
        "monkey": real.monkey_it,
        "observers": real.observers.mean(axis=0),
        "pixels": correlation_rdm(real.image),
    }


def test_real_noise_ceiling(real):
    ceiling = noise_ceiling(real.human_it.mean(axis=1))
    np.testing.assert_allclose(ceiling, (0.372, 0.666), atol=5e-4)
    between = [spearman(*sessions) for sessions in real.human_it]
    np.testing.assert_allclose(between, (0.277, 0.095, 0.382, 0.120), atol=5e-4)


def test_real_correlations(real, rdms):
    rdms = rdms | {"animate": category_rdm(real.animate.astype(int))}
    facts = {"monkey": 0.439, "observers": 0.392, "animate": 0.588, "pixels": 0.106}
    for name, expected in facts.items():
        found = spearman(rdms["human"], rdms[name])
        np.testing.assert_allclose(found, expected, atol=5e-4, err_msg=name)


SIX = (0.598, 0.446, 0.446, 0.598, 0.402, 0.739, 0.859, 0.348)
TWO = (0.946, 0.891, 0.891, 0.935, 0.902, 0.957, 1.000, 0.630)


@pytest.mark.parametrize(("classes", "facts"), [(6, SIX), (2, TWO)])
def test_real_accuracies(real, rdms, classes, facts):
    y = real.y if classes == 6 else real.animate.astype(int)
    for (name, rdm), expected in zip(rdms.items(), facts, strict=True):
        answers = class_scores(rdm, y, classes).argmax(axis=1)
        np.testing.assert_allclose(
            np.mean(answers == y), expected, atol=5e-4, err_msg=name
        )


def test_real_accuracy_of_permuted_labels(real, rdms):
    chance = permuted_accuracies(rdms["human"], real.y, 6, permutations=500, seed=0)
    np.testing.assert_allclose(chance.mean(), 0.162, atol=0.02)
    np.testing.assert_allclose(np.quantile(chance, 0.95), 0.228, atol=0.02)


def test_real_soft_labels_are_calibrated(real, rdms):
    """Those of IT are likelier than chance; those of shuffled images say nothing."""

    def loss(rdm):
        logits = soft_labels_from(rdm, real.y, 6)
        return np.mean(
            np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(92), real.y]
        )

    uniform = np.log(6)
    assert loss(rdms["human"]) < 0.6 * uniform
    order = np.random.default_rng(0).permutation(92)
    assert abs(loss(rdms["human"][np.ix_(order, order)]) - uniform) < 0.05


def test_real_images_are_those_of_the_dissimilarities(real, shared_data):
    """The file of the photographs has the group's mean RDM too."""
    path = shared_data / "human92" / human92.PHOTOGRAPHS_FILE
    group = human92._read(path, "RDMs_mIT_hIT_fig1")["RDMs_mIT_hIT_fig1"][1]
    assert group.name.startswith("hIT")
    found = spearman(squareform(group.RDM), real.human_it.mean(axis=(0, 1)))
    assert found > 0.9995
    assert np.mean(real.image[:, 0, 0] == 128) > 0.9  # the grey ground
    np.testing.assert_array_equal(real.animate, real.y < 4)
