"""What the choices before any network are worth on unseen patients, by PCA.

    python tests/benchmarks/ecg_choices.py MITDB_FOLDER [--tiny]

Ten times, 11 of MIT-BIH's patients with lead MLII are tested and PCA learns from every
fifth normal beat of the others. Printed: AUC and average precision, mean and standard
deviation over the splits, and both again by scores relative to the patient's. Then, of
the same splits, 8 patients validated, what `own_median` and PCA give that learn from
all normal beats, with the beats' rhythm too, as the report's table has them. `--tiny`
is what the tests run: twice, with one patient tested and one validated.
"""

import sys
from pathlib import Path

import numpy as np
from stepping import parser, print_machine

from kdjax import data
from kdjax.data import preprocessing
from kdjax.data.ecg import records
from kdjax.data.ecg.choices import SAME_PATIENT
from kdjax.tasks.anomaly import own_median, rhythm, scoring
from kdjax.tasks.anomaly.detectors import pca
from kdjax.tasks.anomaly.metrics import detection, relative
from kdjax.tasks.anomaly.patients import WAYS

THINNED = 5
COMPONENTS = (3, 5, 10, 20, 50)
LEAD = "MLII"
METRICS = "auc", "average_precision"


def of(folder):
    """The names of the records without a pacemaker."""
    return {path.stem for path in folder.glob("*.hea")} - set(records.PACED)


def read(folder):
    """(filtered beats [n, 320, 2], MLII first and not scaled, abnormal, patient) [n]"""
    x, abnormal, patient = [], [], []
    for name in sorted(of(folder)):
        header = records.read_header(folder / name)
        if LEAD not in header.sig_name:
            continue
        leads = sorted(header.sig_name, key=lambda lead: lead != LEAD)
        raw = records.read_leads(folder / name, header, leads)
        sample, symbol = records.read_annotations(folder / name)
        keep = np.isin(symbol, records.BEAT_SYMBOLS)
        keep &= records.inside(sample, len(raw))
        start = sample[keep] - records.BEFORE
        x.append(
            records.windows(records.filtered(raw, records.BAND))[start].astype(
                np.float32
            )
        )
        abnormal.append(~np.isin(symbol[keep], list(records.GROUPS["N"])))
        patient.append(np.full(len(start), int(SAME_PATIENT.get(name, name))))
    return tuple(map(np.concatenate, (x, abnormal, patient)))


def standardised(x, patient):
    del patient
    return (x - x.mean(1, keepdims=True)) / np.maximum(x.std(1, keepdims=True), 1e-6)


def min_max(x, patient):
    del patient
    return preprocessing.range_of_example(x.astype(np.float64))


def by_patient(x, patient):
    """Divided by the median height of the patient's first 300 beats: 5 minutes."""
    scaled = np.empty_like(x)
    for one in np.unique(patient):
        own = patient == one
        scaled[own] = x[own] / np.median(np.ptp(x[own][:300], axis=1), axis=0)
    return scaled


def scores(x, abnormal, test):
    """By number of components, the squared error of the test beats."""
    normal = x[~test & ~abnormal][::THINNED]
    mean = normal.mean(0)
    normal = normal - mean
    axes = np.linalg.eigh(normal.T @ normal)[1][:, ::-1]
    left = x[test] - mean
    found = np.cumsum(np.square(left @ axes[:, : max(COMPONENTS)]), axis=1)
    whole = np.square(left).sum(1)
    return {k: np.maximum(whole - found[:, k - 1], 0) for k in COMPONENTS}


def metrics(x, abnormal, patient, *, splits, tested):
    """By number of components, [splits, 4]."""
    rows = {k: [] for k in COMPONENTS}
    for split in range(splits):
        order = np.random.default_rng(split).permutation(np.unique(patient))
        test = np.isin(patient, order[:tested])
        for k, score in scores(x, abnormal, test).items():
            row = []
            for value in (score, relative(score, patient[test])):
                one = detection(abnormal[test], value)
                row += [one["auc"], one["average_precision"]]
            rows[k].append(row)
    return rows


def detectors(root, split, *, tested, validated):
    """{detector: {way: [AUC, average precision]}} of a split by patients' names."""
    patients = sorted({int(SAME_PATIENT.get(name, name)) for name in of(root)})
    order = np.random.default_rng(split).permutation(patients)
    dataset = data.load(
        "mitbih",
        root=str(root),
        seed=split,
        test_groups=tuple(map(str, order[:tested])),
        validation_groups=validated,
    )
    held = scoring.held_out(dataset)
    sizes = [len(dataset.validation.y), len(dataset.test.y)]
    parts = np.repeat(["validation", "test"], sizes)
    found = {}
    for name, score in scored(dataset).items():
        stored = scoring.Scores(parts, held.y, held.group, score, score)
        beats = rhythm.of_dataset(dataset)
        test = parts == "test"
        found[name] = {
            way: detection(held.y[test] > 0, by(stored, beats, score)[test])
            for way, by in WAYS.items()
        }
    return found


def scored(dataset):
    """The held-out beats' scores by each detector that is not trained."""
    normal = dataset.train.x[dataset.train.y == 0]
    held = scoring.held_out(dataset).x
    fit = pca(seed=0, components=min(10, len(normal) - 1))
    fitted = fit(normal.reshape(len(normal), -1), held.reshape(len(held), -1)[:1])
    start = len(dataset.train.y)
    found = {"PCA, 10 components": fitted.score(held.reshape(len(held), -1))}
    for name, causal in (("own median", False), ("own median, causal", True)):
        how = own_median.Usual(causal=causal)
        found[name] = own_median.solve(dataset, how)[1][start:]
    return found


def print_detectors(root, *, splits, tested, validated):
    each = [
        detectors(root, split, tested=tested, validated=validated)
        for split in range(splits)
    ]
    print("\n| detector | score | AUC | AP |\n|---|---|--:|--:|")
    for name in each[0]:
        for way in WAYS:
            values = [[*map(one[name][way].get, METRICS)] for one in each]
            mean, std = np.mean(values, axis=0), np.std(values, axis=0, ddof=1)
            cells = [f"{m:.3f} ± {s:.3f}" for m, s in zip(mean, std, strict=True)]
            print(f"| {name} | {way} | {' | '.join(cells)} |", flush=True)


def main(arguments):
    flags = parser(__doc__, timed=False)
    flags.add_argument("root", type=Path, metavar="MITDB_FOLDER")
    given = flags.parse_args(arguments)
    print_machine()
    sizes = {"splits": 2, "tested": 1} if given.tiny else {"splits": 10, "tested": 11}
    beats, abnormal, patient = read(given.root)
    print("| leads | beats scaled | components | AUC | AP | relative AUC | AP |")
    print("|---|---|--:|--:|--:|--:|--:|")
    for leads, columns in (("MLII", 1), ("MLII and the other", 2)):
        for scale in (min_max, standardised, by_patient):
            x = scale(beats[..., :columns], patient).reshape(len(beats), -1)
            for k, rows in metrics(x, abnormal, patient, **sizes).items():
                mean, std = np.mean(rows, axis=0), np.std(rows, axis=0, ddof=1)
                cells = [f"{m:.3f} ± {s:.3f}" for m, s in zip(mean, std, strict=True)]
                named = scale.__name__.replace("_", " ")
                row = " | ".join([leads, named, str(k), *cells])
                print(f"| {row} |", flush=True)
    print_detectors(given.root, **sizes, validated=1 if given.tiny else 8)


if __name__ == "__main__":
    main(sys.argv[1:])
