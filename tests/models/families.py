"""Every family, small: its gradient in bfloat16 by pmap, its norms over two devices.

Run in a process of its own with two devices; prints JSON, {family: {...}}.
"""

import json

import jax
import jax.numpy as jnp
import numpy as np

from kdjax import models

# {family: (fields, the maps' names in order of depth)}
TINY = {
    "densenet": ({"depth": 10, "growth": 4}, "block1 block2 block3 pooled"),
    "fcn": ({"widths": [4, 8], "windows": [7, 3]}, "layer1 layer2 pooled"),
    "gru": ({"units": 4}, "steps last"),
    "inception_time": (
        {"filters": 2, "modules": 3, "windows": [9, 5, 3]},
        "module1 module2 module3 pooled",
    ),
    "lstm": ({"units": 4}, "steps last"),
    "lstm_fcn": ({"units": 4}, "layer1 layer2 layer3 steps joined"),
    "mobilenet_v2": (
        {"width": 0.1, "blocks": [1, 1, 1, 1, 1, 1, 1]},
        "stage1 stage2 stage3 stage4 stage5 stage6 stage7 last pooled",
    ),
    "resnet_time": ({"widths": [4, 8], "windows": [3, 3]}, "block1 block2 pooled"),
    "transformer": (
        {"width": 8, "layers": 2, "heads": 2, "hidden": 8},
        "layer1 layer2 flat",
    ),
    "xception": (
        {"width": 0.02, "blocks": 1},
        "entry1 entry2 entry3 middle1 exit1 exit2 pooled",
    ),
    "xception_time": (
        {"filters": 2, "windows": [5, 3, 3]},
        "module1 module2 module3 module4 neck1 neck2 pooled",
    ),
}

AXIS = "devices"
EXACT = ("fcn", "transformer")  # held against one device, in float32


def gradient(name, dtype, axis=None):
    """(a function of parameters, statistics and x; new ones) of one family."""
    fields, _ = TINY[name]
    model = models.build(name, classes=3, dtype=dtype, norm_axis=axis, **fields)

    def loss(params, state, x):
        found, state = model.apply(
            {"params": params, **state}, x, train=True, mutable=list(state)
        )
        value = jnp.mean(jnp.square(found.logits - 1.0))
        return (value if axis is None else jax.lax.pmean(value, axis)), (found, state)

    def call(params, state, x):
        found = jax.value_and_grad(loss, has_aux=True)(params, state, x)
        (value, (outputs, state)), gradients = found
        if axis is not None:
            gradients = jax.lax.pmean(gradients, axis)
        return value, gradients, state, outputs

    return model, call


def by_pmap(name, dtype, x):
    """What both devices found, each with half of x; and what they began with."""
    model, call = gradient(name, dtype, AXIS)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), x[:1], train=False))
    rng = np.random.default_rng(0)
    # without a compilation; norms about a scale of 1
    variables = jax.tree.map(
        lambda leaf: (leaf.ndim == 1) + rng.normal(0, 0.2, leaf.shape).astype("f4"),
        dict(shapes),
    )
    params = variables.pop("params")
    mapped = jax.pmap(call, axis_name=AXIS, in_axes=(None, None, 0))
    return mapped(params, variables, x.reshape(2, -1, *x.shape[1:])), params, variables


def spread(tree):
    """The largest difference between the two devices' arrays."""
    leaves = [np.asarray(leaf, np.float32) for leaf in jax.tree.leaves(tree)]
    return max((float(abs(leaf[0] - leaf[1]).max()) for leaf in leaves), default=0.0)


def look(name):
    x = jax.random.normal(jax.random.key(0), (4, 37, 1))
    (value, gradients, state, outputs), params, variables = by_pmap(name, "bfloat16", x)
    zero = [
        jax.tree_util.keystr(path)
        for path, leaf in jax.tree_util.tree_leaves_with_path(gradients)
        if not np.abs(leaf).max() > 0
    ]
    found = {
        "value": float(value[0]),
        "maps": list(outputs.features),
        "dtypes": sorted({str(f.dtype) for f in outputs.features.values()}),
        "logits": str(outputs.logits.dtype),
        "zero": zero,
        "arrays": len(jax.tree.leaves(gradients)),
        "apart": spread((gradients, state)),
    }
    if name in EXACT:
        (_, gradients, state, _), params, variables = by_pmap(name, "float32", x)
        _, call = gradient(name, "float32")
        _, *alone, _ = jax.jit(call)(params, variables, x)
        both = jax.tree.map(lambda leaf: leaf[0], (gradients, state))
        both, alone = ([*map(np.asarray, jax.tree.leaves(t))] for t in (both, alone))
        largest = max(abs(leaf).max() for leaf in alone)
        errors = [abs(a - b).max() for a, b in zip(both, alone, strict=True)]
        found["error"] = float(max(errors) / largest)
    return found


if __name__ == "__main__":
    print(json.dumps({name: look(name) for name in TINY}))
