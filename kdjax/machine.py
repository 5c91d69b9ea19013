"""What this machine gives a process: cores and memory."""

from __future__ import annotations

import os
from pathlib import Path


def threads() -> int:
    """How many CPU cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory() -> int:
    """Bytes of memory that this machine, or the container it is, has in all."""
    found = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.exists():
        given = limit.read_text().strip()
        found = min(found, int(given)) if given.isdigit() else found
    return found
