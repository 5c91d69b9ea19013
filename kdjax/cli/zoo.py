"""Prints what each family of networks costs on one's own examples.

    kdjax zoo --input=128x9 --classes=6 [--models=fcn,lstm]

--input is the shape of an example, TIMExCHANNELS or HEIGHTxWIDTHxCHANNELS. Of every
network that takes such examples, as published or in the setting named beside it: its
trainable parameters, the MFLOPs (2 x multiply-accumulates) of a forward pass of one
example, KiB of float32 parameters and batch statistics, and ms, the median of 50
passes at batch 1 on this machine. Nothing is trained.

Exit codes: those of `kdjax.cli.command.Exit`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from absl import flags

from kdjax import console
from kdjax.checks import integer
from kdjax.cli import command
from kdjax.errors import InputError, lookup

# What a family is not as published without, or would not be built without.
SETTINGS: dict[str, list[dict[str, Any]]] = {
    "convnet": [{"widths": (32, 64, 128), "windows": (3, 3, 3), "strides": (2, 2, 2)}],
    "mlp": [{"widths": (128,)}],
    "resnet": [{}, {"se": 16}, {"depth": 50}, {"depth": 50, "se": 16}],
    "transformer": [
        {},
        {
            "width": 64,
            "layers": 2,
            "heads": 4,
            "hidden": 128,
            "positions": "sines",
            "norm": "layer",
            "pooling": "mean",
            "bias": True,
        },
    ],
    "wide_resnet": [
        {"depth": 16, "width": 1},
        {"depth": 16, "width": 3},
        {"depth": 28, "width": 1},
        {"depth": 40, "width": 2},
    ],
}
HEADS = ("model", "parameters", "MFLOPs", "KiB", "ms", "setting")
ROW = "{:<14} {:>11} {:>9} {:>8} {:>7}  {}"


def shape_of(text: str) -> tuple[int, ...]:
    """ "128x9" -> (128, 9); InputError unless it is two or three numbers above 0."""
    if not re.fullmatch(r"[1-9]\d{0,6}(x[1-9]\d{0,6}){1,2}", text):
        raise InputError(f"--input: expected a shape such as 128x9, found {text!r}")
    return tuple(int(size) for size in text.split("x"))


def known(names: list[str]) -> list[str]:
    """`names`, or all there are; an InputError for one that is not."""
    from kdjax.models import MODELS

    for name in names:
        lookup(name, MODELS, where="--models")
    return names or sorted(MODELS)


def costs(
    name: str, shape: tuple[int, ...], classes: int
) -> Iterator[tuple[dict[str, Any], Mapping[str, int | float]]]:
    """(setting, its `forward_cost`) of one family; InputError if it takes no such x."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from kdjax import models
    from kdjax.stages import networks
    from kdjax.training.cost import forward_cost

    example = np.zeros((1, *shape), np.float32)
    for fields in SETTINGS.get(name, [{}]):
        module = models.build(name, classes=classes, **fields)
        arrays = networks.shapes(module, jnp.asarray(example))
        model = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), arrays)

        def forward(model: Any, x: jax.Array, module: Any = module) -> jax.Array:
            return networks.predict(module, model, x).logits

        yield fields, forward_cost(forward, model, example)


def run() -> None:
    """Parses the command line and exits with the code of the run."""
    # defined here, for another command has an --input too
    flags.DEFINE_string("input", None, "Of an example: 128x9, or 32x32x3.")
    flags.DEFINE_integer("classes", None, "How many classes there are.")
    flags.DEFINE_list("models", [], "Of these alone. Default: all.")
    command.run(_zoo, about=__doc__, interrupted="nothing was written")


def _zoo() -> None:
    given = flags.FLAGS
    for flag in ("input", "classes"):
        if given[flag].value is None:
            raise InputError(f"--{flag}: missing, and it has no default")
    shape = shape_of(given.input)
    classes = integer(given.classes, low=1, high=2**20, where="--classes")
    names, refused = known(given.models), list[str]()
    console.write(ROW.format(*HEADS))
    for name in names:
        try:
            for fields, cost in costs(name, shape, classes):
                console.write(_row(name, fields, cost))
        except InputError as error:
            refused.append(f"not {name}: {error}")
    for line in refused:
        console.write(line)
    console.write(_made_with())


def _row(name: str, fields: dict[str, Any], cost: Mapping[str, int | float]) -> str:
    return ROW.format(
        name,
        f"{cost['parameters']:,}",
        f"{cost['flops'] / 1e6:,.1f}",
        f"{cost['kib']:,.0f}",
        f"{cost['ms']:.2f}",
        ", ".join(f"{key} {value}" for key, value in fields.items()),
    ).rstrip()


def _made_with() -> str:
    """`kdjax 0.2.0 at 0123456ab, jax 0.10.2; AMD EPYC, 2 threads; 2026-11-30`."""
    from kdjax.training import environment, parallel

    made = environment.describe(parallel.make("pmap", devices=1))
    at = f" at {made['commit'][:9]}" if made["commit"] else ""
    changed = "" if made["clean"] in (True, None) else ", changed"
    machine = made["processor"] if made["platform"] == "cpu" else made["device"]
    jax = f"jax {made['versions']['jax']}"
    threads = f"{made['threads']} threads"
    said = f"kdjax {made['kdjax']}{at}{changed}, {jax}; {machine}, {threads}"
    return f"{said}; {made['date'][:10]}"
