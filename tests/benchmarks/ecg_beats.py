"""How many heart beats the detectors of R peaks find in MIT-BIH's records.

    python tests/benchmarks/ecg_beats.py MITDB_FOLDER [--tiny]

Lead MLII of the records without a pacemaker, by gqrs and xqrs as `kdjax score --detect`
uses them. Printed: of each record, and of all, the annotated beats; by either, per cent
of them and of the ventricular ones (V, E) that have a beat within 150 ms, of the beats
found those that have an annotation, and how far these are from it, the median in ms.
`--tiny` is what the tests run: a minute of each record.
"""

import sys
from pathlib import Path

import numpy as np
from stepping import parser, print_machine

from kdjax.data.ecg import records
from kdjax.data.ecg.annotations import BEAT_SYMBOLS, WITHIN_MS, match

LEAD, TINY = "MLII", 60 * records.RATE


def found_in(path, *, tiny):
    """{detector: (hit bool [m], apart ms [hits], how many were found)}, V bool [m]."""
    header = records.read_header(path)
    lead = records.read_leads(path, header, (LEAD,))[:, 0]
    unit = header.units[header.sig_name.index(LEAD)]
    sample, symbol = records.read_annotations(path)
    keep = np.isin(symbol, BEAT_SYMBOLS)
    if tiny:
        lead, keep = lead[:TINY], keep & (sample < TINY)
    sample, ventricular = sample[keep], np.isin(symbol[keep], ["V", "E"])
    each = {}
    for name in records.DETECTORS:
        beats = records.r_peaks(lead, by=name, unit=unit)
        place = match(beats, sample, within=WITHIN_MS / 1000 * records.RATE)
        hit = np.isin(np.arange(len(sample)), place)
        known = place >= 0
        apart = abs(beats[known] - sample[place[known]]) * 1000 / records.RATE
        each[name] = hit, apart, len(beats)
    return each, ventricular


def cells(hit, apart, found, ventricular):
    """Per cent of all, of the ventricular, predictive value; ms."""
    shares = (hit.mean(), hit[ventricular].mean() if ventricular.any() else None)
    value = hit.sum() / found if found else None
    text = ["-" if one is None else f"{100 * one:.2f}" for one in (*shares, value)]
    return [*text, f"{np.median(apart):.0f}" if len(apart) else "-"]


def main(arguments):
    flags = parser(__doc__, timed=False)
    flags.add_argument("root", type=Path, metavar="MITDB_FOLDER")
    given = flags.parse_args(arguments)
    print_machine()
    heads = [
        f"{name} {what}"
        for name in records.DETECTORS
        for what in ("%", "V %", "value %", "ms")
    ]
    print(f"| record | beats | V | {' | '.join(heads)} |")
    print(f"|---|{'--:|' * (2 + len(heads))}")
    names = {path.stem for path in given.root.glob("*.hea")} - set(records.PACED)
    whole = {name: [] for name in records.DETECTORS}
    all_v = []
    for name in sorted(names):
        if LEAD not in records.read_header(given.root / name).sig_name:
            continue
        each, ventricular = found_in(given.root / name, tiny=given.tiny)
        print_row(name, each, ventricular)
        all_v.append(ventricular)
        for detector, one in each.items():
            whole[detector].append(one)
    together = {
        detector: (
            np.concatenate([one[0] for one in parts]),
            np.concatenate([one[1] for one in parts]),
            sum(one[2] for one in parts),
        )
        for detector, parts in whole.items()
    }
    print_row("all", together, np.concatenate(all_v))


def print_row(name, each, ventricular):
    row = [name, str(len(ventricular)), str(ventricular.sum())]
    for one in each.values():
        row += cells(*one, ventricular)
    print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
