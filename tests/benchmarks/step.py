"""ms per compiled training step: `python tests/benchmarks/step.py [case ...]`.

Batch 64 of 128 samples x 9 channels, 6 classes, SGD with momentum and weight decay, as
in ../shared/peers/wrn_torch.py and kd_torch.py. Run both in the same minute and quote
the ratio.
"""

from __future__ import annotations

import ctypes
import statistics
import sys
import time
from functools import partial

import jax
import optax

from kdjax import models
from kdjax.losses import cross_entropy, kd_loss

CLASSES, SHAPE = 6, (64, 128, 9)
# name: (depth, width) of the student, and of a frozen teacher or None
CASES = {
    "WRN16-1": ((16, 1), None),
    "WRN16-3": ((16, 3), None),
    "WRN28-1": ((28, 1), None),
    "KD WRN16-3 -> WRN16-1": ((16, 1), (16, 3)),
}


def keep_freed_memory():
    """Tells glibc to keep what is freed for the next step.

    XLA allocates its scratch memory anew at each step. Above 32 MiB glibc maps and
    unmaps it each time, and 13,000 page faults a step cost WRN28-1 43 ms -> 28 ms.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # not glibc
        return
    m_trim_threshold, m_mmap_max, m_arena_max = -1, -4, -8
    mallopt(m_mmap_max, 0)
    mallopt(m_trim_threshold, 2**31 - 1)
    mallopt(m_arena_max, 1)  # the arena of a thread ends at 64 MiB


def network(size, rng, x):
    """A WideResNet of `size` = (depth, width) and its variables."""
    depth, width = size
    model = models.build("wide_resnet", classes=CLASSES, depth=depth, width=width)
    return model, jax.jit(partial(model.init, train=False))(rng, x)


def training_step(student_size, teacher_size, x):
    """(compiled (state, x, y) -> (state, loss), first state)."""
    model, variables = network(student_size, jax.random.key(0), x)
    optimizer = optax.chain(optax.add_decayed_weights(1e-4), optax.sgd(0.05, 0.9))
    if teacher_size:
        teacher, frozen = network(teacher_size, jax.random.key(1), x)

    def loss_fn(params, stats, x, y):
        outputs, changed = model.apply(
            {"params": params, "batch_stats": stats},
            x,
            train=True,
            mutable=["batch_stats"],
        )
        if teacher_size:
            soft = teacher.apply(frozen, x, train=False).logits
            loss = kd_loss(outputs.logits, soft, y, temperature=4.0, alpha=0.7)
        else:
            loss = cross_entropy(outputs.logits, y)
        return loss, changed["batch_stats"]

    @partial(jax.jit, donate_argnums=0)
    def step(state, x, y):
        params, stats, moments = state
        gradient = jax.value_and_grad(loss_fn, has_aux=True)
        (loss, stats), grads = gradient(params, stats, x, y)
        updates, moments = optimizer.update(grads, moments, params)
        return (optax.apply_updates(params, updates), stats, moments), loss

    params = variables["params"]
    return step, (params, variables["batch_stats"], optimizer.init(params))


def stepper(case):
    """A function that takes one step of `case` and waits for its loss."""
    x = jax.random.normal(jax.random.key(2), SHAPE)
    y = jax.random.randint(jax.random.key(3), SHAPE[:1], 0, CLASSES)
    step, state = training_step(*CASES[case], x)

    def take():
        nonlocal state
        state, loss = step(state, x, y)
        return float(loss)

    return take


def main(cases):
    keep_freed_memory()
    for case in cases or CASES:
        take, times = stepper(case), []
        for _ in range(3):
            take()
        for _ in range(30):
            start = time.perf_counter()
            take()
            times.append((time.perf_counter() - start) * 1e3)
        print(f"{case}: {statistics.median(times):.2f} ms (min {min(times):.2f})")


if __name__ == "__main__":
    main(sys.argv[1:])
