"""The MIT-BIH Arrhythmia Database as a dataset, split by patient or as BeatGAN did."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

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
from kdjax.data.ecg.records import GROUPS, Beats, read_beats
from kdjax.errors import InputError, nearest

STRICT_GROUPS = GROUPS | {"N": "NLRej", "S": "aJAS"}
PROTOCOLS = ("patient", "paper")


def mitbih(
    *,
    root: str,
    seed: int,
    records: Sequence[str | int] = (),
    protocol: str = "patient",
    fold: int = 0,
    leads: Sequence[str] = ("MLII",),
    strict: bool = False,
    r_peak: bool = False,
    validation_groups: Groups = 8,
    test_groups: Groups = 11,
) -> Dataset:
    """MIT-BIH: beats [320, leads] at 360 Hz in the AAMI groups N, S, V, F, Q.

    `root` is the folder of the records' .hea, .dat and .atr files, or its parent.
    See `read_beats` for `records`, `leads` and `r_peak`. `strict` puts the escape beats
    e and j in N, as AAMI does, instead of S.

    `protocol="patient"`: no patient is in two splits. Test: `test_groups` patients, the
    same for every seed. Validation: `validation_groups` of the others, by `seed`. Each
    is how many are drawn, or their names, such as ("119",), for 201 and 202, who are
    one, either. Each split keeps its abnormal beats: `normals` picks what an anomaly
    detector trains on. Where `records` are named, training and validation may have no
    abnormal beat, which many a patient has not.

    `protocol="paper"`, as BeatGAN's published code: the normal beats are shuffled and
    cut in fifths, and fifth `fold`, 0 to 4, is tested with nine tenths of each abnormal
    group. Validation: a tenth of the other normal beats, by `seed`, with the other
    tenth of the abnormal. Training: normal beats alone. **Patients leak** between its
    splits: each beat is its own group. For comparison with the paper's figures only.

    Moody & Mark 2001; Goldberger et al. 2000; Zhou et al., IJCAI 2019.
    """
    if protocol not in PROTOCOLS:
        raise InputError(
            f"config.data.protocol: unknown name {protocol!r}"
            f"{nearest(str(protocol), PROTOCOLS)}"
        )
    paper = protocol == "paper"
    integer(fold, low=0, high=4 if paper else 0, where="config.data.fold")
    for name, value in (("validation", validation_groups), ("test", test_groups)):
        if paper and not isinstance(value, int):
            raise InputError(
                f"config.data.{name}_groups: expected a number, which the protocol "
                f"'paper' does not use, found the patients {tuple(value)}"
            )
    beats = read_beats(root, leads=leads, r_peak=r_peak, records=records)
    examples = to_examples(beats, strict=strict)
    if paper:
        splits = _by_beat(examples, seed=seed, fold=fold)
    else:
        patient = choices.patients(beats.record)
        groups = {"validation": validation_groups, "test": test_groups}
        rest, held, tested = choices.split(patient, **groups, seed=seed)
        splits = take(examples, rest), take(examples, held), take(examples, tested)
    records_read = len(np.unique(beats.record))
    leak = f", fold {fold}, patients leak" if paper else ""
    dataset = Dataset(
        name=f"MIT-BIH ({records_read} records, {' and '.join(leads)}{leak})",
        classes=tuple(GROUPS),
        train=splits[0],
        validation=splits[1],
        test=splits[2],
        synthetic=False,
        preprocessing=({"name": "range_of_example"},),
        channels=tuple(leads),
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
        group=np.unique(patient, return_inverse=True)[1].astype(np.int32),
        key=np.array([f"{record}/{sample:06d}" for record, sample in pairs]),
    )


def _by_beat(
    examples: Examples, *, seed: int, fold: int
) -> tuple[Examples, Examples, Examples]:
    y = examples.y
    alone = examples._replace(group=np.arange(len(y), dtype=np.int32))
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
        take(alone, pool[rest]),
        take(alone, np.sort(np.concatenate([pool[held], abnormal[few]]))),
        take(alone, np.sort(np.concatenate([tested, abnormal[most]]))),
    )
