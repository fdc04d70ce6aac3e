"""The OpenCL backend, which uses dpnp. Intel's OpenCL runtime also supports CPUs."""

import os
import site
import sys
from collections.abc import Callable, Sequence
from ctypes import c_uint64
from functools import cache
from importlib import import_module
from math import prod
from types import ModuleType
from typing import Any
from warnings import warn

import numpy as np

from minichar.devices.backend import Array, Backend, DeviceFailure, Function, Into, unusable
from minichar.devices.elementwise import Kernel, translate
from minichar.devices.nesting import Nesting, flatten, nest, nesting_of
from minichar.devices.random import CountedUniform, Real, Uniform
from minichar.errors import MinicharError
from minichar.extras import install_command, one_line

Layouts = tuple[tuple[tuple[int, ...], np.dtype, bool], ...]
"""The shape and dtype of each array, and whether it is contiguous."""
REAL = {"float32": "float", "float64": "double"}
"""The dtypes for which kernels are compiled, and their names in OpenCL C."""
VECTOR, COPYING = "dpnp.backend.extensions.vm._vm_impl", "dpnp.tensor._copy_utils"
"""The private modules of dpnp 0.20 that `avoid_deadlocks` patches."""
SUM_COLUMNS = """
__kernel void run(
    __global const real *columns, ulong first_column, __global const long *ids, ulong first_id,
    __global real *sums, ulong first_sum, ulong N, ulong V
) {
    columns += first_column + get_global_id(0) * N;
    sums += first_sum + get_global_id(0) * V;
    for (ulong k = 0; k < V; k++) sums[k] = 0;
    for (ulong j = 0; j < N; j++) sums[ids[first_id + j]] += columns[j];
}
"""
"""Kernel for `DpnpBackend.sum_columns`. Each work item adds the elements of one row in order."""


class DpnpBackend(Backend):
    """Backend for an OpenCL device, using dpnp."""

    def __init__(self, index: int, xp: ModuleType, queue: Any) -> None:
        super().__init__(f"opencl:{index}", xp)
        self.queue, self.compiled = queue, cache(self._compile)
        # The result is a tuple because a tuple is written only to `into`, without a new array.
        self.add = self.fuse(lambda xp, a, b: ((a + b,),))

    def _compile(self, source: str, dtype: str) -> Any:
        source = f"typedef {REAL[dtype]} real;\n{source}"
        program = import_module("dpctl.program").create_program_from_source(self.queue, source, "")
        return program.get_sycl_kernel("run")

    def launch(
        self, source: str, dtype: str, arrays: Sequence[Array], size: int, numbers: Sequence[int] = ()
    ) -> None:
        """Launch a kernel with `size` work items.

        The source is OpenCL C with a kernel ``run``, in which ``real`` is the type of the elements. Its
        arguments are, for each array, the address of its memory and the index of its first element, followed
        by the numbers, of type ``ulong``.
        """
        arguments: list[Any] = []
        for array in arrays:
            there = array.get_array()
            # __sycl_usm_array_interface__, which also contains the offset, would wait for the queue.
            arguments += there.usm_data, c_uint64(there._element_offset)
        arguments += map(c_uint64, numbers)
        event = self.queue.submit_async(self.compiled(source, dtype), arguments, [size])
        release = self.queue._submit_keep_args_alive(arguments, [event])
        # On a CPU, oneMKL's dot products ignore the order of the queue, and wait only for these events.
        import_module("dpctl.utils").SequentialOrderManager[self.queue].add_event_pair(release, event)

    def add_matmul(self, A: Array, B: Array, out: Array) -> Array:
        """Add the matrix product ``A @ B`` to `out`, and return `out`."""
        self.add(out, self.xp.matmul(A, B), into=[(0, out)])
        return out

    def sum_columns(self, columns: Array, ids: Array, out: Array) -> None:
        """Set ``out[:, k] = Σ columns[:, j] over ids[j] = k`` with one kernel."""
        arrays, dtype = [columns, ids, out], columns.dtype.name
        contiguous = all(array.flags.c_contiguous for array in arrays)
        if contiguous and dtype in REAL and ids.dtype.name == "int64":
            self.launch(SUM_COLUMNS, dtype, arrays, len(out), [len(ids), out.shape[1]])
        else:
            super().sum_columns(columns, ids, out)

    def fuse(self, function: Function) -> Function:
        """Return a function that runs `function` as a single kernel.

        The arrays must be contiguous, and all float32 or all float64; otherwise, each operation is launched
        separately. If `function` cannot be translated to OpenCL C, a warning says so.
        """
        separate = super().fuse(function)

        @cache
        def kernel_for(*layout: Any) -> Kernel | None:
            try:
                return self._kernel(function, *layout)
            except Exception as error:  # drivers can raise any exception
                name = f"{function.__module__}.{function.__name__}"
                message = f"device {self.name}: each operation of {name} is launched separately"
                warn(f"{message}, which is slower ({one_line(error)})", RuntimeWarning, 4)
                return None

        def call(*arguments: Any, into: Into = ()) -> Any:
            arrays = [*flatten(arguments), *(out for _, out in into)]
            kernel = kernel_for(
                nesting_of(arguments),
                tuple(k for k, _ in into),
                tuple((array.shape, array.dtype, array.flags.c_contiguous) for array in arrays),
            )
            if kernel is None:
                return separate(*arguments, into=into)
            shape, dtype = arrays[0].shape[-2:], arrays[0].dtype
            arrays += [self.xp.empty(shape, dtype=dtype, sycl_queue=self.queue) for _ in range(kernel.new)]
            self.launch(kernel.source, dtype.name, arrays, prod(shape))
            return nest(kernel.nesting, (place.find(arrays) for place in kernel.places))

        return call

    def _kernel(
        self, function: Function, nesting: Nesting, written: tuple[int, ...], layouts: Layouts
    ) -> Kernel | None:
        """Return a kernel for arrays with these layouts, or None if they must be processed separately."""
        kinds = {(dtype.name, contiguous) for _, dtype, contiguous in layouts}
        sizes = {shape[-2:] for shape, *_ in layouts[: len(layouts) - len(written)]}
        if len(kinds) > 1 or len(sizes) > 1:
            return None
        ((dtype, contiguous),), ((H, _),) = kinds, sizes
        if dtype not in REAL or not contiguous:
            return None
        blocks = (shape[0] if len(shape) == 3 else None for shape, *_ in layouts)
        kernel = translate(function, nest(nesting, blocks), written, H)
        self.compiled(kernel.source, dtype)
        return kernel

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
    os.environ.setdefault("SYCL_CACHE_PERSISTENT", "1")  # otherwise, each process compiles dpnp's kernels
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
    try:
        avoid_deadlocks(dpnp.asarray)
    except (ImportError, AttributeError) as error:
        what = f"training can hang with dpnp {dpnp.__version__}"
        warn(str(unusable("opencl", what, error, install_command("opencl"))), RuntimeWarning, 2)
    try:
        # With out-of-order queues, Intel's OpenCL runtime for CPUs can deadlock
        # (github.com/IntelPython/dpctl/issues/1954).
        queue = dpctl.SyclQueue(devices[index], property="in_order")
    except Exception as error:  # for example, if the driver is too old or the device is busy
        what = "its queue cannot be created"
        raise unusable(f"opencl:{index}", what, error, "update its driver", DeviceFailure) from error
    return DpnpBackend(index, dpnp, queue)


def avoid_deadlocks(asarray: Callable[[Any], Any]) -> None:
    """Patch dpnp 0.20 so that no function holds Python's global interpreter lock while it waits for a task.

    When a task finishes, it releases its arguments, which requires the lock. Otherwise, training on a CPU
    hangs after anywhere from a few hundred to tens of thousands of steps.

    Raises
    ------
    ImportError, AttributeError
        If dpnp does not have the modules or functions that cause the deadlocks.
    """
    vector: Any = import_module(VECTOR)
    copying: Any = import_module(COPYING)
    copy, _ = copying._copy_from_numpy_into, vector._is_available
    if copy.__module__ == __name__:  # already patched
        return

    def copy_when_idle(there: Any, array: Any) -> None:
        if array.ndim == 0:  # a kernel takes a scalar as an argument, and does not wait for earlier tasks
            asarray(there).fill(array.item())
        else:
            there.sycl_queue.wait()  # without the lock
            copy(there, array)

    vector._is_available = lambda: False  # dpnp's own element-wise functions are just as fast in minichar
    copying._copy_from_numpy_into = copy_when_idle
