"""Functional MRI: BData and NIfTI files, cleaned, written; made-up subjects."""
