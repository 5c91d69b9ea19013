"""The commands, each a short file here; `command` is what they have in common."""

# `kdjax NAME`: what it does. Its module is kdjax.cli.NAME.
COMMANDS = {
    "run": "runs an experiment; what `kdjax` without a command does",
    "configs": "lists the experiments that come with kdjax",
    "describe": "prints an experiment's stages with all their fields, and runs nothing",
    "table": "prints a run's tables",
    "compare": "compares two runs, stage by stage",
    "replay": "runs a run again and says what came out otherwise",
    "export": "writes a trained stage as ONNX, TFLite, StableHLO or NumPy, checked",
    "score": "scores the heartbeats of a recording",
    "zoo": "prints what each network costs on one's own examples",
}
