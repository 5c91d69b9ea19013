"""One recording, as a WFDB record and as a CSV file."""

import warnings

import numpy as np
import pytest

from kdjax.data.ecg import records
from kdjax.data.ecg.annotations import match
from kdjax.data.ecg.recording import cut, read_recording
from kdjax.data.preprocessing import range_of_example
from kdjax.errors import InputError

# wfdb 4.3 calls what pandas 3 deprecates, when it is imported and when it writes.
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import wfdb
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:wfdb")

BEATS, EVERY = 24, 290


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def heart(rate=360, leads=2):
    """[samples, leads], and the R peaks at 200 + 290 k, counted at 360 Hz."""
    peak = 200 + EVERY * np.arange(BEATS)
    at = np.arange((peak[-1] + 300) * rate // 360) / rate * 360
    rng = np.random.default_rng(0)
    x = np.zeros((len(at), leads))
    for shift, width, height in ((-55, 12, 0.2), (0, 6, 1.5), (14, 6, -0.4)):
        wave = np.exp(-(((at[:, None] - peak - shift) / width) ** 2) / 2)
        x += height * wave @ rng.uniform(0.8, 1.2, (BEATS, leads))
    return x + 0.005 * rng.standard_normal(x.shape), peak * rate // 360


def write_record(folder, x, peak, *, rate=360, marked=True):
    folder.mkdir(exist_ok=True)
    wfdb.wrsamp(
        "100",
        fs=rate,
        units=["mV"] * x.shape[1],
        sig_name=["MLII", "V1"][: x.shape[1]],
        p_signal=x,
        fmt=["16"] * x.shape[1],
        write_dir=str(folder),
    )
    if marked:
        symbol = ["N"] * (len(peak) - 1) + ["+"]
        wfdb.wrann("100", "atr", peak, symbol=symbol, write_dir=str(folder))
    return folder / "100"


def write_csv(path, **columns):
    table = np.stack(list(columns.values()), axis=1)
    np.savetxt(path, table, "%.6f", ",", header=",".join(columns), comments="")
    return path


@pytest.mark.parametrize("suffix", ["", ".hea", ".dat"])
@pytest.mark.parametrize("leads", [("MLII",), ("V1", "MLII")])
def test_a_record_is_cut_as_for_training(tmp_path, suffix, leads):
    path = write_record(tmp_path / "db", *heart())
    expected = records.read_beats(str(path.parent), leads=leads)
    found = read_recording(path.with_name(f"100{suffix}"), leads=leads)
    beats = cut(found)
    parts = list(beats.batches(10))
    assert [(first, len(x)) for first, x in parts] == [(0, 10), (10, 10), (20, 3)]
    x = range_of_example(np.concatenate([x for _, x in parts]))
    np.testing.assert_array_equal(x, expected.x)
    np.testing.assert_array_equal(beats.beats(np.s_[:]), expected.x)
    np.testing.assert_array_equal(found.beat[beats.row], expected.sample)
    np.testing.assert_allclose(found.time, found.beat / 360)
    assert found.leads == leads
    assert found.notes == beats.notes == ()


def test_a_record_of_mitbih_is_cut_as_for_training(shared_data, tmp_path):
    for suffix in (".atr", ".dat", ".hea"):
        (tmp_path / f"100{suffix}").symlink_to(shared_data / "mitdb" / f"100{suffix}")
    expected = records.read_beats(str(tmp_path))
    found = read_recording(shared_data / "mitdb" / "100", leads=("MLII",))
    beats = cut(found)
    np.testing.assert_array_equal(beats.beats(np.s_[:]), expected.x)
    np.testing.assert_array_equal(found.beat[beats.row], expected.sample)
    assert beats.notes == ("2 beats left out at its ends",)


def test_without_annotation_beats_are_detected(tmp_path):
    x, peak = heart()
    path = write_record(tmp_path, x, peak, marked=False)
    found = read_recording(path, leads=("MLII",))
    assert found.leads == ("MLII",)
    assert abs(found.beat - peak).max() <= 2
    assert found.notes == (f"beats are not marked: {BEATS} detected (gqrs)",)


def test_marked_beats_may_be_looked_for(tmp_path):
    """All are found, also the one that is not marked; the symbols stay."""
    x, peak = heart()
    path = write_record(tmp_path, x, peak)
    marked = read_recording(path, leads=("MLII",))
    found = read_recording(path, leads=("MLII",), detect=True)
    assert found.notes == (
        f"beats are looked for, though marked: {BEATS} detected (gqrs)",
    )
    assert (len(marked.beat), len(found.beat)) == (BEATS - 1, BEATS)
    for recording in (marked, found):
        assert recording.annotated.sample.tolist() == peak[:-1].tolist()
        assert set(recording.annotated.symbol) == {"N"}
    one = np.isin(np.arange(len(x)), peak[:1])
    time = np.arange(len(x)) / 360
    path = write_csv(tmp_path / "a.csv", time=time, MLII=x[:, 0], beat=one)
    found = read_recording(path, leads=("MLII",), detect=True)
    assert abs(found.beat - peak).max() <= 2
    assert found.annotated is None


@pytest.mark.parametrize("by", records.DETECTORS)
@pytest.mark.parametrize("unit", ["mV", "uV", "", "adu"])
def test_either_detector_finds_the_beats_whatever_the_unit(by, unit):
    x, peak = heart()
    scale = {"uV": 1000, "adu": 51}.get(unit, 1)
    found = records.r_peaks(scale * x[:, 0] + 7, by=by, unit=unit)
    place = match(found, peak, within=2)
    assert set(place) >= set(range(BEATS))
    assert len(found) <= BEATS + 1, "xqrs may take the first P wave for a beat"


def test_gqrs_finds_wide_beats_that_xqrs_misses(shared_data):
    """208's, of which xqrs misses a fifth."""
    path = shared_data / "mitdb" / "208"
    lead = records.read_leads(path, records.read_header(path), ("MLII",))[:108_000, 0]
    sample, symbol = records.read_annotations(path)
    wide = sample[(symbol == "V") & (sample < 108_000)]
    share = {}
    for by in records.DETECTORS:
        place = match(records.r_peaks(lead, by=by, unit="mV"), wide, within=54)
        share[by] = (place >= 0).sum() / len(wide)
    assert share["gqrs"] > 0.97
    assert share["gqrs"] > share["xqrs"] + 0.1


@pytest.mark.parametrize("by", records.DETECTORS)
def test_a_lead_without_beats_has_none(by):
    assert len(records.r_peaks(np.zeros(5000), by=by)) == 0
    short = records.r_peaks(np.sin(np.arange(400) / 9), by=by)
    assert short.dtype == np.int64


def test_marks_of_another_record_are_said(tmp_path):
    x, peak = heart()
    path = write_record(tmp_path, x, peak)
    assert cut(read_recording(path, leads=("MLII",))).notes == ()
    elsewhere = peak[:-1] + np.tile([100, 130, 160], 8)[: len(peak) - 1]
    wfdb.wrann("100", "atr", elsewhere, symbol=["N"] * 23, write_dir=str(tmp_path))
    *_, note = cut(read_recording(path, leads=("MLII",))).notes
    assert note.startswith("its marks do not stand at beats: the lead swings ")
    assert note.endswith("; are they another recording's?")


def test_another_records_annotations_are_said_of_mitbih(shared_data, tmp_path):
    for suffix, name in ((".dat", "100"), (".hea", "100"), (".atr", "119")):
        content = (shared_data / "mitdb" / f"{name}{suffix}").read_bytes()
        (tmp_path / f"100{suffix}").write_bytes(content)
    notes = cut(read_recording(tmp_path / "100", leads=("MLII",))).notes
    assert any("another recording's" in note for note in notes)


def test_paced_beats_and_beats_at_one_time_are_said(tmp_path):
    x, peak = heart()
    path = write_record(tmp_path, x, peak, marked=False)
    at, symbol = np.insert(peak, 7, peak[7]), ["N"] * 20 + ["/"] * 3 + ["f", "N"]
    wfdb.wrann("100", "atr", at, symbol=symbol, write_dir=str(tmp_path))
    assert read_recording(path, leads=("MLII",)).notes == (
        "1 beats stand where another does: no interval of theirs",
        "4 of 25 annotated beats are paced",
    )


def test_without_a_beat_among_the_annotations_beats_are_detected(tmp_path):
    x, peak = heart()
    path = write_record(tmp_path, x, peak, marked=False)
    wfdb.wrann(
        "100", "atr", np.array([5, 900]), symbol=["+", "~"], write_dir=str(tmp_path)
    )
    found = read_recording(path, leads=("MLII",))
    assert abs(found.beat - peak).max() <= 2
    assert found.notes == (
        "no beat among the 2 annotations of its .atr",
        f"beats are not marked: {BEATS} detected (gqrs)",
    )


def test_every_beat_that_wfdb_knows_is_scored(tmp_path):
    x, peak = heart()
    path = write_record(tmp_path, x, peak, marked=False)
    symbol = [*"NLRBAaJSVrFejnE/fQ?", *"~|+!x"]
    wfdb.wrann("100", "atr", peak, symbol=symbol, write_dir=str(tmp_path))
    found = read_recording(path, leads=("MLII",))
    np.testing.assert_array_equal(found.beat, peak[:19])


@pytest.mark.parametrize("rate", [128, 250, 1000])
@pytest.mark.parametrize("marked", [True, False])
def test_another_rate_is_resampled_and_counts_its_own_samples(tmp_path, rate, marked):
    path = write_record(tmp_path, *heart(rate), rate=rate, marked=marked)
    found = read_recording(path, leads=("MLII",))
    x, peak = heart()
    expected = cut(read_recording(write_record(tmp_path, x, peak), leads=("MLII",)))
    assert found.notes[0] == f"resampled from {rate} to 360 Hz"
    assert abs(found.time[:23] - peak[:23] / 360).max() < 0.01
    assert abs(found.beat / rate - found.time).max() < 1e-9
    for one, other in zip(
        cut(found).beats(np.s_[:23]), expected.beats(np.s_[:]), strict=True
    ):
        shifts = [np.roll(one[:, 0], k) for k in range(-3, 4)]
        assert max(np.corrcoef(s, other[:, 0])[0, 1] for s in shifts) > 0.98


def test_beats_near_nan_are_left_out(tmp_path):
    x, peak = heart()
    x[peak[4], 0] = np.nan
    path = write_record(tmp_path, x, peak)
    beats = cut(read_recording(path, leads=("MLII",)))
    assert beats.row.tolist() == [k for k in range(23) if k != 4]
    assert beats.notes == ("1 beats left out for NaN",)
    assert np.isfinite(beats.beats(np.s_[:])).all()
    assert len(cut(read_recording(path, leads=("V1",))).row) == 23
    write_record(tmp_path, x, peak, marked=False)
    (tmp_path / "100.atr").unlink()
    assert len(cut(read_recording(path, leads=("MLII",))).row) == 23
    x[50:, 0] = np.nan
    write_record(tmp_path, x, peak)
    with pytest.raises(InputError, match=r"100: lead MLII: expected .* found NaN by"):
        cut(read_recording(path, leads=("MLII",)))
    path = write_csv(tmp_path / "a.csv", MLII=np.full(2000, np.nan))
    with pytest.raises(InputError, match=r"a.csv: lead MLII: expected .* found none"):
        read_recording(path, leads=("MLII",), rate=360)


@pytest.mark.parametrize("rate", [1e30, 1e-30, float("inf"), float("nan"), -360])
def test_a_rate_that_no_recording_has(tmp_path, rate):
    path = write_csv(tmp_path / "a.csv", MLII=np.ones(2000))
    with pytest.raises(InputError, match="which the filter needs, and at most 1,000,0"):
        read_recording(path, leads=("MLII",), rate=rate)


def test_a_csv_is_the_record_it_came_from(tmp_path):
    x, peak = heart()
    x = x.round(4)
    time = 10 + np.arange(len(x)) / 360
    mark = np.isin(np.arange(len(x)), peak)
    path = write_csv(tmp_path / "a.csv", time=time, V1=x[:, 1], MLII=x[:, 0], beat=mark)
    found = read_recording(path, leads=("MLII",))
    np.testing.assert_array_equal(found.signal, x[:, :1])
    np.testing.assert_array_equal(found.beat, peak)
    np.testing.assert_allclose(found.time, 10 + peak / 360, atol=1e-6)
    assert found.begin == 10
    assert found.rate == 360
    assert found.notes == ()
    text = write_csv(tmp_path / "b.csv", V1=x[:, 1], ECG=x[:, 0]).read_text()
    path.write_text("\ufeff" + text)
    alone = read_recording(path, leads=("ECG",), rate=360)
    assert abs(alone.beat - peak).max() <= 2
    assert alone.notes == (f"beats are not marked: {BEATS} detected (gqrs)",)


def test_the_only_column_is_the_lead(tmp_path):
    x, peak = heart()
    mark = np.isin(np.arange(len(x)), peak)
    path = write_csv(tmp_path / "a.csv", ECG=x[:, 0], beat=mark)
    found = read_recording(path, leads=("MLII",), rate=360)
    assert found.leads == ("ECG",)
    assert found.notes == ("column 'ECG' is taken for lead MLII",)


@pytest.mark.parametrize(("rate", "digits"), [(360, 3), (250, 3), (128, 4), (700, 3)])
def test_rounded_times_give_the_rate(tmp_path, rate, digits):
    x, _ = heart(rate)
    time = (np.arange(len(x)) / rate).round(digits)
    path = write_csv(tmp_path / "a.csv", time=time, MLII=x[:, 0])
    assert read_recording(path, leads=("MLII",)).rate == rate


def test_an_empty_field_is_nan(tmp_path):
    x, peak = heart()
    mark = np.isin(np.arange(len(x)), peak)
    path = write_csv(tmp_path / "a.csv", MLII=x[:, 0], beat=mark)
    lines = path.read_text().splitlines()
    lines[peak[3] + 1] = ",1"
    lines[peak[5] + 1] = "inf,1"
    lines[9] = lines[9].split(",")[0] + ","
    path.write_text("\n".join(lines))
    found = read_recording(path, leads=("MLII",), rate=360)
    assert np.flatnonzero(np.isnan(found.signal)).tolist() == peak[[3, 5]].tolist()
    assert cut(found).row.tolist() == [k for k in range(BEATS) if k not in (3, 5)]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_an_empty_line_of_one_column_is_nan(tmp_path, end):
    x, peak = heart()
    path = write_csv(tmp_path / "a.csv", MLII=x[:, 0].round(4))
    lines = path.read_text().splitlines()
    for row, text in ((0, ""), (700, ""), (701, " "), (peak[5], "")):
        lines[row + 1] = text
    path.write_bytes((end.join(lines) + 3 * end).encode())
    found = read_recording(path, leads=("MLII",), rate=360)
    assert np.flatnonzero(np.isnan(found.signal)).tolist() == [0, 700, 701, peak[5]]
    known = np.isfinite(found.signal[:, 0])
    np.testing.assert_array_equal(found.signal[known, 0], x[known, 0].round(4))


def rows(n=2000, *, step=1 / 360, names="time,MLII", gap=False):
    """A CSV of `n` rows."""
    time = [k * step + (k > 900) * gap for k in range(n)]
    return "\n".join([names, *(f"{t:.6f},{np.sin(t):.4f}" for t in time)])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "different names"),
        ("time,MLII\n", "below its first line"),
        ("1,2\n3,4\n", "different names"),
        ("MLII,MLII\n3,4\n", "different names"),
        ("time,MLII,V1\n0,1\n", "expected 3 columns"),
        (rows() + "\n5.5", "cannot be read as numbers"),
        (rows() + "\n5.5,what", "'what'"),
        (rows(n=1) + "\n\n \n0.003,1", "cannot be read as numbers (line 3 is blank)"),
        (rows(names="time,V1").replace("V1\n", "V1,V2\n"), "expected 3 columns"),
        (rows(gap=True), "evenly spaced seconds, found [2.5, 3.502778] from row 900"),
        (rows(step=0), "evenly spaced"),
        (rows(n=1), "evenly spaced"),
        (rows(step=1 / 50), "expected 90 Hz or more, which the filter"),
        (rows(names="MLII,V5"), "expected a column 'time', or --rate=HZ"),
        (rows(names="time,beat"), "expected lead MLII, found none (none are known)"),
        (rows(names="beat,MLII"), "expected a column 'time', or --rate=HZ"),
        (rows(n=300), "expected a second or more, found 300 samples"),
        ("time,beat,MLII\n0,2,1\n0.003,0,1", "column 'beat': expected 0 and 1"),
        ("time,V1,V2\n0,2,1\n0.003,0,1", "expected lead MLII, found none (known: V1"),
    ],
)
def test_a_bad_csv_is_said(tmp_path, text, message):
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        read_recording(path, leads=("MLII",))
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_rate_is_said_once(tmp_path):
    x, peak = heart()
    path = write_csv(tmp_path / "a.csv", time=np.arange(len(x)) / 360, MLII=x[:, 0])
    record = write_record(tmp_path, x, peak)
    for one in (path, record):
        with pytest.raises(InputError, match=r"^--rate: "):
            read_recording(one, leads=("MLII",), rate=360)
    with pytest.raises(InputError, match=r"b.csv: expected this file, found none"):
        read_recording(tmp_path / "b.csv", leads=("MLII",))


def test_a_bad_record_is_said(tmp_path):
    x, peak = heart()
    path = write_record(tmp_path / "db", x, peak)
    with pytest.raises(InputError, match=r"100.hea: expected lead V2, .* MLII, V1"):
        read_recording(path, leads=("V2",))
    hea = path.with_name("100.hea")
    whole = hea.read_text()
    hea.write_text("100/2 2 360 100\n100a 50\n100b 50\n")
    with pytest.raises(InputError, match=r"100.hea: expected one segment, found 2"):
        read_recording(path, leads=("MLII",))
    hea.write_text(whole)
    wfdb.wrann(
        "100", "atr", np.array([5]), symbol=["N"], write_dir=str(tmp_path / "db")
    )
    with pytest.raises(InputError, match=r"100: expected beats, found none .*\(of 1\)"):
        cut(read_recording(path, leads=("MLII",)))
    dat = path.with_name("100.dat")
    dat.write_bytes(b"\1" + dat.read_bytes()[1:])
    with pytest.raises(InputError, match=r"100.dat: lead MLII: .* the checksum"):
        read_recording(path, leads=("V1",))
    dat.write_bytes(b"\0" * 999)
    with pytest.raises(InputError, match=r"100.dat: damaged or cut short"):
        read_recording(path, leads=("MLII",))
    hea.unlink()
    with pytest.raises(InputError, match=r"100.hea: expected this file, found none"):
        read_recording(path, leads=("MLII",))
