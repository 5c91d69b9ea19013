"""Settings of the process, and what it compiles once."""

import jax
import jax.numpy as jnp
import numpy as np

from kdjax.machine import threads
from kdjax.training import host


def test_kept_memory_is_kept(python):
    """With mmap off for big blocks and trimming off, freed pages stay resident."""
    code = (
        "import ctypes, sys\n"
        "from kdjax.training import host\n"
        "if 'keep' in sys.argv: host.keep_freed_memory()\n"
        "libc = ctypes.CDLL(None)\n"
        "libc.malloc.restype = ctypes.c_void_p\n"
        "libc.free.argtypes = [ctypes.c_void_p]\n"
        "def pages(): return int(open('/proc/self/statm').read().split()[1])\n"
        "block = libc.malloc(ctypes.c_size_t(256 * 2**20))\n"
        "ctypes.memset(block, 1, 256 * 2**20)\n"
        "high = pages()\n"
        "libc.free(block)\n"
        "print((high - pages()) * 4096 // 2**20)\n"
    )
    given_back = [int(python("-c", code, *args).stdout) for args in ((), ("keep",))]
    assert given_back[0] > 200, "malloc gives a big block back of itself"
    assert given_back[1] < 50


def test_compilation_cache_goes_where_it_is_told(python, tmp_path):
    code = (
        "import jax\n"
        "from kdjax.training import host\n"
        "host.cache_compilation()\n"
        "print(jax.config.jax_compilation_cache_dir)\n"
    )
    home = {"XDG_CACHE_HOME": str(tmp_path), "JAX_COMPILATION_CACHE_DIR": None}
    folder = f"kdjax/compiled_{threads()}"
    assert python("-c", code, env=home).stdout.strip() == str(tmp_path / folder)
    own = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "own")}
    assert python("-c", code, env=own).stdout.strip() == str(tmp_path / "own")


def test_what_is_compiled_once_is_the_function():
    def draw(rng, scale):
        return {"a": scale * jax.random.normal(rng, (3,))}

    rng, once = jax.random.key(0), host.compile_once(draw)
    expected = draw(rng, 2.0)
    np.testing.assert_allclose(once(rng, 2.0)["a"], expected["a"], rtol=1e-6)
    within = jax.jit(lambda rng: once(rng, jnp.float32(2.0)))(rng)
    np.testing.assert_allclose(within["a"], expected["a"], rtol=1e-6)
    assert jax.eval_shape(lambda rng: once(rng, 2.0), rng)["a"].shape == (3,)
