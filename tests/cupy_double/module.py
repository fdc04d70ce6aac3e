"""The test double of the ``cupy`` module."""

import inspect
import sys
from types import ModuleType

import numpy as np
import pytest

from cupy_double.array import bare, ndarray, real
from cupy_double.cublas import CuBLAS
from cupy_double.cuda import Cuda
from cupy_double.device import Device
from minichar.devices import cublas, means
from minichar.devices import cupy as opening
from minichar.devices.choose import open_backend

WAITING = ("unique", "nonzero", "flatnonzero", "argwhere", "bincount", "repeat", "array_equal", "allclose")
"""Functions that make the host wait for the device, for example to learn the size of the result."""


class Ufunc:
    """An element-wise function with the same keyword arguments as in CuPy."""

    def __init__(self, name, device):
        self.real, self.numpy, self.device = getattr(real, name), getattr(np, name), device

    def __call__(self, *args, out=None, casting="same_kind", dtype=None):
        nin = self.real.nin
        if not nin <= len(args) <= nin + (out is None):
            raise TypeError(f"Wrong number of arguments for {self.real!r}")
        if len(args) > nin:
            out = args[nin]
        if out is not None and not isinstance(out, ndarray):
            raise TypeError("return arrays must be of ArrayType")
        if not any(isinstance(a, ndarray) for a in args):
            bare(args)  # rejects host arrays
            raise TypeError(f"{self.real!r} would copy Python numbers to the device implicitly")
        keywords = {"casting": casting} | ({"dtype": dtype} if dtype else {})
        if out is not None:
            keywords["out"] = out
        return self.device.call(self.numpy, *args[:nin], **keywords)

    def at(self, a, indices, b=None):
        device, plain = self.device, (a._a, bare(indices), bare(b))
        if device.fusing:
            raise TypeError("a scatter operation in a fused function")
        device.write(plain[0], lambda: self.numpy.at(*plain))


class DoubleOfCuPy(ModuleType):
    """A test double of the ``cupy`` module.

    Parameters
    ----------
    count : int
        Number of GPUs.
    error : int, optional
        Error code of the CUDA runtime, such as 35 (no driver is installed).
    bus : str
        The bus that the GPUs are on.
    capability : str
        The compute capability without the dot.
    """

    def __init__(self, count=1, error=None, bus="0000", capability="80"):
        super().__init__("cupy")
        self.device_ = Device(count, error, bus, capability)
        self.__version__, self.__spec__ = real.__version__, real.__spec__
        self.ndarray = ndarray
        self.cuda = Cuda(self.device_)
        self.cublas = CuBLAS(self.device_)

    @property
    def crossings(self):
        return self.device_.crossings

    def __getattr__(self, name):
        value = getattr(real, name)  # raises AttributeError if CuPy lacks it
        if isinstance(value, ModuleType):
            raise NotImplementedError(f"the test double does not implement cupy.{name}")
        if not callable(value) or isinstance(value, type):
            return value  # a constant such as pi, or a dtype
        if isinstance(value, real.ufunc):
            return Ufunc(name, self.device_)
        return self._function(name, inspect.signature(value))

    def _function(self, name, signature):
        device = self.device_

        def function(*args, **kwargs):
            bound = signature.bind(*args, **kwargs)
            if device.fusing:
                raise TypeError(f"a fused function called {name}, which is not element-wise")
            if name in WAITING or (name == "where" and len(bound.arguments) == 1):
                device.wait(name)
            if name == "take":
                # In CuPy, out-of-range indices wrap around.
                kwargs = kwargs | {"mode": "wrap"}
            if name in ("put", "put_along_axis", "copyto"):
                plain = bare(args), bare(kwargs)
                target, *_ = plain[0]
                device.write(target, lambda: getattr(np, name)(*plain[0], **plain[1]))
                return None
            return device.call(getattr(np, name), *args, **kwargs)

        return function

    def asarray(self, a, dtype=None, order=None, *, copy=None, blocking=False):
        if isinstance(a, ndarray):
            return self.device_.call(np.asarray, a, dtype, order)
        self.device_.cross("to_device")
        return ndarray(np.array(a, dtype, order=order, copy=True), self.device_)

    array = asarray

    def asnumpy(self, a, stream=None, order="C", out=None, *, blocking=True):
        if not isinstance(a, ndarray):
            return np.asarray(a, order=order)
        return a.get(stream, order, out, blocking)

    def get_default_memory_pool(self):
        return self.cuda.MemoryPool()

    def fuse(self, *, kernel_name):
        """Return a decorator for functions that CuPy fuses into one element-wise kernel."""
        device = self.device_

        def decorate(function):
            def fused(*arguments):
                arrays = [argument for argument in arguments if isinstance(argument, ndarray)]
                for i, one in enumerate(arrays):
                    for other in arrays[:i]:
                        if np.may_share_memory(one._a, other._a) and not same_place(one._a, other._a):
                            raise ValueError(f"{kernel_name}: overlapping arrays cause a data race")
                device.fusing = True
                try:
                    return function(*arguments)
                finally:
                    device.fusing = False

            return fused

        return decorate


def open_double(name="gpu", **options):
    """Open and return a GPU backend that uses the test double instead of CuPy."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "cupy", DoubleOfCuPy(**options))
        return open_backend(name)


def load_library():
    """Return the fake cuBLAS if ``import cupy`` returns the test double."""
    cupy = sys.modules["cupy"]
    return cupy.cublas if isinstance(cupy, DoubleOfCuPy) else cublas.load_library()


def compile_with_mean(xp, function, H):
    """Return a function that computes means with sums, because the test double does not compile CUDA C."""
    if not isinstance(xp, DoubleOfCuPy):
        return means.compile_with_mean(xp, function, H)

    def call(*arrays, out=()):
        results = function(xp, lambda a: a.sum(axis=1, keepdims=True) / H, *arrays)
        for target, result in zip(out, results, strict=False):
            target[...] = result
        return results

    return call


opening.load_library, opening.compile_with_mean = load_library, compile_with_mean


def same_place(one, other):
    return (
        one.__array_interface__["data"] == other.__array_interface__["data"] and one.strides == other.strides
    )
