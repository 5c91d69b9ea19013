"""Cognitive tasks: recurrent networks trained on trials, and their dynamics."""
