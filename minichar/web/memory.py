"""Tune the C library's allocator for a process with hundreds of threads.

By default, glibc spreads threads over up to eight arenas per core to reduce lock contention. Memory freed in
one arena cannot be reused by threads in another. In a Python process, this costs memory and saves little
time, because most allocations are made while holding the global interpreter lock.

These functions have no effect with other C libraries.
"""

import ctypes
from contextlib import suppress

ARENAS = 2
"""Maximum number of arenas."""
M_ARENA_MAX = -8
"""Value of this constant in glibc's ``malloc.h``."""


def limit_arenas() -> None:
    """Limit the number of arenas. Call this function before starting threads."""
    call("mallopt", M_ARENA_MAX, ARENAS)


def return_memory() -> None:
    """Return freed memory to the operating system. By default, glibc keeps it for later use."""
    call("malloc_trim", 0)


def call(name: str, *arguments: int) -> None:
    """Call a function of the C library if it is available."""
    with suppress(OSError, AttributeError, TypeError):
        getattr(ctypes.CDLL(None), name)(*arguments)
