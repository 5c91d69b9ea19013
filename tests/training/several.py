"""Run by test_processes.py: the same cases by one process and by two.

    several.py alone FOLDER            one process with 8 devices, of which it takes 4
    several.py together FOLDER I PORT  process I of two, with 2 devices each

They leave what they found in FOLDER/<who>.json, {case: numbers}.
"""

import json
import shutil
import sys
from itertools import islice
from pathlib import Path

import jax
import numpy as np
from matplotlib.figure import Figure

from kdjax import experiment
from kdjax.errors import InputError
from kdjax.files import read_json
from kdjax.tasks.anomaly import beatgan
from kdjax.tasks.contrastive import simclr
from kdjax.training import host, loop, parallel, processes, programs
from kdjax.training.checkpoint import model_of
from kdjax.training.task import Training
from tests import small_cognitive
from tests.training.killed import EPOCHS, trained

MAPPERS = ("pmap", "shard_map")


def devices(mapper, count=4):
    return parallel.make(mapper, devices=count)


SGD = {"name": "sgd", "schedule": {"name": "constant", "value": 0.05}}
MLP = {"name": "mlp", "widths": [16]}


def contrastive(**contrast):
    head = {"projection": {"hidden": (16,), "outputs": 8}}
    return simclr.make(
        data={"name": "digits"},
        model=MLP | head,
        training=Training(epochs=1, batch_size=32, select="loss"),
        optimizer=SGD,
        augment={"name": "flip"},
        contrast={"temperature": 0.5} | contrast,
        seed=0,
    )


def adversarial():
    return beatgan.make(
        data={"name": "synthetic_ecg", "patients": 8, "beats": 20},
        model={"name": "beatgan", "latent": 3, "width": 2},
        training=Training(epochs=1, batch_size=16, select="loss"),
        optimizer=SGD,
        losses={},
        seed=0,
    )


def ring():
    return contrastive(ring=True, chunk_size=3)


# by name: the task, the size of a batch, how many steps
CASES = {
    "simclr": (contrastive, 32, 5),
    "ring": (ring, 32, 5),
    "beatgan": (adversarial, 16, 2),
}


def some_steps(name, mapper):
    """Parameters, statistics and the last loss of a case after some steps."""
    make, size, count = CASES[name]
    task, by = make(), devices(mapper)
    constants = by.replicate((task.constants(), jax.random.key(1)))
    state = by.replicate(task.init(jax.random.key(0)))
    step = programs.compiled_step(task, by)
    for batch in islice(task.data["train"].own(size, epoch=1), count):
        state, logged = step(state, constants, by.shard(batch))
    return numbers(parallel.to_host((model_of(state), logged["loss"])))


def numbers(tree):
    return np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)]).tolist()


def population(folder, mapper):
    """Two CTRNNs of one program, trained together: what they reach."""
    tasks = [
        small_cognitive.make(losses={"rate_l1": {"weight": weight}})
        for weight in (1e-5, 1e-3)
    ]
    members = [loop.Member(t, folder / str(i), 0, "") for i, t in enumerate(tasks)]
    vmapped = mapper == "pmap"
    reached = loop.run_together(
        members,
        small_cognitive.training(),
        devices=devices(mapper),
        vmapped=vmapped,
    )
    return [each[kind]["test"]["loss"] for each in reached for kind in each]


def stages(workdir, mapper):
    """A teacher, a probe of it, and its pupil that starts from it: their test losses.

    They are supervised, with KD and with what is solved on the host.
    """
    loss = {"cross_entropy": {"weight": 0.5}}
    read = {"stage": "teacher", "checkpoint": "last"}
    config = {
        "seeds": [0],
        "parallel": mapper,
        "devices": 4,
        "task": "distill",
        "data": {"name": "digits"},
        "model": MLP,
        "training": {"epochs": 2, "batch_size": 64},
        "optimizer": SGD,
        "losses": loss,
        "stages": {
            "teacher": {},
            "pupil": {
                "optimizer": SGD | {"ema": 0.5},
                "start": read,
                "teacher": read,
                "losses": loss | {"kd": {"weight": 0.5}},
            },
            "ridge": {
                "task": "probe",
                "encoder": read,
                "probe": {"name": "ridge"},
                "training": {"epochs": 0},
                **dict.fromkeys(("model", "optimizer", "losses")),
            },
        },
    }
    experiment.run(config, workdir)
    found = []
    for name in config["stages"]:
        path = workdir / "seed_0" / name / "results.json"
        reached = read_json(path)["checkpoints"]
        found += [reached[kind]["test"]["loss"] for kind in ("last", "best")]
    return found


def alone(folder):
    """On 4 devices; what they saved is gone on with on others."""
    saved = folder / "saved"
    trained(saved, 1, devices("pmap"))
    found = {name: some_steps(name, "pmap") for name in ("simclr", "beatgan")}
    found["population"] = population(folder / "members", "pmap")
    found["stages"] = stages(folder / "alone", "pmap")
    for count in (4, 1, 2, 8):
        on = folder / f"on_{count}"
        shutil.copytree(saved, on)
        found[f"resumed on {count}"] = trained(on, 3, devices("pmap", count))
    for mapper in MAPPERS:
        shutil.copytree(saved, folder / mapper)
    return found


def together(folder):
    """As `alone`, and what only several processes do."""
    found = {
        "simclr pmap": some_steps("simclr", "pmap"),
        "simclr shard_map": some_steps("simclr", "shard_map"),
        "simclr ring": some_steps("ring", "pmap"),
        "beatgan": some_steps("beatgan", "pmap"),
        "stages": stages(folder / "together", "shard_map"),
    }
    for mapper in MAPPERS:
        two = folder / f"members_{mapper}"
        found[f"population {mapper}"] = population(two, mapper)
        resumed = trained(folder / mapper, 3, devices(mapper))
        found[f"resumed {mapper}"] = resumed
    trained(folder / "uninterrupted", EPOCHS, devices("pmap"))

    own = processes.index()
    first = parallel.make("shard_map").replicate(
        {"x": np.full(3, own, np.float32), "key": jax.random.key(own), "n": own}
    )
    off = jax.random.key_data(first["key"]) != jax.random.key_data(jax.random.key(0))
    found["first"] = numbers(parallel.to_host((first["x"], first["n"], off)))
    assert processes.first_says(lambda: f"said by {own}") == "said by 0"
    assert processes.all_say(own) == [0, 1]
    try:
        processes.agree(config={"a": {"b": own}})
    except InputError as error:
        found["disagree"] = str(error)
    return found


def main():
    Figure.savefig = lambda self, file, **how: None  # most of the time is PNG
    host.cache_compilation()
    what, folder, *rest = sys.argv[1:]
    folder = Path(folder)
    with processes.ending():
        if what == "alone":
            (folder / "alone.json").write_text(json.dumps(alone(folder)))
            return
        own, port = rest
        processes.meet(f"127.0.0.1:{port},2,{own}")
        (folder / f"{own}.json").write_text(json.dumps(together(folder)))


if __name__ == "__main__":
    main()
