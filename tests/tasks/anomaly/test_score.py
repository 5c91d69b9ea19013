"""Scoring a recording, as a user does: files in, a file out."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import warnings
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import flagsaver

from kdjax.cli import score
from kdjax.data import preprocessing
from kdjax.data.ecg import records
from kdjax.data.ecg.intervals import around
from kdjax.errors import InputError
from kdjax.loading import load
from kdjax.stages import networks
from kdjax.stages.predictor import in_batches
from kdjax.tasks.anomaly import beatgan, metrics, recordings, rhythm, scoring
from kdjax.training.checkpoint import Checkpoints, Progress, load_model
from kdjax.training.state import TrainState

ROOT = Path(__file__).resolve().parents[3]
MODEL = {"name": "beatgan", "latent": 3, "width": 1}
BEATS, BATCH = 30, 16


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("kdjax.training.host.cache_compilation", lambda: None)


def save(folder, kind, template, rng):
    """A checkpoint of random numbers."""
    model = {
        "params": jax.tree.map(partial(draw, rng, -0.5), template["params"]),
        "model_state": jax.tree.map(partial(draw, rng, 0.5), template["model_state"]),
    }
    progress = Progress(1, 1, 0.0, 1, 1)
    checkpoints = Checkpoints(folder)
    if kind == "best":
        checkpoints.save_best(model, progress)
    else:
        state = TrainState(jnp.int32(1), opt_state={"none": jnp.zeros(1)}, **model)
        checkpoints.save_last(state, progress, model)
    checkpoints.close()


def draw(rng, low, leaf):
    return jnp.asarray(rng.uniform(low, 1.0, leaf.shape), jnp.float32)


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
    """A folder {task} each, as a finished stage leaves it, of networks not trained."""
    root = tmp_path_factory.mktemp("run") / "seed_0"
    for task in ("beatgan", "autoencoder"):
        folder = root / task
        module = scoring.gan(MODEL)
        module = module if task == "beatgan" else module.generator
        rng = np.random.default_rng(0)
        for kind in ("best", "last"):
            save(folder, kind, networks.shapes(module, jnp.zeros((1, 320, 1))), rng)
        describe(folder, task=task)
    return root


def describe(folder, *, task="beatgan", data="mitbih", leads=("MLII",), model=MODEL):
    """The config and the records of a finished stage."""
    section = {"name": data, "leads": list(leads)}
    config = {"task": task, "data": section, "model": model, "seed": 0}
    record = {
        "format": 2,
        "stage": folder.name,
        "task": task,
        "data": "MIT-BIH",
        "synthetic": data == "synthetic_ecg",
        "classes": ["N", "V"],
        "input": {"shape": [320, len(leads)], "channels": list(leads)},
        "preprocessing": [{"name": "range_of_example"}],
        "settings": {
            "config.data": section,
            "config.model": model,
            "config.training": {"eval_batch_size": BATCH},
        },
    }
    for name, content in (
        ("config", config),
        ("record", record),
        ("results", record),
    ):
        (folder / f"{name}.json").write_text(json.dumps(content))


def write_scores(stage, low, high):
    """Normal validation beats with 100 even scores by `last`, and others to leave."""
    n = 100
    np.savez(
        stage / "scores.npz",
        split=np.repeat(["validation", "test"], n + 5),
        label=np.tile(np.repeat([0, 1], [n, 5]), 2),
        group=np.zeros(2 * (n + 5), np.int32),
        last=np.tile([*np.linspace(low, high, n), *[9.0] * 5], 2).astype(np.float32),
        best=np.zeros(2 * (n + 5), np.float32),
    )


@pytest.fixture
def stage(stages):
    write_scores(stages / "beatgan", 0, 2)
    return stages / "beatgan"


def ecg(rate=360):
    """(seconds, one lead, R peaks) of `BEATS` beats of different widths."""
    rng = np.random.default_rng(0)
    time = np.arange((400 + 330 * BEATS) * rate // 360) / rate
    peak = (200 + 330 * np.arange(BEATS)) / 360
    width = rng.uniform(0.01, 0.02, BEATS)
    lead = np.exp(-(((time[:, None] - peak) / width) ** 2) / 2).sum(1)
    lead += 0.01 * rng.standard_normal(len(time))
    return time, lead.round(5), (peak * rate).astype(int)


def write_csv(path, *, rate=360, name="MLII", nan=(), begin=0):
    time, lead, peak = ecg(rate)
    lead[list(nan)] = np.nan
    table = np.stack([begin + time, lead, np.isin(np.arange(len(time)), peak)], axis=1)
    np.savetxt(path, table, "%.6f", ",", header=f"time,{name},beat", comments="")
    return path


def run(capsys, *arguments):
    """(exit code, stdout, stderr) of the command."""
    words = [f"--{a}" if "=" in str(a) else str(a) for a in arguments]
    with flagsaver.flagsaver(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["score", *words])
        with pytest.raises(SystemExit) as caught:
            score.run()
    said = capsys.readouterr()
    return caught.value.code or 0, said.out, said.err


def read(path):
    """time, sample, score and flag of each beat."""
    assert path.read_text().startswith("time,sample,score,flag,symbol\n")
    return np.loadtxt(path, delimiter=",", skiprows=1, ndmin=2, usecols=range(4)).T


def symbols(path):
    return [line.split(",")[4] for line in path.read_text().splitlines()[1:]]


def summary(path):
    return json.loads(path.with_suffix(".summary.json").read_text())


def score_file(stage, source, output, which="last", **options):
    """What the command does, once its flags are read."""
    predictor = load(stage, which)
    recordings.score_recording(predictor, stage, source, output, which=which, **options)


def expected_scores(stage, x, which="last"):
    """As training scores examples `x`, which are scaled."""
    module = scoring.gan(MODEL)
    template = networks.shapes(module, jnp.zeros((1, 320, 1)))
    model = load_model(stage, which, template)
    scorer = scoring.squared_error(partial(beatgan.reconstruct, module))
    return in_batches(partial(jax.jit(scorer), model), x, BATCH)


def test_beats_are_cut_as_those_of_the_stage(stage, tmp_path, capsys):
    """[r - 139, r + 181) where it learnt from the paper's window."""
    folder = tmp_path / "paper"
    shutil.copytree(stage, folder)
    record = json.loads((folder / "record.json").read_text())
    record["settings"]["config.data"]["window"] = "paper"
    (folder / "record.json").write_text(json.dumps(record))
    source, output = write_csv(tmp_path / "a.csv"), tmp_path / "scores.csv"
    arguments = f"checkpoint={folder}", f"input={source}", f"output={output}"
    assert run(capsys, *arguments)[0] == 0
    _, lead, peak = ecg()
    windows = records.windows(records.filtered(lead[:, None], records.BAND))
    x = preprocessing.range_of_example(windows[peak - 139])
    found = read(output)[2].astype(np.float32)
    np.testing.assert_array_equal(found, expected_scores(stage, x))


def test_every_beat_gets_a_line(stage, tmp_path, capsys):
    source = write_csv(tmp_path / "a.csv")
    output = tmp_path / "new" / "scores.csv"
    code, out, err = run(
        capsys, f"checkpoint={stage}", f"input={source}", f"output={output}"
    )
    assert (code, err) == (0, "")
    seconds, sample, scores, flag = read(output)
    _, lead, peak = ecg()
    assert sample.tolist() == peak.tolist()
    np.testing.assert_allclose(seconds, peak / 360, atol=1e-6)
    windows = records.windows(records.filtered(lead[:, None], records.BAND))
    x = preprocessing.range_of_example(windows[peak - records.BEFORE])
    np.testing.assert_array_equal(scores.astype(np.float32), expected_scores(stage, x))
    write_scores(stage, 0, 2 * np.median(scores))
    code, out, _ = run(
        capsys, f"checkpoint={stage}", f"input={source}", f"output={output}",
        "false_alarms=0.5",
    )  # fmt: skip
    seconds, sample, scores, flag = read(output)
    normal = np.linspace(0, 2 * np.median(scores), 100).astype(np.float32)
    threshold = metrics.threshold(normal, 0.5)
    assert (normal > threshold).mean() == pytest.approx(0.5, abs=0.011)
    assert flag.tolist() == (scores.astype(np.float32) > threshold).tolist()
    assert 0 < flag.sum() < BEATS
    assert f"{source}: 30 beats, {int(flag.sum())} flagged (score above " in out
    written = sorted(path.name for path in output.parent.iterdir())
    assert written == ["scores.csv", "scores.summary.json"]
    assert set(symbols(output)) == {""}
    found = summary(output)
    assert found["threshold"] == pytest.approx(threshold)
    assert (found["false_alarms"], found["flagged"]) == (0.5, flag.sum())
    assert not {"classes", "false_alarms_an_hour"} & found.keys()


def test_relative_scores(stage, tmp_path, capsys):
    """Divided by their own first quartile, and so is the validation patient's."""
    source, found = write_csv(tmp_path / "a.csv"), {}
    for flag in ("norelative", "relative"):
        output = tmp_path / f"{flag}.csv"
        arguments = f"checkpoint={stage}", f"input={source}", f"output={output}"
        code, out, _ = run(capsys, *arguments, f"--{flag}")
        assert code == 0
        found[flag] = read(output)
    scores, flags = found["relative"][2:]
    plain = found["norelative"][2]
    np.testing.assert_allclose(scores, plain / np.quantile(plain, 0.25), rtol=1e-5)
    held = np.concatenate([np.linspace(0, 2, 100), [9.0] * 5]).astype(np.float32)
    limit = np.sort(held[:100])[-6] / np.quantile(held, 0.25)
    assert flags.tolist() == (scores > limit).tolist()
    assert f"score above {limit:.4g}" in out


def write_rhythm(stage, unit):
    """Of the 210 beats of `write_scores`: normal ones have 0 to 2 units."""
    units = np.tile([*np.linspace(0, 2, 100), *[9.0] * 5], 2)
    seconds = np.full(210, 0.8)
    arrays = {"whole": units, "past": 2 * units, "seconds": seconds}
    np.savez(stage / "rhythm.npz", **arrays, whole_unit=unit, past_unit=2 * unit)


@pytest.mark.parametrize("kind", ["whole", "past"])
def test_scores_with_the_rhythm_of_the_beats(stage, tmp_path, capsys, kind):
    """ln(score) + weight * irregularity / unit, beside validation beats alike."""
    write_scores(stage, 0.01, 2)
    write_rhythm(stage, 0.3)
    source, output = write_csv(tmp_path / "a.csv"), tmp_path / "b.csv"
    arguments = f"checkpoint={stage}", f"input={source}", f"output={output}"
    assert run(capsys, *arguments)[0] == 0
    plain = read(output)[2]
    code, _, _ = run(capsys, *arguments, f"rhythm={kind}", "false_alarms=0.1")
    assert code == 0
    scores, flags = read(output)[2:]
    normal = np.linspace(0.01, 2, 100)
    weight = np.log(np.quantile(normal, 0.99)) - np.log(np.median(normal))
    past = kind == "past"
    odd = rhythm.irregularity(around(ecg()[2] / 360), past=past)
    expected = np.log(plain) + weight * odd / (0.6 if past else 0.3)
    np.testing.assert_allclose(scores, expected, rtol=1e-3, atol=1e-3)
    held = np.log(normal) + weight * np.linspace(0, 4 if past else 2, 100)
    assert flags.tolist() == (scores > np.sort(held)[89]).tolist()
    assert summary(output)["rhythm"] == kind


def test_rhythm_needs_a_stage_that_knows_it(stage, tmp_path, capsys):
    (stage / "rhythm.npz").unlink(missing_ok=True)
    source, output = write_csv(tmp_path / "a.csv"), tmp_path / "b.csv"
    arguments = f"checkpoint={stage}", f"input={source}", f"output={output}"
    code, _, err = run(capsys, *arguments, "rhythm=whole")
    assert (code, err.count("\n")) == (2, 1)
    assert "--rhythm: " in err
    assert "found no rhythm.npz" in err
    assert not output.exists()


def test_relative_scores_need_patients(stage, tmp_path, capsys):
    with np.load(stage / "scores.npz") as stored:
        alone = dict(stored) | {"group": np.arange(210, dtype=np.int32)}
    np.savez(stage / "scores.npz", **alone)
    source = write_csv(tmp_path / "a.csv")
    code, _, err = run(
        capsys, f"checkpoint={stage}", f"input={source}",
        f"output={tmp_path / 'b.csv'}", "--relative",
    )  # fmt: skip
    assert (code, err.count("\n")) == (2, 1)
    assert "expected several validation beats a patient, found each alone" in err


def test_a_record_of_mitbih_is_scored_as_in_training(
    stage, shared_data, tmp_path, capsys
):
    for suffix in (".atr", ".dat", ".hea"):
        (tmp_path / f"100{suffix}").symlink_to(shared_data / "mitdb" / f"100{suffix}")
    beats = records.read_beats(str(tmp_path))
    output = tmp_path / "scores.csv"
    score_file(stage, tmp_path / "100", output, which="best")
    _, sample, scores, _ = read(output)
    assert sample.tolist() == beats.sample.tolist()
    expected = expected_scores(stage, beats.x, "best")
    np.testing.assert_array_equal(scores.astype(np.float32), expected)
    assert "2 beats left out at its ends" in capsys.readouterr().err


def test_an_autoencoder_scores_too(stages, stage, tmp_path):
    write_scores(stages / "autoencoder", 0, 2)
    source = write_csv(tmp_path / "a.csv")
    found = []
    for task in ("beatgan", "autoencoder"):
        score_file(stages / task, source, tmp_path / "scores.csv")
        found.append(read(tmp_path / "scores.csv")[2])
    assert len(found[1]) == BEATS
    assert (found[0] != found[1]).all(), "the two networks differ"


def test_what_is_changed_or_left_out_is_said(stage, tmp_path, capsys):
    peak = ecg(250)[2]
    source = write_csv(tmp_path / "a.csv", rate=250, name="V5", nan=[peak[7]])
    output = tmp_path / "scores.csv"
    code, _, err = run(
        capsys, f"checkpoint={stage}", f"input={source}", f"output={output}"
    )
    assert code == 0
    assert err.splitlines() == [
        f"kdjax: {source}: column 'V5' is taken for lead MLII",
        f"kdjax: {source}: resampled from 250 to 360 Hz",
        f"kdjax: {source}: 1 beats left out for NaN",
    ]
    _, sample, scores, _ = read(output)
    assert sample.tolist() == np.delete(peak, 7).tolist()
    assert np.isfinite(scores).all()


def test_figures_are_drawn(stage, tmp_path, capsys):
    source = write_csv(tmp_path / "a.csv")
    folder = tmp_path / "figures"
    score_file(stage, source, tmp_path / "scores.csv", figures=folder)
    for name in ("beats.png", "record.png"):
        content = (folder / name).read_bytes()
        assert content.startswith(b"\x89PNG")
        assert len(content) > 10_000
    assert len(list(folder.iterdir())) == 2
    assert f"figures: {folder}" in capsys.readouterr().out


def test_the_record_is_drawn_at_its_own_times(stage, tmp_path, monkeypatch):
    drawn = {}
    monkeypatch.setattr(recordings, "record_strip", lambda _, **of: drawn.update(of))
    source, output = write_csv(tmp_path / "a.csv", begin=100), tmp_path / "scores.csv"
    score_file(stage, source, output, figures=tmp_path / "figures")
    seconds = read(output)[0]
    np.testing.assert_allclose(
        drawn["begin"] + drawn["beats"] / drawn["rate"], seconds, atol=1e-5
    )
    assert seconds[0] > 100


def test_a_score_that_is_not_a_number_is_flagged(stage, tmp_path, monkeypatch, capsys):
    odd = np.arange(BEATS, dtype=np.float32) / BEATS
    odd[4] = np.nan
    monkeypatch.setattr(recordings, "_scores", lambda *_: (odd, ()))
    drawn = {}
    monkeypatch.setattr(recordings, "heat_map", lambda _, **of: drawn.update(of))
    output, figures = tmp_path / "scores.csv", tmp_path / "figures"
    source = write_csv(tmp_path / "a.csv")
    score_file(stage, source, output, figures=figures)
    assert np.flatnonzero(read(output)[3]).tolist() == [4]
    assert drawn["titles"][0].endswith("score nan"), "it counts as the highest"
    assert "30 beats, 1 flagged" in capsys.readouterr().out


def test_a_figures_beats_are_on_the_scale_of_their_reconstructions(
    stage, tmp_path, monkeypatch
):
    drawn = {}
    monkeypatch.setattr(recordings, "heat_map", lambda _, **of: drawn.update(of))
    output, source = tmp_path / "scores.csv", write_csv(tmp_path / "a.csv")
    score_file(stage, source, output, figures=tmp_path / "figures")
    error = np.square(drawn["beats"] - drawn["reconstruction"]).mean((1, 2))
    highest = np.sort(read(output)[2])[::-1][: recordings.SHOWN]
    np.testing.assert_allclose(error, highest, rtol=1e-5)


def fails(capsys, output, *arguments):
    """What the command says in one line, having exited with 2 and written nothing."""
    before = sorted(output.parent.rglob("*"))
    code, out, err = run(capsys, f"output={output}", *arguments)
    assert (code, out) == (2, "")
    (line,) = [line for line in err.splitlines() if "left out" not in line]
    assert line.startswith("kdjax: error: ")
    assert sorted(output.parent.rglob("*")) == before
    return line


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "detector"}, "a stage of the task 'detector' cannot be loaded"),
        ({"data": "mocap"}, "(mitbih), found one trained on 'mocap'"),
        ({"data": "synthetic_ecg"}, "found one trained on made-up 'synthetic_ecg'"),
        ({"model": MODEL | {"width": 2}}, "of another architecture"),
        ({"model": {"name": "beatgam"}}, "config.model.name: unknown name 'beatgam'"),
        ({"leads": ("MLII", "V1")}, "of another architecture"),
    ],
)
def test_a_checkpoint_that_does_not_fit(stage, tmp_path, capsys, changes, message):
    folder, source = tmp_path / "other", write_csv(tmp_path / "a.csv")
    folder.mkdir()
    for name in ("checkpoints", "scores.npz"):
        (folder / name).symlink_to(stage / name)
    describe(folder, **changes)
    arguments = f"checkpoint={folder}", f"input={source}"
    assert message in fails(capsys, tmp_path / "scores.csv", *arguments)


def test_a_stage_of_another_system_scores_no_beats(stage):
    predictor = dataclasses.replace(load(stage), kind="probabilities")
    with pytest.raises(InputError, match="expected a stage that scores beats, found"):
        recordings.check_detector(predictor, stage)


def test_a_stage_that_is_not_done(stage, tmp_path, capsys):
    source, folder = write_csv(tmp_path / "a.csv"), tmp_path / "stage"
    folder.mkdir()
    say = partial(fails, capsys, tmp_path / "scores.csv", f"input={source}")
    at = f"checkpoint={folder}"
    assert f"{folder}: no stage here" in say(at)
    root = {"stages": {"a": {}}, "task": "beatgan", "data": {"name": "mitbih"}}
    (folder / "config.json").write_text(json.dumps(root))
    assert "a stage's folder is RUN/seed_<k>/<stage>" in say(at)
    (folder / "config.json").write_text((stage / "config.json").read_text())
    assert f"{folder}: a run of kdjax 0.1, which kept no record" in say(at)
    describe(folder)
    (folder / "results.json").unlink()
    assert f"{folder}: expected a finished stage; is it done?" in say(at)
    describe(folder)
    assert "checkpoints/last: no checkpoint here" in say(at)
    (folder / "checkpoints").symlink_to(stage / "checkpoints")
    assert f"{folder}/scores.npz: expected this file, found none" in say(at)
    (folder / "scores.npz").write_bytes((stage / "scores.npz").read_bytes()[:-900])
    assert f"{folder}/scores.npz: expected arrays split, label" in say(at)
    with (folder / "scores.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    assert "group, last, best, found File is not a zip file" in say(at)


def write_record(folder):
    """A WFDB record of one lead, without annotation."""
    lead = (ecg()[1] * 1000).astype("<i2")
    lead.tofile(folder / "r.dat")
    size = f"r 1 360 {len(lead)}\nr.dat 16 1000/mV 16 0 0 0 0 MLII\n"
    (folder / "r.hea").write_text(size)
    return folder / "r"


def test_a_record_without_annotation(stage, tmp_path, capsys):
    record, output = write_record(tmp_path), tmp_path / "scores.csv"
    score_file(stage, record, output)
    assert f"beats are not marked: {BEATS} detected (gqrs)" in capsys.readouterr().err
    assert abs(read(output)[1] - ecg()[2]).max() <= 5


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("r.dat", lambda old: old[:-501], "r.dat: damaged or cut short"),
        ("r.dat", None, "r.dat: expected this file, found none"),
        ("r.hea", None, "r.hea: expected this file, found none"),
        ("r.hea", lambda old: old.replace(b"MLII", b"V5"), "expected lead MLII, found"),
        ("r.hea", lambda old: old.replace(b" 360 ", b" 36 "), "90 Hz or more"),
        ("r.dat", lambda old: b"\0" * len(old), "expected beats, found none"),
        ("r.dat", lambda old: b"\0\x80" * (len(old) // 2), "expected numbers"),
    ],
    ids=["cut", "no dat", "no hea", "lead", "rate", "no beats", "nan"],
)
def test_a_bad_record(stage, tmp_path, capsys, name, content, message):
    record = write_record(tmp_path)
    path = tmp_path / name
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content(path.read_bytes()))
    arguments = f"checkpoint={stage}", f"input={record}"
    assert message in fails(capsys, tmp_path / "scores.csv", *arguments)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("leads=V5,V1", "--leads: expected 1, as the detector learnt from, found"),
        ("leads=MLI", "expected lead MLI, found none"),
        ("rate=250", "--rate: "),
        ("rate=fast", "flag --rate=fast"),
        ("chekpoint=x", "flag 'chekpoint'. Did you mean: checkpoint"),
        ("which=first", "flag --which=first"),
        (
            "false_alarms=5",
            "--false_alarms: expected a fraction between 0 and 1, found 5.0",
        ),
        ("threshold=nan", "--threshold: expected a finite number, found nan"),
        ("threshold=high", "flag --threshold=high"),
        ("within_ms=-1", "--within_ms: expected a number >= 0, found -1.0"),
        ("input=/nowhere/a.csv", "/nowhere/a.csv: expected this file, found none"),
        ("figures=LICENSE", "--figures: LICENSE: expected a folder to write in"),
        ("output=LICENSE.dat", "--output: expected another file than --input, found"),
        ("output=kdjax", "--output: expected a file, found the folder kdjax"),
        ("output=LICENSE/a.csv", "--output: LICENSE: expected a folder to write in"),
        ("more", "unexpected argument 'more'"),
    ],
)
def test_a_bad_argument(stage, tmp_path, capsys, argument, message):
    source = tmp_path / "a.csv"
    write_csv(source, name="MLII,V1").write_text(
        source.read_text()
        .replace(",0.000000\n", ",0,0\n")
        .replace(",1.000000\n", ",0,1\n")
    )
    arguments = f"checkpoint={stage}", f"input={source}", argument
    assert message in fails(capsys, tmp_path / "scores.csv", *arguments)
    assert "--input: missing" in fails(
        capsys, tmp_path / "b.csv", f"checkpoint={stage}"
    )
    same = f"checkpoint={stage}", f"input={source}"
    assert "--output: expected another" in fails(capsys, source, *same)


def test_one_threshold_at_most(tmp_path, capsys):
    output = tmp_path / "scores.csv"
    arguments = "checkpoint=/nowhere", "input=/nowhere.csv", "threshold=1"
    said = fails(capsys, output, *arguments, "false_alarms=0.05")
    assert "--threshold: expected this or --false_alarms, found both" in said


# Ctrl-C when half of a file is written: sent by the process itself, for another cannot
# know that it comes before the end.
HALF_WRITTEN = """
import os, runpy, signal
from kdjax import files

def write(path, fill, whole=files.write):
    def half(file):
        file.write(b"time,sam")
        file.flush()
        print([p.stat().st_size for p in path.parent.iterdir()])
        os.kill(os.getpid(), signal.SIGINT)
        fill(file)
    whole(path, half)

files.write = write
runpy.run_module("kdjax", run_name="__main__", alter_sys=True)
"""


def test_ctrl_c_leaves_no_file(stage, tmp_path):
    lead = np.sin(np.arange(3000) / 20)
    np.savetxt(
        tmp_path / "a.csv",
        np.stack([lead, np.ones_like(lead)], axis=1),
        "%.3f",
        ",",
        header="MLII,beat",
        comments="",
    )
    folder = tmp_path / "out"
    command = [
        *(sys.executable, "-c", HALF_WRITTEN, "score", "--rate=360"),
        *(f"--checkpoint={stage}", f"--input={tmp_path / 'a.csv'}"),
        f"--output={folder / 'scores.csv'}",
    ]
    ended = subprocess.run(
        command, cwd=ROOT, env=os.environ, capture_output=True, text=True, timeout=300
    )
    assert ended.returncode == 130, ended.stderr
    assert ended.stdout.splitlines()[-1] == "[8]"
    assert ended.stderr.splitlines()[-1].startswith("kdjax: interrupted; ")
    assert not list(folder.iterdir())


def annotate(record, at, symbol):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import wfdb

        order = np.argsort(at)
        where = {"write_dir": str(record.parent)}
        symbol = list(np.array(list(symbol))[order])
        wfdb.wrann(record.name, "atr", np.array(at)[order], symbol=symbol, **where)


SYMBOLS = "NNVNLAN" * 4 + "F/"


def test_an_annotated_record_is_judged_by_class(stage, tmp_path, capsys):
    record, output = write_record(tmp_path), tmp_path / "scores.csv"
    annotate(record, ecg()[2], SYMBOLS)
    drawn = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recordings, "record_strip", lambda _, **of: drawn.update(of))
        patch.setattr(recordings, "heat_map", lambda *_, **__: None)
        score_file(stage, record, output, figures=tmp_path / "figures", threshold=0.5)
    scores, flag = read(output)[2:]
    limit = float(np.median(scores))
    assert "".join(symbols(output)) == SYMBOLS
    assert drawn["unit"] == "mV"
    assert "".join(drawn["symbols"]) == SYMBOLS.replace("N", "").replace("L", "")
    capsys.readouterr()
    code, out, _ = run(
        capsys, f"checkpoint={stage}", f"input={record}", f"output={output}",
        f"threshold={limit}",
    )  # fmt: skip
    assert code == 0
    flag = read(output)[3].astype(bool)
    assert flag.tolist() == (scores > limit).tolist()
    found = summary(output)
    assert (found["threshold"], found["false_alarms"]) == (limit, None)
    hours = len(ecg()[1]) / 360 / 3600
    for name, of_class in {"N": "NL", "S": "A", "V": "V", "F": "F", "Q": "/"}.items():
        own = np.array([symbol in of_class for symbol in SYMBOLS])
        counts = found["classes"][name]
        assert counts["beats"] == counts["scored"] == own.sum()
        assert counts["flagged"] == flag[own].sum()
        assert counts["share"] == pytest.approx(flag[own].mean())
        assert counts["interval"][0] <= counts["share"] <= counts["interval"][1]
    assert found["symbols"].keys() == set(SYMBOLS)
    normal = np.isin(list(SYMBOLS), ["N", "L"])
    per_hour = pytest.approx(flag[normal].sum() / hours)
    assert found["false_alarms_an_hour"] == per_hour
    assert f"score above {limit:.4g}" in out
    assert len(found["thresholds"]) == 7
    for line in found["thresholds"]:
        above = scores > line["threshold"]
        assert line["flagged"] == above.sum()
        share = above[np.array(list(SYMBOLS)) == "V"].mean()
        assert line["share"]["V"] == pytest.approx(share)
    stars = [line for line in out.splitlines() if line.startswith("*")]
    assert len(stars) == 1
    assert f" {limit:.4g} " in stars[0]


def test_beats_that_are_looked_for_are_matched(stage, tmp_path, capsys):
    """55 ms away: matched; 222 ms: not, and no beat is there: missed."""
    record, output = write_record(tmp_path), tmp_path / "scores.csv"
    at = ecg()[2] + 20
    at[4] += 60
    annotate(record, at, SYMBOLS)
    score_file(stage, record, output, detect=True, false_alarms=0.999)
    said = capsys.readouterr()
    assert "beats are looked for, though marked: 30 detected (gqrs)" in said.err
    assert "".join(symbols(output)) == SYMBOLS[:4] + SYMBOLS[5:]
    found = summary(output)
    assert found["flagged"] == BEATS, "all are above the least score"
    assert found["unmatched"]["beats"] == found["unmatched"]["flagged"] == 1
    normal, left = found["classes"]["N"], found["symbols"]["L"]
    assert [left[key] for key in ("beats", "scored", "flagged")] == [4, 3, 3]
    assert normal["share"] == pytest.approx(19 / 20)
    hours = len(ecg()[1]) / 360 / 3600
    assert found["false_alarms_an_hour"] == pytest.approx(20 / hours)
    assert "unmatched" in said.out
    score_file(stage, record, output, detect=True, within_ms=300)
    assert "".join(symbols(output)) == SYMBOLS


def test_escape_beats_are_of_the_class_that_the_stage_learnt(stage, tmp_path):
    record, output = write_record(tmp_path), tmp_path / "scores.csv"
    annotate(record, ecg()[2], "enNNV" * 6)
    predictor, beats = load(stage, "last"), []
    for strict in (False, True):
        predictor.record["settings"]["config.data"]["strict"] = strict
        recordings.score_recording(predictor, stage, record, output)
        classes = summary(output)["classes"]
        beats.append([classes[name]["beats"] for name in "NSV"])
    assert beats == [[12, 12, 6], [24, 0, 6]]


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda path: path.mkdir(), "the folder"),
        (lambda path: path.symlink_to("/"), "the folder"),
        (os.mkfifo, "a device or a pipe,"),
        (lambda path: path.symlink_to("/dev/full"), "a device or a pipe,"),
        (lambda path: path.symlink_to("/dev/null"), "a device or a pipe,"),
    ],
    ids=["folder", "link to a folder", "pipe", "link to full", "link to null"],
)
@pytest.mark.parametrize("name", ["scores.csv", "scores.summary.json"])
def test_what_is_no_plain_file_is_not_written_to(tmp_path, capsys, make, kind, name):
    """Before anything is loaded: there is no such stage."""
    make(tmp_path / name)
    before = sorted(tmp_path.iterdir())
    code, out, err = run(
        capsys, "checkpoint=/nowhere", "input=/nowhere.csv",
        f"output={tmp_path / 'scores.csv'}",
    )  # fmt: skip
    assert (code, out) == (2, "")
    expected = f"--output: expected a file, found {kind} {tmp_path / name}"
    assert err == f"kdjax: error: {expected}\n"
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("device", ["/dev/null", "/dev/full"])
def test_a_device_is_not_written_to(capsys, device):
    code, _, err = run(
        capsys, "checkpoint=/nowhere", "input=/n.csv", f"output={device}"
    )
    assert (code, err.count("\n")) == (2, 1)
    assert f"--output: expected a file, found a device or a pipe, {device}" in err


def test_a_link_to_a_file_stays_one(stage, tmp_path):
    output, target = tmp_path / "link.csv", tmp_path / "target.csv"
    output.symlink_to(target)
    recordings.check_paths(tmp_path / "100", output, None)
    score_file(stage, write_csv(tmp_path / "a.csv"), output)
    assert output.is_symlink()
    assert len(read(target)[0]) == BEATS


def test_a_patient_of_mitbih_is_judged(stage, shared_data, tmp_path):
    """Record 119's V beats, of a network that was not trained: counts alone."""
    for suffix in (".atr", ".dat", ".hea"):
        (tmp_path / f"119{suffix}").symlink_to(shared_data / "mitdb" / f"119{suffix}")
    output = tmp_path / "scores.csv"
    score_file(stage, tmp_path / "119", output)
    found = summary(output)
    beats = {name: counts["beats"] for name, counts in found["classes"].items()}
    assert beats == {"N": 1543, "S": 0, "V": 444, "F": 0, "Q": 0}
    assert found["hours"] == pytest.approx(650_000 / 360 / 3600)
    assert found["unmatched"]["beats"] == 0
