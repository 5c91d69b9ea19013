"""Small recordings, written as their formats have them."""

import numpy as np

from kdjax import data

HEADER = [f"line {k} about the device" for k in range(1, 101)]


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def rows(*, people=5, n=40, seed=0, hertz=20):
    """Lines time,who,x,y,does of `people`, 1/hertz s apart; every 10 another label."""
    rng = np.random.default_rng(seed)
    found = []
    for p in range(people):
        for i in range(n):
            does = ("sit", "walk")[(i // 10 + p) % 2]
            x, y = rng.normal(size=2).round(3)
            found.append(f"{i / hertz:.2f},p{p},{x},{y},{does}")
    return found


def csv(path, lines=None, *, header="time,who,x,y,does"):
    lines = rows() if lines is None else lines
    return write(path, "\n".join([header, *lines]) + "\n")


def geneactiv(path, n=400, header=HEADER):
    """n samples at 100 Hz from 16:47:50 on."""
    rng = np.random.default_rng(0)
    lines = []
    for i in range(n):
        x = ",".join(f"{v:.4f}" for v in rng.normal(size=3))
        second, ms = divmod(10 * i, 1000)
        lines.append(f"2012-05-23 16:47:{50 + second}:{ms:03d},{x},0,0,23.1")
    return write(path, "\n".join([*header, *lines]) + "\n")


def ts(path, *, series=12, dims=2, head=(), seed=0):
    """A .ts file of two classes; lengths 20 and more."""
    rng = np.random.default_rng(seed)
    lines = [
        "# made up",
        "@problemName made",
        "@timeStamps false",
        "@missing true",
        f"@dimensions {dims}",
        "@classLabel true 1 2",
        *head,
        "@data",
    ]
    for k in range(series):
        values = rng.normal(size=(dims, 20 + k)).round(3)
        parts = [",".join(map(str, row)) for row in values]
        lines.append(":".join([*parts, str(1 + k % 2)]))
    return write(path, "\n".join(lines) + "\n")


def load(path, **fields):
    """The data set of people's recordings by default."""
    own = {"seed": 0, "window": 5, "time_unit": "s", "group": "who", "label": "does"}
    path = path if isinstance(path, dict) else str(path)
    fields = {k: v for k, v in (own | fields).items() if v != "leave"}
    return data.load("series", path=path, **fields)
