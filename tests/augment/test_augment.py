import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax import augment
from kdjax.errors import InputError

NAMES = ["mix1", "mix2", "noise", "removal", "shift"]
TIME, CHANNELS = 24, 3


def compiled(spec):
    return jax.jit(augment.build(spec))


@pytest.fixture(scope="module")
def batch():
    # No value is 0, and every sample differs: what is removed or moved shows.
    return 1 + jnp.arange(400 * TIME * CHANNELS, dtype=jnp.float32).reshape(
        400, TIME, CHANNELS
    )


@pytest.fixture(scope="module")
def keys():
    return augment.example_keys(jax.random.key(0), jnp.arange(400))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_shape_and_dtype_stay(name, dtype, keys, batch):
    x = batch[:5].astype(dtype)
    made = jax.eval_shape(augment.build({"name": name}), keys[:5], x)
    assert made.shape == x.shape
    assert made.dtype == dtype


@pytest.mark.parametrize("name", NAMES)
def test_compiled_batch_equals_one_by_one(name, keys, batch):
    one = augment.AUGMENTATIONS[name]
    made = compiled({"name": name})(keys[:3], batch[:3])
    each = [one(k, x) for k, x in zip(keys[:3], batch[:3], strict=True)]
    # Fused multiply-adds differ in the last bit.
    np.testing.assert_allclose(made, jnp.stack(each), rtol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_example_depends_on_its_own_key_alone(name, batch):
    function, rng = compiled({"name": name}), jax.random.key(3)
    index = jnp.array([7, 2, 40, 11])
    made = function(augment.example_keys(rng, index), batch[index])
    # Elsewhere in another batch, as on another device.
    other = jnp.array([11, 5, 7, 0])
    again = function(augment.example_keys(rng, other), batch[other])
    np.testing.assert_allclose(again[0], made[3], rtol=1e-6)
    np.testing.assert_allclose(again[2], made[0], rtol=1e-6)
    next_step = function(augment.example_keys(jax.random.key(4), index), batch[index])
    assert not jnp.allclose(next_step, made)


def test_raw_keys_are_taken_too(batch):
    function = compiled({"name": "shift"})
    index = jnp.arange(3)
    raw = function(augment.example_keys(jax.random.PRNGKey(5), index), batch[:3])
    typed = function(augment.example_keys(jax.random.key(5), index), batch[:3])
    np.testing.assert_array_equal(raw, typed)


def removed(made):
    """[n, time]: where all channels are 0; fails if only some are."""
    zero = np.asarray(made) == 0
    assert (zero.all(-1) == zero.any(-1)).all()
    return zero.all(-1)


@pytest.mark.parametrize("max_fraction", [0.5, 0.2])
def test_removal_is_one_run_of_every_allowed_length(max_fraction, keys, batch):
    spec = {"name": "removal", "max_fraction": max_fraction}
    made = compiled(spec)(keys, batch)
    gone = removed(made)
    edges = np.diff(np.pad(gone, ((0, 0), (1, 1))).astype(int), axis=1)
    assert (np.count_nonzero(edges, axis=1) == 2).all(), "one run in each window"
    longest = int(max_fraction * TIME)
    counts = np.bincount(gone.sum(1), minlength=longest + 1)
    assert len(counts) == longest + 1
    assert counts[0] == 0
    # Uniform: about 400 / longest each, within 4.5 binomial standard deviations.
    expected = len(made) / longest
    assert (np.abs(counts[1:] - expected) < 4.5 * np.sqrt(expected)).all()
    start = gone.argmax(1)
    assert start.min() == 0
    assert gone[:, -1].any(), "the run can touch either end"
    np.testing.assert_array_equal(np.asarray(made)[~gone], np.asarray(batch)[~gone])


@pytest.mark.parametrize("max_fraction", [0.5, 0.25])
def test_shift_rolls_by_every_allowed_amount(max_fraction, keys, batch):
    spec = {"name": "shift", "max_fraction": max_fraction}
    made = np.asarray(compiled(spec)(keys, batch))
    most = int(max_fraction * TIME)
    amounts = []
    for before, after in zip(np.asarray(batch), made, strict=True):
        amount = int(np.flatnonzero(after[:, 0] == before[0, 0])[0])
        np.testing.assert_array_equal(after, np.roll(before, amount, axis=0))
        amounts.append(amount if amount <= most else amount - TIME)
    expected = set(range(-most, most + 1))
    if 2 * most == TIME:
        expected.remove(-most)  # the same roll as +most
    assert set(amounts) == expected


def test_noise_has_the_given_spread(keys):
    x = jnp.ones((400, TIME, CHANNELS))
    drawn = np.asarray(compiled({"name": "noise", "std": 0.5})(keys, x)) - 1
    assert drawn.mean() == pytest.approx(0, abs=4 * 0.5 / drawn.size**0.5)
    assert drawn.std() == pytest.approx(0.5, rel=0.02)
    correlation = np.corrcoef(drawn[:, 0, 0], drawn[:, 0, 1])[0, 1]
    assert abs(correlation) < 0.25


def test_mix1_removes_and_shifts(keys, batch):
    made = compiled({"name": "mix1"})(keys, batch)
    gone = removed(made)
    assert gone.sum(1).min() >= 1
    assert gone.sum(1).max() == TIME // 2
    # A removed run that was rolled may wrap: its two pieces are one in the circle.
    edges = np.count_nonzero(gone != np.roll(gone, 1, axis=1), axis=1)
    assert (edges == 2).all()
    # Removal alone touches one end or none.
    assert (gone[:, 0] & gone[:, -1]).any()


def test_mix2_adds_noise_to_what_was_removed(keys, batch):
    made = compiled({"name": "mix2", "noise_std": 0.02})(keys, batch)
    gone = np.abs(np.asarray(made)) < 0.5  # the smallest value in the batch is 1
    assert (gone.all(-1) == gone.any(-1)).all()
    assert gone.any((1, 2)).all()
    drawn = np.asarray(made)[gone]
    assert drawn.mean() == pytest.approx(0, abs=0.001)
    assert drawn.std() == pytest.approx(0.02, rel=0.03)
    assert (gone[:, 0, 0] & gone[:, -1, 0]).any(), "shifted too"


def test_none_is_the_identity(keys, batch):
    assert augment.build(None)(keys, batch) is batch


def test_gradient_passes_where_nothing_was_removed(keys, batch):
    function = compiled({"name": "removal"})
    gradient = jax.grad(lambda x: function(keys[:4], x).sum())(batch[:4])
    np.testing.assert_array_equal(
        removed(gradient), removed(function(keys[:4], batch[:4]))
    )


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"name": "mix3"}, r"config.augment.name: unknown name 'mix3' \(did you mean"),
        (
            {"name": "shift", "max_fracton": 0.1},
            "max_fracton: unknown .*'max_fraction'",
        ),
        ({"name": "mix1", "noise_std": 0.1}, "config.augment.noise_std: unknown field"),
        ({"name": "removal", "max_fraction": 1.5}, r"number in \[0, 1\], found 1.5"),
        ({"name": "noise", "std": -1}, "config.augment.std: expected .*found -1"),
        ({"name": "noise", "rng": 1}, "config.augment.rng: unknown field"),
        ({"max_fraction": 0.5}, "config.augment.name: unknown name ''"),
    ],
)
def test_wrong_specs_are_refused_before_anything_runs(spec, message):
    with pytest.raises(InputError, match=message):
        augment.build(spec)
