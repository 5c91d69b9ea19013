"""human92: 92 photographs, and how unlike each other brains and people find them."""

from __future__ import annotations

import functools
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int32, UInt8
from PIL import Image
from scipy.io import loadmat
from scipy.io.matlab import MatReadError
from scipy.spatial.distance import squareform

from kdjax import files
from kdjax.checks import boolean, integer
from kdjax.data.dataset import (
    Dataset,
    Examples,
    check,
    hold_out_fold,
    take,
)
from kdjax.data.dissimilarities import check_rdm
from kdjax.data.images import PIXELS, RGB
from kdjax.data.preprocessing import scaled
from kdjax.errors import InputError

IMAGES, SIZE = 92, 175
CLASSES = (
    "human face",
    "human body part",
    "nonhuman face",
    "nonhuman body part",
    "natural inanimate",
    "artificial inanimate",
)
SUBJECTS, SESSIONS = ("BE", "KO", "SN", "TI"), 2
OBSERVERS = 16

PHOTOGRAPHS_FILE = "Kriegeskorte_Neuron2008_supplementalData.mat"
HUMAN_FILE = "92_brainRDMs.mat"
OBSERVERS_FILE = "92_behavRDMs.mat"
MONKEY = "mIT_674neurons"

# What scipy raises on a file that is damaged, cut short or no such file.
_DAMAGED = (
    *(OSError, EOFError, ValueError, TypeError, LookupError, OverflowError),
    *(MemoryError, NotImplementedError, MatReadError, zlib.error),
)


class Human92(NamedTuple):
    """Images and dissimilarities, all in one order.

    `image` uint8, RGB on a grey ground; `key` "human92/00" to "human92/91"; `y` of
    `CLASSES`; `animate`, for all but the last two. Of inferior temporal cortex (IT),
    correlation distances: `human_it` by fMRI, of `SUBJECTS` and their two sessions,
    `monkey_it` of 674 neurons. `observers`: judgements of similarity by arranging the
    images, each observer's in a unit of their own.
    """

    image: UInt8[np.ndarray, "92 175 175 3"]
    key: np.ndarray
    y: Int32[np.ndarray, " 92"]
    animate: Bool[np.ndarray, " 92"]
    human_it: Float[np.ndarray, "4 2 92 92"]
    monkey_it: Float[np.ndarray, "92 92"]
    observers: Float[np.ndarray, "16 92 92"]


@functools.lru_cache(maxsize=1)
def read_human92(folder: Path) -> Human92:
    """Reads the three MATLAB files of a folder, once in a process.

    Kriegeskorte et al. 2008, "Matching categorical object representations in inferior
    temporal cortex of man and monkey"; the judgements: Mur et al. 2013. The files are
    those of rsatoolbox's demos/92imageData; nothing is unpickled. InputError: a file
    that is absent, damaged or of other contents, another number of images or subjects,
    an RDM that is not symmetric or holds NaN.
    """
    path = folder / PHOTOGRAPHS_FILE
    photographs = _read(path, "stimuli_92objs", "RDMs_mIT_hIT_fig1")
    image, y, animate = _stimuli(path, photographs["stimuli_92objs"])
    return Human92(
        image=image,
        key=np.array([f"human92/{i:02d}" for i in range(IMAGES)]),
        y=y,
        animate=animate,
        human_it=_human_it(folder / HUMAN_FILE),
        monkey_it=_monkey_it(path, photographs["RDMs_mIT_hIT_fig1"]),
        observers=_observers(folder / OBSERVERS_FILE),
    )


def human92(
    *, root: str, seed: int, size: int = 32, folds: int = 5, animate: bool = False
) -> Dataset:
    """The 92 photographs as a dataset: [size, size, 3], RGB in [0, 1], 6 classes.

    They are made smaller as kdjax makes images smaller: bilinear, antialiased. Test:
    one of `folds` folds, that of the seed; validation: that of the next seed; so each
    image is tested on by one of any `folds` seeds that follow one another. `animate`
    tells animate and inanimate things apart, 2 classes, instead.

    InputError: what `read_human92` refuses, or a field that does not fit.
    """
    integer(size, low=1, high=SIZE, where="config.data.size")
    integer(folds, low=3, high=8, where="config.data.folds")
    boolean(animate, where="config.data.animate")
    found = read_human92(files.local(root, where="config.data.root").resolve())
    y: np.ndarray = found.y
    classes: tuple[str, ...] = CLASSES
    if animate:
        y, classes = found.animate.astype(np.int32), ("inanimate", "animate")
    every = Examples(
        x=scaled(np.stack([_smaller(image, size) for image in found.image]), *PIXELS),
        y=y,
        group=np.arange(IMAGES, dtype=np.int32),
        key=found.key,
    )
    held = [
        hold_out_fold(found.y, folds=folds, seed=seed + i, where="config.data.folds")[1]
        for i in range(2)
    ]
    rest = np.setdiff1d(np.arange(IMAGES), np.concatenate(held))
    dataset = Dataset(
        name="human92",
        classes=classes,
        train=take(every, rest),
        validation=take(every, held[1]),
        test=take(every, held[0]),
        synthetic=False,
        preprocessing=PIXELS,
        channels=RGB,
    )
    return check(dataset, where=root)


def _smaller(image: UInt8[np.ndarray, "h w 3"], size: int) -> np.ndarray:
    of_size = Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(of_size)


def _stimuli(path: Path, stimuli: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(image, y, animate) of a struct for each image."""
    stimuli = _table(stimuli, (IMAGES,), where=f"{path}: stimuli_92objs")
    image = np.empty((IMAGES, SIZE, SIZE, 3), np.uint8)
    y, animate = np.empty(IMAGES, np.int32), np.empty(IMAGES, bool)
    for i, struct in enumerate(stimuli):
        where = f"{path}: stimuli_92objs[{i}]"
        pixels = np.asarray(_field(struct, "image", where))
        if pixels.shape != image.shape[1:] or pixels.dtype != np.uint8:
            raise InputError(
                f"{where}.image: expected uint8 {image.shape[1:]}, found "
                f"{pixels.dtype} {pixels.shape}"
            )
        image[i] = pixels
        category = str(_field(struct, "category", where))
        name = category.replace("bodypart", "body part")
        if name not in CLASSES:
            raise InputError(
                f"{where}.category: expected one of {', '.join(CLASSES)}, found "
                f"{category!r}"
            )
        y[i] = CLASSES.index(name)
        animate[i] = _flag(struct, "animal", where)
    return image, y, animate


def _monkey_it(path: Path, rdms: Any) -> np.ndarray:
    """The one of that name among structs of name and RDM [pairs]."""
    where = f"{path}: RDMs_mIT_hIT_fig1"
    structs = np.atleast_1d(rdms)
    named = {str(_field(struct, "name", where)): struct for struct in structs}
    if MONKEY not in named:
        raise InputError(f"{where}: expected {MONKEY!r}, found {', '.join(named)}")
    values = np.asarray(_field(named[MONKEY], "RDM", where))
    expected = IMAGES * (IMAGES - 1) // 2
    if values.shape != (expected,) or values.dtype.kind != "f":
        raise InputError(
            f"{where}: {MONKEY}: expected dissimilarities of {IMAGES} images, "
            f"({expected},), found {values.dtype} {values.shape}"
        )
    return check_rdm(squareform(values), where=f"{where}: {MONKEY}", images=IMAGES)


def _human_it(path: Path) -> np.ndarray:
    """[subjects, sessions, 92, 92]; names are "hIT | BE | Session: 1"."""
    shape = len(SUBJECTS), SESSIONS
    structs = _table(_read(path, "RDMs")["RDMs"], shape, where=f"{path}: RDMs")
    rdms = np.empty((*shape, IMAGES, IMAGES))
    for i, j in np.ndindex(*shape):
        where = f"{path}: RDMs[{i}, {j}]"
        name, expected = str(_field(structs[i, j], "name", where)), SUBJECTS[i]
        if f"| {expected} | Session: {j + 1}" not in name:
            raise InputError(
                f"{where}.name: expected subject {expected}, session {j + 1}, found "
                f"{name!r}"
            )
        rdms[i, j] = _square(structs[i, j], where)
    return rdms


def _observers(path: Path) -> np.ndarray:
    where = f"{path}: rdms_behav_92"
    structs = _table(
        _read(path, "rdms_behav_92")["rdms_behav_92"], (OBSERVERS,), where=where
    )
    return np.stack([_square(s, f"{where}[{i}]") for i, s in enumerate(structs)])


def _square(struct: Any, where: str) -> np.ndarray:
    rdm = np.asarray(_field(struct, "RDM", where))
    if rdm.dtype.kind != "f":
        raise InputError(f"{where}.RDM: expected numbers, found {rdm.dtype}")
    return check_rdm(rdm, where=f"{where}.RDM", images=IMAGES)


def _read(path: Path, *names: str) -> dict[str, Any]:
    """Variables of a MATLAB 5 file; structs become objects with fields."""
    if not path.is_file():
        raise InputError(f"{path}: expected this file, found none")
    try:
        with path.open("rb") as file:
            found = loadmat(
                file,
                variable_names=names,
                squeeze_me=True,
                struct_as_record=False,
            )
    except _DAMAGED as error:
        raise InputError(f"{path}: cannot be read as MATLAB 5 ({error})") from error
    for name in names:
        if name not in found:
            raise InputError(f"{path}: {name}: expected this variable, found none")
    return found


def _table(structs: Any, shape: tuple[int, ...], *, where: str) -> np.ndarray:
    table = np.asarray(structs)
    if table.shape != shape:
        raise InputError(f"{where}: expected {shape} structs, found {table.shape}")
    return table


def _field(struct: Any, name: str, where: str) -> Any:
    if name not in getattr(struct, "_fieldnames", ()):
        raise InputError(f"{where}.{name}: expected this field, found none")
    return getattr(struct, name)


def _flag(struct: Any, name: str, where: str) -> bool:
    value = np.asarray(_field(struct, name, where))
    if value.shape != () or value not in (0, 1):
        raise InputError(f"{where}.{name}: expected 0 or 1, found {value}")
    return bool(value)
