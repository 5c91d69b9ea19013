"""What a stage reads: its data as batches, and the networks of earlier stages."""
