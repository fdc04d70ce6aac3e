"""Return freed memory to the operating system.

glibc would otherwise keep most of it, for hours in a busy server. Other C libraries do not.
"""

import ctypes
from contextlib import suppress

MMAP_THRESHOLD, ARENA_MAX = -3, -8
"""Parameters of ``mallopt``, as in malloc.h."""
LARGE = 2**16
"""Size in bytes above which a block is mapped separately. By default, glibc increases it when it frees such a
block, up to 32 MiB."""


def return_large_blocks() -> None:
    """Return large blocks as soon as they are freed, and keep all others in one arena."""
    with suppress(OSError, AttributeError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(MMAP_THRESHOLD, LARGE)
        mallopt(ARENA_MAX, 1)


def return_memory() -> None:
    """Return the memory of all freed blocks."""
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
