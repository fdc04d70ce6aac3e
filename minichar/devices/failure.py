"""Report errors that a GPU's libraries raise during a computation."""

from collections.abc import Iterator
from contextlib import contextmanager

from minichar.devices.backend import DeviceFailure
from minichar.errors import Option
from minichar.extras import one_line

OPENED: list[str] = []
"""Names of the GPUs that this process has opened. The libraries' errors do not name the GPU."""
LIBRARIES = ("cupy", "minichar.devices.cublas")
"""Prefixes of the modules that define the exceptions of CuPy, CUDA and cuBLAS."""


@contextmanager
def device_errors() -> Iterator[None]:
    """Convert errors of CuPy, CUDA and cuBLAS to one-line errors, except out-of-memory errors.

    Raises
    ------
    DeviceFailure
        If a computation on a GPU failed.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, MemoryError) or not type(error).__module__.startswith(LIBRARIES):
            raise
        what = f"device {OPENED[-1]}: a computation failed ({one_line(error)}): try again, or use "
        raise DeviceFailure(what, Option("device", "cpu")) from error
