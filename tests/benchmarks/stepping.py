"""Steps of a task, as training runs them, timed one by one."""

import time
from itertools import chain, count

import jax

from kdjax.training import loop, parallel


def run_steps(task, batch):
    """(seconds, metrics) of step after step, waiting for each."""
    devices = parallel.make("pmap", devices=1)
    everywhere = devices.replicate((task.constants(), jax.random.key(1)))
    state = devices.replicate(task.init(jax.random.key(0)))
    step = loop.compiled_step(task, devices)
    epochs = (task.data["train"].batches(batch, epoch=e) for e in count(1))
    for each in chain.from_iterable(epochs):
        part = devices.shard(each)
        start = time.perf_counter()
        state, metrics = step(state, everywhere, part)
        jax.block_until_ready(metrics)
        yield time.perf_counter() - start, metrics
