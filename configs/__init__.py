"""The experiments: a file each, whose `get_config(arg)` says all of it.

They are `kdjax.configs` (a link in the package leads here), so that an installed kdjax
has them, and one's own config imports what these do.
"""
