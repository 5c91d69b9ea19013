"""One small subject, and BData files written by hand, right or wrong."""

import numpy as np
import pytest

from kdjax.data.fmri.volumes import Volumes

GOD = ("n01443537", "n02071294", "n04572121")


def _volumes(*, seed=0, runs=3, blocks=4, length=3, voxels=6, classes=GOD, **fields):
    """`runs` x `blocks` x `length` volumes; a run's first block is rest."""
    rng = np.random.default_rng(seed)
    n = runs * blocks * length
    block = np.repeat(np.arange(runs * blocks), length)
    y = np.where(block % blocks == 0, -1, block % len(classes)).astype(np.int32)
    names = np.array([*classes, ""])[y]
    image = 22563 + block
    shown = np.array(
        [f"{c}_{i}" if c else "" for c, i in zip(names, image, strict=True)]
    )
    made = Volumes(
        x=rng.normal(100, 1, (n, voxels)).astype(np.float32),
        run=(1 + block // blocks).astype(np.int32),
        block=(1 + block).astype(np.int32),
        data_type=np.array(["training", "test"])[(block >= blocks * (runs - 1)) * 1],
        y=y,
        stimulus=shown,
        classes=classes,
        rois={
            "ROI_V1": np.arange(voxels) < 2,
            "ROI_V2": np.arange(voxels) == 2,
            "ROI_VC": np.arange(voxels) < 4,
        },
        position=rng.normal(size=(voxels, 3)).astype(np.float32),
        subject="S1",
    )
    return made._replace(**fields)


@pytest.fixture
def subject():
    return _volumes


def _same(one, other):
    """Whether two subjects' volumes are equal in all fields."""
    for name, a, b in zip(one._fields, one, other, strict=True):
        if name == "rois":
            assert list(a) == list(b)
            for roi in a:
                np.testing.assert_array_equal(a[roi], b[roi])
        elif isinstance(a, np.ndarray):
            assert a.dtype.kind == b.dtype.kind, name
            np.testing.assert_array_equal(a, b, err_msg=name)
        else:
            assert a == b, name


@pytest.fixture
def assert_same():
    return _same


def _write(path, columns, *, voxels=3, rows=4, flags=None, vmap=None, dtype=float):
    """A BData file with voxels, and the columns and rows of metadata given."""
    import h5py

    x = np.random.default_rng(0).normal(size=(rows, voxels))
    value = {"VoxelData": np.ones(voxels)} | (flags or {})
    table = np.full((len(value) + len(columns), voxels + len(columns)), np.nan)
    for row, flag in enumerate(value.values()):
        table[row, :voxels] = flag
    for k in range(len(columns)):
        table[len(value) + k, voxels + k] = 1
    keys = [key.encode() for key in [*value, *columns]]
    with h5py.File(path, "w") as file:
        file["dataset"] = np.column_stack([x, *columns.values()]).astype(dtype)
        file["metadata/key"] = keys
        file["metadata/description"] = keys
        file["metadata/value"] = table
        for key, names in (vmap or {}).items():
            for code, name in names.items():
                file[f"vmap/{key}/{code}"] = name.encode()
    return path


@pytest.fixture
def write_by_hand():
    return _write
