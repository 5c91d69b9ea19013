"""Averaged weights: what is judged and saved; training itself is as without them."""

from itertools import count

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.errors import InputError
from kdjax.training import loop, parallel, programs
from kdjax.training.averaging import averaged
from kdjax.training.checkpoint import Checkpoints, load_model, model_of
from kdjax.training.preemption import Preempted
from tests.training.tiny import settings, tiny

DECAY = 0.7


def states(optimizer, steps=6):
    """The state after each step, and the initial one first."""
    task = averaged(tiny(), optimizer)
    devices = parallel.make("pmap", devices=1)
    constants = devices.replicate((task.constants(), jax.random.key(1)))
    step = programs.compiled_step(task, devices)
    state = devices.replicate(task.init(jax.random.key(0)))
    found = [parallel.to_host(state)]
    for batch in list(task.data["train"].batches(16, epoch=1))[:steps]:
        state, _ = step(state, constants, devices.shard(batch))
        found.append(parallel.to_host(state))
    return found


def expected(weights, decay):
    """sum_i d^(n - i) w_i / sum_i d^(n - i), in float64."""
    shares = decay ** np.arange(len(weights) - 1, -1, -1, dtype=np.float64)
    return shares @ np.asarray(weights, np.float64) / shares.sum()


def test_the_average_follows_its_formula():
    begin, *after = states({"ema": DECAY})
    np.testing.assert_array_equal(begin.average["w"], begin.params["w"])
    np.testing.assert_array_equal(after[0].average["w"], after[0].params["w"])
    weights = [state.params["w"] for state in after]
    for n, state in enumerate(after, start=1):
        average = expected(weights[:n], DECAY)
        np.testing.assert_allclose(state.average["w"], average, rtol=2e-6)
        np.testing.assert_array_equal(
            model_of(state)["params"]["w"], state.average["w"]
        )
    assert not np.allclose(after[-1].average["w"], weights[-1], atol=1e-3)


@pytest.mark.parametrize("decay", [1e-6, 0.5, 0.9999, 1 - 1e-7])
def test_no_decay_is_too_near_a_bound(decay):
    after = states({"ema": decay})[1:]
    average = expected([state.params["w"] for state in after], decay)
    np.testing.assert_allclose(after[-1].average["w"], average, rtol=5e-6)


def test_accumulated_steps_are_averaged_once_an_update():
    after = states({"ema": DECAY, "accumulate": 2})[1:]
    updated = [state.params["w"] for state in after[1::2]]
    for n, state in enumerate(after[1::2], start=1):
        average = expected(updated[:n], DECAY)
        np.testing.assert_allclose(state.average["w"], average, rtol=2e-6)
    np.testing.assert_array_equal(after[2].average["w"], after[1].average["w"])


def test_training_goes_on_from_the_weights_themselves():
    plain, own = states({}), states({"ema": DECAY})
    for one, other in zip(plain, own, strict=True):
        assert one.average is None
        np.testing.assert_array_equal(one.params["w"], other.params["w"])
        np.testing.assert_array_equal(one.opt_state["m"], other.opt_state["m"])


def test_without_the_field_it_is_the_task_itself():
    task = tiny()
    for optimizer in (None, {}, {"name": "sgd", "ema": None}):
        assert averaged(task, optimizer) is task


@pytest.mark.parametrize("value", [0, 0.0, 1, 1.0, -0.5, 2.0, True, "0.9", [0.9]])
def test_a_decay_is_inside_its_bounds(value):
    message = r"^config.optimizer.ema: expected a number in \(0, 1\), found"
    with pytest.raises(InputError, match=message):
        averaged(tiny(), {"ema": value})


def run(folder, *, ema=DECAY, best_at=100, **changes):
    task = averaged(tiny(best_at=best_at), {"ema": ema})
    devices = parallel.make("pmap", devices=1)
    training = settings(**changes)
    return loop.run(
        task, training, folder=folder, seed=0, devices=devices, label="tiny"
    )


def last(folder):
    """(state, best model) of a run: what it would go on from."""
    task = averaged(tiny(), {"ema": DECAY})
    checkpoints = Checkpoints(folder)
    template = jax.eval_shape(task.init, jax.random.key(0))
    state, _, best = checkpoints.resume(template)
    checkpoints.close()
    return state, best


def same(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_what_is_saved_for_other_stages_is_the_average(tmp_path):
    run(tmp_path)
    state, best = last(tmp_path)
    template = model_of(jax.eval_shape(tiny().init, jax.random.key(0)))
    for kind in ("last", "best"):  # best at the last step
        model = load_model(tmp_path, kind, template)
        np.testing.assert_array_equal(model["params"]["w"], state.average["w"])
    same(best, model_of(state))
    assert not np.array_equal(state.average["w"], state.params["w"])


def test_what_is_judged_is_the_average(tmp_path):
    """tiny's score is |n - best_at| + tanh(sum of the weights) / 10."""
    reached = run(tmp_path)
    state, _ = last(tmp_path)
    score = 100 - 14 + 0.1 * np.tanh(np.sum(state.average["w"], dtype=np.float64))
    for kind in ("last", "best"):
        assert reached[kind]["test"]["loss"] == pytest.approx(score, rel=1e-6)


def test_an_untrained_network_is_its_own_average(tmp_path):
    run(tmp_path, epochs=0)
    state, best = last(tmp_path)
    same(state.average, state.params)
    same(best["params"], state.params)


@pytest.mark.parametrize("best_at", [0, 100])
def test_a_run_that_goes_on_is_the_run(tmp_path, monkeypatch, best_at):
    """Stopped between epochs, and inside one."""
    whole = run(tmp_path / "whole", epochs=3, best_at=best_at)
    run(tmp_path / "parts", epochs=1, best_at=best_at)
    calls = count()

    def check():
        if next(calls) == 2:
            raise Preempted

    with monkeypatch.context() as patched:
        patched.setattr("kdjax.training.preemption.check", check)
        with pytest.raises(Preempted):
            run(tmp_path / "parts", epochs=3, best_at=best_at)
    assert run(tmp_path / "parts", epochs=3, best_at=best_at) == whole
    for one, other in zip(
        last(tmp_path / "whole"), last(tmp_path / "parts"), strict=True
    ):
        same(one, other)


def test_averages_of_members_trained_together_are_their_own(tmp_path):
    """In one call, of several steps: as alone, up to rounding."""
    members = [
        loop.Member(averaged(tiny(rate=rate), {"ema": DECAY}), tmp_path / name, 0, name)
        for name, rate in (("a", 0.1), ("b", 0.02))
    ]
    devices = parallel.make("pmap", devices=1)
    loop.run_together(
        members, settings(steps_per_call=2), devices=devices, vmapped=True
    )
    run(tmp_path / "alone")
    found, alone = last(tmp_path / "a")[0], last(tmp_path / "alone")[0]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), found, alone)
    apart = jnp.abs(last(tmp_path / "b")[0].average["w"] - found.average["w"])
    assert float(apart.max()) > 1e-2
