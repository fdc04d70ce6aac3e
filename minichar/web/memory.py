"""Tune the C library's allocator for a process with hundreds of threads.

By default, glibc spreads threads over up to eight arenas per core, so that they do not wait for each
other. Memory that is free in one arena is not available to the threads of another. In a Python process, this
costs memory and saves little time: most allocations are made with the global interpreter lock held.

glibc uses ``mmap`` for large allocations, so that their memory returns to the operating system when they are
freed. By default, the threshold is 128 KiB at first, but it rises, up to 32 MiB, whenever a larger allocation
is freed.

These functions have no effect with other C libraries.
"""

import ctypes
from contextlib import suppress

ARENAS = 2
"""Maximum number of arenas."""
MAPPED = 2**19
"""Minimum size of allocations that use ``mmap``, in bytes. The details of a long text take up more."""
M_ARENA_MAX, M_MMAP_THRESHOLD = -8, -3
"""Values of these constants in glibc's ``malloc.h``."""


def limit_memory() -> None:
    """Limit the number of arenas, and map all large allocations. Call this before starting threads."""
    call("mallopt", M_ARENA_MAX, ARENAS)
    call("mallopt", M_MMAP_THRESHOLD, MAPPED)


def return_memory() -> None:
    """Return freed memory to the operating system. By default, glibc keeps it for later use."""
    call("malloc_trim", 0)


def call(name: str, *arguments: int) -> None:
    """Call a function of the C library, if it exists."""
    with suppress(OSError, AttributeError, TypeError):
        getattr(ctypes.CDLL(None), name)(*arguments)
