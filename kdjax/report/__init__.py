"""What follows training: statistics over seeds, figures, the report."""
