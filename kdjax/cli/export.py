"""Writes a trained stage as files that other runtimes take, each checked.

    kdjax export STAGE_FOLDER --format=onnx,tflite [--quantize=int8]
        [--checkpoint=best|last] [--into=DIR]

STAGE_FOLDER is RUN/seed_<k>/<stage>. Formats: npz (its arrays and its record, nothing
that runs), stablehlo (JAX), onnx and tflite; int8 is of the last two. An artefact takes
raw float32 examples, as the data's files have them. It is run by its own runtime on all
test examples and must give what `kdjax.load` gives, or it is not left. --into is
STAGE_FOLDER/export if not given; beside the artefacts it gets `model_card.md`,
`export.json` and a script for each format that needs no kdjax.

What the formats need is installed by the command that is printed where it is missing.
Exit codes: those of `kdjax.cli.command.Exit`.
"""

from __future__ import annotations

from absl import flags

from kdjax import console, files
from kdjax.cli import command
from kdjax.errors import InputError


def run() -> None:
    """Parses the command line and exits with the code of the run."""
    # defined here, for other commands have flags of these names
    flags.DEFINE_list("format", [], "npz, stablehlo, onnx, tflite, or several of them.")
    flags.DEFINE_string("quantize", None, "int8: write such files too.")
    flags.DEFINE_enum("checkpoint", "best", ["best", "last"], "Which parameters.")
    flags.DEFINE_string("into", None, "The folder. Default: STAGE_FOLDER/export.")
    told = "an artefact is written whole or not at all"
    command.run(_export, about=__doc__, interrupted=told, positional=("STAGE_FOLDER",))


def _export(stage: str) -> None:
    given = flags.FLAGS
    if not given.format:
        raise InputError("--format: missing, and it has no default")
    folder = files.local(stage, where="STAGE_FOLDER")
    into = None if given.into is None else files.local(given.into, where="--into")
    # Late, so that a wrong flag is answered before jax has loaded.
    from kdjax.export.stage import export
    from kdjax.training import host

    host.cache_compilation()
    made = export(
        folder,
        given.format,
        checkpoint=given.checkpoint,
        quantize=given.quantize,
        into=into,
    )
    console.say(f"{made}: model_card.md, export.json")
