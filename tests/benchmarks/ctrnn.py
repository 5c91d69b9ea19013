"""Speed of a CTRNN's training step, trials drawn in it: ms per step by units.

    taskset -c 0 python tests/benchmarks/ctrnn.py --rounds=N --peer=PYTHON_WITH_TORCH
    XLA_FLAGS=--xla_force_host_platform_device_count=2 python tests/benchmarks/ctrnn.py
    python tests/benchmarks/ctrnn.py --population=16
    python tests/benchmarks/ctrnn.py --memory

The step is the one that training runs, on all devices, 20 in a call (of networks above
128 units fewer): it draws 128 trials of the checkerboard task (100 steps), runs the
network over them and takes Adam on the squared error and the costs of rates and
weights. The peer is ../shared/peers/ctrnn_torch.py, with as many units. `--units` names
the sizes to time. `--population` sets so many members beside a single run; `--memory`
says what the compiled gradient takes for trials of 1000 steps. `--tiny` is what the
tests run.
"""

import shutil
import sys
import tempfile
import time
from itertools import chain, count, islice
from pathlib import Path

import jax
import jax.numpy as jnp
from stepping import PEERS, Case, median_ms, parser, print_machine, report

from kdjax import models
from kdjax.tasks.cognitive import task as cognitive
from kdjax.training import host, parallel, programs
from kdjax.training.task import Training

BLOG = "100, 12, 128, 2, 128"  # steps, inputs, units, outputs, batch in the peer's file
CALL = 20


def make_task(units, *, batch=128, steps=CALL, seed=0, trials=None):
    training = Training(epochs=1, batch_size=batch, select="loss", steps_per_call=steps)
    made = cognitive.make(
        trials={"name": "checkerboard"} | (trials or {}),
        model={"name": "ctrnn", "units": units},
        training=training,
        optimizer={"name": "adam", "schedule": {"name": "constant", "value": 1e-3}},
        losses={
            "squared_error": {"weight": 1.0},
            "rate_l1": {"weight": 1e-6, "reduction": "sum"},
            "weight_l1": {"weight": 1e-4},
        },
        examples={"train": batch * steps},
        seed=seed,
    )
    return made, training


def run_calls(members, *, vmapped=False):
    """Seconds a step of call after call, all members', waiting for each."""
    tasks, (training, *_) = zip(*members, strict=True)
    devices = parallel.make("pmap")
    constants = [
        devices.replicate((task.constants(), jax.random.key(1))) for task in tasks
    ]
    states = [devices.replicate(task.init(jax.random.key(0))) for task in tasks]
    made = programs.vmapped if vmapped else programs.separate
    advance = made(tasks[0], training, devices)
    epochs = (
        tasks[0].data["train"].batches(training.batch_size, epoch=e) for e in count(1)
    )
    batches = chain.from_iterable(epochs)
    while True:
        batch = programs.of_call(
            list(islice(batches, training.steps_per_call)), training.steps_per_call
        )
        start = time.perf_counter()
        states, metrics = advance(states, constants, [batch] * len(tasks))
        jax.block_until_ready(metrics)
        yield (time.perf_counter() - start) / training.steps_per_call


def case(units, *, batch, steps, repeats, peers):
    def prepare():
        # a step of 2048 units takes seconds
        few = max(2, min(steps, 20 * 128 // units))
        running = run_calls([make_task(units, batch=batch, steps=few)])
        next(running)
        return lambda: median_ms(islice(running, repeats))

    program = peers / f"ctrnn_{units}.py"
    if PEERS.is_dir():
        shutil.copy(PEERS / "timing.py", peers)
        text = (PEERS / "ctrnn_torch.py").read_text()
        program.write_text(text.replace(BLOG, BLOG.replace("128", str(units), 1)))
    label = "torch CTRNN step, trials included"
    return Case(f"CTRNN step, {units} units", prepare, (program, label))


def population(size, *, units, batch, steps, repeats):
    """ms a step of one run and of so many members, by a call each and by one call."""
    for name, members, vmapped in (
        ("one", 1, False),
        ("a call each", size, False),
        ("one call", size, True),
    ):
        tasks = [
            make_task(units, batch=batch, steps=steps, seed=k) for k in range(members)
        ]
        running = run_calls(tasks, vmapped=vmapped)
        next(running)
        ms = median_ms(islice(running, repeats))
        print(f"{members} networks, {name}: {ms:.4g} ms", flush=True)


def memory(time_steps, units, batch):
    """MiB of temporaries of the compiled gradient, by how much is kept."""
    for name, chunk in (("everything kept", 0), ("stretches", None)):
        network = models.build_recurrent(
            "ctrnn", inputs=12, outputs=2, dt=20.0, units=units, chunk=chunk
        )
        x = jax.ShapeDtypeStruct((time_steps, batch, 12), jnp.float32)
        y = jax.ShapeDtypeStruct((time_steps, batch, 2), jnp.float32)
        variables = jax.eval_shape(
            network.init, jax.random.key(0), jnp.zeros((1, 1, 12))
        )

        def loss(variables, x, y, network=network):
            def visit(outputs, rates, each):
                return jnp.sum(jnp.square(outputs - each)) + jnp.sum(jnp.abs(rates))

            return network.apply(variables, x, visit, y, method="fold")[0]

        compiled = jax.jit(jax.grad(loss)).lower(variables, x, y).compile()
        size = compiled.memory_analysis().temp_size_in_bytes / 2**20
        print(f"{time_steps} steps, {units} units, {name}: {size:.4g} MiB", flush=True)


def main(arguments):
    flags = parser(__doc__, rounds=5)
    flags.add_argument("--units", type=int, nargs="+", metavar="N")
    flags.add_argument("--population", type=int, metavar="MEMBERS")
    flags.add_argument("--memory", action="store_true")
    given = flags.parse_args(arguments)
    print_machine()
    sizes = {"batch": 128, "steps": CALL, "repeats": 5}
    if given.tiny:
        sizes = {"batch": 4, "steps": 2, "repeats": 1}
    if given.memory:
        memory(*((9, 8, 2) if given.tiny else (1000, 512, 128)))
        return
    host.keep_freed_memory()
    if given.population:
        population(given.population, units=8 if given.tiny else 128, **sizes)
        return
    with tempfile.TemporaryDirectory() as folder:
        peers = Path(folder)
        units = given.units or ((8,) if given.tiny else (128, 512, 2048))
        report(
            (case(u, peers=peers, **sizes) for u in units),
            rounds=given.rounds,
            peer=given.peer,
        )


if __name__ == "__main__":
    main(sys.argv[1:])
