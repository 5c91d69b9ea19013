"""The MIT-BIH Arrhythmia Database as a dataset, split by patient or as BeatGAN did."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdjax.checks import integer
from kdjax.data.dataset import (
    SPLITS,
    TEST_SEED,
    Dataset,
    Examples,
    check,
    hold_out_stratified,
    normals,
    take,
)
from kdjax.data.ecg import choices
from kdjax.data.ecg.choices import Groups
from kdjax.data.ecg.records import BEFORE, GROUPS, Beats, read_beats
from kdjax.errors import InputError, lookup, nearest

STRICT_GROUPS = GROUPS | {"N": "NLRej", "S": "aJAS"}
PROTOCOLS = ("patient", "paper", "ds1_ds2")
WINDOWS = {"standard": BEFORE, "paper": BEFORE - 1}  # samples before the annotation
# De Chazal et al. 2004: records to learn from, and to test.
DS1, DS2 = (
    "101 106 108 109 112 114 115 116 118 119 122 124 201 203 205 207 208 209 215 220 "
    "223 230",
    "100 103 105 111 113 117 121 123 200 202 210 212 213 214 219 221 222 228 231 232 "
    "233 234",
)


def mitbih(
    *,
    root: str,
    seed: int,
    records: Sequence[str | int] = (),
    protocol: str = "patient",
    fold: int | None = 0,
    leads: Sequence[str] = ("MLII",),
    strict: bool = False,
    r_peak: bool | None = None,
    window: str = "standard",
    validation_groups: Groups = 8,
    test_groups: Groups = 11,
) -> Dataset:
    """MIT-BIH: beats [320, leads] at 360 Hz in the AAMI groups N, S, V, F, Q.

    `root` is the folder of the records' .hea, .dat and .atr files, or its parent.
    See `read_beats` for `records`, `leads` and `r_peak`, which is as the protocol has
    it if not given: of the paper's alone. `strict` puts the escape beats e and j in N,
    as AAMI does, instead of S. `window`: "standard", [r - 140, r + 180), or "paper",
    [r - 139, r + 181), as BeatGAN's code cuts.

    `protocol="patient"`: no patient is in two splits. Test: `test_groups` patients, the
    same for every seed. Validation: `validation_groups` of the others, by `seed`. Each
    is how many are drawn, or their names, such as ("119",), for 201 and 202, who are
    one, either. Each split keeps its abnormal beats: `normals` picks what an anomaly
    detector trains on. Where `records` are named, training and validation may have no
    abnormal beat, which many a patient has not.

    `protocol="ds1_ds2"`, as most of the literature: the 22 records DS2 are tested, and
    `validation_groups` of the 22 records DS1 validated, by `seed`. One patient's two
    records, 201 and 202, are in both halves. `test_groups` and `records` are not used.

    `protocol="paper"`, as BeatGAN's published code: the normal beats are shuffled and
    cut in fifths, and fifth `fold`, 0 to 4, or `seed` % 5 if it is None, is tested with
    nine tenths of each abnormal group. Validation: a tenth of the other normal beats,
    by `seed`, with the other tenth of the abnormal. Training: normal beats alone.
    **Patients leak** between its splits: each beat is its own group. For comparison
    with the paper's figures only.

    Moody & Mark 2001; Goldberger et al. 2000; Zhou et al., IJCAI 2019; de Chazal,
    O'Dwyer & Reilly, IEEE Trans. Biomed. Eng. 51:1196 (2004).
    """
    if protocol not in PROTOCOLS:
        raise InputError(
            f"config.data.protocol: unknown name {protocol!r}"
            f"{nearest(str(protocol), PROTOCOLS)}"
        )
    paper = protocol == "paper"
    if fold is None:
        fold = seed % 5 if paper else 0
    integer(fold, low=0, high=4 if paper else 0, where="config.data.fold")
    for name, value in (("validation", validation_groups), ("test", test_groups)):
        if paper and not isinstance(value, int):
            raise InputError(
                f"config.data.{name}_groups: expected a number, which the protocol "
                f"'paper' does not use, found the patients {tuple(value)}"
            )
    if protocol == "ds1_ds2" and len(records):
        raise InputError(
            "config.data.records: expected none beside the protocol 'ds1_ds2', which "
            f"names them, found {tuple(records)}"
        )
    before = lookup(window, WINDOWS, where="config.data.window")
    beats = read_beats(
        root,
        leads=leads,
        r_peak=paper if r_peak is None else r_peak,
        records=(DS1 + " " + DS2).split() if protocol == "ds1_ds2" else records,
        before=before,
    )
    examples = to_examples(beats, strict=strict)
    if paper:
        examples = examples._replace(group=np.arange(len(beats.x), dtype=np.int32))
        rows = _by_beat(examples, seed=seed, fold=fold)
    elif protocol == "ds1_ds2":
        examples = examples._replace(group=_numbers(beats.record))
        rows = choices.halves(
            beats.record, validation=validation_groups, test=DS2.split(), seed=seed
        )
    else:
        patient = choices.patients(beats.record)
        groups = {"validation": validation_groups, "test": test_groups}
        rows = choices.split(patient, **groups, seed=seed)
    splits = tuple(take(examples, part) for part in rows)
    records_read = len(np.unique(beats.record))
    of_protocol = {
        "paper": f", fold {fold}, patients leak",
        "ds1_ds2": ", DS1 and DS2, patient 201 in both",
    }
    leak = of_protocol.get(protocol, "")
    dataset = Dataset(
        name=f"MIT-BIH ({records_read} records, {' and '.join(leads)}{leak})",
        classes=tuple(GROUPS),
        train=splits[0],
        validation=splits[1],
        test=splits[2],
        synthetic=False,
        preprocessing=({"name": "range_of_example"},),
        channels=tuple(leads),
        intervals=tuple(beats.intervals[part] for part in rows),
    )
    for name, part in zip(SPLITS, splits, strict=True):
        if not len(normals(part)):
            raise InputError(
                f"{root}: {name}: expected normal beats, found none in {_records(part)}"
            )
    if len(normals(dataset.test)) == len(dataset.test.y):
        raise InputError(
            f"{root}: test: expected abnormal beats, found none in "
            f"{_records(dataset.test)}"
        )
    alone = ("train", "validation") if len(records) else ()
    return check(dataset, where=root, one_class=("train",) if paper else alone)


def _records(part: Examples) -> str:
    """`100, 103`: the records of these beats."""
    return ", ".join(sorted({str(key).partition("/")[0] for key in part.key}))


def to_examples(beats: Beats, *, strict: bool = False) -> Examples:
    """The beats with `y` in the order of `GROUPS`, `group` the patient's number.

    Patients are numbered from 0 in the order of their records' names.
    """
    groups = (STRICT_GROUPS if strict else GROUPS).values()
    label = {symbol: y for y, symbols in enumerate(groups) for symbol in symbols}
    patient = choices.patients(beats.record)
    pairs = zip(beats.record, beats.sample, strict=True)
    return Examples(
        x=beats.x,
        y=np.array([label[symbol] for symbol in beats.symbol], np.int32),
        group=_numbers(patient),
        key=np.array([f"{record}/{sample:06d}" for record, sample in pairs]),
    )


def _numbers(names: NDArray[Any]) -> NDArray[np.int32]:
    """Each name's number, from 0 in the order of the names."""
    return np.unique(names, return_inverse=True)[1].astype(np.int32)


def _by_beat(
    examples: Examples, *, seed: int, fold: int
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    y = examples.y
    order = np.random.default_rng(TEST_SEED).permutation(normals(examples))
    tested = np.array_split(order, 5)[fold]
    pool = np.setdiff1d(order, tested)
    where = "config.data.fold"
    rest, held = hold_out_stratified(y[pool], fraction=0.1, seed=seed, where=where)
    abnormal = np.flatnonzero(y != 0)
    most, few = hold_out_stratified(
        y[abnormal], fraction=0.1, seed=TEST_SEED, where=where
    )
    return (
        pool[rest],
        np.sort(np.concatenate([pool[held], abnormal[few]])),
        np.sort(np.concatenate([tested, abnormal[most]])),
    )
