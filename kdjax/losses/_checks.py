"""Checks of a loss's arguments, made while it is traced."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable
from typing import Any, ParamSpec

import jax
import jax.numpy as jnp
from jaxtyping import AbstractArray, Array, Shaped, jaxtyped

P = ParamSpec("P")

# A weight or a temperature: a Python number, or traced.
Scalar = Shaped[Array, ""] | float | int


class _Written(str):
    """An annotation that help() shows as its source has it, not as the type's repr."""

    __repr__ = str.__str__


def checked(loss: Callable[P, Array]) -> Callable[P, Array]:
    """Hold a loss to the shapes in its signature, and compute it in float32 or wider.

    Every argument annotated with a jaxtyping array is made a JAX array, so that NumPy
    arrays and lists of numbers are taken too, compared with its annotation (an axis
    name means the same size in all of them), and promoted to at least float32 if it is
    a float. One annotated `... | None` may be None. This runs while tracing only;
    compiled code is that of the loss alone. help() shows the signature as it is
    written where the module has `from __future__ import annotations`.

    Raises:
        ValueError: naming the argument, what it should be and the shapes of all.
    """
    signature = inspect.signature(loss)
    hints = typing.get_type_hints(loss)
    annotations = {name: _array_of(hints[name]) for name in signature.parameters}
    annotations = {name: hint for name, hint in annotations.items() if hint}
    required = {
        name
        for name, parameter in signature.parameters.items()
        if parameter.default is parameter.empty
    }

    @functools.wraps(loss)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> Array:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{loss.__name__}: {error}") from None
        arrays = {
            name: _one_array(f"{loss.__name__}: {name}", bound.arguments[name])
            for name in annotations
            if bound.arguments.get(name) is not None or name in required
        }
        with jaxtyped("context"):
            for name, array in arrays.items():
                if not isinstance(array, annotations[name]):
                    found = _describe(arrays, annotations)
                    raise ValueError(f"{loss.__name__}: {name} does not fit: {found}")
        for name, array in arrays.items():
            bound.arguments[name] = _promote(array)
        return loss(*bound.args, **bound.kwargs)

    wrapper.__signature__ = _as_written(signature)  # type: ignore[attr-defined]
    return wrapper


def _as_written(signature: inspect.Signature) -> inspect.Signature:
    def written(annotation: Any) -> Any:
        if isinstance(annotation, str):
            return _Written(annotation.replace("' ", "'"))  # the space is for linters
        if inspect.isclass(annotation) and issubclass(annotation, AbstractArray):
            kind, shape = annotation.dtype.__name__, annotation.dim_str.strip()
            return _Written(f"{kind}[Array, '{shape}']")
        return annotation

    return signature.replace(
        parameters=[
            parameter.replace(annotation=written(parameter.annotation))
            for parameter in signature.parameters.values()
        ],
        return_annotation=written(signature.return_annotation),
    )


def _array_of(hint: Any) -> Any:
    """The jaxtyping array of `Array` or `Array | None`; None for any other type."""
    kinds = [k for k in typing.get_args(hint) or [hint] if k is not type(None)]
    kind = kinds[0]
    is_array = inspect.isclass(kind) and issubclass(kind, AbstractArray)
    return kind if is_array and len(kinds) == 1 else None


def _one_array(name: str, value: Any) -> Array:
    """`value` as a JAX array; ValueError for a list of arrays, which would be stacked
    and then mean something else."""
    leaves = jax.tree.leaves(value) if isinstance(value, list | tuple) else []
    if any(getattr(leaf, "ndim", 0) for leaf in leaves):
        raise ValueError(
            f"{name}: expected one array, found a {type(value).__name__} of "
            f"{len(value)}"
        )
    return jnp.asarray(value)


def _describe(arrays: dict[str, Array], annotations: dict[str, Any]) -> str:
    """'labels is float32 (4,), expected Integer[batch]', for each argument."""
    return "; ".join(
        f"{name} is {array.dtype} {array.shape}, expected "
        f"{annotations[name].dtype.__name__}[{annotations[name].dim_str.strip()}]"
        for name, array in arrays.items()
    )


def _promote(array: Array) -> Array:
    if not jnp.issubdtype(array.dtype, jnp.floating):
        return array
    return array.astype(jnp.promote_types(array.dtype, jnp.float32))


def check_positive(name: str, value: Any) -> None:
    """ValueError if `value` is a Python number not above 0; a traced one passes."""
    if isinstance(value, int | float) and not value > 0:
        raise ValueError(f"{name}: expected a number above 0, found {value}")


def check_fraction(name: str, value: Any) -> None:
    """ValueError if `value` is a Python number outside [0, 1]; a traced one passes."""
    if isinstance(value, int | float) and not 0 <= value <= 1:
        raise ValueError(f"{name}: expected a number in [0, 1], found {value}")
