"""What a trained network does, and how: its dynamics, units and geometry."""
