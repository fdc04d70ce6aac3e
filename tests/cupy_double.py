"""A test double of CuPy that computes with NumPy, for tests of what minichar does with a GPU.

What depends on CuPy's arrays, kernels, streams, pools and graphs is tested with CuPy itself in
``tests/gpu/cpu_cuda``. Here, streams and events do nothing, and a graph runs its step again.
"""

import sys
from contextlib import nullcontext
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from minichar.devices import cupy as opening
from minichar.devices.choose import open_backend
from minichar.devices.graph import CudaGraph

INSUFFICIENT_DRIVER, INVALID_DEVICE = 35, 101  # CUDA's error codes
MESSAGES = {
    INSUFFICIENT_DRIVER: "cudaErrorInsufficientDriver: "
    "CUDA driver version is insufficient for CUDA runtime version",
    100: "cudaErrorNoDevice: no CUDA-capable device is detected",
    INVALID_DEVICE: "cudaErrorInvalidDevice: invalid device ordinal",
    700: "cudaErrorIllegalAddress: an illegal memory access was encountered",
}


class CUDARuntimeError(RuntimeError):
    """An error with the code and the message that CuPy's has."""

    def __init__(self, status):
        super().__init__(MESSAGES[status])
        self.status = status


class Stream(nullcontext):
    """A stream on which nothing is deferred."""

    def __init__(self, non_blocking=False):
        super().__init__(self)

    def record(self, event=None):
        pass

    wait_event = synchronize = record


class Cuda:
    """The parts of ``cupy.cuda`` that minichar uses, including its runtime.

    Attributes
    ----------
    count : int
        Number of GPUs.
    error : int or None
        Error code of the CUDA runtime, such as 35 (no driver is installed).
    used : int or None
        The GPU in use.
    """

    CUDARuntimeError, Stream = CUDARuntimeError, Stream

    def __init__(self, count, error, capability):
        self.count, self.error, self.capability, self.used = count, error, capability, None
        self.runtime, self.stream = self, Stream()

    def getDeviceCount(self):
        if self.error is not None:
            raise CUDARuntimeError(self.error)
        return self.count

    def getDeviceProperties(self, index):
        return {"name": b"Double", "totalGlobalMem": 8_000_000_000}

    def driverGetVersion(self):
        return 0 if self.error == INSUFFICIENT_DRIVER else 12080

    def runtimeGetVersion(self):
        return 12090

    def Device(self, index):
        def use():
            if not 0 <= index < self.count:
                raise CUDARuntimeError(INVALID_DEVICE)
            self.used = index

        return SimpleNamespace(use=use, compute_capability=self.capability, pci_bus_id=f"0000:0{index}")

    def get_current_stream(self):
        return self.stream

    def Event(self, disable_timing):
        return None

    def MemoryPool(self):
        return SimpleNamespace(malloc=None, free_all_blocks=lambda: None, total_bytes=lambda: 0)

    def using_allocator(self, allocator):
        return nullcontext()


class DoubleOfCuPy(ModuleType):
    """A test double of the ``cupy`` module, whose arrays are those of NumPy.

    Attributes
    ----------
    device_ : Cuda
    cublas.modes : set of int
        The math modes of all products so far: 3 for TF32, otherwise 0. Tests may clear it.
    """

    def __init__(self, count=1, error=None, capability="80"):
        super().__init__("cupy")
        self.__version__, self.__spec__ = "14.2.0", ModuleSpec("cupy", None)
        self.cuda = self.device_ = Cuda(count, error, capability)
        self.cublas = SimpleNamespace(modes=set())
        self.get_default_memory_pool = self.cuda.MemoryPool

    def __getattr__(self, name):
        return getattr(np, name)

    def asnumpy(self, a):
        return np.array(a)

    def take(self, a, indices, axis, out):
        out[...] = np.take(a, indices, axis)

    def fuse(self, kernel_name):
        return lambda function: function


class Products:
    """Matrix products of NumPy arrays."""

    def __init__(self, xp, tf32=False):
        self.xp, self.tf32 = xp, tf32

    def lanes(self, n):
        return [Stream() for _ in range(n)]

    def matmul(self, A, B, out=None, add=False):
        self.xp.cublas.modes.add(3 * self.tf32)
        if not add:
            return np.matmul(A, B, out=out)
        out += A @ B
        return out


class Replay(CudaGraph):
    """A graph that runs its step again when it is launched."""

    def _captured(self):
        return SimpleNamespace(launch=lambda stream: self.step()), ""


def compile_with_mean(xp, function, H):
    """Return a function that computes means with NumPy."""

    def call(*calls, out=()):
        results = [function(xp, lambda a: a.sum(axis=1, keepdims=True) / H, *arrays) for arrays in calls]
        for target, (result, *_) in zip(out, results, strict=False):
            target[...] = result
        return results

    return call


def replace(name, double):
    """Make the GPU backend use `double` instead of a function or class if ``cupy`` is the test double."""
    right = getattr(opening, name)

    def choose(xp, *arguments):
        return (double if isinstance(xp, DoubleOfCuPy) else right)(xp, *arguments)

    setattr(opening, name, choose)


for name, double in (("Products", Products), ("CudaGraph", Replay), ("compile_with_mean", compile_with_mean)):
    replace(name, double)


def open_double(name="gpu", **options):
    """Open and return a GPU backend that uses the test double instead of CuPy."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "cupy", DoubleOfCuPy(**options))
        return open_backend(name)
