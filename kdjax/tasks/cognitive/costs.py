"""What a network is paid for: its errors, its rates, its weights."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from kdjax import losses as functions
from kdjax.checks import number, one_of
from kdjax.errors import InputError, call, lookup, section
from kdjax.models import Recurrent
from kdjax.training.parallel import AXIS

Tree = Any
WHERE = "config.losses"
OF_RATES = {"rate_l1": functions.rate_l1, "rate_l2": functions.rate_l2}
OF_WEIGHTS = {"weight_l1": functions.weight_l1, "weight_l2": functions.weight_l2}
COSTS = ("squared_error", *OF_RATES, *OF_WEIGHTS)


class Costs(NamedTuple):
    """The costs of a config by name, each with its weight, reduction and selection.

    units: of the network, whose rates are paid for.
    """

    fields: Mapping[str, Mapping[str, Any]]
    units: int

    @property
    def weights(self) -> dict[str, np.ndarray]:
        """The weight of each: members of a population differ in it."""
        return {
            name: np.asarray(cost["weight"], np.float32)
            for name, cost in self.fields.items()
        }

    @property
    def described(self) -> dict[str, dict[str, Any]]:
        """All but the weights."""
        return {
            name: {key: value for key, value in cost.items() if key != "weight"}
            for name, cost in self.fields.items()
        }

    def visit(
        self, outputs: Array, rates: Array, each: tuple[Array, Array]
    ) -> dict[str, Array]:
        """The sums over a stretch of time, of which `each` has targets and mask."""
        targets, mask = each
        sums = {
            name: cost(rates, reduction="sum")
            for name, cost in OF_RATES.items()
            if name in self.fields
        }
        error = jnp.sum(mask * jnp.square(outputs - targets))
        return sums | {"squared_error": error}

    def parts(
        self,
        sums: Mapping[str, Array],
        params: Tree,
        outputs: int,
        steps: tuple[int, ...],
    ) -> dict[str, Array]:
        """Each cost, not yet weighted, of one device's trials.

        sums: of all the time. outputs: how many there are in all. steps: [time, batch].
        What is a sum is one over all devices: their losses are averaged.
        """
        parts = {}
        for name, cost in self.fields.items():
            if name in OF_WEIGHTS:
                parts[name] = OF_WEIGHTS[name](
                    params,
                    select=functools.partial(_is_paid, cost["select"]),
                    reduction=cost["reduction"],
                )
            elif cost["reduction"] == "sum":
                parts[name] = sums[name] * lax.psum(1, AXIS)
            else:
                rates = math.prod(steps) * self.units
                parts[name] = sums[name] / (rates if name in OF_RATES else outputs)
        return parts


def _is_paid(names: Sequence[str] | None, path: str) -> bool:
    return names is None or path.partition("/")[0] in names


def build(losses: Mapping[str, Mapping[str, Any] | None], network: Recurrent) -> Costs:
    """The costs of a config's `losses`, checked; one that is None is left out."""
    trial = jnp.zeros((1, 1, network.inputs))
    variables = jax.eval_shape(network.init, jax.random.key(0), trial)
    made = {}
    for name, fields in section(losses, where=WHERE).items():
        lookup(name, dict.fromkeys(COSTS), where=WHERE)
        if fields is None:
            continue
        place = f"{WHERE}.{name}"
        cost = call(_FIELDS[name.partition("_")[0]], fields, where=place)
        number(cost["weight"], low=0, where=f"{place}.weight")
        one_of(cost["reduction"], ("mean", "sum"), where=f"{place}.reduction")
        if cost["select"] is not None:
            _check_select(cost["select"], variables["params"], where=f"{place}.select")
        made[name] = cost
    if "squared_error" not in made:
        raise InputError(
            f"{WHERE}.squared_error: missing; without it nothing is learnt"
        )
    return Costs(made, network.units)


def _check_select(select: Any, params: Mapping[str, Any], *, where: str) -> None:
    if not isinstance(select, list | tuple) or not select:
        raise InputError(f"{where}: expected names of parameters, found {select!r}")
    for name in select:
        lookup(name, params, where=where)


def _error(*, weight: Any = 1.0) -> dict[str, Any]:
    return {"weight": weight, "reduction": "mean", "select": None}


def _rate(*, weight: Any, reduction: Any = "mean") -> dict[str, Any]:
    return {"weight": weight, "reduction": reduction, "select": None}


def _weight(
    *, weight: Any, reduction: Any = "sum", select: Any = None
) -> dict[str, Any]:
    return {"weight": weight, "reduction": reduction, "select": select}


_FIELDS: dict[str, Callable[..., dict[str, Any]]] = {
    "squared": _error,
    "rate": _rate,
    "weight": _weight,
}
