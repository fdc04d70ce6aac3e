"""Tune the C library's allocator for a process with several threads.

By default, glibc spreads threads over up to eight arenas per core to reduce lock contention. Memory freed in
one arena cannot be reused by threads that use another. In a Python process, many arenas cost memory and save
little time, because threads hold the global interpreter lock during most allocations.

The functions in this module have no effect with other C libraries.
"""

import ctypes
from contextlib import suppress

ARENAS = 2
"""Maximum number of arenas."""
M_ARENA_MAX = -8
"""Value of this constant in glibc's ``malloc.h``."""


def limit_arenas() -> None:
    """Limit the number of arenas. Call `limit_arenas` before starting threads."""
    call("mallopt", M_ARENA_MAX, ARENAS)


def return_memory() -> None:
    """Give freed memory back to the operating system. glibc would otherwise keep it for later use."""
    call("malloc_trim", 0)


def call(name: str, *arguments: int) -> None:
    """Call a C library function, or do nothing if it does not exist."""
    with suppress(OSError, AttributeError, TypeError):
        getattr(ctypes.CDLL(None), name)(*arguments)
