"""The OpenCL backend, which uses dpnp. Intel's OpenCL runtime also supports CPUs."""

import os
import site
import sys
from contextlib import suppress
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np

from minichar.devices.backend import Array, Backend, DeviceFailure, unusable
from minichar.devices.deadlock import avoid_deadlocks
from minichar.devices.random import CountedUniform, Real, Uniform
from minichar.errors import MinicharError
from minichar.extras import install_command


class DpnpBackend(Backend):
    """Backend for an OpenCL device, using dpnp."""

    def __init__(self, index: int, xp: ModuleType, queue: Any) -> None:
        super().__init__(f"opencl:{index}", xp)
        self.queue = queue

    def uniform(self, *words: int) -> Uniform:
        """Return a uniform random number generator on the device, seeded with `words`."""
        return DpnpUniform(words, self.xp, self.queue)

    def describe(self) -> str:
        """Describe the dpnp version and the device."""
        return f"dpnp {self.xp.__version__} on {self.name}, {self.queue.sycl_device.name}"

    def to_device(self, array: Array) -> Array:
        """Copy a host array to the device, preserving its shape and dtype."""
        return self.xp.asarray(array, sycl_queue=self.queue)

    def _zeros(self, shape: tuple[int, ...], dtype: Any) -> Array:
        return self.xp.zeros(shape, dtype=dtype, sycl_queue=self.queue)


class DpnpUniform(CountedUniform):
    """Generator of uniform random numbers on an OpenCL device."""

    def __init__(self, words: tuple[int, ...], xp: ModuleType, queue: Any) -> None:
        super().__init__(words)
        self.xp, self.queue = xp, queue

    def random(self, shape: tuple[int, ...], dtype: Real = "float64") -> Array:
        """Return new random numbers with the given shape and dtype."""
        state = self.xp.random.RandomState(self.next_seed() & 0xFFFFFFFF, sycl_queue=self.queue)
        return state.uniform(size=shape, dtype=np.dtype(dtype).type)


def open_dpnp(index: int) -> DpnpBackend:
    """Return the backend for the OpenCL device with the given index in dpctl's list."""
    # Intel's OpenCL runtime wheel contains a CPU driver, but the OpenCL loader finds only system drivers
    # unless OCL_ICD_FILENAMES is set before dpnp is first imported.
    for prefix in (sys.prefix, site.getuserbase()):
        driver = os.path.join(prefix, "lib", "libintelocl.so")
        if os.path.exists(driver):
            os.environ.setdefault("OCL_ICD_FILENAMES", driver)
    try:
        dpctl, dpnp = import_module("dpctl"), import_module("dpnp")
    except Exception as error:
        raise unusable("opencl", "requires dpnp", error, install_command("opencl")) from error
    devices = dpctl.get_devices(backend="opencl")
    if not devices:
        raise MinicharError(
            "device opencl: no OpenCL driver found: install the driver for your device "
            f"or, to use the CPU, {install_command('opencl')}"
        )
    if index >= len(devices):
        found = f"{len(devices)} found, numbered from 0"
        raise MinicharError(f"device opencl:{index}: no such device; {found}")
    with suppress(ImportError):  # not all versions of dpnp have these modules
        vector, copying = "dpnp.backend.extensions.vm._vm_impl", "dpnp.tensor._copy_utils"
        avoid_deadlocks(import_module(vector), import_module(copying))
    try:
        # With out-of-order queues, Intel's OpenCL runtime for CPUs can deadlock
        # (github.com/IntelPython/dpctl/issues/1954).
        queue = dpctl.SyclQueue(devices[index], property="in_order")
    except Exception as error:  # for example, if the driver is too old or the device is busy
        what = "its queue cannot be created"
        raise unusable(f"opencl:{index}", what, error, "update its driver", DeviceFailure) from error
    return DpnpBackend(index, dpnp, queue)
