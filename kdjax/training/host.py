"""Settings of the host: caching of compiled programs, memory, what is compiled once."""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Callable
from typing import Any

import jax

from kdjax import files
from kdjax.machine import threads


def cache_compilation() -> None:
    """Keeps compiled programs between runs, and so between the seeds of one.

    In $XDG_CACHE_HOME/kdjax (~/.cache/kdjax), unless JAX_COMPILATION_CACHE_DIR is set;
    for each number of threads apart, as XLA compiles for it, and jax takes a program of
    any. A user without a home has no cache.
    """
    folder = files.cache_folder()
    if folder is None:
        return
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        own = folder / f"compiled_{threads()}"
        jax.config.update("jax_compilation_cache_dir", str(own))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def keep_freed_memory() -> None:
    """Tells glibc to keep what is freed for the next step.

    XLA's CPU backend allocates its scratch memory anew at each step. Above 32 MiB glibc
    maps and unmaps it each time, and the page faults cost more than the arithmetic:
    WRN28-1's step takes 28 ms instead of 43.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # not glibc
        return
    m_trim_threshold, m_mmap_max, m_arena_max = -1, -4, -8
    mallopt(m_mmap_max, 0)
    mallopt(m_trim_threshold, 2**31 - 1)
    mallopt(m_arena_max, 1)  # the arena of a thread ends at 64 MiB


def compile_once(function: Callable[..., Any]) -> Callable[..., Any]:
    """`jax.jit` of what runs once, such as drawing the first parameters.

    On CPU without LLVM's optimisation, which would take far longer than the run does:
    BeatGAN's first parameters take 2 s instead of 11.
    """
    if jax.default_backend() != "cpu":
        return jax.jit(function)
    compiled = jax.jit(function, compiler_options={"xla_backend_optimization_level": 0})

    @functools.wraps(function)
    def call(*arguments: Any) -> Any:
        leaves = jax.tree.leaves(arguments)
        # jax takes no such options inside what is itself being traced
        traced = any(isinstance(leaf, jax.core.Tracer) for leaf in leaves)
        return (function if traced else compiled)(*arguments)

    return call
