"""Freezing and rates by patterns: what is frozen stays, to the bit."""

import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from kdjax.errors import InputError
from kdjax.models import build
from kdjax.tasks.distillation import distill
from kdjax.training import optim, parallel, programs
from kdjax.training.averaging import averaged
from kdjax.training.parallel import AXIS
from kdjax.training.task import Training

WAVES = {"name": "synthetic_wearable", "windows": 4, "samples": 16, "subjects": 5}
MODEL = {"name": "resnet_time", "widths": [4, 4], "windows": [3, 3]}
FIRST = "encoder/(block|shortcut)1.*"


def make(optimizer=None, **changes):
    schedule = {"name": "constant", "value": 0.1}
    sections = {
        "data": WAVES,
        "model": MODEL,
        "training": Training(epochs=1, batch_size=8),
        "optimizer": {"name": "sgd", "schedule": schedule} | (optimizer or {}),
        "losses": {"cross_entropy": {"weight": 1.0}},
        "seed": 0,
    }
    return distill.make(**(sections | changes))


def flat(tree):
    found = {}
    optim.by_path(lambda path, x: found.update({path: np.asarray(x)}), tree)
    return found


def arrays(state):
    """{path: array} of the parameters and of the statistics, whose names differ."""
    return flat(state.params) | flat(state.model_state["batch_stats"])


def trained(task, steps=3):
    """(the state at the start, and after so many steps), statistics not at 0 and 1."""
    start = task.init(jax.random.key(0))
    stats = jax.tree.map(lambda leaf: leaf + 0.5, start.model_state)
    start = state = start._replace(model_state=stats)
    devices = parallel.make("pmap", devices=1)
    everywhere = devices.replicate((task.constants(), jax.random.key(1)))
    step = programs.compiled_step(task, devices)
    state = devices.replicate(state)
    for batch in list(task.data["train"].batches(8, epoch=1))[:steps]:
        state, _ = step(state, everywhere, devices.shard(batch))
    return start, parallel.to_host(state)


OPTIMIZERS = {
    "adamw": {"name": "adamw", "weight_decay": 0.1},
    "sgd": {"name": "sgd", "weight_decay": 0.1, "clip_norm": 1.0},
    "lars": {"name": "lars", "weight_decay": 0.1, "accumulate": 2},
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_what_is_frozen_stays_to_the_bit(name):
    schedule = {"name": "constant", "value": 0.1}
    spec = OPTIMIZERS[name] | {"schedule": schedule, "ema": 0.9}
    task = averaged(make(spec, freeze=[FIRST, "head/.*/bias"]), spec)
    start, end = trained(task)
    before, after, average = arrays(start), arrays(end), flat(end.average)
    frozen = [path for path in before if re.fullmatch(FIRST, path)]
    assert {p.rpartition("/")[2] for p in frozen} >= {"kernel", "scale", "mean", "var"}
    for path, leaf in before.items():
        held = path in frozen or path == "head/classes/bias"
        assert np.array_equal(leaf, after[path]) == held, path
        if path in average:
            assert np.array_equal(leaf, average[path]) == held, path
    kept = {leaf.shape for leaf in jax.tree.leaves(end.opt_state) if leaf.ndim == 3}
    assert kept <= {leaf.shape for p, leaf in before.items() if p not in frozen}


def test_a_frozen_norm_is_in_training_as_in_evaluation():
    x = jax.random.normal(jax.random.key(0), (4, 16, 3))
    model = build(classes=3, freeze=(FIRST,), **MODEL)
    variables = dict(model.init(jax.random.key(1), x, train=False))
    stats = jax.tree.map(lambda leaf: leaf + 0.5, variables["batch_stats"])
    variables["batch_stats"] = stats
    training, new = model.apply(variables, x, train=True, mutable=["batch_stats"])
    evaluation = model.apply(variables, x, train=False)
    first, second = (
        [outputs.features[name] for outputs in (training, evaluation)]
        for name in ("block1", "block2")
    )
    np.testing.assert_array_equal(*first)
    assert not np.allclose(*second)
    for path, leaf in flat(new["batch_stats"]).items():
        held = re.fullmatch(FIRST, path) is not None
        assert np.array_equal(leaf, flat(stats)[path]) == held, path


def test_either_statistic_freezes_a_norm():
    """The pattern of a variance alone was once accepted and did nothing."""
    start, end = trained(make(freeze=["encoder/shortcut1/norm/var"]), steps=1)
    before, after = arrays(start), arrays(end)
    for name in ("mean", "var"):
        path = f"encoder/shortcut1/norm/{name}"
        np.testing.assert_array_equal(before[path], after[path])
    assert not np.array_equal(
        *(a["encoder/shortcut1/norm/scale"] for a in (before, after))
    )


def test_a_config_can_say_it():
    """A ConfigDict takes no name with a dot, as patterns have."""
    config = ConfigDict({"rates": (("encoder/.*", 0.1),), "freeze": (FIRST,)})
    fields = json.loads(config.to_json_best_effort())
    task = make(**fields, together=True)
    other = make(
        **fields | {"rates": [("head/.*", 0.1), *fields["rates"]]}, together=True
    )
    assert task.program != other.program


def test_nothing_is_computed_for_what_is_frozen():
    """Frozen from the first layer on, the gradient needs no products of its own."""

    def products(freeze):
        task = make(freeze=freeze)
        state = task.init(jax.random.key(0))
        batch = next(iter(task.data["train"].batches(8, epoch=1)))
        step = jax.vmap(task.step, in_axes=(None, 0, None, None), axis_name=AXIS)
        batch = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], batch)
        given = (state, batch, task.constants(), jax.random.key(1))
        compiled = jax.jit(step).lower(*given).compile()
        return compiled.cost_analysis()["flops"]

    assert products(["encoder/.*"]) < 0.6 * products([])


def test_a_rate_is_a_factor_of_the_update():
    start, plain = trained(make(), steps=1)
    rates = [("encoder/block1_.*/kernel", 0.25), ("encoder/.*", 0.5)]
    _, slowed = trained(make(rates=rates), steps=1)
    before, whole, part = (flat(s.params) for s in (start, plain, slowed))
    for path, leaf in before.items():
        factor = 1.0
        if path.startswith("encoder/"):
            first = path.startswith("encoder/block1_") and path.endswith("/kernel")
            factor = 0.25 if first else 0.5
        expected = leaf + factor * (whole[path] - leaf)
        np.testing.assert_allclose(part[path], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"freeze": ["encoder/block3_.*/kernel"]},
            r"config.freeze: 'encoder/block3_.*/kernel' matches no .*did you mean 'enc",
        ),
        ({"freeze": ["("]}, r"config.freeze: '\(': no pattern"),
        ({"freeze": [".*"]}, "config.freeze: expected an array that is trained"),
        ({"freeze": ["a{99999999999999999999}"]}, "config.freeze: .*: no pattern"),
        (
            {"rates": [["encoder", 0.1]]},
            r"config.rates\[0\]: 'encoder' matches no array",
        ),
        ({"rates": [["encoder/.*/mean", 0.1]]}, "config.rates.*: .* matches no array"),
        ({"rates": [["encoder/.*", -1]]}, "config.rates.*: expected a number >= 0"),
        (
            {"rates": [["encoder/.*"]]},
            r"config.rates\[0\]: expected \(pattern, factor\)",
        ),
    ],
)
def test_patterns_that_say_nothing_are_named(changes, message):
    with pytest.raises(InputError, match=message):
        make(**changes)
