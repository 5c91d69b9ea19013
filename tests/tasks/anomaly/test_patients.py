"""The table on patients: its threshold, counts, shares and intervals, by hand."""

import numpy as np
import pytest

from kdjax.tasks.anomaly import patients
from kdjax.tasks.anomaly.patients import Beats, Counts
from tests.tasks.anomaly.fabricated import fabricate, read_experiment

CLASSES = ("N", "S", "V")


def beats(score, *, held=2000, seconds=0.91):
    """So many validated beats, as many tested of four patients, of whom every tenth is
    S and every tenth V."""
    label = np.tile([0, 0, 0, 1, 0, 0, 0, 0, 2, 0], 2 * held // 10)
    split = np.repeat(["validation", "test"], held)
    group = np.concatenate([np.zeros(held, int), 1 + np.arange(held) * 4 // held])
    return Beats(split, label, group, np.full(2 * held, seconds, np.float32), score)


def test_the_limit_lets_so_many_normal_beats_an_hour_pass():
    score = np.random.default_rng(0).normal(size=4000)
    given = beats(score)  # half an hour: 15 of 1,600 may pass
    limit = patients.limit(given)
    held = (given.split == "validation") & (given.label == 0)
    assert (score[held] > limit).sum() == 15
    score[~held] += 9
    assert patients.limit(beats(score)) == limit, "no other beat is looked at"
    assert patients.limit(beats(score, seconds=1e-3)) == score[held].max()
    assert patients.limit(beats(score, seconds=1e6)) == score[held].min()


def test_patients_are_counted_one_by_one():
    score = np.random.default_rng(1).normal(size=4000)
    given = beats(score)
    score[given.label == 2] += 2
    counts = patients.count(given, CLASSES)
    limit = patients.limit(given)
    for place, group in enumerate((1, 2, 3, 4)):
        own = given.group == group
        assert counts.hours[place] == pytest.approx(500 * 0.91 / 3600)
        assert counts.false[place] == (score[own & (given.label == 0)] > limit).sum()
        for y, name in ((1, "S"), (2, "V")):
            rows = own & (given.label == y)
            assert counts.beats[name][place] == rows.sum() == 50
            assert counts.found[name][place] == (score[rows] > limit).sum()


def test_shares_are_those_of_the_patients_drawn():
    counts = Counts(
        hours=np.array([0.5, 0.5, 1.0]),
        false=np.array([10, 0, 5]),
        beats={"V": np.array([100, 0, 20])},
        found={"V": np.array([90, 0, 5])},
    )
    found = patients.shares(counts, np.array([[0, 1, 2], [0, 0, 2], [1, 1, 1]]))
    np.testing.assert_allclose(found["V found"], [95 / 120, 185 / 220, np.nan])
    np.testing.assert_allclose(found["V value"], [95 / 110, 185 / 210, np.nan])
    np.testing.assert_allclose(found["alarms"], [15 / 2, 25 / 2, 0])


def with_rhythm(workdir):
    """The fabricated workdir, its stages with a rhythm that tells all."""
    for folder in workdir.glob("seed_*/*"):
        with np.load(folder / "scores.npz") as stored:
            label = stored["label"]
        units = np.where(label > 0, 5.0, 0.1)
        np.savez(
            folder / "rhythm.npz",
            whole=units,
            past=0.5 * units,
            seconds=np.full(len(label), 0.8),
            whole_unit=0.2,
            past_unit=0.2,
        )
    return workdir


def test_the_table_has_each_score_of_each_detector(tmp_path):
    plain = fabricate(tmp_path)
    assert patients.patients_table(read_experiment(plain)) == ""
    table = patients.patients_table(read_experiment(with_rhythm(plain)))
    said, _, rows = table.partition("\n\n")
    head, _, *rows = rows.splitlines()
    assert "no abnormal beat is looked at" in said
    assert head.startswith("| stage | score | AUC | average precision | S found, % |")
    cells = [row.strip("| ").split(" | ") for row in rows]
    assert [tuple(row[:2]) for row in cells] == [
        (stage, way) for stage in ("beatgan", "pca") for way in patients.WAYS
    ]
    for row in cells:
        for cell in row[4:]:
            value, _, interval = cell.partition(" (")
            low, high = map(float, interval.rstrip(")").split(" to "))
            assert low <= float(value) <= high
    by_way = {tuple(row[:2]): float(row[2].split(" ± ")[0]) for row in cells}
    assert by_way["pca", "with rhythm"] > by_way["pca", "its own"] + 0.05
    assert by_way["pca", "with the past's"] > by_way["pca", "its own"] + 0.05


def test_beats_that_are_nobodys_have_no_table(tmp_path):
    """As by the paper's protocol, in which each beat is its own group."""
    workdir = with_rhythm(fabricate(tmp_path))
    for path in workdir.glob("seed_*/*/scores.npz"):
        with np.load(path) as stored:
            alone = dict(stored) | {"group": np.arange(120, dtype=np.int32)}
        np.savez(path, **alone)
    assert patients.patients_table(read_experiment(workdir)) == ""


def test_a_score_that_may_be_negative_has_itself_alone(tmp_path):
    workdir = with_rhythm(fabricate(tmp_path))
    for path in workdir.glob("seed_*/pca/scores.npz"):
        with np.load(path) as stored:
            arrays = dict(stored)
        for kind in ("last", "best"):
            arrays[kind] = np.log(arrays[kind])
        np.savez(path, **arrays)
    table = patients.patients_table(read_experiment(workdir))
    ways = [line.split(" | ")[1] for line in table.splitlines() if "| pca |" in line]
    assert ways == ["its own"]
