"""Every benchmark runs, at a tiny size: what it prints, not how fast it is."""

import importlib
import re
import sys
import warnings
from pathlib import Path

import jax
import numpy as np
import pytest

from kdjax import experiment
from kdjax.data.fmri.volumes import Volumes
from kdjax.data.fmri.writing import write_bdata
from kdjax.errors import InputError
from kdjax.export.stage import export
from kdjax.training import host
from tests.tasks.anomaly.beating import NAME as BEATS

# wfdb 4.3 calls what pandas 3 deprecates, when it is imported and when it writes.
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import wfdb
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:wfdb")

HERE = Path(__file__).parent
NUMBER = r"([\d.e+-]+)"
SHARED = ("stepping", "sklearn_decoders")  # what benchmarks import


@pytest.fixture(autouse=True)
def this_process(monkeypatch):
    """Benchmarks import one another by name; memory of this process stays glibc's."""
    monkeypatch.syspath_prepend(HERE)
    monkeypatch.setattr(host, "keep_freed_memory", lambda: None)


@pytest.fixture
def run(capsys):
    """Runs a benchmark's main: the lines that it prints below the machine's name."""

    def run(name, *arguments):
        importlib.import_module(name).main([*map(str, arguments)])
        machine, *lines = capsys.readouterr().out.splitlines()
        version = re.escape(jax.__version__)
        assert re.fullmatch(rf"\S.*, \d+ threads, jax {version}, cpu", machine)
        return lines

    return run


def assert_timed(lines, names, pattern=rf"(.*): {NUMBER} ms"):
    """One line for each name, with positive numbers."""
    found = [re.fullmatch(pattern, line) for line in lines]
    assert all(found), lines
    assert [match[1] for match in found] == names
    assert all(float(value) > 0 for match in found for value in match.groups()[1:])


@pytest.fixture(scope="module")
def mitdb(tmp_path_factory):
    """Four patients of 20 beats, every fourth ventricular, after MIT-BIH's files."""
    folder = tmp_path_factory.mktemp("mitdb")
    at = 200 + 300 * np.arange(20)
    symbols = np.where(np.arange(20) % 4 == 3, "V", "N")
    for seed, name in enumerate(("100", "101", "103", "105")):
        rng = np.random.default_rng(seed)
        distance = np.arange(at[-1] + 400)[:, None] - at
        waves = np.exp(-((distance / np.where(symbols == "V", 20, 6)) ** 2) / 2)
        x = waves @ rng.uniform(0.5, 1.5, (20, 2)) + rng.normal(
            0, 0.01, (len(waves), 2)
        )
        wfdb.wrsamp(
            name,
            fs=360,
            units=["mV", "mV"],
            sig_name=["MLII", "V1"],
            p_signal=x,
            fmt=["16", "16"],
            write_dir=str(folder),
        )
        wfdb.wrann(name, "atr", at, symbol=list(symbols), write_dir=str(folder))
    return folder


WEARABLE = [
    "WRN10-1 step",
    "KD WRN10-1 -> WRN10-1 step",
    "KD WRN10-1 -> WRN10-1 epoch",
]


def test_wearable(run):
    assert_timed(run("wearable", "--tiny", "--rounds=1"), WEARABLE)


def test_zoo(run):
    assert_timed(run("zoo", "--tiny", "--rounds=1"), ["lstm step"])


def test_methods(run):
    names = [f"{name} step" for name in ("kd", "fitnet", "relational")]
    assert_timed(run("methods", "--tiny", "--rounds=1"), names)


def test_simclr(run):
    assert_timed(run("simclr", "--tiny", "--rounds=1"), ["SimCLR step, batch 8"])


def test_simclr_of_images(run, tmp_path):
    rng = np.random.default_rng(0)
    for name, count in (("data_batch_1.bin", 50), ("test_batch.bin", 10)):
        records = rng.integers(0, 256, (count, 3073), np.uint8)
        records[:, 0] = np.arange(count) % 10
        records.tofile(tmp_path / name)
    pattern = rf"(.*): {NUMBER} s, loss {NUMBER}, {NUMBER} MiB in all"
    lines = run("simclr", "--tiny", f"--large={tmp_path}")
    assert_timed(lines, ["batch 8 in 2 microbatches"] * 4, pattern)


def test_beatgan(run, mitdb):
    lines = run("beatgan", mitdb, "--tiny", "--rounds=1")
    cutting = rf"(cutting) .*: {NUMBER} s; from the cache {NUMBER} ms"
    assert_timed([lines.pop(4)], ["cutting"], cutting)
    names = [
        "scoring a beat, batch 1",
        "scoring a beat, batch 16",
        "tick_warp of a beat",
        "time_warp of a beat",
        "BeatGAN step, batch 16",
    ]
    assert_timed(lines, names)


def test_contrastive(run, tmp_path):
    figure = tmp_path / "figure.png"
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho \'{"ms": 2.5, "mib": 30.0}\'\n')
    python.chmod(0o755)
    shared = ("--tiny", f"--peer={python}", f"--figure={figure}")
    lines = [line for line in run("contrastive", *shared) if "N" not in line[:25]]
    pattern = rf" *(\S.*?) +(\d+) +{NUMBER} +{NUMBER} +\d+"
    assert_timed(
        [line for line in lines if "ratio" not in line],
        [
            "kdjax, chunk 512",
            "kdjax, one tile",
            "PyTorch",
            "kdjax, chunk 512",
            "PyTorch",
        ],
        pattern,
    )
    ratios = [line for line in lines if "ratio" in line]
    assert_timed(ratios, ["ratio", "ratio"], rf" *(ratio) +(\d+) +{NUMBER}")
    assert figure.stat().st_size > 10_000


def test_contrastive_model(capsys):
    importlib.import_module("contrastive").main(["--model"])
    rows = capsys.readouterr().out.splitlines()[2:]
    assert len(rows) == 12
    assert all(float(value) > 0 for row in rows for value in row.split()[3:])


def test_ecg_choices(run, mitdb):
    lines = run("ecg_choices", mitdb, "--tiny")
    first = 2 + 2 * 3 * 5  # leads, scales, components
    cells = rf"{NUMBER} ± {NUMBER}"
    for line in lines[2:first]:
        row = re.fullmatch(rf"\| MLII.* \| \d+( \| {cells}){{4}} \|", line)
        assert row, line
        assert all(0 <= float(value) <= 1 for value in re.findall(r"0\.\d+", line))
    rows = lines[first + 3 :]
    assert len(rows) == 3 * 4  # detectors, scores
    for line in rows:
        assert re.fullmatch(rf"\| [^|]+ \| [^|]+( \| {cells}){{2}} \|", line), line


def test_ecg_beats(run, mitdb):
    """Four records of 20 spikes, every fourth wide: both find most, to 10 ms."""
    lines = run("ecg_beats", mitdb, "--tiny")
    rows = [line.strip("| ").split(" | ") for line in lines[2:]]
    assert [row[0] for row in rows] == ["100", "101", "103", "105", "all"]
    assert rows[-1][1:3] == ["80", "20"]
    gqrs, xqrs = rows[-1][3:7], rows[-1][7:]
    for percent, of_v, value, ms in (gqrs, xqrs):
        assert 50 < float(percent) <= 100
        assert 0 <= float(of_v) <= 100
        assert float(value) > 95
        assert float(ms) < 10


def test_ecg_distilled(run, tmp_path, capsys):
    """On synthetic beats, a student of one epoch."""
    solved = {"epochs": 0, "batch_size": 32, "select": "loss"}
    member = {"rebuilt": {"stage": "autoencoder", "checkpoint": "last"}}
    learnt = {"epochs": 1, "batch_size": 32}
    config = {
        "data": {"name": BEATS},
        "training": solved,
        "optimizer": {"name": "sgd", "schedule": {"name": "constant", "value": 0.01}},
        "seeds": [0],
        "stages": {
            "autoencoder": {
                "task": "autoencoder",
                "model": {"name": "dense_autoencoder", "latent": 2, "widths": [8]},
            },
            "ensemble": {"task": "ensemble", "optimizer": None, "members": member},
            "distilled": {
                "task": "regressor",
                "model": {"name": "mlp", "widths": [8]},
                "teacher": {"stage": "ensemble"},
                "training": learnt,
            },
        },
        "report": {"order": ["autoencoder", "ensemble", "distilled"]},
    }
    experiment.run(config, tmp_path)
    seed = tmp_path / "seed_0"
    export(seed / "distilled", ["stablehlo"], checkpoint="last")
    capsys.readouterr()  # what both said
    lines = run("ecg_distilled", seed, "--tiny")
    assert lines[0] == "16 beats, 16 at once; microseconds a beat"
    names = ["the distance from it", "the rhythm", "rebuilt"]
    names = ["before both, the usual beat", *(f"ensemble, {name}" for name in names)]
    names += ["ensemble", "distilled, its vectors", "distilled, stablehlo"]
    assert_timed(lines[1:], names, rf"(.*): {NUMBER}")


def test_fixed_points(run):
    lines = run("fixed_points", "--tiny", "--rounds=1")
    pattern = rf"(.*): {NUMBER} starts/s, {NUMBER} points, {NUMBER} of the starts.*"
    assert_timed(lines, ["rate", "voltage", "rate, averaged over noise"], pattern)


@pytest.fixture
def peers(tmp_path, monkeypatch):
    """Programs that print as the peers do: {name: the lines it prints}."""
    monkeypatch.setattr(importlib.import_module("stepping"), "PEERS", tmp_path)

    def write(programs):
        for name, lines in programs.items():
            (tmp_path / name).write_text("".join(f"print({x!r})\n" for x in lines))

    return write


def test_a_peer_is_run_in_turn(peers, capsys, tmp_path):
    stepping = importlib.import_module("stepping")
    log = tmp_path / "log"
    peers(
        {"peer.py": ["torch net, batch 16: 9.00 ms", "torch net, batch 1 (3 p): 6 ms"]}
    )
    with (tmp_path / "peer.py").open("a") as program:
        program.write(f"open({str(log)!r}, 'a').write('peer ')\n")

    def measure():
        with log.open("a") as file:
            file.write("ours ")
        return {1: 2.0, 3: 4.0, 5: 3.0}[len(log.read_text().split())]

    case = stepping.Case("net", lambda: measure, ("peer.py", "torch net, batch 1"))
    alone = case._replace(name="alone", peer=None, prepare=lambda: lambda: 0.5)
    page = tmp_path / "page.md"
    page.write_text("<!-- table nets -->\n<!-- end -->\n")
    cases = [case, alone]
    stepping.report(cases, rounds=3, peer=sys.executable, into=page, name="nets")
    assert log.read_text().split() == ["ours", "peer"] * 3
    assert capsys.readouterr().out.splitlines() == [
        "net: 3 (2, 4, 3) ms; peer 6 (6, 6, 6) ms; ratio 2 (3, 1.5, 2)",
        "alone: 0.5 (0.5, 0.5, 0.5) ms",
    ]
    lines = page.read_text().splitlines()
    assert "| net | 3 (2-4) | 6 (6-6) | 2 (1.5-3) |" in lines
    assert "| alone | 0.5 (0.5-0.5) | - | - |" in lines
    (made,) = (line for line in lines if "medians of 3 rounds" in line)
    assert f"jax {jax.__version__}, kdjax " in made


def test_a_peer_that_prints_something_else_is_named(peers):
    stepping = importlib.import_module("stepping")
    peers({"peer.py": ["torch net, batch 10: 9.00 ms"]})
    with pytest.raises(
        SystemExit, match=r"peer.py: expected a line 'torch net, batch 1:"
    ):
        stepping.peer_ms(sys.executable, "peer.py", "torch net, batch 1", keep=True)


def test_a_peer_keeps_its_memory_as_training_does(peers, tmp_path):
    stepping = importlib.import_module("stepping")
    (tmp_path / "peer.py").write_text(
        "import os\nprint('found:', os.environ.get('MALLOC_MMAP_MAX_', '7'), 'ms')\n"
    )
    for keep, expected in ((True, 0), (False, 7)):
        assert (
            stepping.peer_ms(sys.executable, "peer.py", "found", keep=keep) == expected
        )


def test_every_benchmark_is_tested():
    text = Path(__file__).read_text()
    for path in HERE.glob("*.py"):
        if path.stem not in (*SHARED, Path(__file__).stem):
            assert f'run("{path.stem}"' in text


def test_ctrnn(run):
    assert_timed(run("ctrnn", "--tiny", "--rounds=1"), ["CTRNN step, 8 units"])
    names = ["1 networks, one", "3 networks, a call each", "3 networks, one call"]
    assert_timed(run("ctrnn", "--tiny", "--population=3"), names)
    lines = run("ctrnn", "--tiny", "--memory")
    names = [f"9 steps, 8 units, {kept}" for kept in ("everything kept", "stretches")]
    assert_timed(lines, names, rf"(.*): {NUMBER} MiB")


def test_decoders(run, tmp_path):
    rng = np.random.default_rng(0)
    y = np.repeat(np.tile(np.arange(3, dtype=np.int32), 8), 4)
    block = np.arange(96, dtype=np.int32) // 4
    volumes = Volumes(
        x=rng.normal(100 + 3 * np.eye(3, 8)[y]).astype(np.float32),
        run=1 + block // 6,
        block=1 + block,
        data_type=np.full(96, ""),
        y=y,
        stimulus=np.full(96, ""),
        classes=("cat", "face", "house"),
        rois={"ROI_ALL": np.ones(8, bool)},
        position=None,
        subject="S1",
    )
    write_bdata(tmp_path / "small.h5", volumes)
    given = (f"--path={tmp_path / 'small.h5'}", "--tiny")
    versions, _, _, *lines = run("decoders", *given, "--seeds=1", "--width=0.03125")
    assert re.fullmatch(r"kdjax \S+, scikit-learn \S+", versions)
    rows = [line.strip("| ").split(" | ") for line in lines]
    assert [row[0] for row in rows] == ["ridge", "class_mean", "mlp", "resnet_1d"]
    assert [row[3:] == ["-"] * 3 for row in rows] == [False, False, False, True]
    for _, right, seconds, *_ in rows:
        assert 0 <= float(right.split()[0]) <= 100
        assert float(seconds) > 0
    assert rows[1][5] == "100.0"
    assert len(run("decoders", *given, "--stages", "ridge", "class_mean")) == 5


@pytest.mark.long
def test_all_steps_in_one_table(run, tmp_path):
    page = tmp_path / "README.md"
    page.write_text("before\n<!-- table speed -->\nold\n<!-- end -->\nafter\n")
    names = ["WRN16-1 step", "a beat's score, batch 1", "NT-Xent, N = 4096"]
    flags = ["--tiny", "--rounds=1", f"--rows={';'.join(names)}", f"--into={page}"]
    said = "\n".join(run("run", *flags))
    text = page.read_text()
    assert text.startswith("before\n<!-- table speed -->\n\n|  | kdjax, ms |")
    assert text.endswith("\n<!-- end -->\nafter\n")
    assert "old" not in text
    table = text.partition("-->\n")[2].partition("<!--")[0].strip()
    assert table in said
    for name in names:
        (line,) = [
            line for line in table.splitlines() if line.startswith(f"| {name} |")
        ]
        ours, eager, compiled, _, one, *_ = line.split("|")[2:]
        assert float(ours) > 0
        assert float(one) > 0
        assert (eager.strip(), compiled.strip()) == ("-", "-")
    assert f"jax {jax.__version__}, kdjax " in table
    page.write_text("no marks")
    bench = importlib.import_module("run")
    with pytest.raises(InputError, match="expected the lines '<!-- table speed"):
        bench.put("", page, bench.NAME)


def test_a_peers_lines_are_read_and_the_faster_one_counts(monkeypatch):
    bench = importlib.import_module("run")
    said = "torch eager X (5 params): 12.50 ms (min 1.00), peak\nother: 3 ms\n"
    script = f"print({said!r})"
    monkeypatch.setattr(bench, "PEERS", Path("/"))
    done = bench.subprocess.run
    command = [sys.executable, "-c", script]
    monkeypatch.setattr(bench.subprocess, "run", lambda _, **how: done(command, **how))
    assert bench.peers_say("python", "x.py") == {"torch eager X": 12.5}
    rounds = [{"all": 10.0, "one": 16.0, "eager": 14.0, "compiled": 13.0, "gflop": 1.0}]
    limit = {"gflops": 200.0, "gbs": 20.0}
    found = [{"X": r, bench.LIMITS: {"all": limit, "one": limit}} for r in rounds]
    cells = bench.markdown(found, ["X"]).splitlines()[2].split("|")[1:-1]
    assert [c.strip() for c in cells] == [
        *("X", "10", "14", "13", "1.3", "16", "0.625", "1", "100", "50 %")
    ]


def test_where_a_steps_time_goes(run):
    step, *lines = run("thunks", "WRN16-1 step", "--tiny", "--steps=2")
    assert re.fullmatch(rf"WRN16-1 step: {NUMBER} ms while it is traced", step)
    assert any(line.startswith("thread tf_XLA") for line in lines)
    assert any(re.fullmatch(r" *[\d.]+ ms +[\d.]+ x dot", line) for line in lines)


def test_a_thread_is_busy_once_where_operations_are_nested():
    thunks = importlib.import_module("thunks")
    spans = [("a", 0, 1000), ("b.1", 200, 300), ("b.2", 1500, 500), ("end: a", 0, 9e9)]
    events = [{"name": n, "ts": t, "dur": d} for n, t, d in spans]
    assert thunks.busy(events, steps=1) == 1.5
    assert thunks.kinds(events, steps=2) == [("a", 0.5, 0.5), ("b", 0.4, 1.0)]


@pytest.mark.long
def test_an_examples_cost_against_batch_and_width(run, tmp_path):
    figure = tmp_path / "scale.png"
    lines = run("scale", "--tiny", "--rounds=1", f"--figure={figure}")
    names = ["batch 8, width 1", "batch 16, width 1"]
    names += ["batch 8, width 2"]
    found = [
        re.fullmatch(rf"(.*): {NUMBER} ms an example \(.*\), \d+ MiB", x) for x in lines
    ]
    assert all(found), lines
    assert [match[1] for match in found] == names
    assert all(float(match[2]) > 0 for match in found)
    assert figure.stat().st_size > 1000
