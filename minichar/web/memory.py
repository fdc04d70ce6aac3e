"""Give memory back to the operating system."""

import ctypes
from contextlib import suppress


def return_memory() -> None:
    """Give freed memory back. glibc would otherwise keep it for later use; other C libraries do not."""
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
