"""Valid inputs made wrong: a value of a config, a byte of a file."""

import copy
import math

import numpy as np

DEEP = []
for _ in range(100):
    DEEP = [DEEP]

NUMBERS = [
    *(0, -1, 1, 2, 3, 5, 1.5, -0.5, 0.0, 1e-30, 1e30, -1e300),
    *(math.nan, math.inf, 2**31 - 1, 2**31, -(2**63), 10**12, 10**30, 10**400),
]
TEXTS = [
    *("", "x", "best", "last", "name", "../x", "a/b", ".", "a\0b", "~nouser/x"),
    *("gs://bucket", "ü", "\ud800", "x" * 300, "/dev/null", "/", "{seed}", "{", "%s"),
    *(":", "a:", ":b", "a:b:c", "math:pi", "math:sqrt", "no_module:x", "kdjax:load"),
]
LISTS = [[], [1], [None], ["a"], [[1]], [1, "a"], [0.5, 0.1], [math.nan], DEEP]
SECTIONS = [
    *({}, {"name": None}, {"name": ["x"]}, {"name": {}}, {"name": "x"}, {"x": 1}),
    *({"stage": "teacher"}, {"stage": 3}, {"folder": "x"}, {"folder": None}, {1: 2}),
    *({"weight": None}, {"": 1}, {"a.b": 1}),
]
OTHERS = [None, True, False, b"x", {1}, object(), len, np.int64(3), np.ones(2)]
EVERY = [*NUMBERS, *TEXTS, *LISTS, *SECTIONS, *OTHERS]
# What a command line can say.
WRITTEN = [*map(repr, NUMBERS), *TEXTS, *map(str, LISTS[:-1]), "None", "True", "(1,)"]


def places(tree, path=()):
    """The path of every value inside dicts and lists."""
    if isinstance(tree, dict):
        items = list(tree.items())
    elif isinstance(tree, list):
        items = list(enumerate(tree))
    else:
        return
    for key, value in items:
        yield (*path, key)
        yield from places(value, (*path, key))


def at(tree, path):
    for key in path:
        tree = tree[key]
    return tree


def config(valid, random):
    """A config with one to three of its values changed, taken out or added."""
    changed = copy.deepcopy(valid)
    for _ in range(random.choice([1, 1, 1, 2, 3])):
        paths = list(places(changed))
        if not paths:
            break
        *above, key = random.choice(paths)
        parent = at(changed, above)
        how = random.randint(0, 7)
        value = parent[key]
        if how == 0:
            del parent[key]
        elif how == 1 and isinstance(parent, dict):
            other = random.choice([random.choice(paths)[-1], *TEXTS[:8], "seed"])
            parent[other] = copy.deepcopy(value)
        elif how == 2:
            parent[key] = copy.deepcopy(at(changed, random.choice(paths)))
        elif how == 3 and isinstance(value, int | float):
            parent[key] = value * random.choice([-1, 10, 1000, 0.1, 1e9])
        elif how == 4 and isinstance(value, str) and value:
            i = random.randrange(len(value))
            parent[key] = value[:i] + random.choice("aX_/: ") + value[i + 1 :]
        else:
            parent[key] = copy.deepcopy(random.choice(EVERY))
    return changed


def content(valid, random):
    """A file's bytes with some flipped, lost, doubled, or replaced by other ones."""
    changed = bytearray(valid)
    for _ in range(random.randint(1, 4)):
        i = random.randint(0, len(changed))
        how = random.randint(0, 6)
        if how == 0 and i < len(changed):
            changed[i] ^= 1 << random.randint(0, 7)
        elif how == 1:
            del changed[i:]
        elif how == 2:
            del changed[i : i + random.choice([1, 2, 7, 100])]
        elif how == 3:
            changed[i:i] = changed[i : i + random.choice([1, 8, 50])]
        elif how == 4:
            text = random.choice([*map(repr, NUMBERS), *TEXTS, "\n", " ", ","])
            changed[i:i] = text.encode(errors="surrogatepass")
        elif how == 5:
            few = changed[i : i + random.choice([1, 4])]
            changed[i : i + len(few)] = random.choice([b"\xff", b"\0", b"9"]) * len(few)
        else:
            numbers = [
                k for k, byte in enumerate(changed[:5000]) if byte in b"0123456789"
            ]
            if numbers:
                k = random.choice(numbers)
                changed[k : k + 1] = random.choice([b"-1", b"99999999", b"x", b"nan"])
    return bytes(changed)


def array(valid, random):
    """An array of another type, shape or value."""
    changed = np.array(valid)
    how = random.randint(0, 9)
    if how == 0:
        kind = random.choice(
            ["i1", "u8", "f2", "f8", "c8", "U3", "S2", "?", "O", "M8[s]"]
        )
        try:
            return changed.astype(kind)
        except (TypeError, ValueError):
            return changed.astype("U3")
    if how == 1:
        return (
            changed[: random.randint(0, max(0, len(changed) - 1))]
            if changed.ndim
            else 1
        )
    if how == 2:
        return changed[..., None] if random.random() < 0.5 else changed.reshape(-1)
    if how == 3:
        return np.array(random.choice([0, math.nan, "x", None, 10**12]))
    if how == 4:
        return np.concatenate([changed, changed]) if changed.ndim else changed[None]
    if how == 5:
        return changed.T
    if changed.size and changed.dtype.kind in "fiu":
        flat = changed.reshape(-1)
        value = random.choice([0, -1, 7, 1e30, -(2**40), math.nan, math.inf, 0.5, 255])
        with np.errstate(all="ignore"):
            if changed.dtype.kind in "iu" and not math.isfinite(value):
                value = -9
            info = np.iinfo(changed.dtype) if changed.dtype.kind in "iu" else None
            if info:
                value = int(min(max(value, info.min), info.max))
            flat[random.randrange(flat.size)] = value
            if how == 9:
                flat[:] = value
    elif changed.size and changed.dtype.kind in "US":
        flat = changed.reshape(-1)
        flat[random.randrange(flat.size)] = random.choice(["", "x", str(flat[0])])
    return changed
