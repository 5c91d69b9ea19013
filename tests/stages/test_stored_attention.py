"""The term `stored_attention`: a stored teacher's maps as the student's energy."""

from collections import OrderedDict

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import approx_fprime

from kdjax.errors import InputError
from kdjax.models import Outputs
from kdjax.stages import methods, terms

RNG = np.random.default_rng(0)
LOGITS = jnp.zeros((3, 5))


def outputs(maps):
    return Outputs(LOGITS, OrderedDict(attention=jnp.asarray(maps, jnp.float32)))


def drawn(rows, columns):
    maps = RNG.dirichlet(np.ones(rows * columns), size=3).reshape(3, rows, columns, 1)
    maps[0, 0, 0] = 0  # a share may be 0
    return maps


def reference(student, maps, power):
    """Mean squared difference of unit maps; the teacher's averaged over what a place of
    the student's covers, as counted on a grid that divides both."""
    _, h, w, _ = student.shape
    _, rows, columns, _ = maps.shape
    fine = maps[..., 0].repeat(h, axis=1).repeat(w, axis=2)
    fine = fine.reshape(3, h, rows, w, columns).mean(axis=(2, 4))
    found = []
    for energy in ((np.abs(student) ** power).mean(axis=-1), fine):
        flat = energy.reshape(3, -1)
        found.append(flat / np.linalg.norm(flat, axis=1, keepdims=True))
    return np.mean((found[0] - found[1]) ** 2)


@pytest.mark.parametrize("power", [1, 2, 3])
@pytest.mark.parametrize("space", [(4, 4), (2, 2), (8, 8), (3, 6)])
def test_value_and_gradient_equal_the_formula(space, power):
    student = RNG.normal(size=(3, *space, 2)).astype(np.float32)
    maps = drawn(4, 4)

    def loss(features):
        return methods.stored_attention(features, outputs(maps), power=power)

    value, gradient = jax.jit(jax.value_and_grad(loss))(student)

    def flat(features):
        return reference(features.reshape(student.shape), maps, power)

    exact = student.astype(np.float64).ravel()
    np.testing.assert_allclose(value, flat(exact), rtol=1e-5)
    np.testing.assert_allclose(
        gradient.ravel(), approx_fprime(exact, flat), rtol=1e-3, atol=1e-6
    )


def test_a_student_whose_energy_is_the_map_loses_nothing():
    maps = drawn(4, 2)
    student = np.sqrt(maps).astype(np.float32).repeat(3, axis=3)
    value = methods.stored_attention(jnp.asarray(student), outputs(maps))
    np.testing.assert_allclose(value, 0, atol=1e-12)


def test_it_is_a_term_by_name_of_the_layers_that_are_asked_for():
    student = Outputs(
        LOGITS,
        OrderedDict(
            layer1=jnp.asarray(RNG.normal(size=(3, 8, 8, 2)), jnp.float32),
            layer2=jnp.asarray(RNG.normal(size=(3, 4, 4, 5)), jnp.float32),
            pooled=jnp.zeros((3, 5)),
        ),
    )
    teacher = outputs(drawn(4, 4))
    each = [
        methods.stored_attention(student.features[name], teacher)
        for name in ("layer1", "layer2")
    ]

    def total(**fields):
        spec = {"stored_attention": {"weight": 2.0, **fields}}
        built = terms.build(spec, teacher=True)
        labels, step = jnp.zeros(3, jnp.int32), jnp.int32(0)
        return terms.total(built, student, teacher, labels, step)[0]

    np.testing.assert_allclose(total(layers=["layer2"]), 2 * each[1], rtol=1e-6)
    np.testing.assert_allclose(total(), 2 * sum(each), rtol=1e-6)


def test_what_does_not_fit_is_named():
    image, teacher = jnp.ones((3, 4, 4, 2)), outputs(drawn(4, 4))
    with pytest.raises(InputError, match="the teacher: unknown name 'attention'"):
        methods.stored_attention(image, Outputs(LOGITS, OrderedDict()))
    with pytest.raises(InputError, match=r"student's map .*found shape \(3, 7, 2\)"):
        methods.stored_attention(jnp.ones((3, 7, 2)), teacher)
    with pytest.raises(InputError, match="needs a teacher, and this stage has none"):
        terms.build({"stored_attention": {"weight": 1.0}}, teacher=False)
