"""Anomaly detection: networks that learn normal examples and score all others."""
