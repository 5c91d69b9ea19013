import os
import signal
import subprocess
import sys
import time
from multiprocessing import active_children

import numpy as np
import pytest

from kdjax import data
from kdjax.errors import InputError, MachineError


@pytest.fixture
def images(tmp_path, save_image):
    names = [f"{n:02d}.jpg" for n in range(14)]
    for n, name in enumerate(names):
        save_image(tmp_path / name, seed=n)
    return data.ImageFiles(tmp_path, np.array(names), 8)


def stream(images, *, size=3, order=None, **fields):
    batches = data.index_batches(len(images), size, order=order)
    return data.read_ahead(batches, images, **{"workers": 2} | fields)


def test_streamed_is_what_is_read_directly(images):
    order = data.epoch_order(len(images), seed=0, epoch=0)
    made = list(stream(images, order=order))
    expected = list(data.index_batches(len(images), 3, order=order))
    assert len(made) == len(expected) == 5
    pixels = images.read()
    for batch, alone in zip(made, expected, strict=True):
        assert batch["x"].shape == (3, 8, 8, 3)
        assert batch["x"].dtype == np.uint8
        np.testing.assert_array_equal(batch["x"], pixels[batch["index"]])
        for name in ("index", "mask"):
            np.testing.assert_array_equal(batch[name], alone[name])


def test_every_pass_has_the_same_processes(images):
    list(stream(images))
    first = {child.pid for child in active_children()}
    list(stream(images))
    assert {child.pid for child in active_children()} == first
    assert len(first) >= 2


def test_more_workers_than_images_in_a_batch(images):
    made = list(stream(images[:4], size=1, workers=2))
    np.testing.assert_array_equal(
        np.concatenate([batch["x"] for batch in made]), images[:4].read()
    )


@pytest.mark.parametrize("ahead", [0, 2])
def test_batches_are_taken_no_further_ahead_than_asked(images, ahead):
    taken = []

    def source():
        for batch in data.index_batches(len(images), 2):
            taken.append(batch)
            yield batch

    made = data.read_ahead(source(), images, workers=1, ahead=ahead)
    for used in range(1, 8):
        next(made)
        assert len(taken) == min(used + ahead, 7)
    made.close()


def test_a_damaged_file_is_named_in_its_turn(images, tmp_path):
    path = tmp_path / "05.jpg"
    path.write_bytes(path.read_bytes()[:300])
    made = stream(images)
    np.testing.assert_array_equal(next(made)["x"], images[:3].read())
    with pytest.raises(InputError, match=r"05.jpg: expected a JPEG or PNG image"):
        next(made)


def test_after_an_early_end_the_next_pass_is_whole(images):
    made = stream(images, ahead=4)
    next(made)
    made.close()
    again = np.concatenate([batch["x"] for batch in stream(images, size=2)])
    np.testing.assert_array_equal(again, images.read())


def test_a_failing_source_is_raised(images):
    def source():
        yield from data.index_batches(6, 3)
        raise OSError("disk gone")

    with pytest.raises(OSError, match="disk gone"):
        list(data.read_ahead(source(), images, workers=1))


def test_a_killed_process_is_an_error_and_the_next_pass_has_others(images):
    made = stream(images, size=1, workers=3)
    before = {child.pid for child in active_children()}
    next(made)
    (worker, *_) = [child for child in active_children() if child.pid not in before]
    worker.kill()
    worker.join()
    with pytest.raises(MachineError, match="a process that decodes images died"):
        list(made)
    assert len(list(stream(images, size=1, workers=3))) == 14


PROGRAM = """
import multiprocessing, pathlib, sys, time
import numpy as np
from kdjax import data

if __name__ == "__main__":
    images = data.ImageFiles(pathlib.Path(sys.argv[1]), np.array(["00.jpg"] * 8), 8)
    made = data.read_ahead(data.index_batches(8, 1), images, workers=1)
    next(made)
    print(multiprocessing.active_children()[0].pid, flush=True)
    time.sleep(60)
"""


def running(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            state = file.read().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"  # has ended, but its parent did before asking


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_no_process_outlives_its_parent(images, tmp_path, end):
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    with subprocess.Popen(
        [sys.executable, str(path), str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as program:
        worker = int(program.stdout.readline())
        assert running(worker)
        if end == signal.SIGINT:
            os.killpg(program.pid, end)  # as a terminal's Ctrl-C: the worker, too
        else:
            program.send_signal(end)
        stderr = program.communicate(timeout=30)[1]
    assert stderr.count("Traceback") == (end == signal.SIGINT)
    deadline = time.monotonic() + 10
    while running(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not running(worker)


def test_workers_do_not_import_jax(python):
    code = "import sys, kdjax.data.stream; print('jax' in sys.modules)"
    assert python("-c", code).stdout == "False\n"
