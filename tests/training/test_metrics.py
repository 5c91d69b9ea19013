"""Sums over a split, the figures from them, and the log."""

import json
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, log_loss

from kdjax.training import metrics
from kdjax.training.parallel import AXIS
from tests.disk import full_disk


def sums(logits, labels, mask):
    """One device's sums, without the device axis."""
    mapped = jax.vmap(metrics.classification_sums, axis_name=AXIS, out_axes=None)
    return mapped(logits[None], labels[None], mask[None])


def ece(probabilities, labels, bins=15):
    confidence, predicted = probabilities.max(1), probabilities.argmax(1)
    edges, total = np.linspace(0, 1, bins + 1), 0.0
    for low, high in pairwise(edges):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            hits = (predicted == labels)[inside].mean()
            total += inside.mean() * abs(hits - confidence[inside].mean())
    return total


def test_figures_equal_sklearn_over_ragged_batches():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (50, 4)).astype(np.float32)
    labels = rng.integers(0, 4, 50).astype(np.int32)
    total = None
    for start in range(0, 50, 16):  # the last batch holds 2, padded to 16
        index = np.arange(start, start + 16)
        mask = (index < 50).astype(np.float32)
        index = np.where(index < 50, index, 0)
        part = sums(*(jnp.asarray(a) for a in (logits[index], labels[index], mask)))
        total = metrics.add_sums(total, jax.device_get(part))
    values = metrics.classification_metrics(total)
    probabilities = np.exp(logits - logits.max(1, keepdims=True))
    probabilities /= probabilities.sum(1, keepdims=True)
    predicted = logits.argmax(1)
    assert values["examples"] == 50
    assert values["accuracy"] == pytest.approx(accuracy_score(labels, predicted))
    macro = f1_score(labels, predicted, average="macro")
    assert values["macro_f1"] == pytest.approx(macro)
    assert values["loss"] == pytest.approx(log_loss(labels, probabilities), rel=1e-5)
    assert values["ece"] == pytest.approx(ece(probabilities, labels), rel=1e-5)
    assert values["confusion"] == confusion_matrix(labels, predicted).tolist()


def test_padding_counts_for_nothing_even_when_not_finite():
    logits = jnp.array([[2.0, 0.0], [jnp.inf, jnp.nan]])
    part = sums(logits, jnp.array([0, 1]), jnp.array([1.0, 0.0]))
    values = metrics.classification_metrics(metrics.add_sums(None, part))
    assert values["examples"] == 1
    assert values["accuracy"] == 1.0
    assert values["loss"] == pytest.approx(np.log1p(np.exp(-2.0)), rel=1e-5)


def test_log_drops_what_a_killed_run_wrote_past_its_checkpoint(tmp_path):
    log = metrics.MetricsLog(tmp_path, after_step=0)
    for step in (10, 20, 30):
        log.write("train", step=step, epoch=step / 10, values={"loss": 1 / step})
    log.close()
    path = tmp_path / "metrics.jsonl"
    with path.open("a") as file:
        file.write('{"kind": "train", "st')  # killed while writing
    metrics.MetricsLog(tmp_path, after_step=20).close()
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["step"] for row in rows] == [10, 20]
    assert rows[0] == {"kind": "train", "epoch": 1.0, "step": 10, "loss": 0.1}


def test_log_keeps_numbers_only(tmp_path):
    log = metrics.MetricsLog(tmp_path, after_step=0)
    log.write("validation", step=1, epoch=1.0, values={"loss": 1.0, "confusion": [[1]]})
    log.close()
    (row,) = metrics.read_log(tmp_path / "metrics.jsonl")
    assert set(row) == {"kind", "epoch", "step", "loss"}


@pytest.mark.parametrize(
    "line",
    [
        *(b'{"kind": "tr', b"\xff\xfe", b"", b"7", b"[]", b"[" * 100_000),
        *(b'{"step": 1}', b'{"kind": "train", "step": "1"}', b'{"kind": 1, "step": 1}'),
    ],
)
def test_a_damaged_line_of_a_log_is_named_and_left_out(tmp_path, capsys, line):
    path = tmp_path / "metrics.jsonl"
    row = b'{"kind": "train", "step": 1}\n'
    path.write_bytes(row + line + b"\n" + row)
    metrics.MetricsLog(tmp_path, after_step=3).close()
    assert "metrics.jsonl: line 2 is damaged" in capsys.readouterr().err
    assert path.read_bytes() == row + row


def test_a_full_disk_is_named_and_leaves_whole_lines(tmp_path):
    log = metrics.MetricsLog(tmp_path, after_step=0)
    path = tmp_path / "metrics.jsonl"
    values = {"loss": 0.5}
    log.write("train", step=1, epoch=1, values=values)
    with full_disk(100), pytest.raises(OSError, match="File too large") as raised:
        log.write("train", step=2, epoch=1, values=values)
    assert raised.value.filename == str(path)
    log.close()
    assert path.stat().st_size == 100
    again = metrics.MetricsLog(tmp_path, after_step=3)
    again.close()
    assert path.read_text().count("\n") == len(list(metrics.read_log(path))) == 1


@pytest.mark.parametrize(
    ("moments", "rank"),
    [
        (np.outer([1.0, 2.0, -3.0], [1.0, 2.0, -3.0]), 1.0),
        (7 * np.eye(5), 5.0),
        (np.diag([4.0, 4.0, 0.0]), 2.0),
        (np.zeros((4, 4)), 1.0),
        # singular values 3 and 1: p = 3/4, 1/4
        (np.diag([9.0, 1.0]), 4 / 3**0.75),
        (np.full((2, 2), np.nan), np.nan),
    ],
    ids=["one direction", "all alike", "two of three", "nothing", "3 to 1", "nan"],
)
def test_effective_rank_of_known_moments(moments, rank):
    np.testing.assert_allclose(metrics.effective_rank(moments), rank, rtol=1e-6)


@settings(deadline=None, max_examples=50)
@given(
    rows=st.integers(1, 12),
    dim=st.integers(1, 8),
    scale=st.sampled_from([1e-6, 1.0, 1e6]),
    seed=st.integers(0, 2**16),
)
def test_effective_rank_is_between_one_and_its_limits(rows, dim, scale, seed):
    x = scale * np.random.default_rng(seed).normal(size=(rows, dim))
    rank = metrics.effective_rank(x.T @ x)
    assert 1 - 1e-9 <= rank <= min(rows, dim) * (1 + 1e-4)
    turned = np.linalg.qr(np.random.default_rng(seed + 1).normal(size=(dim, dim)))[0]
    other = metrics.effective_rank(turned.T @ x.T @ x @ turned)
    assert other == pytest.approx(rank, rel=1e-4)
