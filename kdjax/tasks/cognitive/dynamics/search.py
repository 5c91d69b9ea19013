"""The fixed points of a trained network under held inputs, written beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float
from tqdm import tqdm

from kdjax import files
from kdjax.models import CTRNN, Recurrent
from kdjax.models.ctrnn import ACTIVATIONS, Weights
from kdjax.tasks.cognitive.dynamics import fixed_points, flows
from kdjax.tasks.cognitive.dynamics.line_attractor import line_attractor_test
from kdjax.tasks.cognitive.trials.trial import Held

Tree = Any
MODES = 8  # of each point's eigenvalues that are kept
LEAST_ON_A_LINE = 5


def weights_of(network: CTRNN, model: Tree) -> Weights:
    """A trained CTRNN's weights with their constraints applied."""
    variables = {"params": model["params"], **model["model_state"]}
    weights: Any = network.apply(variables, method="weights")
    return weights


def flows_under(network: Recurrent, model: Tree, held: Held) -> dict[str, flows.Flow]:
    """{"mean": the dynamics under the mean of the held inputs, "averaged": those of the
    drift averaged over their noise}; the latter of rate networks with noise alone."""
    if not isinstance(network, CTRNN):
        return {"mean": _gated(network, model, held)}
    weights = weights_of(network, model)
    recurrent = np.asarray(weights.matrix, np.float64)
    drive, std = flows.held_drive(held, weights.input, weights.bias)
    tau = network.dt / np.asarray(weights.alpha, np.float64)
    name = network.activation
    if network.state == "voltage":
        return {"mean": flows.voltage_flow(recurrent, drive, name, tau)}
    if network.state == "leak_inside":
        alpha = np.asarray(weights.alpha, np.float64)

        def step(x: Array) -> Array:
            change = x @ jnp.asarray(recurrent) + jnp.asarray(drive)
            return ACTIVATIONS[name](jnp.asarray((1 - alpha) * x + alpha * change))

        return {"mean": flows.map_flow(step, network.dt)}
    found = {"mean": flows.rate_flow(recurrent, drive, name, tau)}
    if std.any():
        found["averaged"] = flows.rate_flow(recurrent, drive, name, tau, std)
    return found


def _gated(network: Recurrent, model: Tree, held: Held) -> flows.Flow:
    """An LSTM's or GRU's map; the states of an LSTM are joined to one vector."""
    variables = {"params": model["params"], **model["model_state"]}
    u = np.asarray(held.mean)[None, :]

    def step(x: Array) -> Array:
        halves = jnp.split(x, len(x) // network.units)
        state = tuple(h[None, :] for h in halves) if len(halves) > 1 else x[None, :]
        weights: Any = network.apply(variables, method="weights")
        state = network.advance(weights, state, jnp.asarray(u, x.dtype), None)
        return jnp.concatenate([leaf[0] for leaf in jax.tree.leaves(state)])

    return flows.map_flow(step, 1.0)


def write(
    network: Recurrent,
    model: Tree,
    held: Mapping[str, Held],
    rates: Float[np.ndarray, "trials time units"],
    starts: int,
    seed: int,
    folder: Path,
) -> None:
    """Searches from states of the trials, and beside them; writes what is found.

    fixed_points.npz has an entry for each point: label, flow ("mean" or "averaged"),
    state, q, status, time_constants [ms] and eigenvalues of its slowest modes, unstable
    (how many), starts (of how many searches it is the end).
    """
    rows: list[dict[str, Any]] = []
    summary: dict[str, dict[str, Any]] = {}
    begin = _starts(network, rates, starts, seed)
    bar = tqdm(held.items(), desc="fixed points", disable=None, leave=False)
    for label, at in bar:
        for kind, flow in flows_under(network, model, at).items():
            found = fixed_points.find(flow, begin)
            for i in range(len(found.q)):
                rows.append(
                    {
                        "label": label,
                        "flow": kind,
                        "state": found.states[i],
                        "q": found.q[i],
                        "status": found.status[i],
                        "time_constants": _first(found.time_constants[i]),
                        "eigenvalues": _first(found.eigenvalues[i]).astype(complex),
                        "unstable": found.unstable[i],
                        "starts": int(np.sum(found.point == i)),
                    }
                )
            summary[f"{label}; {kind}"] = _summary(flow, found)
    arrays = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    files.write_arrays(folder / "fixed_points.npz", arrays)
    files.write_json(folder / "fixed_points.json", summary)


def _first(modes: np.ndarray) -> np.ndarray:
    """As many modes for every network; NaN where it has fewer units."""
    padded = np.full(MODES, np.nan, modes.dtype)
    padded[: len(modes[:MODES])] = modes[:MODES]
    return padded


def _starts(
    network: Recurrent, rates: np.ndarray, count: int, seed: int
) -> Float[np.ndarray, "starts states"]:
    """States of random trials at random times, moved by a tenth of the spread."""
    rng = np.random.default_rng(seed)
    states = rates.reshape(-1, rates.shape[-1]).astype(np.float64)
    chosen = states[rng.integers(len(states), size=count)]
    chosen = chosen + 0.1 * states.std() * rng.standard_normal(chosen.shape)
    if isinstance(network, CTRNN):
        return chosen
    return np.tile(chosen, (1, len(jax.tree.leaves(network.begin(None, 1)))))


def _summary(flow: flows.Flow, found: fixed_points.Points) -> dict[str, Any]:
    fixed = found.status == "fixed"
    slowest = np.abs(found.time_constants[fixed, 0])
    slowest = slowest[np.isfinite(slowest)]
    summary: dict[str, Any] = {
        "fixed": int(fixed.sum()),
        "stable": int(np.sum(fixed & found.stable)),
        "slow": int(np.sum(found.status == "slow")),
        "unfinished": int(np.sum(found.status == "unfinished")),
        "largest_q": float(found.ends_q.max()),
        "slowest_ms": [slowest.min().item(), slowest.max().item()]
        if len(slowest)
        else None,
        "line_attractor": None,
    }
    if len(found.q) >= LEAST_ON_A_LINE:
        line = line_attractor_test(flow, found.states)
        summary["line_attractor"] = {
            "verdict": bool(line.verdict),
            "variance": float(line.variance),
            "points": int(line.points),
        }
    return summary
