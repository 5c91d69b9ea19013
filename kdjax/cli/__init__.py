"""The commands, each a short file; `command` is what they have in common."""
