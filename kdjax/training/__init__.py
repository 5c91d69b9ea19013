"""The engine: devices, state, checkpoints, optimisers and the loop, for any task."""
