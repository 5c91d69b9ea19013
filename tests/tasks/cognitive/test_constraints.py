"""Constraints: what is imposed at the start, after each update, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kdjax import models
from kdjax.errors import InputError
from kdjax.tasks.cognitive import constraints as biology
from kdjax.training import optim
from kdjax.training.state import TrainState, create_state

UNITS = 40


def network(name="ctrnn", **fields):
    given = {"inputs": 2, "outputs": 3, "dt": 20.0} | {"units": UNITS} | fields
    return models.build_recurrent(name, **given)


def fresh(module, seed=0):
    return module.init(jax.random.key(seed), jnp.zeros((1, 1, 2)))


def imposed(spec, seed=0, **fields):
    """(network, variables on the constraints of a config)."""
    module = network(**fields)
    start = biology.build(spec, module).start
    variables = fresh(module)
    return module, biology.impose_before(start, jax.random.key(seed), variables)


def effective(module, variables):
    """The weights [from, to] that the network computes with, in float64."""
    weights = module.apply(variables, method="weights")
    return np.asarray(weights.matrix, np.float64), np.asarray(weights.readout)


def radius(matrix):
    return np.abs(np.linalg.eigvals(np.asarray(matrix, np.float64))).max()


# before


@pytest.mark.parametrize(
    ("spec", "left", "diagonal"),
    [
        ({"density": 0.1}, 160, True),
        ({"density": 0.503}, 805, True),
        ({"density": 0.1, "autapses": False}, 160, False),
        ({"density": 1.0, "autapses": False}, 1560, False),
        ({"density": 0.25, "excitatory": 0.8}, 400, False),
        ({"density": 0.25, "excitatory": 0.8, "autapses": True}, 400, True),
        ({"excitatory": 0.8}, 1560, False),
    ],
)
def test_the_mask_leaves_the_density_to_the_weight(spec, left, diagonal):
    module, variables = imposed(spec)
    mask = np.asarray(variables["constraints"]["recurrent"])
    assert set(np.unique(mask)) <= {0.0, 1.0}
    assert mask.sum() == left
    assert np.diagonal(mask).any() == diagonal
    w, _ = effective(module, variables)
    np.testing.assert_array_equal(w != 0, mask != 0)
    # over both sides alike: no unit or quarter of the matrix is left out
    assert mask[:20, :20].any()
    assert mask[20:, 20:].any()


def test_under_dales_law_rows_have_signs_and_excitatory_units_are_read():
    module, variables = imposed({"excitatory": 0.8, "density": 0.5})
    sign = np.asarray(variables["constraints"]["sign"])
    assert list(sign) == [1.0] * 32 + [-1.0] * 8
    # whatever training does to the parameters
    rng = np.random.default_rng(0)
    w = jnp.asarray(rng.normal(size=(UNITS, UNITS)), jnp.float32)
    variables = {**variables, "params": variables["params"] | {"recurrent": w}}
    w, readout = effective(module, variables)
    assert np.all(w[:32] >= 0)
    assert np.all(w[32:] <= 0)
    assert np.all(np.any(w[:32] > 0, axis=1))
    assert np.all(np.any(w[32:] < 0, axis=1))
    assert np.all(readout[:32] != 0)
    assert not np.any(readout[32:])


def test_positive_inputs_excite():
    module, variables = imposed({"positive_inputs": True})
    into = module.apply(variables, method="weights").input
    assert np.all(into >= 0)
    np.testing.assert_array_equal(into, np.abs(variables["params"]["input"]))
    assert np.any(variables["params"]["input"] < 0)
    np.testing.assert_array_equal(
        variables["params"]["recurrent"], fresh(module)["params"]["recurrent"]
    )


@pytest.mark.parametrize(
    "spec",
    [
        {"density": 0.1},
        {"excitatory": 0.8},
        {"excitatory": 1.0, "density": 0.3},
        {"excitatory": 0.5, "autapses": True},
    ],
)
def test_the_spectral_radius_stays_that_of_the_start(spec):
    module, variables = imposed(spec, start="normal", spectral_radius=0.9)
    w, _ = effective(module, variables)
    np.testing.assert_allclose(radius(w), 0.9, rtol=1e-5)
    _, variables = imposed(spec)
    w, _ = effective(module, variables)
    before = radius(fresh(network())["params"]["recurrent"])
    np.testing.assert_allclose(radius(w), before, rtol=1e-5)


def test_the_two_kinds_balance():
    """As much excitation as inhibition, over all: 32 units against 8 four times larger.

    In the mean over the draw: in one of 40 units they differ by some percent.
    """
    module, variables = imposed({"excitatory": 0.8}, units=200)
    w, _ = effective(module, variables)
    into = w.sum(axis=0) / np.abs(w).sum(axis=0)
    np.testing.assert_allclose(into.mean(), 0, atol=0.01)
    size = np.abs(w)
    ratio = size[160:].sum() / (200 * 40 - 40) / (size[:160].sum() / (200 * 160 - 160))
    np.testing.assert_allclose(ratio, 4, rtol=0.03)


def test_without_a_cycle_there_is_no_radius_to_keep():
    """Few weights may make no loop, all eigenvalues are 0, and no scale mends that."""
    _, variables = imposed({"density": 0.001, "autapses": False})
    w = np.asarray(variables["params"]["recurrent"])
    assert radius(w) == 0
    assert np.count_nonzero(w) == 2
    before = np.asarray(fresh(network())["params"]["recurrent"])
    np.testing.assert_array_equal(w[w != 0], before[w != 0])


def test_a_mask_is_a_function_of_its_key_and_traces():
    spec = {"density": 0.2, "excitatory": 0.8, "positive_inputs": True}
    (_, first), (_, again), (_, other) = (imposed(spec, seed) for seed in (0, 0, 1))
    jax.tree.map(np.testing.assert_array_equal, first, again)
    masks = [np.asarray(v["constraints"]["recurrent"]) for v in (first, other)]
    assert np.any(masks[0] != masks[1])
    module = network()
    start = biology.build(spec, module).start

    def init(key):
        variables = module.init(key, jnp.zeros((1, 1, 2)))
        return biology.impose_before(start, key, variables)

    shapes = jax.eval_shape(init, jax.random.key(0))
    assert jax.tree.map(lambda a: (a.shape, a.dtype), shapes) == jax.tree.map(
        lambda a: (a.shape, a.dtype), first
    )
    # a thinner mask of the same key is a part of it
    _, thin = imposed(spec | {"density": 0.1})
    assert np.all(np.asarray(thin["constraints"]["recurrent"]) <= masks[0])


# after


OPTIMIZER = optax.adam(0.05)
SIDE = 10


def simple_state(optimizer, recurrent=None, seed=0, mask=None):
    rng = np.random.default_rng(seed)
    if recurrent is None:
        recurrent = rng.normal(size=(SIDE, SIDE))
    params = {
        "recurrent": jnp.asarray(recurrent, jnp.float32),
        "bias": jnp.asarray(rng.normal(size=SIDE), jnp.float32),
    }
    mask = jnp.ones((SIDE, SIDE)) if mask is None else mask
    kept = {"recurrent": mask, "sign": jnp.zeros(SIDE)}
    return create_state({"params": params, "constraints": kept}, optimizer)


def descend(optimizer, state, target):
    """An update by the gradient of what a network sees, the masked weights."""

    def loss(params):
        w = params["recurrent"] * state.model_state["constraints"]["recurrent"]
        return jnp.sum(jnp.square(w - target)) + jnp.sum(jnp.square(params["bias"] - 1))

    gradient = jax.grad(loss)(state.params)
    updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    return TrainState(state.step + 1, params, state.model_state, opt_state)


def numbers(top_k=1.0, proximal=0.0):
    spec = {"top_k": {"density": top_k}, "proximal": proximal}
    return jax.tree.map(jnp.asarray, biology.constraints(**spec).numbers)


def train(optimizer, pruning, steps, total=40, state=None, **strengths):
    """The states after each update of a descent, constraints imposed."""
    impose = biology.impose_after(pruning, optimizer, total_steps=total)
    target = jnp.asarray(np.random.default_rng(7).normal(size=(SIDE, SIDE)))
    rate = jnp.asarray(0.05)

    @jax.jit
    def step(state):
        return impose(descend(optimizer, state, target), numbers(**strengths), rate)

    state = state or simple_state(optimizer)
    states = []
    for _ in range(steps):
        state = step(state)
        states.append(state)
    return states


def mask_of(state):
    return np.asarray(state.model_state["constraints"]["recurrent"])


def of_side(tree):
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]
    return [leaf for leaf in leaves if leaf.shape == (SIDE, SIDE)]


PRUNING = biology.Pruning(density=0.3, begin=0.25, end=0.75, every=4)


def test_pruning_follows_the_cubic_and_what_is_gone_stays_gone():
    states = train(OPTIMIZER, PRUNING, 40, top_k=0.3)
    before = np.ones((SIDE, SIDE))
    for state in states:
        t = np.clip((int(state.step) - 10) / 20, 0, 1)
        due = int(state.step) in (12, 16, 20, 24, 28, 30)
        density = 0.3 + 0.7 * (1 - t) ** 3
        left = round(100 * density) if due else before.sum()
        mask = mask_of(state)
        assert mask.sum() == left
        assert np.all(mask <= before)
        gone = mask == 0
        of_state = of_side((state.params, state.opt_state))
        assert len(of_state) == 3  # the weights and both moments
        for leaf in of_state:
            assert not np.any(leaf[gone])
            assert np.all(leaf[~gone])
        before = mask
    assert before.sum() == 30


def test_pruning_takes_the_smallest():
    state = simple_state(OPTIMIZER)
    pruning = biology.Pruning(density=0.3, begin=0.0, end=1.0, every=1)
    impose = biology.impose_after(pruning, OPTIMIZER, total_steps=5)
    size = np.abs(np.asarray(state.params["recurrent"]))
    state = impose(
        state._replace(step=jnp.array(5)), numbers(top_k=0.3), jnp.array(0.1)
    )
    np.testing.assert_array_equal(mask_of(state) > 0, size >= np.sort(size.ravel())[70])


@pytest.mark.parametrize("weights", [np.eye(SIDE), np.ones((SIDE, SIDE))])
def test_the_count_is_exact_where_weights_are_equal(weights):
    state = simple_state(OPTIMIZER, weights)
    pruning = biology.Pruning(density=0.3, begin=0.0, end=1.0, every=1)
    impose = biology.impose_after(pruning, OPTIMIZER, total_steps=5)
    state = impose(
        state._replace(step=jnp.array(5)), numbers(top_k=0.3), jnp.array(0.1)
    )
    mask = mask_of(state)
    assert mask.sum() == 30
    assert np.all(np.diagonal(mask)) or not np.array_equal(weights, np.eye(SIDE))


@pytest.mark.parametrize(
    ("begin", "end"), [(0.0, 0.0), (0.5, 0.5), (1.0, 1.0), (0.1, 0.11)]
)
def test_pruning_at_once(begin, end):
    pruning = biology.Pruning(density=0.3, begin=begin, end=end, every=7)
    states = train(OPTIMIZER, pruning, 20, total=20, top_k=0.3)
    at = max(round(end * 20), 1)
    left = [mask_of(state).sum() for state in states]
    assert left == [100] * (at - 1) + [30] * (21 - at)


def test_pruning_under_a_mask_only_goes_on_below_its_density():
    rng = np.random.default_rng(3)
    mask = jnp.asarray(rng.permutation(np.arange(100) < 50).reshape(SIDE, SIDE) * 1.0)
    state = simple_state(OPTIMIZER, mask=mask.astype(jnp.float32))
    states = train(OPTIMIZER, PRUNING, 40, state=state, top_k=0.3)
    left = [int(mask_of(state).sum()) for state in states]
    assert left[:15] == [50] * 15
    assert left[-1] == 30
    assert np.all(mask_of(states[-1]) <= mask)
    for kept in (0.5, 0.7):
        states = train(OPTIMIZER, PRUNING, 40, state=state, top_k=kept)
        np.testing.assert_array_equal(mask_of(states[-1]), mask)


@pytest.mark.parametrize(
    "spec",
    [
        {"name": "sgd", "weight_decay": 1e-2},
        {"name": "adamw"},
        {"name": "lars"},
        {"name": "adam", "accumulate": 2},
    ],
)
def test_the_masks_survive_each_optimizer(spec):
    rate = {"name": "constant", "value": 0.05}
    optimizer, _ = optim.build(spec | {"schedule": rate}, total_steps=40, batch_size=8)
    optimizer = optim.holding(optimizer, ["bias"])
    states = train(optimizer, PRUNING, 40, top_k=0.3)
    np.testing.assert_array_equal(
        states[-1].params["bias"], simple_state(optimizer).params["bias"]
    )
    last, gone = states[-1], mask_of(states[-1]) == 0
    assert gone.sum() == 70
    for leaf in of_side((last.params, last.opt_state)):
        assert not np.any(leaf[gone])
    assert np.all(np.asarray(last.params["recurrent"])[~gone])


def test_proximal_is_soft_thresholding_and_gives_zeros():
    state = simple_state(OPTIMIZER)
    impose = biology.impose_after(biology.Pruning(), OPTIMIZER, total_steps=10)
    new = impose(state, numbers(proximal=4.0), jnp.asarray(0.1))
    w = np.asarray(state.params["recurrent"], np.float64)
    soft = np.sign(w) * np.maximum(np.abs(w) - 0.4, 0)
    np.testing.assert_allclose(new.params["recurrent"], soft, atol=1e-6)
    np.testing.assert_array_equal(new.params["recurrent"] == 0, np.abs(w) <= 0.4)
    assert 10 < np.sum(soft == 0) < 60
    np.testing.assert_array_equal(new.params["bias"], state.params["bias"])
    np.testing.assert_array_equal(mask_of(new), 1)


def test_the_proximal_step_follows_updates():
    impose = biology.impose_after(
        biology.Pruning(), OPTIMIZER, total_steps=10, accumulate=3
    )
    before = simple_state(OPTIMIZER)
    for step in range(1, 7):
        at = before._replace(step=jnp.asarray(step))
        after = impose(at, numbers(proximal=4.0), jnp.asarray(0.1))
        same = np.array_equal(after.params["recurrent"], before.params["recurrent"])
        assert same == (step not in (3, 6))


def test_neutral_numbers_change_nothing():
    state = simple_state(OPTIMIZER)
    state = descend(OPTIMIZER, state, jnp.ones((SIDE, SIDE)))
    pruning = biology.NONE.top_k._replace(begin=0.0, every=1)
    impose = biology.impose_after(pruning, OPTIMIZER, total_steps=3)
    new = jax.jit(impose)(state, numbers(), jnp.asarray(0.1))
    assert jax.tree.structure(new) == jax.tree.structure(state)
    jax.tree.map(np.testing.assert_array_equal, new, state)
    module = network()
    variables = fresh(module)
    same = biology.impose_before(biology.NONE.start, jax.random.key(0), variables)
    jax.tree.map(np.testing.assert_array_equal, same, variables)


def test_other_networks_are_left_alone():
    for name, fields in (("gru", {}), ("ctrnn", {"rank": 2})):
        state = create_state(fresh(network(name, **fields)), OPTIMIZER)
        impose = biology.impose_after(PRUNING, OPTIMIZER, total_steps=1)
        assert impose(state, numbers(), jnp.asarray(0.1)) is state


def test_a_population_is_its_members():
    impose = biology.impose_after(PRUNING, OPTIMIZER, total_steps=40)
    every = [numbers(), numbers(0.3), numbers(0.5, 0.2), numbers(1.0, 2.0)]
    target = jnp.zeros((SIDE, SIDE))

    def step(state, numbers):
        return impose(descend(OPTIMIZER, state, target), numbers, jnp.asarray(0.05))

    def stacked(trees):
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)

    alone = [
        simple_state(OPTIMIZER, seed=i)._replace(step=jnp.asarray(19)) for i in range(4)
    ]
    together = jax.jit(jax.vmap(step))(stacked(alone), stacked(every))
    alone = stacked([jax.jit(step)(s, n) for s, n in zip(alone, every, strict=True)])
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7),
        together,
        alone,
    )
    left = np.asarray(together.model_state["constraints"]["recurrent"]).sum((1, 2))
    t = (20 - 10) / 20
    cubic = [round(100 * (d + (1 - d) * (1 - t) ** 3)) for d in (1.0, 0.3, 0.5, 1.0)]
    assert list(left) == cubic


# errors


@pytest.mark.parametrize(
    ("spec", "fields", "message"),
    [
        ({"density": 0}, {}, r"config.constraints.density: .* in \(0, 1\], found 0"),
        ({"density": 1.5}, {}, r"config.constraints.density: .* in \(0, 1\], found 1"),
        ({"proximal": -1}, {}, "config.constraints.proximal: expected a number >= 0"),
        ({"autapses": 1}, {}, "config.constraints.autapses: expected True or False"),
        (
            {"excitatory": 0.01},
            {},
            "config.constraints.excitatory: all 40 units would be inhibitory, .* 0.01",
        ),
        ({"excitatory": 1.2}, {}, r"config.constraints.excitatory: .* \[0, 1\], found"),
        (
            {"top_k": {"density": 0.1, "begin": 0.5, "end": 0.4}},
            {},
            r"config.constraints.top_k.end: expected a number in \[0.5, 1\], found 0.4",
        ),
        ({"top_k": {"density": 0}}, {}, "config.constraints.top_k.density: expected"),
        ({"top_k": {"every": 0}}, {}, "config.constraints.top_k.every: expected an in"),
        ({"top_k": {"until": 0}}, {}, "config.constraints.top_k.until: unknown field"),
        ({"top_k": 0.1}, {}, "config.constraints.top_k: expected a section of fields"),
        ({"densities": 0.1}, {}, r"config.constraints.densities: unknown field \(did"),
        *(
            (spec, fields, "config.constraints: expected none, of a network without a")
            for spec in (
                {"density": 0.5},
                {"excitatory": 0.8},
                {"positive_inputs": True},
                {"proximal": 0.1},
                {"top_k": {"density": 0.5}},
            )
            for fields in ({"name": "gru"}, {"rank": 2})
        ),
        (
            {"proximal": 0.1},
            {"frozen": ["recurrent"]},
            "config.constraints: expected neither top_k nor proximal .* 1.0 and 0.1",
        ),
        (
            {"top_k": {"density": 0.5}},
            {"frozen": ["input", "recurrent"]},
            "config.constraints: expected neither top_k nor proximal .* 0.5 and 0.0",
        ),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(spec, fields, message):
    with pytest.raises(InputError, match=message) as error:
        biology.build(spec, network(**fields))
    assert "\n" not in str(error.value)


def test_neutral_constraints_fit_every_network():
    neutral = {"density": 1.0, "proximal": 0, "top_k": {"begin": 0.2, "every": 5}}
    for fields in ({"name": "lstm"}, {"rank": 2}, {"frozen": ["recurrent"]}):
        made = biology.build(neutral, network(**fields))
        assert (made.start, made.proximal) == (biology.Start(), 0)
        assert biology.build(None, network(**fields)) == biology.NONE
    start = biology.build({"density": 0.5}, network(frozen=["recurrent"])).start
    assert start == biology.Start(density=0.5)
