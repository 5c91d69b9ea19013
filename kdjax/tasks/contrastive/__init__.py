"""Contrastive learning: SimCLR, and what its representations are good for."""
