"""Knowledge distillation in JAX/Flax: losses, models and compiled experiments."""

from __future__ import annotations

from typing import Any

__version__ = "0.2.0"
__all__ = ["__version__", "load", "results", "run"]


def __getattr__(name: str) -> Any:
    # Late: `import kdjax` is instant, and a loss needs no flax.
    if name == "load":
        from kdjax.loading import load

        return load
    if name in ("results", "run"):
        from kdjax import running

        return getattr(running, name)
    raise AttributeError(f"module 'kdjax' has no attribute {name!r}")
