"""Stages: their data as batches, earlier stages' networks, their records, their use."""
