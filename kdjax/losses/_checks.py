"""What every loss does with its arguments before its formula."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec

import jax.numpy as jnp
from jaxtyping import AbstractArray, Array, Shaped, jaxtyped

P = ParamSpec("P")

# A weight or a temperature: a Python number, or traced.
Scalar = Shaped[Array, ""] | float | int


def checked(loss: Callable[P, Array]) -> Callable[P, Array]:
    """Hold a loss to the shapes in its signature, and compute it in float32 or wider.

    Every argument annotated with a jaxtyping array is made a JAX array, so that NumPy
    arrays and lists are taken too, compared with its annotation (an axis name means the
    same size in all of them), and promoted to at least float32 if it is a float. This
    runs while tracing only; compiled code is that of the loss alone.

    Raises:
        ValueError: naming the argument, what it should be and the shapes of all.
    """
    signature = inspect.signature(loss)
    annotations = {
        name: parameter.annotation
        for name, parameter in signature.parameters.items()
        if _is_array(parameter.annotation)
    }

    @functools.wraps(loss)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> Array:
        bound = signature.bind(*args, **kwargs)
        arrays = {name: jnp.asarray(bound.arguments[name]) for name in annotations}
        with jaxtyped("context"):
            for name, annotation in annotations.items():
                if not isinstance(arrays[name], annotation):
                    found = _describe(arrays, annotations)
                    raise ValueError(f"{loss.__name__}: {name} does not fit: {found}")
        for name, array in arrays.items():
            bound.arguments[name] = _promote(array)
        return loss(*bound.args, **bound.kwargs)

    return wrapper


def _is_array(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, AbstractArray)


def _describe(arrays: dict[str, Array], annotations: dict[str, Any]) -> str:
    """'labels is float32 (4,), expected Integer[batch]', for each argument."""
    return "; ".join(
        f"{name} is {array.dtype} {array.shape}, expected "
        f"{annotations[name].dtype.__name__}[{annotations[name].dim_str}]"
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
