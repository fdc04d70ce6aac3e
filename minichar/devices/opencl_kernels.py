"""Compile kernels written in OpenCL C, and launch them in order with dpnp's tasks."""

from collections.abc import Sequence
from ctypes import c_uint64
from functools import cache
from importlib import import_module
from typing import Any

from minichar.devices.backend import Array

REAL = {"float32": "float", "float64": "double"}
"""The dtypes for which kernels are compiled, and their names in OpenCL C."""


class Kernels:
    """The kernels for one queue, which must be in order."""

    def __init__(self, queue: Any) -> None:
        self.queue, self.kernel = queue, cache(self._compile)

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
        event = self.queue.submit_async(self.kernel(source, dtype), arguments, [size])
        release = self.queue._submit_keep_args_alive(arguments, [event])
        # On a CPU, oneMKL's dot products ignore the order of the queue, and wait only for these events.
        import_module("dpctl.utils").SequentialOrderManager[self.queue].add_event_pair(release, event)
