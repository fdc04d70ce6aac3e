"""A fake cuBLAS library, which uses NumPy to compute on the memory at the pointers it receives.

As in cuBLAS, matrices are column-major, and the leading dimension is the number of elements between the
starts of consecutive columns.
"""

import ctypes
from itertools import count

import numpy as np

INVALID_VALUE, NAMES = 7, {7: b"CUBLAS_STATUS_INVALID_VALUE"}
INT, STRIDE, POINTER, SIZE = ctypes.c_int, ctypes.c_longlong, ctypes.c_void_p, ctypes.c_size_t
SIGNATURES = {
    "Create_v2": [POINTER],
    "SetMathMode": [POINTER, INT],
    "SetStream_v2": [POINTER, POINTER],
    "SetWorkspace_v2": [POINTER, POINTER, SIZE],
    "gemm_v2": [POINTER, *[INT] * 5, POINTER, POINTER, INT, POINTER, INT, POINTER, POINTER, INT],
    "gemmStridedBatched": [
        *[POINTER, *[INT] * 5, POINTER],
        *[POINTER, INT, STRIDE, POINTER, INT, STRIDE, POINTER, POINTER, INT, STRIDE, INT],
    ],
}
"""Argument types in NVIDIA's header file."""


class Function:
    """A function of the library. Its callers must set `argtypes` as in NVIDIA's header file."""

    def __init__(self, function, types):
        self.function, self.types, self.argtypes = function, types, None

    def __call__(self, *arguments):
        assert self.argtypes == self.types, self.function
        assert len(arguments) == len(self.types), self.function
        return self.function(*(getattr(argument, "value", argument) for argument in arguments))


class StatusName:
    """`cublasGetStatusName`. As in `ctypes`, the result is a C int unless `restype` is set."""

    restype = INT

    def __call__(self, status):
        return NAMES[status] if self.restype is ctypes.c_char_p else status


class Handle:
    """The state of a cuBLAS handle."""

    def __init__(self):
        self.stream, self.workspace, self.math = 0, None, None


class CuBLAS:
    """The library. It captures products as on a GPU, and rejects those that the graph would not contain.

    `modes` is the set of math modes used so far; tests may clear it.
    """

    def __init__(self, device):
        self.device, self.handles, self.numbers = device, {}, count(1)
        self.modes = set()
        self.cublasGetStatusName = StatusName()
        functions = {name: getattr(self, name) for name in ("Create_v2", "SetMathMode")}
        functions |= {name: getattr(self, name) for name in ("SetStream_v2", "SetWorkspace_v2")}
        for name, function in functions.items():
            setattr(self, f"cublas{name}", Function(function, SIGNATURES[name]))
        for letter, real in (("S", ctypes.c_float), ("D", ctypes.c_double)):
            single, batched = self.gemm(real, False), self.gemm(real, True)
            setattr(self, f"cublas{letter}gemm_v2", Function(single, SIGNATURES["gemm_v2"]))
            name = "gemmStridedBatched"
            setattr(self, f"cublas{letter}{name}", Function(batched, SIGNATURES[name]))

    def Create_v2(self, handle):
        handle._obj.value = next(self.numbers)
        self.handles[handle._obj.value] = Handle()
        return 0

    def SetMathMode(self, handle, mode):
        self.handles[handle].math = mode
        return 0

    def SetStream_v2(self, handle, stream):
        self.handles[handle].stream = stream
        self.handles[handle].workspace = None
        return 0

    def SetWorkspace_v2(self, handle, pointer, size):
        self.handles[handle].workspace = pointer, size
        return 0

    def gemm(self, real, batched):
        """Return the function for matrices of type `real`."""

        def run(handle, trans_a, trans_b, m, n, k, alpha, *rest):
            distances = batch = None
            if batched:
                a, lda, step_a, b, ldb, step_b, beta, c, ldc, step_c, batch = rest
                distances = step_a, step_b, step_c
            else:
                a, lda, b, ldb, beta, c, ldc = rest
            shapes = ((k, m) if trans_a else (m, k)), ((n, k) if trans_b else (k, n)), (m, n)
            if any(ld < max(1, rows) for ld, (rows, _) in zip((lda, ldb, ldc), shapes, strict=True)):
                return INVALID_VALUE
            self.check(self.handles[handle])
            A, B, C = (
                matrices(real, pointer, shape, ld, distances and distances[i], batch)
                for i, (pointer, shape, ld) in enumerate(zip((a, b, c), shapes, (lda, ldb, ldc), strict=True))
            )
            A, B = (X.swapaxes(1, 2) if t else X for X, t in ((A, trans_a), (B, trans_b)))
            one, other = alpha._obj.value, beta._obj.value

            def product():
                C[...] = one * (A @ B) + (other * C if other else 0)

            self.device.write(C, product)
            return 0

        return run

    def check(self, handle):
        """Raise an exception if the product would be missing from the capture or allocate memory."""
        device = self.device
        if device.fusing:
            raise TypeError("a matrix product in a fused function")
        if handle.stream != device.stream.ptr:
            raise RuntimeError("a product on a stream other than the current one")
        if handle.workspace is None:
            raise RuntimeError("a product without a workspace")
        self.modes.add(handle.math)


def matrices(real, pointer, shape, ld, distance, batch):
    """Return the column-major matrices at an address as an array ``(batch, *shape)``."""
    (rows, columns), batch, distance = shape, batch or 1, distance or 0
    size = (batch - 1) * distance + (columns - 1) * ld + rows
    memory = np.frombuffer((real * size).from_address(pointer), real)
    strides = [number * memory.itemsize for number in (distance, 1, ld)]
    return np.lib.stride_tricks.as_strided(memory, (batch, rows, columns), strides)
