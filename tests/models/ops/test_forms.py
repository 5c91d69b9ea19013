"""Operations as XLA's own, for what is exported."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from kdjax.models.ops import forms
from kdjax.models.ops.convolution import convolve
from kdjax.models.ops.depthwise import depthwise
from kdjax.models.ops.transposed_convolution import double, halve

CASES = {
    "convolve": (convolve, (3, 16, 8)),
    "depthwise": (depthwise, (3, 1, 16)),
    "halve": (halve, (4, 16, 8)),
    "double": (double, (4, 16, 8)),
}


@pytest.mark.parametrize("name", CASES)
def test_xlas_own_form_takes_a_batch_of_unknown_size(name):
    function, shape = CASES[name]
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(12, 8, 16)).astype("f4"))
    kernel = jnp.asarray(rng.normal(size=shape).astype("f4"))

    def of_xla(x):
        with forms.of_xla():
            return function(x, kernel)

    (batch,) = export.symbolic_shape("batch")
    shapes = jax.ShapeDtypeStruct((batch, *x.shape[1:]), x.dtype)
    exported = export.export(jax.jit(of_xla))(shapes)
    assert "platform_index" not in str(jax.make_jaxpr(of_xla)(x))
    assert "platform_index" in str(jax.make_jaxpr(lambda x: function(x, kernel))(x))
    ours = np.asarray(function(x, kernel))
    np.testing.assert_allclose(np.asarray(exported.call(x)), ours, atol=1e-5)


def test_the_forms_return_when_the_block_ends_by_an_error():
    with pytest.raises(RuntimeError, match="ended"), forms.of_xla():
        raise RuntimeError("ended")
    kernel = jnp.ones((3, 2, 2))
    traced = str(jax.make_jaxpr(lambda x: convolve(x, kernel))(jnp.ones((1, 8, 2))))
    assert "platform_index" in traced
