"""An OpenCL device, by dpnp; the CPU is one where Intel's OpenCL runtime is installed."""

import os
import site
import sys
from contextlib import suppress
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np

from minichar.devices.backend import Array, Backend, unusable
from minichar.devices.deadlock import avoid_deadlocks
from minichar.devices.random import CountedUniform, Uniform
from minichar.errors import MinicharError


class DpnpBackend(Backend):
    """An OpenCL device, by dpnp; the CPU is one where Intel's OpenCL runtime is installed."""

    def __init__(self, index: int, xp: ModuleType, queue: Any) -> None:
        super().__init__(f"opencl:{index}", xp)
        self.queue = queue

    def zeros(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """Return zeros on the device."""
        return self.xp.zeros(shape, dtype=dtype, sycl_queue=self.queue)

    def uniform(self, *words: int) -> Uniform:
        """Return uniform random numbers drawn on the device; other words, an independent stream."""

        def draw(seed: int, shape: tuple[int, ...], dtype: str) -> Array:
            state = self.xp.random.RandomState(seed, sycl_queue=self.queue)
            return state.uniform(size=shape, dtype=np.dtype(dtype).type)

        return CountedUniform(words, draw)

    def describe(self) -> str:
        """Say what computes: dpnp and the device's name."""
        return f"dpnp {self.xp.__version__} on {self.name}, {self.queue.sycl_device.name}"

    def _to_device(self, array: Array) -> Array:
        return self.xp.asarray(array, sycl_queue=self.queue)


def open_dpnp(index: int) -> DpnpBackend:
    """Return the OpenCL device of this index, in dpctl's order."""
    # The wheel of Intel's OpenCL runtime brings the driver for CPUs, but the loader looks for it only where
    # the system keeps its drivers. It reads this variable when dpnp is first imported.
    for prefix in (sys.prefix, site.getuserbase()):
        driver = os.path.join(prefix, "lib", "libintelocl.so")
        if os.path.exists(driver):
            os.environ.setdefault("OCL_ICD_FILENAMES", driver)
    try:
        dpctl, dpnp = import_module("dpctl"), import_module("dpnp")
    except Exception as error:
        raise unusable("opencl", "it needs dpnp", error, "pip install 'minichar[opencl]'") from error
    devices = dpctl.get_devices(backend="opencl")
    if not devices:
        raise MinicharError(
            "--device opencl: no OpenCL driver answers: install your device's, "
            "or for the CPU pip install 'minichar[opencl]'"
        )
    if index >= len(devices):
        found = f"{len(devices)} found, counted from 0"
        raise MinicharError(f"--device opencl:{index}: there is no such device; {found}")
    with suppress(ImportError):  # another dpnp has other modules
        vector, copying = "dpnp.backend.extensions.vm._vm_impl", "dpnp.tensor._copy_utils"
        avoid_deadlocks(import_module(vector), import_module(copying))
    # Intel's OpenCL runtime for CPUs can stand still for ever where it chooses the order of its tasks
    # (github.com/IntelPython/dpctl/issues/1954).
    return DpnpBackend(index, dpnp, dpctl.SyclQueue(devices[index], property="in_order"))
