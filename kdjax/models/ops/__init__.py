"""Convolutions and batch norm, written out for speed."""
