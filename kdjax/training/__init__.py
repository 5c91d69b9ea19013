"""What every task needs, and knows no task: devices, state, checkpoints, loop."""
