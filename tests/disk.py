"""A disk that is full: the operating system refuses to make a file any longer."""

import contextlib
import resource


@contextlib.contextmanager
def full_disk(size):
    """Every file of this process ends at `size` bytes, with EFBIG."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
