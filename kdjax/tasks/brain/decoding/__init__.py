"""Decoders, folds of runs, temperatures and permutations: classes from responses."""
