"""CIFAR-10H's votes: files that the tests write, and the real ones."""

import numpy as np
import pytest

from kdjax.data.human import cifar10h
from kdjax.data.human.cifar10h import join_votes, read_human_labels, read_votes
from kdjax.errors import InputError

TABLE = [(0, 17), (1, 9999), (2, 4)]


def write_table(folder, rows, header="row,cifar10_test_index"):
    lines = [header, *(",".join(map(str, row)) for row in rows)]
    (folder / cifar10h.ROWS_FILE).write_text("\n".join(lines) + "\n")


@pytest.fixture
def folder(tmp_path):
    """10,000 images of about 50 votes each; three of them in test_batch.bin."""
    rng = np.random.default_rng(0)
    label = rng.integers(0, 10, 10_000).astype(np.uint16)
    votes = rng.integers(0, 2, (10_000, 10))
    votes[np.arange(10_000), label] += 45
    np.save(tmp_path / cifar10h.VOTES_FILE, votes)
    np.save(tmp_path / cifar10h.LABELS_FILE, label)
    write_table(tmp_path, TABLE)
    return tmp_path


@pytest.fixture
def images(folder):
    """test_batch.bin of the three images, and one of training."""
    label = np.load(folder / cifar10h.LABELS_FILE)
    for name, labels in (("data_batch_1", [3]), ("test_batch", label[[17, 9999, 4]])):
        records = np.zeros((len(labels), 3073), np.uint8)
        records[:, 0] = labels
        records.tofile(folder / f"{name}.bin")
    return folder


def test_votes_are_joined_to_the_images(images):
    every = read_votes(images)
    assert every.votes.dtype == np.int64
    assert every.label.dtype == np.int32
    human = read_human_labels(images, cifar10=images)
    rows = [17, 9999, 4]
    assert human.key.tolist() == [f"test_batch/{row:05d}" for row in range(3)]
    np.testing.assert_array_equal(human.votes, every.votes[rows])
    np.testing.assert_array_equal(human.label, every.label[rows])
    np.testing.assert_allclose(
        human.probability, every.votes[rows] / every.votes[rows].sum(1)[:, None]
    )


def test_the_join_is_by_key(images):
    human = read_human_labels(images, cifar10=images)
    write_table(images, [TABLE[i] for i in (2, 0, 1)])
    again = read_human_labels(images, cifar10=images)
    np.testing.assert_array_equal(again.votes, human.votes)
    order = [1, 2]
    some = join_votes(images, human.key[order], human.label[order])
    np.testing.assert_array_equal(some.probability, human.probability[order])


def test_without_a_table_the_rows_are_the_test_set(folder):
    (folder / cifar10h.ROWS_FILE).unlink()
    every = read_votes(folder)
    key = np.array(["test_batch/09999", "test_batch/00000"])
    human = join_votes(folder, key, every.label[[9999, 0]])
    np.testing.assert_array_equal(human.votes, every.votes[[9999, 0]])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (TABLE[:2], "expected the image of key 'test_batch/00002', found none"),
        ([*TABLE, (1, 3)], "found 'test_batch/00001' as image 9999 and as 3"),
        ([*TABLE, (3, 4)], "image 4 as 'test_batch/00002' and as 'test_batch/00003'"),
        ([*TABLE, (3, 10_000)], "line 5: .* 0 to 9999 for 'test_batch/00003', found"),
        ([*TABLE, (3, -1)], r"line 5: expected two whole numbers, found \['3', '-1'\]"),
        ([(0,)], r"line 2: expected two whole numbers, found \['0'\]"),
    ],
)
def test_keys_that_are_missing_or_not_unique_name_themselves(images, rows, message):
    write_table(images, rows)
    with pytest.raises(InputError, match=f"{cifar10h.ROWS_FILE}: .*" + message):
        read_human_labels(images, cifar10=images)


def test_other_columns_are_refused(images):
    for header in ("cifar10_test_index,row", ""):
        write_table(images, TABLE, header=header)
        with pytest.raises(InputError, match="columns row, cifar10_test_index, found"):
            read_human_labels(images, cifar10=images)


def test_keys_are_asked_for_once_and_are_of_test_images(images):
    human = read_human_labels(images, cifar10=images)
    for extra, message in (
        ("test_batch/00001", "each image once, found 'test_batch/00001' 2 times"),
        ("data_batch_1/00001", "image of key 'data_batch_1/00001', found none"),
    ):
        key, label = np.append(human.key, extra), np.append(human.label, human.label[1])
        with pytest.raises(InputError, match=message):
            join_votes(images, key, label)


def test_the_first_label_that_differs_is_named(images):
    human = read_human_labels(images, cifar10=images)
    label = human.label.copy()
    label[1:] = (label[1:] + 1) % 10
    message = (
        rf"row 9999: .* of 'test_batch/00001', {label[1]}, found {human.label[1]}: "
        r"not the same image \(2 of 3 labels differ\)"
    )
    with pytest.raises(InputError, match=message):
        join_votes(images, human.key, label)


def without_votes(votes):
    votes[5678] = 0


def negative(votes):
    votes[1234, 3] = -2


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (without_votes, "row 5678: expected votes, found a sum of 0"),
        (negative, "row 1234: expected counts of votes, found -2 for 'cat'"),
    ],
)
def test_votes_that_are_none_name_their_row(folder, damage, message):
    path = folder / cifar10h.VOTES_FILE
    votes = np.load(path)
    damage(votes)
    np.save(path, votes)
    with pytest.raises(InputError, match=f"{path.name}: {message}"):
        read_votes(folder)


def save_object(path):
    np.save(path, np.full((10_000, 10), None, object), allow_pickle=True)


def save_several(path):
    with path.open("wb") as file:
        np.savez(file, a=np.zeros(3), b=np.zeros(3))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda p: p.unlink(), "expected this file, found none"),
        (lambda p: p.write_bytes(p.read_bytes()[:-5]), "damaged: expected"),
        (lambda p: p.write_bytes(b""), "expected an .npy file"),
        (lambda p: np.save(p, np.load(p)[:-1]), r"expected integers \(10000,.*\(9999"),
        (lambda p: np.save(p, np.load(p) / 2), "expected integers .* found float64"),
        (save_object, "expected plain numbers or text, found objects"),
        (save_several, "expected an .npy file, found the magic"),
    ],
)
@pytest.mark.parametrize("name", [cifar10h.VOTES_FILE, cifar10h.LABELS_FILE])
def test_damage_names_the_file(folder, name, damage, message):
    damage(folder / name)
    with pytest.raises(InputError, match=f"{name}: .*{message}"):
        read_votes(folder)


def test_labels_are_of_ten_classes(folder):
    path = folder / cifar10h.LABELS_FILE
    label = np.load(path)
    label[7] = 10
    np.save(path, label)
    with pytest.raises(InputError, match="row 7: expected a label 0 to 9, found 10"):
        read_votes(folder)


def facts(votes, label):
    """Accuracy of the most frequent answer, mean vote, unanimous, entropy in nats."""
    p = votes / votes.sum(axis=1, keepdims=True)
    entropy = -np.sum(p * np.log(np.where(p > 0, p, 1)), axis=1)
    return (
        np.mean(p.argmax(axis=1) == label),
        p[np.arange(len(p)), label].mean(),
        np.mean(p.max(axis=1) == 1),
        entropy.mean(),
    )


def test_real_votes(shared_data):
    folder = shared_data / "cifar10h"
    human = read_human_labels(folder, cifar10=shared_data / "cifar10")
    assert len(human.key) == 2000
    found = facts(human.votes, human.label)
    np.testing.assert_allclose(found, (0.993, 0.955, 0.440, 0.1507), atol=5e-4)
    np.testing.assert_allclose(found[3], 0.1507, atol=5e-5)
    assert np.ptp(human.votes.sum(axis=1)) == 59 - 48
    every = read_votes(folder)
    found = facts(every.votes, every.label)
    np.testing.assert_allclose((found[0], found[2]), (0.992, 0.439), atol=5e-4)
    np.testing.assert_allclose(found[3], 0.1545, atol=5e-5)
    assert every.votes.sum() == 511_000
