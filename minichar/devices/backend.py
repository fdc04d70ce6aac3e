"""Where the arrays live: one file that knows NumPy, CuPy and dpnp, so that no other has to.

The engine asks a `Backend` for its array module ``xp``, which has NumPy's function names
on every device, and for the few things that each device does in its own way: bringing
arrays to it and back, random numbers, gathering and scattering columns, fusing
element-wise functions, and recording a step to replay it. No other file tests for a device.
"""

import os
import site
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np

from minichar.devices.blas import describe_numpy
from minichar.devices.deadlock import avoid_deadlocks
from minichar.devices.graph import CudaGraph
from minichar.devices.random import CountedUniform, Uniform
from minichar.errors import MinicharError

NO_DEVICE = 100
"""What CUDA's runtime answers where there is a driver and no GPU: cudaErrorNoDevice."""

Array = Any
"""An array of the backend's module. The shape stands in a comment where one is made."""
Function = Callable[..., Any]


class Backend:
    """A device: here NumPy on the CPU; the subclasses say what others do differently.

    Attributes
    ----------
    name : str
        What the user calls it: ``cpu``, ``gpu:0``, ``opencl:0``.
    xp : module
        The array module.
    crossings : dict of str to int
        How many arrays went to the device and to the host.
    """

    xp: ModuleType = np
    name = "cpu"

    def __init__(self) -> None:
        self.crossings = {"to_device": 0, "to_host": 0}

    def to_device(self, array: Array) -> Array:
        """Bring a host array to the device; shape and dtype stay."""
        self.crossings["to_device"] += 1
        return self._to_device(array)

    def to_host(self, array: Array) -> np.ndarray:
        """Bring a device array to the host; shape and dtype stay."""
        self.crossings["to_host"] += 1
        return self._to_host(array)

    @property
    def kind(self) -> str:
        """The name without its number: ``cpu``, ``gpu`` or ``opencl``."""
        return self.name.partition(":")[0]

    def zeros(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """Return zeros on the device."""
        return self.xp.zeros(shape, dtype=dtype)

    def uniform(self, *words: int) -> Uniform:
        """Return uniform random numbers drawn on the device; other words, an independent stream."""
        return Uniform(words)

    def take_columns(self, W: Array, ids: Array, out: Array) -> None:
        """``out[:, j] = W[:, ids[j]]``: the columns of W ``(G, V)`` for ids ``(B,)`` into out ``(G, B)``.

        An id out of range is not noticed: who makes ids keeps them in 0 … V-1.
        """
        # Without mode="clip" NumPy fills a buffer of its own first and copies it into out.
        self.xp.take(W, ids, axis=1, out=out, mode="clip")

    def sum_columns(self, columns: Array, ids: Array, out: Array) -> None:
        """``out[:, k] = Σ columns[:, j] over ids[j] = k``: columns ``(G, N)``, ids ``(N,)``, out ``(G, V)``.

        One product with the one-hot matrix of the ids that occur: a chunk of text holds
        few different characters, and a product outruns a scattered sum.
        """
        xp = self.xp
        seen, place = xp.unique(ids, return_inverse=True)  # (S,), (N,)
        onehot = self.zeros((len(ids), len(seen)), columns.dtype)  # (N, S)
        xp.put_along_axis(onehot, place[:, None], 1.0, axis=1)
        out[...] = 0.0
        out[:, seen] = xp.matmul(columns, onehot)  # (G, S)

    def elementwise(self, function: Function) -> Function:
        """Return ``function(xp, *arrays)``, an element-wise computation with ``out=``, as one call."""
        return lambda *arrays: function(self.xp, *arrays)

    def recorded(self, step: Function) -> Function:
        """Return `step`, a computation on arrays that stay where they are, in its fastest form."""
        return step

    def describe(self) -> str:
        """Say what computes, such as ``NumPy 2.4.6 with scipy-openblas 0.3.31, up to 2 threads``."""
        return describe_numpy()

    def _to_device(self, array: Array) -> Array:
        return np.asarray(array)

    def _to_host(self, array: Array) -> np.ndarray:
        return np.asarray(array)


class CuPyBackend(Backend):
    """An NVIDIA GPU, by CuPy."""

    def __init__(self, index: int, xp: ModuleType) -> None:
        super().__init__()
        self.name, self.xp = f"gpu:{index}", xp

    def uniform(self, *words: int) -> Uniform:
        """Return uniform random numbers drawn on the device; other words, an independent stream."""
        return CountedUniform(
            words, lambda seed, shape, dtype: self.xp.random.default_rng(seed).random(shape, dtype)
        )

    def take_columns(self, W: Array, ids: Array, out: Array) -> None:
        """``out[:, j] = W[:, ids[j]]``."""
        self.xp.take(W, ids, axis=1, out=out)

    def sum_columns(self, columns: Array, ids: Array, out: Array) -> None:
        """``out[:, k] = Σ columns[:, j] over ids[j] = k``, by one product with the one-hot matrix of all ids.

        Its size does not depend on which ids occur, as a recorded step needs. Atomic additions
        would do with less memory, but in an order that changes from run to run.
        """
        onehot = ids[:, None] == self.xp.arange(out.shape[1])  # (N, V)
        self.xp.matmul(columns, onehot.astype(columns.dtype), out=out)

    def elementwise(self, function: Function) -> Function:
        """Return the function fused into one kernel."""
        xp = self.xp
        return xp.fuse(kernel_name=function.__name__)(lambda *arrays: function(xp, *arrays))

    def recorded(self, step: Function) -> Function:
        """Return `step` as a CUDA graph: recorded once warm, then replayed with one launch."""
        return CudaGraph(self.xp, step)

    def describe(self) -> str:
        """Say what computes: CuPy, the CUDA versions (1000 · major + 10 · minor), the GPU and its memory."""
        runtime = self.xp.cuda.runtime
        properties = runtime.getDeviceProperties(int(self.name.removeprefix("gpu:")))
        return (
            f"CuPy {self.xp.__version__}, CUDA driver {runtime.driverGetVersion()}, runtime "
            f"{runtime.runtimeGetVersion()}, on {self.name}: {properties['name'].decode()}, "
            f"{properties['totalGlobalMem'] / 1e9:.0f} GB"
        )

    def _to_device(self, array: Array) -> Array:
        return self.xp.asarray(array)

    def _to_host(self, array: Array) -> np.ndarray:
        return self.xp.asnumpy(array)


class DpnpBackend(Backend):
    """An OpenCL device, by dpnp; the CPU is one where Intel's OpenCL runtime is installed."""

    def __init__(self, index: int, xp: ModuleType, queue: Any) -> None:
        super().__init__()
        self.name, self.xp, self.queue = f"opencl:{index}", xp, queue

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

    def _to_host(self, array: Array) -> np.ndarray:
        return self.xp.asnumpy(array)


CPU = Backend()


def host_generator(*words: int) -> np.random.Generator:
    """Return a generator on the host, for what must not depend on the device: weights and samples."""
    return np.random.default_rng(words)


def open_backend(name: str = "auto") -> Backend:
    """Return the backend of a device.

    Parameters
    ----------
    name : str
        ``cpu``, ``gpu``, ``gpu:N``, ``opencl``, ``opencl:N``; ``auto`` takes a CUDA GPU if one
        answers and the CPU otherwise.

    Raises
    ------
    MinicharError
        If there is no such device, saying whether the package, the driver or the device is
        missing. A device that was asked for is never replaced by another.
    """
    kind, colon, number = name.partition(":")
    if kind not in ("auto", "cpu", "gpu", "opencl") or (
        colon and (kind in ("auto", "cpu") or not number.isdecimal())
    ):
        raise MinicharError(f"no device is called {name!r}: use auto, cpu, gpu, gpu:N, opencl or opencl:N")
    if kind == "gpu":
        return open_cupy(int(number or 0))
    if kind == "opencl":
        return open_dpnp(int(number or 0))
    if kind == "auto":
        with suppress(MinicharError):
            return open_cupy(0)
    return CPU


def open_cupy(index: int) -> CuPyBackend:
    """Return the CUDA GPU of this index, once it has multiplied."""
    name = f"gpu:{index}"
    try:
        cupy = import_module("cupy")
    except Exception as error:  # it is missing, or as old as only its own NumPy
        raise unusable("gpu", "it needs CuPy", error, "pip install 'minichar[gpu]'") from error
    version = f"CuPy {cupy.__version__}"
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        hidden = "see whether CUDA_VISIBLE_DEVICES hides it"
        remedy = hidden if error.status == NO_DEVICE else "install or update the driver"
        raise unusable(name, f"{version} finds no usable NVIDIA GPU", error, remedy) from error
    if index >= count:
        raise MinicharError(f"--device {name}: there is no such GPU; {count} found, counted from 0")
    try:
        cupy.cuda.Device(index).use()
        cupy.asnumpy(cupy.tanh(cupy.ones((2, 2)) @ cupy.ones((2, 2))))
    except Exception as error:  # CUDA's libraries are missing, its compiler is, the card is busy, …
        what = f"{version} cannot compute on it"
        raise unusable(name, what, error, "pip install 'minichar[gpu]'") from error
    return CuPyBackend(index, cupy)


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


def unusable(device: str, what: str, error: Exception, remedy: str) -> MinicharError:
    """Return the error that says why a device which is there cannot be used, in one line."""
    why = f"{type(error).__name__}: {error}".splitlines()[0]
    return MinicharError(f"--device {device}: {what} ({why}): {remedy}")
