"""Checkpoints: what is written is read back, and what is damaged is set aside."""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.cli.command import machine_fault
from kdjax.errors import InputError
from kdjax.training import checkpoint
from kdjax.training.checkpoint import (
    Checkpoints,
    Progress,
    load_model,
    model_digest,
    model_of,
)
from kdjax.training.state import TrainState, untrained_state
from tests.disk import full_disk


def state(value):
    return TrainState(
        step=jnp.int32(value),
        params={"dense": {"kernel": jnp.full((3, 2), float(value))}},
        model_state={"batch_stats": {"mean": jnp.full(2, float(value))}},
        opt_state=({"trace": jnp.full((3, 2), value / 2)}, ()),
    )


def progress(step, best):
    return Progress(
        epoch=step // 10, step=step, best_score=0.5, best_epoch=1, best_step=best
    )


@pytest.fixture
def saved(tmp_path):
    """Checkpoints at steps 10 (best) and 20, whose best is still 10's."""
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save_best(model_of(state(10)), progress(10, 10))
    checkpoints.save_last(state(10), progress(10, 10), model_of(state(10)))
    checkpoints.save_last(state(20), progress(20, 10), model_of(state(10)))
    checkpoints.close()
    return tmp_path


def resume(folder):
    checkpoints = Checkpoints(folder)
    try:
        return checkpoints.resume(state(0))
    finally:
        checkpoints.close()


# Where one array cannot be read, orbax leaves its reads of the others unfinished, which
# Python may report when they are collected.
damaging = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def same(found, expected):
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def flip(path, rng):
    """Flips a bit of a file."""
    content = bytearray(path.read_bytes())
    if content:
        content[rng.integers(len(content))] ^= 1 << rng.integers(8)
    path.write_bytes(content)


def damage(folder):
    """Cuts the largest data file under a folder in half."""
    largest = max(folder.rglob("d/*"), key=lambda path: path.stat().st_size)
    largest.write_bytes(largest.read_bytes()[: largest.stat().st_size // 2])


def test_a_state_without_an_optimiser_is_kept(tmp_path):
    """Orbax refuses to write an item that holds nothing."""
    fitted = untrained_state({"logits": jnp.ones((2, 3))})
    for _ in range(2):
        checkpoints = Checkpoints(tmp_path)
        found = checkpoints.resume(fitted)
        if found is None:
            checkpoints.save_best(model_of(fitted), progress(0, 0))
            checkpoints.save_last(fitted, progress(0, 0), model_of(fitted))
        checkpoints.close()
    assert found is not None
    np.testing.assert_array_equal(found[0].params["logits"], np.ones((2, 3)))
    assert found[0].opt_state == fitted.opt_state


def test_nothing_to_resume(tmp_path):
    assert resume(tmp_path) is None


def test_resume_gives_back_the_last_state_and_the_best_model(saved):
    found, reached, best = resume(saved)
    assert reached == progress(20, 10)
    assert int(found.step) == 20
    np.testing.assert_array_equal(found.params["dense"]["kernel"], np.full((3, 2), 20))
    np.testing.assert_array_equal(found.opt_state[0]["trace"], np.full((3, 2), 10))
    assert isinstance(found.opt_state, tuple)
    np.testing.assert_array_equal(
        best["params"]["dense"]["kernel"], np.full((3, 2), 10)
    )


@damaging
def test_a_damaged_last_is_named_set_aside_and_the_one_before_used(saved, capsys):
    damage(saved / "checkpoints" / "last" / "20")
    _, reached, _ = resume(saved)
    assert reached.step == 10
    said = capsys.readouterr().err
    assert "damaged checkpoint" in said
    assert "last/20" in said
    assert (saved / "checkpoints" / "damaged" / "last_20").is_dir()
    assert not (saved / "checkpoints" / "last" / "20").exists()


def test_a_checkpoint_cut_short_by_a_kill_is_not_taken_for_one(saved):
    left = saved / "checkpoints" / "last" / "30.orbax-checkpoint-tmp"
    left.mkdir()
    assert resume(saved)[1].step == 20
    assert not left.exists()


@damaging
@pytest.mark.parametrize("size", [0, 100, 500])
def test_a_full_disk_is_one_line_and_loses_no_checkpoint(saved, size):
    checkpoints = Checkpoints(saved)
    with full_disk(size), pytest.raises((OSError, ValueError)) as raised:
        checkpoints.save_last(state(30), progress(30, 10), model_of(state(10)))
    folder = saved.resolve() / "checkpoints" / "last" / "30"
    assert machine_fault(raised.value) == f"{folder}: File too large"
    assert resume(saved)[1].step == 20


@damaging
@pytest.mark.parametrize("how", [damage, shutil.rmtree])
def test_a_lost_best_is_written_again_of_the_copy_in_last(saved, capsys, how):
    meta = saved / "checkpoints" / "best" / "10" / "meta" / "metadata"
    written = meta.read_text()
    how(saved / "checkpoints" / "best" / "10")
    _, reached, best = resume(saved)
    assert reached == progress(20, 10)
    assert "best/10" in capsys.readouterr().err
    same(best, model_of(state(10)))
    same(load_model(saved, "best", model_of(state(0))), model_of(state(10)))
    assert meta.read_text() == written


@damaging
def test_a_lost_best_is_found_in_the_last_that_is_it(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save_best(model_of(state(10)), progress(10, 10))
    checkpoints.save_last(state(10), progress(10, 10), model_of(state(10)))
    checkpoints.close()
    assert not (tmp_path / "checkpoints" / "last" / "10" / "best").exists()
    damage(tmp_path / "checkpoints" / "best" / "10")
    same(resume(tmp_path)[2], model_of(state(10)))


@damaging
def test_a_damaged_copy_matters_only_without_its_best(saved, capsys):
    damage(saved / "checkpoints" / "last" / "20" / "best")
    assert resume(saved)[1].step == 20
    damage(saved / "checkpoints" / "best" / "10")
    _, reached, best = resume(saved)
    assert reached == progress(10, 10)  # the `last` of step 10 is its own best
    same(best, model_of(state(10)))
    assert "last/20" in capsys.readouterr().err


@damaging
def test_a_flipped_bit_anywhere_never_sends_a_run_back_to_its_start(saved, tmp_path):
    """One of each of 60 bits in turn, spread over all the files of all checkpoints."""
    sizes = {p: p.stat().st_size for p in sorted(saved.rglob("*")) if p.is_file()}
    rng = np.random.default_rng(0)
    for i in range(60):
        path = list(sizes)[i % len(sizes)]
        folder = tmp_path / "flipped" / str(i)
        shutil.copytree(saved / "checkpoints", folder / "checkpoints")
        flip(folder / path.relative_to(saved), rng)
        found, reached, best = resume(folder)
        assert reached in (progress(20, 10), progress(10, 10))
        same(model_of(found), model_of(state(reached.step)))
        same(best, model_of(state(10)))


def test_a_changed_progress_is_noticed(saved):
    path = saved / "checkpoints" / "last" / "20" / "meta" / "metadata"
    text = path.read_text()
    assert '"best_score": 0.5' in text
    path.write_text(text.replace('"best_score": 0.5', '"best_score": 0.4'))
    assert resume(saved)[1] == progress(10, 10)


@damaging
def test_a_damaged_checkpoint_that_is_read_says_what_to_remove(saved):
    damage(saved / "checkpoints" / "best" / "10")
    with pytest.raises(InputError, match=f"remove {saved} to train that stage anew"):
        load_model(saved, "best", model_of(state(0)))
    (saved / "checkpoints" / "best" / "10" / "meta" / "metadata").write_text("{")
    with pytest.raises(InputError, match=f"remove {saved} to train that stage anew"):
        model_digest(saved, "best")


def test_changed_values_are_noticed_though_they_can_be_read(saved, monkeypatch):
    monkeypatch.setattr(checkpoint, "digest", lambda tree: "another")
    with pytest.raises(InputError, match="model differs from what was written"):
        load_model(saved, "best", model_of(state(0)))


def test_going_on_from_an_earlier_last_forgets_a_later_best(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save_best(model_of(state(10)), progress(10, 10))
    checkpoints.save_last(state(10), progress(10, 10), model_of(state(10)))
    checkpoints.save_best(model_of(state(20)), progress(20, 20))  # then killed
    checkpoints.close()
    found, reached, best = resume(tmp_path)
    assert reached.step == 10
    np.testing.assert_array_equal(
        best["params"]["dense"]["kernel"], np.full((3, 2), 10)
    )
    model = load_model(tmp_path, "best", model_of(found))
    np.testing.assert_array_equal(
        model["params"]["dense"]["kernel"], np.full((3, 2), 10)
    )


def test_load_model_needs_no_optimizer(saved):
    model = load_model(saved, "last", model_of(state(0)))
    np.testing.assert_array_equal(model["model_state"]["batch_stats"]["mean"], [20, 20])


def test_load_model_of_another_architecture(saved):
    template = model_of(state(0))
    template["params"]["dense"]["kernel"] = np.zeros((5, 2), np.float32)
    with pytest.raises(InputError, match="best/10"):
        load_model(saved, "best", template)


def test_load_model_where_there_is_none(tmp_path):
    with pytest.raises(InputError, match="no checkpoint here"):
        load_model(tmp_path, "best", {})
    with pytest.raises(InputError, match="unknown name 'first'"):
        load_model(tmp_path, "first", {})
