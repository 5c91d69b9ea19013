"""The reader on small WFDB records that the tests write, and on the real MIT-BIH."""

import json
import os
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from scipy import signal

from kdjax import data, experiment
from kdjax.configs import beatgan_ecg
from kdjax.data.ecg import intervals, mitbih, records
from kdjax.errors import InputError

# wfdb 4.3 calls what pandas 3 deprecates, when it is imported and when it writes.
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import wfdb
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:wfdb")

EVERY = 300
SYMBOLS = "NLRejaAJSVEF/fQ"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "kdjax"


def spikes(n, *, rate=360, every=EVERY, width=6, seed=0):
    """Spikes of their own height at 200 + `every` k, counted at 360 Hz: [time, n]."""
    samples = (200 + every * len(SYMBOLS)) * rate // 360
    at = (200 + every * np.arange(len(SYMBOLS))) / 360
    distance = (np.arange(samples) / rate)[:, None] - at
    rng = np.random.default_rng(seed)
    wave = np.exp(-((distance * 360 / width) ** 2) / 2) - 0.3 * np.exp(
        -(((distance - 0.1) * 360 / 20) ** 2) / 2
    )
    return wave @ rng.uniform(0.5, 1.5, (len(SYMBOLS), n))


def write_record(
    folder, name, *, x=None, leads=("MLII", "V1"), symbols=SYMBOLS, at=None, rate=360
):
    """One WFDB record: .hea, .dat and .atr, annotated at 200 + 300 k."""
    folder.mkdir(exist_ok=True)
    if x is None:
        x = spikes(len(leads), seed=int(name))
    at = 200 + EVERY * np.arange(len(symbols)) if at is None else np.array(at)
    wfdb.wrsamp(
        name,
        fs=rate,
        units=["mV"] * len(leads),
        sig_name=list(leads),
        p_signal=x,
        fmt=["16"] * len(leads),
        write_dir=str(folder),
    )
    wfdb.wrann(
        name, "atr", at * rate // 360, symbol=list(symbols), write_dir=str(folder)
    )
    return x


@pytest.fixture
def mitdb(tmp_path):
    """Six records of five patients, each with one beat of every symbol."""
    folder = tmp_path / "mitdb"
    for name in ("100", "101", "103", "200", "201", "202"):
        write_record(folder, name)
    return folder


def load(root, **fields):
    fields = {"seed": 0, "validation_groups": 1, "test_groups": 2} | fields
    return data.load("mitbih", root=str(root), **fields)


def test_beats_are_filtered_cut_and_scaled(tmp_path):
    x = write_record(tmp_path / "db", "100")
    beats = records.read_beats(str(tmp_path / "db"), leads=("MLII", "V1"))
    taps = signal.firwin(109, [3, 45], pass_zero=False, fs=360)
    kernel = np.convolve(taps, taps[::-1])  # forward and backward: symmetric, no delay
    for lead in (0, 1):
        filtered = np.convolve(x[:, lead], kernel, mode="same")
        for beat in (3, 9):
            r = 200 + EVERY * beat
            window = filtered[r - 140 : r + 180]
            expected = 2 * (window - window.min()) / np.ptp(window) - 1
            np.testing.assert_allclose(beats.x[beat, :, lead], expected, atol=2e-3)
    assert beats.x.shape == (15, 320, 2)
    assert beats.x.dtype == np.float32
    assert set(beats.x.min(1).ravel()) == {-1}
    assert set(beats.x.max(1).ravel()) == {1}
    assert (beats.x[:, :, 0].argmax(1) == 140).all(), "the R peak keeps its place"
    assert "".join(beats.symbol) == SYMBOLS
    assert beats.sample.tolist() == [200 + EVERY * k for k in range(15)]


def test_beats_lie_inside_the_recording_and_are_beats(tmp_path):
    end = len(spikes(1))
    at = [139, 140, 700, 800, 900, end - 180, end - 179]
    write_record(tmp_path / "db", "100", symbols="NN+~|NN", at=at)
    beats = records.read_beats(str(tmp_path / "db"))
    assert beats.sample.tolist() == [140, end - 180]


def test_leads_go_by_name(tmp_path):
    x = spikes(2)
    write_record(tmp_path / "one", "100", x=x)
    write_record(tmp_path / "swapped", "100", x=x[:, ::-1], leads=("V1", "MLII"))
    one, swapped = (
        records.read_beats(str(tmp_path / name)).x for name in ("one", "swapped")
    )
    np.testing.assert_array_equal(one, swapped)
    both = records.read_beats(str(tmp_path / "swapped"), leads=("MLII", "V1")).x
    np.testing.assert_array_equal(both[:, :, :1], one)


def test_a_record_without_the_lead_is_left_out(mitdb, capsys):
    write_record(mitdb, "103", leads=("II", "V5"))
    beats = records.read_beats(str(mitdb))
    assert set(beats.record) == {"100", "101", "200", "201", "202"}
    line = f"kdjax: {mitdb}: left out for want of lead MLII: 103\n"
    assert capsys.readouterr().err == line
    records.read_beats(str(mitdb))
    assert capsys.readouterr().err == line, "said of cached beats, too"


@pytest.mark.parametrize("leads", [("MLI",), "MLII", ()])
def test_unknown_leads_are_refused(mitdb, leads):
    with pytest.raises(InputError, match=r"^config.data.leads: expected .*, found "):
        records.read_beats(str(mitdb), leads=leads)


def test_the_nearest_lead_is_named(mitdb):
    with pytest.raises(InputError, match=r"did you mean 'MLII'"):
        load(mitdb, leads=("MLI",))


@pytest.mark.parametrize(
    ("strict", "expected"), [(False, "NNNSSSSSSVVFQQQ"), (True, "NNNNNSSSSVVFQQQ")]
)
def test_groups(mitdb, strict, expected):
    examples = mitbih.to_examples(records.read_beats(str(mitdb)), strict=strict)
    assert "".join("NSVFQ"[y] for y in examples.y) == 6 * expected
    assert examples.group.tolist() == np.repeat([0, 1, 2, 3, 4, 4], 15).tolist()
    assert examples.key[0] == "100/000200"
    assert mitbih.normals(examples)[:3].tolist() == [0, 1, 2]


def test_a_flat_lead_is_zero(tmp_path):
    x = spikes(2)
    x[:, 1] = 0.5
    write_record(tmp_path / "db", "100", x=x)
    beats = records.read_beats(str(tmp_path / "db"), leads=("MLII", "V1"))
    assert not beats.x[:, :, 1].any()
    assert beats.x[:, :, 0].any(axis=1).all()


@pytest.mark.parametrize("rate", [250, 720])
def test_another_rate_is_resampled(tmp_path, capsys, rate):
    write_record(tmp_path / "db", "100", x=spikes(2))
    expected = records.read_beats(str(tmp_path / "db"))
    write_record(tmp_path / "other", "100", x=spikes(2, rate=rate), rate=rate)
    beats = records.read_beats(str(tmp_path / "other"))
    assert f"resampled from {rate} to 360 Hz: 100" in capsys.readouterr().err
    assert abs(beats.sample - expected.sample).max() <= 1
    for one, other in zip(beats.x, expected.x, strict=True):
        shifts = [np.roll(one[:, 0], k) for k in (-1, 0, 1)]
        assert max(np.corrcoef(s, other[:, 0])[0, 1] for s in shifts) > 0.99


def test_beats_near_nan_are_left_out(tmp_path, capsys):
    x = spikes(2)
    x[200 + 4 * EVERY, 0] = np.nan
    write_record(tmp_path / "db", "100", x=x)
    beats = records.read_beats(str(tmp_path / "db"))
    assert np.isfinite(beats.x).all()
    assert (beats.sample - 200).tolist() == [k * EVERY for k in range(15) if k != 4]
    assert "1 beats left out for NaN: 100" in capsys.readouterr().err
    x[50:, 0] = np.nan
    write_record(tmp_path / "db", "100", x=x)
    with pytest.raises(InputError, match=r"100.dat: lead MLII: expected .* found NaN"):
        records.read_beats(str(tmp_path / "db"))
    assert len(records.read_beats(str(tmp_path / "db"), leads=("V1",)).x) == 15


def test_r_peak_drops_normal_beats_without_one(tmp_path):
    at = 200 + EVERY * np.arange(15)
    at[[3, 7, 9]] += 30
    write_record(tmp_path / "db", "100", symbols="NLRNNNNNNVNNNNN", at=at)
    beats = records.read_beats(str(tmp_path / "db"), r_peak=True)
    assert np.setdiff1d(at, beats.sample).tolist() == at[[3, 7]].tolist()
    assert "V" in beats.symbol


def test_the_rule_looks_at_the_filtered_lead_around_the_next_sample(tmp_path):
    """As biosppy moves a peak: to the largest value from r - 17 to r + 19."""
    x = write_record(tmp_path / "db", "100", symbols="N" * 15)
    lead = records.filtered(x, records.BAND)[:, 0]
    peak = 200 + EVERY * 5
    for shift, kept in ((-10, True), (-11, False), (8, True), (9, False), (40, False)):
        at = 200 + EVERY * np.arange(15)
        at[5] += shift
        write_record(tmp_path / "db", "100", symbols="N" * 15, at=at)
        found = records.read_beats(str(tmp_path / "db"), r_peak=True).sample
        assert (peak + shift in found) == kept, shift
        lo = peak + shift + 1 - 18
        by_hand = lo + int(np.argmax(lead[lo : lo + 37])) - (peak + shift + 1)
        assert (abs(by_hand) < 10) == kept


def test_the_papers_window_begins_a_sample_later(mitdb):
    one, other = (load(mitdb, window=window).test for window in ("standard", "paper"))
    np.testing.assert_array_equal(one.key, other.key)
    assert one.x[:3, :, 0].argmax(1).tolist() == [140] * 3
    assert other.x[:3, :, 0].argmax(1).tolist() == [139] * 3
    with pytest.raises(InputError, match=r"data.window: .*did you mean 'paper'"):
        load(mitdb, window="papper")


def test_intervals_are_those_of_all_beats_whatever_is_kept(mitdb):
    at = 200 + EVERY * np.arange(15)
    at[4] -= 100  # early
    at[14] = at[13] + 360
    write_record(mitdb, "103", symbols="NN+NV" + "N" * 8 + "QN", at=at)
    made = load(mitdb, test_groups=("103",), protocol="patient", r_peak=True)
    around = made.intervals[2]
    assert [len(part) for part in made.intervals] == [len(s.y) for s in made[2:5]]
    marks = np.delete(at, 2) / 360  # "+" is no beat
    early = made.test.key.tolist().index(f"103/{at[4]:06d}")
    place = np.flatnonzero(marks == at[4] / 360)[0]
    np.testing.assert_allclose(around[early, 21], np.diff(marks)[place - 1], rtol=1e-6)
    np.testing.assert_allclose(around[early, 22], np.diff(marks)[place], rtol=1e-6)
    np.testing.assert_allclose(
        around[early, 22 : 22 + 14 - 1 - place], np.diff(marks)[place:], rtol=1e-6
    )
    assert np.isnan(around[early, : 22 - place]).all()
    assert np.isnan(around[0, 21])
    only = load(mitdb, test_groups=("103",))
    rows = data.normals(only.train)
    np.testing.assert_array_equal(
        data.train_on(only, rows).intervals[0], only.intervals[0][rows]
    )


def test_two_beats_at_one_time_have_no_interval():
    found = intervals.around(np.array([0.0, 1.0, 1.0, 1.5]))
    assert np.isnan(found[2, intervals.BEFORE])
    assert np.isnan(found[1, intervals.AFTER])
    assert found[2, intervals.AFTER] == 0.5
    assert intervals.around(np.empty(0)).shape == (0, 44)


def test_the_halves_of_the_literature(mitdb, monkeypatch):
    monkeypatch.setattr(mitbih, "DS1", "100 101 201")
    monkeypatch.setattr(mitbih, "DS2", "103 200 202")
    made = load(mitdb, protocol="ds1_ds2")
    assert of(made.test) == ["103", "200", "202"]
    assert sorted({*of(made.train), *of(made.validation)}) == ["100", "101", "201"]
    assert made.name == "MIT-BIH (6 records, MLII, DS1 and DS2, patient 201 in both)"
    with pytest.raises(InputError, match=r"data.records: expected none beside"):
        load(mitdb, protocol="ds1_ds2", records=("100",))


def cut(path):
    path.write_bytes(path.read_bytes()[:-501])


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("101.dat", Path.unlink, "expected this file, found none"),
        ("101.hea", Path.unlink, "expected this file, found none"),
        ("101.atr", Path.unlink, "expected this file, found none"),
        ("101.dat", cut, "damaged or cut short"),
        ("101.hea", lambda path: path.write_text(""), "damaged or cut short"),
        ("101.hea", lambda path: path.write_text("101 2 360 9"), "2 leads, found 0"),
        ("101.atr", lambda path: path.write_bytes(b"\1\2\3"), "damaged or cut short"),
        ("101.atr", lambda path: path.write_bytes(path.read_bytes()[:-2]), "end mark"),
    ],
)
def test_damage_names_the_file(mitdb, name, damage, message):
    damage(mitdb / name)
    with pytest.raises(InputError, match=message) as caught:
        load(mitdb)
    assert str(caught.value).startswith(f"{mitdb / name}: ")
    assert "\n" not in str(caught.value)


def restate(old, new):
    return lambda path: path.write_text(path.read_text().replace(old, new, 1))


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ("2 x 4700", "expected a rate in Hz, .* found 'x'"),
        ("2 999999999999 4700", "at most 1,000,000, found '999999999999'"),
        ("2 0 4700", "expected a rate in Hz"),
        ("2 1e999 4700", "found '1e999'"),
        (f"2 {'9' * 400} 4700", "damaged or cut short .*infinity"),
        ("2 -360 4700", "damaged or cut short|expected a rate in Hz"),
        ("2 360 99999999999999", "half of this machine's memory"),
        ("2 360/x 4700", None),  # a counter, which nothing here reads
    ],
)
def test_a_rate_or_a_length_that_no_recording_has(mitdb, stated, message):
    restate("2 360 4700", stated)(mitdb / "101.hea")
    if message is None:
        load(mitdb)
        return
    with pytest.raises(InputError, match=message) as caught:
        load(mitdb)
    assert str(caught.value).startswith(f"{mitdb / '101.hea'}: ")


def test_a_signal_in_another_format_than_its_header_says(mitdb):
    restate("101.dat 16 ", "101.dat 1 ")(mitdb / "101.hea")
    with pytest.raises(InputError, match=r"101\.(dat|hea): "):
        load(mitdb)


def flip(path, at):
    content = bytearray(path.read_bytes())
    content[at] ^= 64
    path.write_bytes(content)


@pytest.mark.parametrize(("at", "lead"), [(1000, "MLII"), (4002, "V1")])
def test_a_flipped_bit_fails_the_checksum(mitdb, at, lead):
    """Of any lead in the file, read or not."""
    dat = mitdb / "101.dat"
    flip(dat, at)
    message = rf"^{dat}: lead {lead}: .* the checksum \d+, as in 101.hea, found \d+$"
    with pytest.raises(InputError, match=message):
        load(mitdb)


@pytest.mark.parametrize("stated", [[], ["0", "0", "0"]], ids=["none", "0"])
def test_a_header_without_a_checksum_is_believed(mitdb, stated):
    """0 is what programs write that count none."""
    path = mitdb / "101"
    expected = records.read_leads(path, records.read_header(path), ("V1",))
    hea = path.with_suffix(".hea")
    first, *lines = hea.read_text().splitlines()
    # Up to the zero of the converter; then first value, checksum, block size; the name.
    signals = [[*line.split()[:5], *stated, line.split()[-1]] for line in lines]
    hea.write_text("\n".join([first, *map(" ".join, signals)]))
    flip(path.with_suffix(".dat"), 4002)
    found = records.read_leads(path, records.read_header(path), ("V1",))
    assert np.sum(found != expected) == 1


def test_leads_in_files_of_their_own_are_checked_alone(tmp_path):
    x = spikes(2)
    write_record(tmp_path, "100", x=x)
    expected = records.read_leads(
        tmp_path / "100", records.read_header(tmp_path / "100"), ("V1", "MLII")
    )
    lines = ["101 2 360"]
    for k, lead in enumerate(("MLII", "V1")):
        write_record(tmp_path, f"20{k}", x=x[:, [k]], leads=(lead,))
        lines += (tmp_path / f"20{k}.hea").read_text().splitlines()[1:]
    path = tmp_path / "101"
    path.with_suffix(".hea").write_text("\n".join(lines))
    header = records.read_header(path)
    got = records.read_leads(path, header, ("V1", "MLII"))
    np.testing.assert_allclose(got, expected, atol=2e-4)
    flip(tmp_path / "200.dat", 1000)
    assert (records.read_leads(path, header, ("V1",)) == got[:, :1]).all()
    with pytest.raises(InputError, match=r"200.dat: lead MLII: damaged"):
        records.read_leads(path, header, ("V1", "MLII"))


def test_damage_anywhere_in_a_record_of_mitbih_is_found(shared_data, tmp_path):
    for suffix in (".dat", ".hea"):
        content = (shared_data / "mitdb" / f"106{suffix}").read_bytes()
        (tmp_path / f"106{suffix}").write_bytes(content)
    path, dat = tmp_path / "106", tmp_path / "106.dat"
    header, whole = records.read_header(path), dat.read_bytes()
    assert len(records.read_leads(path, header, ("MLII",))) == 650_000
    for at in np.random.default_rng(0).integers(len(whole), size=5):
        dat.write_bytes(whole)
        flip(dat, at)
        with pytest.raises(InputError, match=r"106.dat: lead (MLII|V1): damaged"):
            records.read_leads(path, header, ("MLII",))


def test_no_beats_and_no_records_are_refused(tmp_path):
    write_record(tmp_path / "db", "100", symbols="++")
    with pytest.raises(InputError, match=r"db: expected beats, found none in 1 rec"):
        load(tmp_path / "db")
    write_record(tmp_path / "paced", "102")
    with pytest.raises(InputError, match=r"paced: expected beats, found none in 0 r"):
        load(tmp_path / "paced")
    write_record(tmp_path / "short", "100", x=spikes(2)[:300], symbols="N", at=[150])
    with pytest.raises(InputError, match=r"100.dat: expected a second or more"):
        load(tmp_path / "short")
    with pytest.raises(InputError, match=r"config.data.root: expected a folder of"):
        load(tmp_path / "nowhere")


def test_the_cache_is_used_until_a_file_changes(mitdb, cache, monkeypatch):
    first = records.read_beats(str(mitdb))
    with monkeypatch.context() as context:
        context.setattr(
            records, "_cut_all", lambda *_: pytest.fail("not from the cache")
        )
        again = records.read_beats(str(mitdb))
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)
    os.utime(mitdb / "100.dat", (1, 1))
    records.read_beats(str(mitdb))
    records.read_beats(str(mitdb), leads=("V1",))
    assert len(list(cache.iterdir())) == 3


def test_a_damaged_cache_is_built_anew(mitdb, cache, capsys):
    expected = records.read_beats(str(mitdb)).x
    (path,) = cache.iterdir()
    whole = path.read_bytes()
    flipped = whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:]
    for damaged in (b"", whole[:-2000], flipped, whole[:300]):
        path.write_bytes(damaged)
        np.testing.assert_array_equal(records.read_beats(str(mitdb)).x, expected)
        assert f"kdjax: {path}: damaged, built anew" in capsys.readouterr().err
        assert path.read_bytes() == whole


def test_beats_are_read_where_no_cache_can_be_written(mitdb, cache, capsys):
    cache.parent.write_text("a file, not a folder")
    assert len(records.read_beats(str(mitdb)).x) == 90
    assert "beats are not cached" in capsys.readouterr().err


def test_two_processes_may_build_the_cache_at_once(mitdb, cache):
    code = (
        "from kdjax.data.ecg.records import read_beats\n"
        f"print(read_beats({str(mitdb)!r}).x.shape)\n"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    assert [p.communicate(timeout=120)[0] for p in running] == 2 * [b"(90, 320, 1)\n"]
    assert [path.suffix for path in cache.iterdir()] == [".npz"]
    assert len(records.read_beats(str(mitdb)).x) == 90


def test_patients_are_in_one_split(mitdb):
    splits = [load(mitdb, seed=seed) for seed in range(6)]
    for made in splits:
        sets = [set(part.group) for part in made[2:5]]
        assert [len(s) for s in sets] == [2, 1, 2]
        assert set.union(*sets) == set(range(5))
        np.testing.assert_array_equal(made.test.key, splits[0].test.key)
    assert len({made.validation.group[0] for made in splits}) > 1
    assert made.name == "MIT-BIH (6 records, MLII)"
    assert not made.synthetic
    together = load(mitdb.parent, leads=["MLII", "V1"])
    assert together.train.x.shape[1:] == (320, 2)


def of(part):
    """The records of a split."""
    return sorted({key.partition("/")[0] for key in part.key})


def test_records_are_chosen_by_name(mitdb, cache):
    made = load(mitdb, records=("100", 103, "200"), test_groups=1)
    assert made.name == "MIT-BIH (3 records, MLII)"
    assert sorted(name for part in made[2:5] for name in of(part)) == [
        *("100", "103", "200")
    ]
    beats = records.read_beats(str(mitdb))
    some = records.read_beats(str(mitdb), records=("100", "200"))
    np.testing.assert_array_equal(
        some.x, beats.x[np.isin(beats.record, ["100", "200"])]
    )
    assert len(list(cache.iterdir())) == 3, "a cache for each choice"


@pytest.mark.parametrize(
    ("groups", "test", "validation"),
    [
        ({"test_groups": ("103",), "validation_groups": (200,)}, ["103"], ["200"]),
        ({"test_groups": ("202",)}, ["201", "202"], None),
        ({"validation_groups": ("201",), "test_groups": 3}, None, ["201", "202"]),
    ],
)
def test_patients_are_chosen_by_name(mitdb, groups, test, validation):
    made = [load(mitdb, seed=seed, **groups) for seed in (0, 1, 2)]
    for one in made:
        train, held, tested = map(of, one[2:5])
        assert test in (None, tested)
        assert validation in (None, held)
        assert not {*train} & {*held} | {*train} & {*tested} | {*held} & {*tested}
        assert len({*train, *held, *tested}) == 6
        np.testing.assert_array_equal(one.test.key, made[0].test.key)


def test_naming_a_patient_draws_no_other_anew(mitdb):
    """As many drawn as before: the same, whatever the numbers of their groups."""
    drawn = load(mitdb, test_groups=2)
    named = load(mitdb, test_groups=tuple(of(drawn.test)))
    for one, other in zip(drawn[2:5], named[2:5], strict=True):
        np.testing.assert_array_equal(one.key, other.key)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"records": ("10",)}, r"^config.data.records: unknown name '10' \(did you me"),
        ({"records": "100"}, r"^config.data.records: expected a list, found '100'"),
        ({"records": ("100", 100)}, r"records: expected each name once, found '100' t"),
        ({"records": ("100",)}, r"test_groups: expected two groups .* found 1"),
        (
            {"records": ("100", "101", "103"), "test_groups": 3},
            r"test_groups: expected an integer in \[1, 2\], found 3",
        ),
        ({"test_groups": ("10",)}, r"data.test_groups: unknown name '10' \(did you me"),
        (
            {"records": ("100", "101"), "test_groups": ("103",)},
            r"data.test_groups: unknown name '103' \(did you mean '10",
        ),
        ({"test_groups": "103"}, r"data.test_groups: expected an integer or a list, f"),
        ({"test_groups": ()}, r"data.test_groups: expected patients or how many, fou"),
        (
            {"test_groups": 103},
            r"groups: expected how many patients, 1 to 4, found 103; .* \('103',\)",
        ),
        (
            {"test_groups": ("201",), "validation_groups": ("202",)},
            r"validation_groups: expected other patients than .* found '201' in both",
        ),
        (
            {
                "records": ("100", "101"),
                "test_groups": ("100",),
                "validation_groups": ("101",),
            },
            r"validation_groups: expected a patient left to learn from, found none",
        ),
        (
            {"protocol": "paper", "test_groups": ("100",)},
            r"^config.data.test_groups: expected a number, .* the patients \('100'",
        ),
    ],
)
def test_an_impossible_choice_is_refused(mitdb, fields, message):
    with pytest.raises(InputError, match=message) as caught:
        load(mitdb, **fields)
    assert "\n" not in str(caught.value)


def test_a_chosen_record_has_its_leads_and_no_pacemaker(mitdb):
    write_record(mitdb, "102")
    write_record(mitdb, "105", leads=("II", "V5"))
    with pytest.raises(InputError, match=r"records without a pacemaker, found '102'"):
        load(mitdb, records=("100", "102"))
    message = rf"^config.data.leads: expected leads of {mitdb}/105.hea, found 'MLII'"
    with pytest.raises(InputError, match=message):
        load(mitdb, records=("100", "101", "105"))


def test_a_chosen_patient_may_have_normal_beats_alone(mitdb):
    for name in ("100", "101"):
        write_record(mitdb, name, symbols="N" * 15)
    fields = {"test_groups": ("103",), "validation_groups": ("101",)}
    made = load(mitdb, records=("100", "101", "103"), **fields)
    assert set(made.train.y) == set(made.validation.y) == {0}
    with pytest.raises(InputError, match=r"validation y: expected two classes or more"):
        load(mitdb, **fields)
    with pytest.raises(InputError, match=r"abnormal beats, found none in 100$"):
        load(mitdb, records=("100", "101", "103"), test_groups=("100",))


def test_three_records_are_run_by_the_config(mitdb, tmp_path, capsys):
    """As by its flags, which may put names in a number's place."""
    config = beatgan_ecg.get_config("smoke")
    config.data.update(root=str(mitdb), records=("100", "101", "103"))
    config.data.test_groups, config.data.validation_groups = ("103",), 1
    made = json.loads(config.to_json_best_effort())
    experiment.run(made, tmp_path / "run", only="pca")
    assert "seed 0 pca: test AUC last " in capsys.readouterr().out
    with np.load(tmp_path / "run/seed_0/pca/scores.npz") as stored:
        tested = stored["key"][stored["split"] == "test"]
    assert {key.partition("/")[0] for key in tested} == {"103"}


def test_the_paper_protocol_splits_beats(mitdb):
    folds = [load(mitdb, protocol="paper", fold=fold) for fold in range(5)]
    tested = [part.test.key[data.normals(part.test)] for part in folds]
    assert len(np.unique(np.concatenate(tested))) == sum(map(len, tested)) == 18
    for made in folds:
        assert set(made.train.y) == {0}
        assert "patients leak" in made.name
        counts = [np.bincount(part.y, minlength=5).tolist() for part in made[2:5]]
        assert np.sum(counts, axis=0).tolist() == [18, 36, 12, 6, 18]
        assert counts[1][1:] == [4, 1, 1, 2]
    by_seed = load(mitdb, protocol="paper", fold=None, seed=9)
    assert set(by_seed.test.key) == set(made.test.key), "seed 9's is fold 4"
    other = load(mitdb, protocol="paper", fold=4, seed=1)
    np.testing.assert_array_equal(other.test.key, made.test.key)
    assert set(other.train.key) != set(made.train.key)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"protocol": "papper"}, r"config.data.protocol: .*did you mean 'paper'"),
        ({"fold": 1}, r"config.data.fold: expected an integer in \[0, 0\], found 1"),
        (
            {"protocol": "paper", "fold": 5},
            r"data.fold: expected an integer in \[0, 4\], found 5",
        ),
        (
            {"test_groups": 5},
            r"data.test_groups: expected an integer in \[1, 4\], found 5",
        ),
        (
            {"validation_groups": 3},
            r"data.validation_groups: expected an integer in \[1, 2\], found 3",
        ),
    ],
)
def test_impossible_fields_are_refused(mitdb, fields, message):
    with pytest.raises(InputError, match=message):
        load(mitdb, **fields)


@pytest.mark.parametrize(("symbols", "which"), [("VFS", "normal"), ("NNN", "abnormal")])
def test_splits_need_normal_and_abnormal_beats(tmp_path, symbols, which):
    for name in ("100", "101", "103", "105", "106"):
        write_record(tmp_path / "db", name, symbols=symbols)
    with pytest.raises(InputError, match=f"expected {which} beats, found none"):
        load(tmp_path / "db")


def test_real_mitbih(shared_data, cache, capsys):
    root = str(shared_data / "mitdb")
    start = time.process_time()
    beats = records.read_beats(root)
    assert time.process_time() - start < 20
    assert capsys.readouterr().err == "", "nothing is left out"
    counts = np.bincount(mitbih.to_examples(beats).y).tolist()
    assert counts == [89_836, 3_026, 7_008, 802, 15]
    counts = np.bincount(mitbih.to_examples(beats, strict=True).y).tolist()
    assert counts == [90_081, 2_781, 7_008, 802, 15]
    by_record = [np.sum(beats.record == name) for name in ("100", "114", "201", "202")]
    assert by_record == [2271, 1879, 1963, 2135]
    made = load(root, validation_groups=8, test_groups=11)
    assert made.name == "MIT-BIH (44 records, MLII)"
    assert [len(set(part.group)) for part in made[2:5]] == [24, 8, 11]
    paper = load(root, protocol="paper", fold=2)
    assert np.bincount(paper.test.y).tolist() == [17377, 2723, 6307, 722, 13]
    kept = records.read_beats(root, r_peak=True)
    normal = np.isin(kept.symbol, list("NLR"))
    assert normal.sum() == 86_885
    dropped = [
        np.isin(beats.symbol[beats.record == name], list("NLR")).sum()
        - normal[kept.record == name].sum()
        for name in ("207", "108", "117")
    ]
    assert dropped == [1457, 849, 502], "of the biosppy rule 1,458, 854 and 502"
    halves = load(root, protocol="ds1_ds2", validation_groups=8)
    assert np.bincount(halves.test.y).tolist() == [44025, 2050, 3220, 388, 7]
    assert [len(set(part.group)) for part in halves[2:5]] == [14, 8, 22]
    for path in cache.iterdir():
        path.unlink()  # 145 MB each
