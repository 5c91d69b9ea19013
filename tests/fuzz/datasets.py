"""Small valid files of every format, and how each is read."""

import gzip
import shutil
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from kdjax import data
from kdjax.data import soft_labels
from kdjax.data.dataset import Examples
from kdjax.data.ecg.recording import cut, read_recording
from kdjax.errors import InputError
from tests.data.fmri.conftest import _volumes as volumes
from tests.data.series import made
from tests.data.test_mocap import write_file as write_mocap
from tests.data.test_wearable import write_pamap2_file, write_uci_har
from tests.fuzz import mutations

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from tests.data.ecg import test_mitbih as ecg


class Format(NamedTuple):
    """write(folder) makes valid files, read(folder) reads them.

    mangle(path, random): makes one of the files wrong.
    """

    write: Callable
    read: Callable
    mangle: Callable


def mangle_bytes(path, random):
    path.write_bytes(mutations.content(path.read_bytes(), random))


def mangle_zip(path, random):
    """The archive, or what is in it before it is packed."""
    if random.random() < 0.3:
        mangle_bytes(path, random)
        return
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = random.choice(sorted(members))
    how = random.randint(0, 4)
    if how == 0:
        del members[name]
    elif how == 1:
        members[random.choice(["../x", "/x", "x", name.upper()])] = members.pop(name)
    else:
        members[name] = mutations.content(members[name], random)
    with zipfile.ZipFile(path, "w", random.choice([0, 8])) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def mangle_arrays(path, random):
    """One array of an .npz: of another type, shape, value, name, or gone."""
    if random.random() < 0.4:
        mangle_zip(path, random)
        return
    with np.load(path) as stored:
        arrays = dict(stored)
    for _ in range(random.randint(1, 2)):
        name = random.choice(sorted(arrays))
        arrays[name] = mutations.array(arrays[name], random)
        if random.random() < 0.1:
            arrays[random.choice(["x", "y", "key", "other"])] = arrays.pop(name)
    with warnings.catch_warnings(action="ignore"):
        np.savez(path, **arrays)


def mangle_bdata(path, random):
    if random.random() < 0.3:
        mangle_bytes(path, random)
        return
    import h5py

    with h5py.File(path, "r+") as file:
        names = []
        file.visititems(
            lambda name, item: names.append(name) if hasattr(item, "shape") else None
        )
        for _ in range(random.randint(1, 2)):
            name = random.choice(names)
            if name not in file:
                continue
            array = file[name][()]
            del file[name]
            if random.random() < 0.8:
                if isinstance(array, np.ndarray) and array.dtype.kind in "fiu":
                    array = mutations.array(array, random)
                else:
                    array = random.choice([b"", b"\xff", 3.5, np.ones((2, 2))])
                if getattr(array, "dtype", np.dtype(float)).kind not in "OU":
                    file[name] = array


def write_har_zip(folder):
    root = write_uci_har(folder)
    with zipfile.ZipFile(folder / "UCI HAR Dataset.zip", "w") as archive:
        for path in sorted(root.rglob("*.txt")):
            archive.write(path, path.relative_to(folder))
    shutil.rmtree(root)


def write_pamap2(folder):
    (folder / "Protocol").mkdir()
    for k, subject in enumerate((101, 102, 103)):
        rows = np.repeat([1 + k, 4, 12], 420)
        write_pamap2_file(folder / "Protocol" / f"subject{subject}.dat", rows)


def write_mitbih(folder):
    for name in ("100", "101", "103", "105"):
        ecg.write_record(folder, name)


def write_csv(folder):
    x = ecg.spikes(1)[:, 0]
    lines = ["time,MLII", *(f"{i / 360:.6f},{v:.4f}" for i, v in enumerate(x))]
    (folder / "a.csv").write_text("\n".join(lines) + "\n")


def write_mocap_files(folder):
    for n in range(6):
        write_mocap(folder / "walk" / f"35_0{n}.amc.4d", 40, seed=n)
    write_mocap(folder / "run" / "35_07.amc.4d", 35, seed=7)
    write_mocap(folder / "other" / "49_02.amc.4d", 40, seed=9)


def write_cifar10(folder):
    rng = np.random.default_rng(0)
    for name in ("data_batch_1", "data_batch_2", "test_batch"):
        rows = rng.integers(0, 256, (20, 3073), np.uint8)
        rows[:, 0] = np.arange(20) % 10
        (folder / f"{name}.bin").write_bytes(rows.tobytes())


def write_images(folder):
    for part, count in (("train", 4), ("val", 2)):
        for label in ("cat", "dog"):
            (folder / part / label).mkdir(parents=True)
            for n in range(count):
                pixels = np.random.default_rng(n).integers(0, 256, (12, 9, 3), np.uint8)
                Image.fromarray(pixels).save(folder / part / label / f"{n}.png")


def write_arrays(folder):
    rng = np.random.default_rng(0)
    np.savez(
        folder / "a.npz",
        x=rng.normal(size=(24, 5, 2)),
        y=np.arange(24) % 3,
        group=np.repeat(np.arange(6), 4),
        key=np.array([f"k{i}" for i in range(24)]),
        classes=np.array(["a", "b", "c"]),
        split=np.repeat(["train", "validation", "test"], 8),
    )


def write_bdata(folder):
    from kdjax.data.fmri.writing import write_bdata

    write_bdata(folder / "a.h5", volumes())


def write_sources(folder):
    lines = made.rows(people=6, n=24)
    made.csv(folder / "accel.csv", lines)
    with gzip.open(folder / "gyro.csv.gz", "wt") as file:
        file.write("\n".join(["time,who,x,y,does", *lines]))


def write_days(folder):
    begin = np.datetime64("2024-02-28T23:59:58", "ms")
    lines = [f"{begin + 50 * i}Z,{i % 7 / 7:.3f},{i}" for i in range(120)]
    made.csv(folder / "a.csv", lines, header="time,x,y")
    labels = [
        f"{begin + 500 * i}Z,{begin + 500 * i + 500}Z,c{i % 2}" for i in range(12)
    ]
    made.csv(folder / "labels.csv", labels, header="start,end,label")


def write_long(folder):
    lines = [line.split(",") for line in made.rows(people=6, n=24)]
    long = [
        f"{time};{who};{key};{value};{does}".replace(".", ",")
        for time, who, x, y, does in lines
        for key, value in (("x", x), ("y", y))
    ]
    made.csv(folder / "a.csv", long, header="time;who;key;value;does")


def reads_series(name="a.csv", **fields):
    """folder -> the windows of the recordings there; texts may name the {folder}."""

    def read(folder):
        given = {"path": f"{{folder}}/{name}", "window": 5} | fields
        made.load(**_in(folder, given))

    return read


def _in(folder, value):
    if isinstance(value, dict):
        return {key: _in(folder, each) for key, each in value.items()}
    return value.format(folder=folder) if isinstance(value, str) else value


PLAIN = {"group": None, "label": None, "time_unit": None}
KEYS = np.array([f"k{i}" for i in range(6)])


def write_labels(folder):
    soft_labels.write_rows(
        folder / soft_labels.FILE,
        key=KEYS,
        label=np.arange(6) % 3,
        split=np.repeat(["train", "test"], 3),
        fold=np.zeros(6, int),
        logits=np.random.default_rng(0).normal(size=(6, 3)),
        header={"stage": "teacher"},
    )


def read_labels(folder):
    path = folder / soft_labels.FILE
    x, y = np.zeros((6, 1), np.float32), np.arange(6, dtype=np.int32) % 3
    examples = Examples(x, y, y, KEYS)
    faults = []
    for read in (
        lambda: soft_labels.read_for(path, examples, 3),
        lambda: soft_labels.read_where_there(path, examples, 3),
        lambda: soft_labels.read_soft_labels(path, classes=3),
    ):
        try:
            read()
        except InputError as error:
            faults.append(error)
    if faults:
        raise faults[0]


def loads(name, **fields):
    """folder -> the dataset of that name there."""
    return lambda folder: data.load(name, root=str(folder), seed=0, **fields)


def read_images(folder):
    loads("image_folder", size=8)(folder).train.x.read()


def reads_recording(name):
    return lambda folder: cut(read_recording(folder / name, leads=("MLII",)))


FORMATS = {
    "uci_har": Format(
        write_uci_har, loads("uci_har", validation_groups=1), mangle_bytes
    ),
    "uci_har_zip": Format(
        write_har_zip, loads("uci_har", validation_groups=1), mangle_zip
    ),
    "pamap2": Format(write_pamap2, loads("pamap2"), mangle_bytes),
    "mitbih": Format(
        write_mitbih,
        loads("mitbih", validation_groups=1, test_groups=1),
        mangle_bytes,
    ),
    "wfdb": Format(
        lambda folder: ecg.write_record(folder, "100"),
        reads_recording("100"),
        mangle_bytes,
    ),
    "csv": Format(write_csv, reads_recording("a.csv"), mangle_bytes),
    "mocap": Format(
        write_mocap_files,
        loads("mocap", window=30, test_files=2, validation_files=1),
        mangle_bytes,
    ),
    "cifar10": Format(write_cifar10, loads("cifar10"), mangle_bytes),
    "image_folder": Format(write_images, read_images, mangle_bytes),
    "npz": Format(
        write_arrays,
        lambda folder: data.load("arrays", path=str(folder / "a.npz"), seed=0),
        mangle_arrays,
    ),
    "bdata": Format(
        write_bdata,
        lambda folder: data.load(
            "bdata", paths=str(folder / "a.h5"), seed=0, lag=0, test=[3]
        ),
        mangle_bdata,
    ),
    "series": Format(
        write_sources,
        reads_series(
            path={"accel": "{folder}/accel.csv", "gyro": "{folder}/gyro.csv.gz"}
        ),
        mangle_bytes,
    ),
    "series_dates": Format(
        write_days,
        reads_series(**PLAIN | {"labels": "{folder}/labels.csv", "window": 2}),
        mangle_bytes,
    ),
    "series_long": Format(
        write_long,
        reads_series(
            key="key", value="value", delimiter=";", decimal=",", relative=True
        ),
        mangle_bytes,
    ),
    "series_geneactiv": Format(
        lambda folder: made.geneactiv(folder / "a.csv"),
        reads_series(
            **PLAIN | {"format": "geneactiv", "label": "z", "horizon": 2, "window": 3}
        ),
        mangle_bytes,
    ),
    "series_ts": Format(
        lambda folder: made.ts(folder / "a.ts"),
        reads_series("a.ts", **PLAIN),
        mangle_bytes,
    ),
    "soft_labels": Format(write_labels, read_labels, mangle_arrays),
}


def check(format, folder: Path):
    """Whether the files can be read; wrong ones are an InputError of one line."""
    before = sorted(path for path in folder.rglob("*"))
    try:
        format.read(folder)
        wrong = None
    except InputError as error:
        wrong = str(error)
    assert wrong is None or "\n" not in wrong, wrong
    assert before == sorted(path for path in folder.rglob("*")), "something was left"
    return wrong is None
