"""Checkpoints of a stage: `last`, to go on from, and `best`, for those who read it.

    checkpoints/last/<step>/{model,optimizer,best,meta}     the two latest, or more
                        (`unaveraged`, too, where `model` has averaged weights)
    checkpoints/best/<step>/{model,meta}                    the two best
    checkpoints/within/<step>/...                           as `last`, inside an epoch
    checkpoints/damaged/...                                 what could not be read

`model` is {"params", "model_state"} apart from the optimiser, so that a teacher loads
without it. A `last` has a copy of the best model so far, unless it is that itself: one
good `last` is enough to go on. A `within` stays until the next `last`. Orbax writes
aside and renames; `meta` holds digests of the arrays and of the progress, since what
has a flipped bit can often still be read.

Of several processes the first alone saves, goes on and sets aside; it waits for none.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import preservation_policy as preservation

from kdjax.errors import InputError, lookup
from kdjax.files import read_json
from kdjax.training import processes
from kdjax.training.parallel import to_host
from kdjax.training.state import TrainState

Tree = Any
KINDS = ("last", "best")
WITHIN = "within"


class Progress(NamedTuple):
    """Where a run stands: epochs and steps done, and the best validation score so far.

    unlogged: the metrics {name: values} of each of the last calls, whose mean is not
    yet written.
    """

    epoch: int = 0
    step: int = 0
    best_score: float | None = None
    best_epoch: int = 0
    best_step: int = 0
    unlogged: Sequence[Mapping[str, Sequence[float]]] = ()


class _Manager(ocp.CheckpointManager):
    """Orbax's, which would ask at each save whether the run is preempted.

    Of several processes the first alone saves, and its asking would move the moment at
    which all of them stop (`preemption.check`).
    """

    def reached_preemption(self, step: int) -> bool:
        del step
        return False


class Checkpoints:
    """The checkpoints in one stage's folder, open for writing."""

    def __init__(self, folder: Path, *, keep: int = 2, keep_every: int | None = None):
        """Keeps the `keep` latest `last`, and those of every `keep_every` steps."""
        self._root = folder.resolve() / "checkpoints"
        self._managers: dict[str, ocp.CheckpointManager] = {}
        if not processes.is_first():
            return
        for kind in (*KINDS, WITHIN):
            policies = [preservation.LatestN(keep if kind == "last" else 2)]
            if kind == "last" and keep_every is not None:
                policies.append(preservation.EveryNSteps(keep_every))
            options = ocp.CheckpointManagerOptions(
                preservation_policy=preservation.AnyPreservationPolicy(policies),
                enable_async_checkpointing=False,
                create=False,
                cleanup_tmp_directories=True,
                multiprocessing_options=_alone(),
            )
            (self._root / kind).mkdir(parents=True, exist_ok=True)
            self._managers[kind] = _Manager(self._root / kind, options=options)

    def close(self) -> None:
        for manager in self._managers.values():
            manager.close()
        if self._managers:
            with contextlib.suppress(OSError):  # it is not empty: the run goes on
                (self._root / WITHIN).rmdir()

    def latest(self) -> str:
        """The newest that the run could go on from: its folder, or "none yet"."""
        if not self._managers:
            return str(self._root / "last")
        steps = [
            (step, kind)
            for kind, manager in self._managers.items()
            if kind != "best" and (step := manager.latest_step()) is not None
        ]
        if not steps:
            return "none yet"
        step, kind = max(steps)
        return str(self._root / kind / str(step))

    def save_best(self, model: Tree, progress: Progress) -> None:
        """Writes `best` of `progress.best_step`; before the `save_last` naming it.

        Its own progress is that of its step, whenever it is written.
        """
        if not self._managers:
            return
        step = progress.best_step
        if step not in self._managers["best"].all_steps():
            then = progress._replace(epoch=progress.best_epoch, step=step, unlogged=())
            self._save("best", step, then, {"model": model})

    def save_last(self, state: TrainState, progress: Progress, best: Tree) -> None:
        """Writes `last`, with a copy of the `best` of `progress.best_step`."""
        if self._managers:
            self._save(
                "last", progress.step, progress, _going_on(state, progress, best)
            )
            self._drop_within(keep=None)

    def save_within(
        self, state: TrainState, progress: Progress, best: Tree | None
    ) -> None:
        """Writes `within`, to go on from inside an epoch; `best` is None before any."""
        if self._managers and progress.step not in self._managers[WITHIN].all_steps():
            self._save(
                WITHIN, progress.step, progress, _going_on(state, progress, best)
            )

    def _save(
        self, kind: str, step: int, progress: Progress, trees: Mapping[str, Tree]
    ) -> None:
        items = {name: ocp.args.StandardSave(tree) for name, tree in trees.items()}
        digests = {name: digest(tree) for name, tree in trees.items()}
        known = progress._asdict()
        meta = {"progress": known, "digests": digests | {"progress": _sha(known)}}
        args = ocp.args.Composite(meta=ocp.args.JsonSave(meta), **items)
        try:
            self._managers[kind].save(step, args=args)
        except OSError as error:
            error.filename = error.filename or str(self._root / kind / str(step))
            raise

    def resume(
        self, template: TrainState, *, at_most: int | None = None
    ) -> tuple[TrainState, Progress, Tree | None] | None:
        """(state, progress, best model) of the latest that is undamaged, or None.

        The best model is None before the first validation.

        What cannot be read is moved to `checkpoints/damaged` and said on stderr. A
        `best` is then written again of the copy in the `last` that names it; where
        neither can be read, the `last` before that one is tried. What was saved after
        the step `at_most` is forgotten. In other processes than the first, zeros in the
        place of its arrays.
        """
        found = self._resume(template, at_most) if self._managers else None
        progress = processes.first_says(lambda: found and found[1])
        if found is not None or progress is None:
            return found
        zeros, begun = jax.tree.map(_zeros, template), Progress(*progress)
        return zeros, begun, model_of(zeros) if _has_best(begun) else None

    def _resume(
        self, template: TrainState, at_most: int | None
    ) -> tuple[TrainState, Progress, Tree | None] | None:
        if at_most is not None:
            self._drop_after(Progress(step=at_most, best_step=at_most))
        steps = [
            (step, kind)
            for kind in (WITHIN, "last")
            for step in self._managers[kind].all_steps()
        ]
        # the latest first, and of one step the `last`, after the epoch's validation
        for step, kind in sorted(steps, key=lambda at: (-at[0], at[1])):
            read = self._read_or_set_aside(kind, step, _trees(template))
            if read is None:
                continue
            trees, progress = read
            best = None
            if _has_best(progress):
                best = self._best_of(kind, trees, progress, model_of(template))
                if best is None:
                    continue
            self._drop_after(progress)
            self._drop_within(keep=step if kind == WITHIN else None)
            if best is not None:
                self.save_best(best, progress)
            params = trees["model"]["params"]
            state = TrainState(
                step=jnp.int32(progress.step),
                params=trees.get("unaveraged", params),
                model_state=trees["model"]["model_state"],
                opt_state=trees.get("optimizer", template.opt_state),
                average=None if template.average is None else params,
            )
            return state, progress, best
        return None

    def _best_of(
        self, kind: str, trees: Mapping[str, Tree], progress: Progress, template: Tree
    ) -> Tree | None:
        """The best model that a checkpoint of these trees names, or the copy it has."""
        step = progress.best_step
        read = self._read_or_set_aside("best", step, {"model": template})
        if read is not None:
            return read[0]["model"]
        if step == progress.step:
            return trees["model"]
        read = self._read_or_set_aside(kind, progress.step, {"best": template})
        return None if read is None else read[0]["best"]

    def _drop_after(self, progress: Progress) -> None:
        """Forgets what was saved past the point that the run goes on from."""
        limits = {
            "last": progress.step,
            "best": progress.best_step,
            WITHIN: progress.step,
        }
        for kind, manager in self._managers.items():
            for step in manager.all_steps():
                if step > limits[kind]:
                    manager.delete(step)

    def _drop_within(self, *, keep: int | None) -> None:
        for step in self._managers[WITHIN].all_steps():
            if step != keep:
                self._managers[WITHIN].delete(step)

    def _read_or_set_aside(
        self, kind: str, step: int, template: Mapping[str, Tree]
    ) -> tuple[dict[str, Tree], Progress] | None:
        folder = self._root / kind / str(step)
        try:
            return _read(folder, template)
        except DamagedCheckpoint as error:
            aside = self._root / "damaged" / f"{kind}_{step}"
            print(
                f"kdjax: damaged checkpoint {folder}: {error}; "
                f"set aside as {aside}, going on from another",
                file=sys.stderr,
            )
            if folder.exists():
                shutil.rmtree(aside, ignore_errors=True)
                aside.parent.mkdir(exist_ok=True)
                folder.rename(aside)
            self._managers[kind].reload()
            return None


def _has_best(progress: Progress) -> bool:
    """Whether there is a best model so far; one that is not trained is its own."""
    return progress.best_score is not None or progress.step == 0


def _going_on(
    state: TrainState, progress: Progress, best: Tree | None
) -> dict[str, Tree]:
    """What a run goes on from: the state, the best model if it is another's."""
    copied = best is not None and progress.best_step != progress.step
    return _trees(to_host(state)) | ({"best": best} if copied else {})


def _trees(state: TrainState) -> dict[str, Tree]:
    """What `last` holds: no optimiser where it keeps nothing, which orbax refuses."""
    trees = {"model": model_of(state), "optimizer": state.opt_state}
    if state.average is not None:
        trees["unaveraged"] = state.params
    return {name: tree for name, tree in trees.items() if jax.tree.leaves(tree)}


class DamagedCheckpoint(RuntimeError):
    """A checkpoint that cannot be read back as it was written."""


def load_model(folder: Path, checkpoint: str, template: Tree) -> Tree:
    """{"params", "model_state"} of a stage's `best` or `last` checkpoint, as NumPy.

    `template` is a pytree of the same structure with shapes and dtypes. Raises
    InputError if there is none, if it is damaged, or if its shapes differ.
    """
    path = _newest(folder, checkpoint)
    try:
        return _read(path, {"model": template})[0]["model"]
    except DamagedCheckpoint as error:
        raise InputError(f"{path}: {error}; {anew(folder)}") from error


def model_digest(folder: Path, checkpoint: str) -> str:
    """`digest` of the model in a stage's `best` or `last`, as it was written.

    InputError if there is no such checkpoint, or its `meta` is damaged.
    """
    path = _newest(folder, checkpoint) / "meta" / "metadata"
    try:
        return str(read_json(path)["digests"]["model"])
    except InputError as error:
        raise InputError(f"{error}; {anew(folder)}") from error
    except (KeyError, TypeError) as error:
        raise InputError(
            f"{path}: expected the model's digest, found none; {anew(folder)}"
        ) from error


def anew(folder: Path) -> str:
    """What helps where something in a stage's folder is damaged."""
    return f"remove {folder} to train that stage anew"


def _newest(folder: Path, checkpoint: str) -> Path:
    lookup(checkpoint, dict.fromkeys(KINDS), where="checkpoint")
    root = folder.resolve() / "checkpoints" / checkpoint
    steps = [int(p.name) for p in root.glob("*") if p.name.isdigit()]
    if not steps:
        raise InputError(f"{root}: no checkpoint here; {anew(folder)}")
    return root / str(max(steps))


def _read(
    folder: Path, template: Mapping[str, Tree]
) -> tuple[dict[str, Tree], Progress]:
    """The trees of the template's items, and the progress; DamagedCheckpoint."""
    if not folder.exists():
        raise DamagedCheckpoint("there is none")
    items = {
        name: ocp.args.StandardRestore(jax.tree.map(_empty, tree))
        for name, tree in template.items()
    }
    args = ocp.args.Composite(meta=ocp.args.JsonRestore(), **items)
    alone = _alone()
    handler = ocp.CompositeCheckpointHandler(
        composite_options=ocp.CompositeOptions(multiprocessing_options=alone)
    )
    try:
        with ocp.Checkpointer(handler, multiprocessing_options=alone) as checkpointer:
            read = checkpointer.restore(folder, args=args)
        trees = {name: read[name] for name in template}
        known = read["meta"]["progress"]
        calls = tuple(known.get("unlogged", ()))  # JSON has lists alone
        progress = Progress(**known | {"unlogged": calls})
        # those of kdjax before 0.2 have no digest of the progress
        written = {"progress": _sha(known)} | read["meta"]["digests"]
    except Exception as error:  # orbax and tensorstore raise many kinds
        text = str(error).strip()
        reason = text.splitlines()[0][:200] if text else type(error).__name__
        raise DamagedCheckpoint(f"cannot be read ({reason})") from error
    digests = {name: digest(tree) for name, tree in trees.items()}
    for name, now in (digests | {"progress": _sha(known)}).items():
        if now != written.get(name):
            raise DamagedCheckpoint(f"its {name} differs from what was written")
    for name, tree in trees.items():
        _check_shapes(folder, template[name], tree)
    return trees, progress


def _check_shapes(folder: Path, expected: Tree, found: Tree) -> None:
    """Orbax restores another shape into a NumPy template without a word."""
    leaves = jax.tree_util.tree_leaves_with_path(expected)
    for (path, leaf), other in zip(leaves, jax.tree.leaves(found), strict=True):
        if leaf.shape != other.shape:
            raise InputError(
                f"{folder}: of another architecture: {jax.tree_util.keystr(path)} "
                f"expected {leaf.shape}, found {other.shape}"
            )


def _alone() -> ocp.options.MultiprocessingOptions:
    """This process reads or writes by itself, whatever the others do."""
    own = processes.index()
    return ocp.options.MultiprocessingOptions(
        primary_host=own, active_processes={own}, barrier_sync_key_prefix=f"kdjax{own}"
    )


def _empty(leaf: Any) -> np.ndarray:
    return np.empty(leaf.shape, leaf.dtype)


def _zeros(leaf: Any) -> np.ndarray:
    return np.zeros(leaf.shape, leaf.dtype)


def model_of(state: TrainState) -> Tree:
    """What a model is made of: {"params", "model_state"}; of averages, where kept."""
    params = state.params if state.average is None else state.average
    return {"params": params, "model_state": state.model_state}


def digest(tree: Tree) -> str:
    """SHA-256 over the paths, shapes, dtypes and bytes of a pytree's arrays."""
    sha = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        array = np.ascontiguousarray(leaf)
        sha.update(f"{jax.tree_util.keystr(path)}{array.shape}{array.dtype}".encode())
        sha.update(array.tobytes())
    return sha.hexdigest()


def _sha(fields: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
