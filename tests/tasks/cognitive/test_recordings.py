"""Recordings: what is read, what is refused, and how they meet a network."""

import numpy as np
import pytest

from kdjax.errors import InputError
from kdjax.tasks.cognitive.dynamics.recordings import (
    Recordings,
    match,
    read_recordings,
)

RATES = np.random.default_rng(0).normal(size=(4, 6, 3)).astype(np.float32)
GOOD = {
    "rates": RATES,
    "coherence": np.array([0.1, 0.2, 0.1, 0.2]),
    "rule": np.array(["a", "a", "b", "b"]),
    "dt": np.array(10.0),
}


def saved(folder, **arrays):
    path = folder / "monkey.npz"
    np.savez(path, **arrays)
    return path


def test_recordings_are_read_by_name(tmp_path):
    found = read_recordings(saved(tmp_path, **GOOD))
    np.testing.assert_array_equal(found.rates, RATES.astype(np.float64))
    assert found.rates.dtype == np.float64
    assert list(found.conditions) == ["coherence", "rule"]
    assert found.dt == 10.0
    without = {k: v for k, v in GOOD.items() if k != "dt"}
    assert read_recordings(saved(tmp_path, **without)).dt is None


NAN, INF = RATES.copy(), RATES.copy()
NAN[1, 2, 0], INF[0, 0, 2] = np.nan, np.inf


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"rates": None}, "expected arrays rates, found coherence"),
        ({"rates": RATES[0]}, r"rates: expected \[trials, time, units\].*\(6, 3\)"),
        ({"rates": RATES[:0]}, r"rates: expected \[trials.*\(0, 6, 3\)"),
        ({"rates": NAN}, r"rates: expected finite.*1 that.*first at \(1, 2, 0\)"),
        ({"rates": INF}, r"rates: expected finite.*first at \(0, 0, 2\)"),
        ({"rates": RATES.astype(str)}, "rates: expected numbers, found <U"),
        ({"coherence": np.ones(3)}, r"coherence: expected one .*4 trials.*\(3,\)"),
        ({"coherence": np.ones((4, 2))}, r"coherence: expected one .*\(4, 2\)"),
        ({"coherence": np.full(4, np.nan)}, "coherence: expected finite"),
        ({"coherence": np.ones(4, complex)}, "coherence: expected numbers"),
        ({"rule": np.array(list("abcd"), object)}, "rule: expected plain numbers"),
        ({"dt": np.array(0.0)}, "dt: expected a number > 0, found 0.0"),
        ({"dt": np.ones(2)}, "dt: expected a number > 0"),
        ({"coherence": None, "rule": None}, r"expected a vector \[4\] for each"),
    ],
)
def test_recordings_that_are_wrong_are_refused_in_one_line(tmp_path, changed, message):
    arrays = {k: v for k, v in (GOOD | changed).items() if v is not None}
    path = saved(tmp_path, **arrays)
    with pytest.raises(InputError, match=message) as error:
        read_recordings(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


def test_files_that_are_no_arrays_are_refused_in_one_line(tmp_path):
    path = saved(tmp_path, **GOOD)
    path.write_bytes(path.read_bytes()[:200])
    absent = tmp_path / "none.npz"
    single = tmp_path / "one.npz"
    with single.open("wb") as file:
        np.save(file, RATES)
    garbage = tmp_path / "garbage.npz"
    garbage.write_bytes(b"not arrays at all")
    for wrong in (path, absent, single, garbage):
        with pytest.raises(InputError, match="expected arrays rates, found") as error:
            read_recordings(wrong)
        assert "\n" not in str(error.value)


# --- matching ------------------------------------------------------------------------


def of_values(coherence, context, *, dt=20.0, time=4):
    """Rates whose one unit says which condition the trial is of."""
    values = 10.0 * np.array(coherence) + np.array(context)
    rates = np.tile(values[:, None, None], (1, time, 1))
    conditions = {
        "coherence": np.array(coherence, np.float32),
        "context": np.array(context),
    }
    return Recordings(rates, conditions, dt)


NETWORK = of_values([0.1, 0.1, 0.2, 0.2, 0.4, 0.4], [0, 1, 0, 1, 0, 1])


def test_match_pairs_equal_conditions_in_one_order():
    # 0.1 in the file is float64, the network's float32; the network's 0.4 is left out
    recorded = of_values([0.2, 0.1, 0.2, 0.1], [1, 0, 0, 1])
    recorded.conditions["coherence"] = np.array([0.2, 0.1, 0.2, 0.1])
    found = match(recorded, NETWORK)
    np.testing.assert_allclose(found.recorded, found.network)
    np.testing.assert_allclose(found.conditions["coherence"], [0.1, 0.1, 0.2, 0.2])
    assert found.recorded.shape == (4, 4, 1)
    assert found.dt == 20.0


def test_match_averages_over_what_was_not_recorded():
    recorded = Recordings(np.zeros((2, 4, 1)), {"coherence": np.array([0.1, 0.2])})
    found = match(recorded, NETWORK)
    np.testing.assert_allclose(found.network[:, 0, 0], [1.5, 2.5])
    assert found.dt == 20.0


def test_match_names_the_conditions_that_the_network_lacks():
    recorded = of_values([0.1, 0.3, 0.8], [0, 1, 0])
    with pytest.raises(
        InputError, match=r"found coherence=0.3, context=1; coherence=0.8, context=0$"
    ):
        match(recorded, NETWORK)
    other = Recordings(RATES[:2], {"coherense": np.array([0.1, 0.2])})
    with pytest.raises(InputError, match=r"no condition 'coherense' .*'coherence'"):
        match(other, NETWORK)


@pytest.mark.parametrize("fine", [5.0, 8.0])
def test_match_averages_the_finer_over_the_coarsers_steps(fine):
    time = round(80 / fine)
    recorded = of_values([0.1], [0], dt=fine, time=time)
    # a ramp, each sample the mean over its step: the mean over 20 ms is then exact
    recorded.rates[0, :, 0] = (np.arange(time) + 0.5) * fine
    if fine == 8.0:  # 20 ms are no whole number of steps: 2.5 samples of each
        expected = [(4 * 8 + 12 * 8 + 20 * 4) / 20, (20 * 4 + 28 * 8 + 36 * 8) / 20]
    else:
        expected = [10.0, 30.0]
    found = match(recorded, NETWORK)
    np.testing.assert_allclose(found.recorded[0, :2, 0], expected)
    assert found.recorded.shape == found.network.shape == (1, 4, 1)


def test_match_puts_a_finer_network_on_the_recordings_steps():
    recorded = of_values([0.1, 0.2], [0, 0], dt=50.0, time=9)
    found = match(recorded, NETWORK)
    assert found.dt == 50.0
    assert found.network.shape == (2, 1, 1)  # 80 ms hold one whole step
    np.testing.assert_allclose(found.network, found.recorded)
    with pytest.raises(InputError, match="at least one step of 100 ms in common"):
        match(recorded._replace(dt=100.0), NETWORK)
