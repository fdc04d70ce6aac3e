"""Compile kernels written in OpenCL C, and launch them without waiting for earlier tasks.

To launch one of its own kernels, dpnp takes several times as long. It also submits a task that releases the
kernel's arrays, which requires Python's global interpreter lock.
"""

from collections import deque
from collections.abc import Sequence
from ctypes import c_uint64
from functools import cache
from importlib import import_module
from threading import Lock
from typing import Any

from minichar.devices.backend import Array

REAL = {"float32": "float", "float64": "double"}
"""The dtypes for which kernels are compiled, and their names in OpenCL C."""


class Kernels:
    """The kernels for one queue, which must be in order.

    Attributes
    ----------
    launched : int
        Number of kernels launched.
    """

    def __init__(self, queue: Any) -> None:
        self.queue, self.launched = queue, 0
        self.kernel = cache(self._compile)
        self.running: deque[tuple[Any, list[Any]]] = deque()
        self.lock = Lock()

    def _compile(self, source: str, dtype: str) -> Any:
        source = f"typedef {REAL[dtype]} real;\n{source}"
        program = import_module("dpctl.program").create_program_from_source(self.queue, source, "")
        return program.get_sycl_kernel("run")

    def launch(
        self, source: str, dtype: str, arrays: Sequence[Array], size: int, numbers: Sequence[int] = ()
    ) -> None:
        """Launch a kernel.

        Parameters
        ----------
        source : str
            A kernel named ``run``, in which ``real`` is the type of the elements. Its arguments are, for each
            array, the address of its memory and the index of its first element, followed by the numbers.
        dtype : str
            Element type: float32 or float64.
        arrays : sequence of array
            Arrays on the device.
        size : int
            Number of work items.
        numbers : sequence of int
            Other arguments, of type ``ulong``.
        """
        arguments: list[Any] = []
        for array in arrays:
            there = array.get_array()
            # __sycl_usm_array_interface__, which also contains the offset, would wait for the queue.
            arguments += there.usm_data, c_uint64(there._element_offset)
        arguments += map(c_uint64, numbers)
        with self.lock:
            event = self.queue.submit_async(self.kernel(source, dtype), arguments, [size])
            self.launched += 1
            # Keep the memory until the kernel has finished.
            self.running.append((event, arguments))
            while self.running and self.running[0][0].execution_status.name == "complete":
                self.running.popleft()
