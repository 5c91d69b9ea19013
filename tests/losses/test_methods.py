"""Every loss between a student and a teacher: golden values, formula, what all share.

The formulas are written anew in float64; the golden values are those of the authors'
code, or of the formula where that is another loss.
"""

import dataclasses
import json
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import approx_fprime
from scipy.special import log_softmax, logsumexp, rel_entr, softmax

from kdjax import losses

I12, I96 = np.arange(12), np.arange(96)
ROWS = [3 * f(I12).reshape(3, 4) for f in (np.sin, np.cos)]  # logits, embeddings
LABELS = np.arange(3)
MAPS = [
    np.moveaxis(x.reshape(2, 3, 4, 4), 1, -1)
    for x in (np.sin(0.7 * I96), np.cos(0.3 * I96))
]
SERIES = [x.reshape(2, 16, 3) for x in (np.sin(0.7 * I96), np.cos(0.3 * I96))]


def unit(x, axis=-1):
    norm = np.linalg.norm(x, axis=axis, keepdims=True)
    return x / np.where(norm == 0, np.inf, norm)


def standardised(z):
    return (z - z.mean(1, keepdims=True)) / (z.std(1, ddof=1, keepdims=True) + 1e-7)


def kl(s, t, temperature):
    p, q = softmax(t / temperature, 1), softmax(s / temperature, 1)
    return temperature**2 * rel_entr(p, q).sum(1).mean()


def decoupled(s, t, alpha=1.0, beta=8.0, temperature=4.0):
    total = 0.0
    for y, (row, teacher) in enumerate(
        zip(s / temperature, t / temperature, strict=True)
    ):
        others = np.delete(np.arange(len(row)), y)
        both = [
            np.exp([z[y] - logsumexp(z), logsumexp(z[others]) - logsumexp(z)])
            for z in (teacher, row)
        ]
        rest = [softmax(z[others]) for z in (teacher, row)]
        total += alpha * rel_entr(*both).sum() + beta * rel_entr(*rest).sum()
    return temperature**2 * total / len(s)


def correlations(a, b):
    a, b = (x - x.mean(1, keepdims=True) for x in (a, b))
    return (unit(a) * unit(b)).sum(1).mean()


def dist(s, t):
    p, q = softmax(s, 1), softmax(t, 1)
    return 2 - correlations(p, q) - correlations(p.T, q.T)


def similarity(s, t):
    grams = []
    for x in (s, t):
        flat = x.reshape(len(x), -1)
        grams.append(unit(flat @ flat.T))
    return np.square(grams[0] - grams[1]).sum() / len(s) ** 2


def huber(a, b):
    size = np.abs(a - b)
    return np.where(size <= 1, size**2 / 2, size - 0.5).mean()


def relational(s, t, distance=25.0, angle=50.0):
    lengths, cosines = [], []
    for e in (s, t):
        d = np.linalg.norm(e[:, None] - e[None], axis=-1)
        lengths.append(d / (d[d > 0].mean() if (d > 0).any() else 1))
        directions = unit(e[None] - e[:, None])  # [anchor, other, width]
        cosines.append(np.einsum("jid,jkd->jik", directions, directions))
    return distance * huber(*lengths) + angle * huber(*cosines)


def cosine(e):
    return unit(e) @ unit(e).T


def pkt(s, t):
    p, q = ((cosine(e) + 1) / 2 for e in (s, t))
    p, q = p / p.sum(1, keepdims=True), q / q.sum(1, keepdims=True)
    return (q * np.log((q + 1e-7) / (p + 1e-7))).mean()


def correlation(s, t, g=0.4):
    k = [
        sum(
            np.exp(-2 * g) * (2 * g) ** p / math.factorial(p) * cosine(e) ** p
            for p in range(3)
        )
        for e in (s, t)
    ]
    return np.square(k[0] - k[1]).mean()


def variational(s, t, v=5.0):
    return ((s - t) ** 2 / v + np.log(v)).mean() / 2


def contrastive(s, t, temperature=0.07):
    logits = unit(s) @ unit(t).T / temperature
    both = [log_softmax(z, axis=1).diagonal().mean() for z in (logits, logits.T)]
    return -np.mean(both)


def energy(f, power=2):
    return (np.abs(f) ** power).mean(-1).reshape(len(f), -1)


def attention(s, t):
    return np.square(unit(energy(s)) - unit(energy(t))).mean()


def angular(s, t, local=False, m=1.35, scale=64.0):
    def maps(q):
        p = scale * np.cos(m * np.arccos(np.clip(q, -1 + 1e-7, 1 - 1e-7)))
        return p - np.logaddexp(p, scale * (1 - q)), p, 1 - q

    def distance(a, b):
        pairs = zip(maps(a), maps(b), strict=True)
        return sum(np.square(unit(u) - unit(v)).mean() for u, v in pairs) / 3

    whole = [energy(f) * f.shape[-1] for f in (s, t)]
    a, b = (q / (np.linalg.norm(q, axis=1, keepdims=True) + 1e-6) for q in whole)
    if not local:
        return distance(a, b)
    space = s.shape[1:-1]
    parts = [np.array_split(np.arange(n), 4 if len(space) == 1 else 2) for n in space]
    places = np.arange(a.shape[1]).reshape(space)
    some = [
        places[np.ix_(*index)].ravel()
        for index in np.array(np.meshgrid(*[range(len(p)) for p in parts]))
        .reshape(len(parts), -1)
        .T
        for index in [[p[i] for p, i in zip(parts, index, strict=True)]]
    ]
    return 0.8 * distance(a, b) + 0.2 * np.mean(
        [distance(a[:, k], b[:, k]) for k in some]
    )


@dataclasses.dataclass(frozen=True)
class Method:
    """A loss (student, teacher), its formula, and its value of these arrays."""

    loss: Callable
    formula: Callable
    of: list
    golden: float | None = None


METHODS = {
    "kl_standardised": Method(
        partial(losses.distillation_kl, temperature=2.0, standardise=True),
        lambda s, t: kl(standardised(s), standardised(t), 2.0),
        ROWS,
        0.6687758,
    ),
    "decoupled": Method(
        lambda s, t, **kw: losses.decoupled_kd_loss(s, t, LABELS[: len(s)], **kw),
        decoupled,
        ROWS,
        19.651624,
    ),
    "decoupled_label": Method(
        lambda s, t, **kw: losses.decoupled_kd_loss(s, t, LABELS, beta=0, **kw),
        partial(decoupled, beta=0),
        ROWS,
        1.2232411,
    ),
    "decoupled_others": Method(
        lambda s, t, **kw: losses.decoupled_kd_loss(
            s, t, LABELS, alpha=0, beta=1, **kw
        ),
        partial(decoupled, alpha=0, beta=1),
        ROWS,
        2.3035479,
    ),
    "dist": Method(losses.dist_loss, dist, ROWS, 1.9430850),
    "multi_teacher": Method(
        lambda s, t, **kw: losses.multi_teacher_kl(s, t[None], **kw),
        lambda s, t: kl(s, t, 4.0),
        ROWS,
        3.0035706,
    ),
    "fitnet": Method(losses.fitnet_loss, lambda s, t: np.square(s - t).mean(), MAPS),
    "fitnet_series": Method(
        losses.fitnet_loss, lambda s, t: np.square(s - t).mean(), SERIES
    ),
    "similarity": Method(losses.similarity_loss, similarity, MAPS, 0.020018454),
    "relational": Method(
        losses.relational_loss, relational, ROWS, 25 * 0.0073098645 + 50 * 0.0086291790
    ),
    "distances": Method(
        partial(losses.relational_loss, distance_weight=1.0, angle_weight=0),
        partial(relational, distance=1.0, angle=0.0),
        ROWS,
        0.0073098645,
    ),
    "angles": Method(
        partial(losses.relational_loss, distance_weight=0.0, angle_weight=1.0),
        partial(relational, distance=0.0, angle=1.0),
        ROWS,
        0.0086291790,
    ),
    "pkt": Method(losses.pkt_loss, pkt, ROWS, 0.0081069184),
    "correlation": Method(losses.correlation_loss, correlation, ROWS, 0.00051818459),
    "variational": Method(
        lambda s, t, **kw: losses.variational_loss(s, 5.0, t, **kw),
        variational,
        MAPS,
        0.90404004,
    ),
    "contrastive": Method(
        losses.contrastive_distillation_loss, contrastive, ROWS, 10.565666
    ),
    "attention": Method(losses.attention_transfer_loss, attention, MAPS, 0.0055021302),
    "attention_series": Method(
        losses.attention_transfer_loss, attention, SERIES, 0.027372177
    ),
    "amd": Method(losses.amd_loss, angular, MAPS, 0.00504895975),
    "amd_local": Method(
        partial(losses.amd_loss, local=True),
        partial(angular, local=True),
        MAPS,
        0.0063829604,
    ),
    "amd_series": Method(losses.amd_loss, angular, SERIES, 0.016149105),
    "amd_series_local": Method(
        partial(losses.amd_loss, local=True),
        partial(angular, local=True),
        SERIES,
        0.025825340,
    ),
}
EVERY = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)


def single(arrays_):
    return [np.asarray(x, np.float32) for x in arrays_]


@EVERY
def test_golden_value_formula_and_gradient(method):
    student, teacher = single(method.of)
    value, gradient = jax.jit(jax.value_and_grad(method.loss))(student, teacher)
    assert value.dtype == jnp.float32
    assert value.shape == ()
    wide = [x.astype(np.float64) for x in (student, teacher)]
    np.testing.assert_allclose(value, method.formula(*wide), rtol=3e-6)
    if method.golden is not None:
        np.testing.assert_allclose(value, method.golden, rtol=2e-6)

    def flat(x):
        return method.formula(x.reshape(student.shape), wide[1])

    slope = approx_fprime(wide[0].ravel(), flat, 1e-7)
    size = np.abs(slope).max()
    np.testing.assert_allclose(gradient.ravel(), slope, rtol=2e-3, atol=2e-4 * size)


@EVERY
def test_vmap_equals_a_loop(method):
    student, teacher = single(method.of)
    students = np.stack([student, 0.5 * student + teacher, teacher[::-1]])
    values = jax.vmap(method.loss, in_axes=(0, None))(students, teacher)
    looped = np.array([method.loss(s, teacher) for s in students])
    # a small one may be a difference of large ones
    np.testing.assert_allclose(values, looped, rtol=2e-5, atol=2e-7 * looped.max())


@EVERY
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_is_computed_in_float32(method, dtype):
    student, teacher = (jnp.asarray(x, dtype) for x in method.of)
    value, gradient = jax.value_and_grad(method.loss)(student, teacher)
    assert value.dtype == jnp.float32
    assert gradient.dtype == dtype
    exact = [np.asarray(x, np.float64) for x in (student, teacher)]
    np.testing.assert_allclose(value, method.formula(*exact), rtol=5e-6)


@EVERY
def test_no_gradient_reaches_the_teacher(method):
    student, teacher = single(method.of)
    gradient = jax.grad(method.loss, argnums=1)(student, teacher)
    np.testing.assert_array_equal(gradient, np.zeros(teacher.shape))


@EVERY
@pytest.mark.parametrize("size", [0.0, 1e-20, 1e-6])
def test_zero_and_tiny_students_are_finite(method, size):
    student, teacher = single(method.of)
    for one, other in ((size * student, teacher), (student, 0 * teacher)):
        value, gradient = jax.value_and_grad(method.loss)(one, other)
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()


@EVERY
def test_a_student_that_is_its_teacher_has_no_loss(method):
    student, _ = single(method.of)
    value = method.loss(student, student)
    exact = method.formula(*[student.astype(np.float64)] * 2)
    np.testing.assert_allclose(value, exact, atol=2e-6)


@EVERY
def test_batches_that_differ_are_named(method):
    student, teacher = single(method.of)
    with pytest.raises(ValueError, match=r"does not fit: .*expected"):
        method.loss(student, teacher[:-1])


@EVERY
def test_examples_that_do_not_count_change_nothing(method):
    student, teacher = single(method.of)
    where = np.array([True, True, False])[: len(student)]
    if len(student) == 2:
        where[1] = False
    spoilt = student.copy()
    spoilt[~where] = np.nan
    poor = teacher.copy()
    poor[~where] = np.inf
    loss = jax.value_and_grad(partial(method.loss, where=where))
    value, gradient = loss(spoilt, poor)
    kept = [x[where].astype(np.float64) for x in (student, teacher)]
    np.testing.assert_allclose(value, method.formula(*kept), rtol=1e-5, atol=1e-7)
    assert np.isfinite(gradient).all()
    np.testing.assert_array_equal(gradient[~where], 0)
    assert np.isfinite(method.loss(spoilt, poor, where=np.zeros(len(student))))


def test_a_confident_student_has_a_finite_decoupled_loss():
    """The logarithm of 1 less a softmax would be -inf."""
    student = np.array([[200.0, 0.0, -50.0, 1.0]], np.float32)
    teacher = np.array([[0.0, 1.0, 2.0, 3.0]], np.float32)
    value, gradient = jax.value_and_grad(losses.decoupled_kd_loss)(
        student, teacher, np.array([0])
    )
    exact = decoupled(*(x.astype(np.float64) for x in (student, teacher)))
    np.testing.assert_allclose(value, exact, rtol=1e-6)
    assert np.isfinite(gradient).all()
    assert np.abs(gradient).max() > 1


def test_decoupled_and_plain_distillation_are_one_where_weights_make_them_so():
    """KL = TCKD + (1 - p_y) NCKD, of one example."""
    student, teacher = (x[:1] for x in single(ROWS))
    rest = 1 - softmax(teacher.astype(np.float64) / 4, 1)[0, 0]
    found = losses.decoupled_kd_loss(student, teacher, [0], beta=rest)
    plain = losses.distillation_kl(student, teacher, temperature=4.0)
    np.testing.assert_allclose(found, plain, rtol=1e-5)


@pytest.mark.parametrize("classes", [1, 2])
def test_two_classes_cannot_be_decoupled(classes):
    z = np.ones((3, classes), np.float32)
    with pytest.raises(ValueError, match=f"3 classes or more, found {classes}"):
        losses.decoupled_kd_loss(z, z, np.zeros(3, int))


def test_labels_that_are_no_class_are_not_wrapped():
    student, teacher = single(ROWS)
    for bad in ([0, 1, -1], [0, 1, 4]):
        value, gradient = jax.value_and_grad(losses.decoupled_kd_loss)(
            student, teacher, np.array(bad)
        )
        assert np.isnan(value)
        assert np.isnan(gradient).any()
    labels = np.array([0, 1, -1])
    known = losses.decoupled_kd_loss(student, teacher, labels, where=labels >= 0)
    np.testing.assert_allclose(known, decoupled(*(x[:2] for x in ROWS)), rtol=1e-5)


def test_excluded_classes_are_not_told_apart():
    """-inf in both: as if the class were not there."""
    wide = [np.insert(x, 3, -np.inf, axis=1) for x in single(ROWS)]
    for loss in (
        partial(losses.distillation_kl, standardise=True),
        lambda s, t: losses.decoupled_kd_loss(s, t, LABELS),
        lambda s, t: losses.multi_teacher_kl(s, t[None]),
    ):
        value, gradient = jax.value_and_grad(loss)(*wide)
        np.testing.assert_allclose(value, loss(*single(ROWS)), rtol=1e-5)
        assert np.isfinite(np.delete(gradient, 3, axis=1)).all()
        np.testing.assert_array_equal(gradient[:, 3], 0)


def test_several_teachers_are_averaged_by_weight():
    student, teacher = single(ROWS)
    teachers = np.stack([teacher, -teacher, 2 * student])
    weights = np.array([1.0, 3.0, 0.0], np.float32)
    p = np.average(softmax(teachers.astype(np.float64) / 2, -1), 0, weights)
    q = softmax(student.astype(np.float64) / 2, 1)
    found = losses.multi_teacher_kl(student, teachers, weights=weights, temperature=2.0)
    np.testing.assert_allclose(found, 4 * rel_entr(p, q).sum(1).mean(), rtol=1e-5)


RELATIONS = {
    name: METHODS[name].loss
    for name in ("similarity", "relational", "pkt", "correlation", "contrastive")
}


@pytest.mark.parametrize("loss", RELATIONS.values(), ids=RELATIONS)
@pytest.mark.parametrize("count", [1, 2, 5])
def test_equal_rows_are_finite(loss, count):
    """Two equal rows give 2e11 through the usual root of a distance."""
    rng = np.random.default_rng(0)
    teacher = rng.normal(size=(count, 4)).astype(np.float32)
    some = teacher[::-1].copy()
    some[-1] = some[0]
    for student in (np.ones_like(teacher), some, np.zeros_like(teacher)):
        value, gradient = jax.value_and_grad(loss)(student, teacher)
        assert np.isfinite(value)
        assert np.abs(gradient).max() < 1e3


@pytest.mark.parametrize("block", [1, 40, 100, 2**22])
def test_blocks_of_anchors_change_nothing(block, monkeypatch):
    rng = np.random.default_rng(0)
    student, teacher = rng.normal(size=(2, 5, 4)).astype(np.float32)
    where = np.array([1, 1, 0, 1, 1])
    loss = jax.value_and_grad(partial(losses.relational_loss, where=where))
    value, gradient = loss(student, teacher)
    monkeypatch.setattr("kdjax.losses.relations._BLOCK", block)
    again, slope = loss(student, teacher)
    np.testing.assert_allclose(again, value, rtol=1e-6)
    np.testing.assert_allclose(slope, gradient, rtol=1e-5, atol=1e-6)


def test_blocks_bound_the_memory():
    """Of 256 examples' angles, 64 MiB a side, a part is held at once."""
    shape = jax.ShapeDtypeStruct((256, 8), jnp.float32)
    step = jax.jit(jax.value_and_grad(losses.relational_loss))
    held = step.lower(shape, shape).compile().memory_analysis().temp_size_in_bytes
    assert held < 256**3 * 4 * 2


def test_labels_leave_out_the_same_class():
    rng = np.random.default_rng(0)
    student, teacher = rng.normal(size=(2, 6, 4)).astype(np.float32)
    labels = np.array([0, 1, 0, 2, -1, -1])
    s, t = (unit(x.astype(np.float64)) for x in (student, teacher))
    total = 0.0
    for one, other in ((s, t), (t, s)):
        for i in range(6):
            among = [
                j for j in range(6) if j == i or labels[i] != labels[j] or labels[i] < 0
            ]
            z = one[i] @ other.T / 0.07
            total -= (z[i] - logsumexp(z[among])) / 12
    found = losses.contrastive_distillation_loss(student, teacher, labels=labels)
    np.testing.assert_allclose(found, total, rtol=1e-5)
    alike = losses.contrastive_distillation_loss(
        student, teacher, labels=np.zeros(6, int)
    )
    np.testing.assert_allclose(alike, 0, atol=1e-6)


def test_a_learnt_teacher_has_the_gradient_of_the_formula():
    student, teacher = single(ROWS)
    loss = partial(losses.contrastive_distillation_loss, learnt_teacher=True)
    gradient = jax.grad(loss, argnums=1)(student, teacher)
    wide = [x.astype(np.float64) for x in (student, teacher)]
    slope = approx_fprime(
        wide[1].ravel(), lambda x: contrastive(wide[0], x.reshape(3, 4)), 1e-7
    )
    np.testing.assert_allclose(gradient.ravel(), slope, rtol=2e-3, atol=1e-3)


@pytest.fixture(scope="module")
def devices(python):
    program = Path(__file__).with_name("relations_devices.py")
    root = str(Path(__file__).resolve().parents[2])
    done = python(program, devices=4, env={"PYTHONPATH": root})
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_gradients_over_devices_equal_one_device(devices):
    """pmap, and shard_map with and without its checks, with an example left out."""
    assert {(row["loss"], row["mapper"], row["devices"]) for row in devices} == {
        (loss, mapper, count)
        for loss in (*RELATIONS, "dist", "contrastive_labels")
        for mapper in ("by_pmap", "by_shard_map", "by_checked_shard_map")
        for count in (1, 4)
    }
    for row in devices:
        assert row["value"] < 1e-5, row
        assert row["gradient"] < 2e-5, row
        assert row["alone"] > 1e-3, f"a part of the batch is another loss: {row}"


@pytest.mark.parametrize(
    ("loss", "options", "message"),
    [
        (losses.correlation_loss, {"gamma": 0}, "gamma: expected a number above 0"),
        (losses.correlation_loss, {"order": 0}, "order: expected 1 or more, found 0"),
        (losses.dist_loss, {"temperature": 0}, "temperature: .* above 0, found 0"),
        (losses.contrastive_distillation_loss, {"temperature": -1}, "found -1"),
    ],
)
def test_arguments_that_do_not_fit_are_named(loss, options, message):
    with pytest.raises(ValueError, match=message):
        loss(*ROWS, **options)


@pytest.mark.parametrize("shape", [(4,), (1, 3), (2,)])
def test_a_variance_is_of_channels(shape):
    with pytest.raises(ValueError, match=r"variance: expected a scalar or \(3,\), fo"):
        losses.variational_loss(MAPS[0], np.ones(shape), MAPS[1])


def test_a_variance_by_channel_is_the_formula():
    v = np.array([0.5, 1.0, 3.0])
    student, teacher = single(MAPS)
    exact = variational(*(x.astype(np.float64) for x in (student, teacher)), v)
    found, slope = jax.value_and_grad(losses.variational_loss, argnums=1)(
        student, np.float32(v), teacher
    )
    np.testing.assert_allclose(found, exact, rtol=1e-6)
    expected = approx_fprime(v, lambda v: variational(MAPS[0], MAPS[1], v), 1e-7)
    np.testing.assert_allclose(slope, expected, rtol=1e-4)


EMBEDDINGS = arrays(
    np.float32, (4, 3), elements=st.floats(-4, 4, width=32, allow_subnormal=False)
)


@settings(max_examples=20, deadline=None)
@given(EMBEDDINGS, EMBEDDINGS, st.permutations(range(4)), st.floats(0.25, 8, width=32))
def test_relations_know_neither_the_order_nor_the_size(student, teacher, order, size):
    for name, loss in RELATIONS.items():
        value = float(loss(student, teacher))
        again = loss(student[order], teacher[order])
        np.testing.assert_allclose(again, value, rtol=2e-3, atol=2e-4)
        assert value > -1e-6, name
        if np.abs(student).max(axis=1).min() > 1e-2:
            larger = loss(np.float32(size) * student, teacher)
            np.testing.assert_allclose(larger, value, rtol=2e-3, atol=2e-4)
