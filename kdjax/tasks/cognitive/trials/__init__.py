"""Cognitive tasks, as trials that are drawn on the device from a key."""
