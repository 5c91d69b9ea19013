"""Electrocardiograms: MIT-BIH's files, recordings of one's own, made-up beats."""
