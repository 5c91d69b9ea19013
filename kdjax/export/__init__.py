"""Trained stages as files that other runtimes take: ONNX, TFLite, StableHLO, NumPy.

An artefact takes raw float32 examples and gives what the stage's predictor gives; it
is run by its own runtime, and held against the predictor, before it is left.
"""
