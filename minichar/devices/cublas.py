"""Matrix products that a CUDA graph can capture, computed by calling cuBLAS through `ctypes`.

CuPy refuses to call cuBLAS while a stream is being captured, although cuBLAS supports capture. This module
therefore uses its own cuBLAS handles and workspaces.

cuBLAS expects column-major matrices. In memory, a row-major matrix is identical to its transpose in
column-major order:

    out = A @ B          row-major
    outᵀ = Bᵀ @ Aᵀ       column-major, in the same memory

No operand is copied. Operands can be slices or transposed views, as long as their rows or their columns are
contiguous.
"""

import ctypes
from importlib import import_module
from threading import local
from types import ModuleType
from typing import Any

from minichar.devices.backend import Array

WORKSPACE = 32 << 20
"""Workspace size in bytes. NVIDIA recommends 32 MiB for Hopper GPUs, and less for older ones."""
LANE_WORKSPACE = 4 << 20
"""Workspace size in bytes for each of the streams of a wavefront."""
WORKSPACES: list[Any] = []
"""All workspaces, kept because a graph that uses a workspace can outlive the capturing thread."""
STRICT, TF32 = 0, 3
"""``CUBLAS_DEFAULT_MATH`` and ``CUBLAS_TF32_TENSOR_OP_MATH``. The second mode rounds the operands of float32
products to TF32, which has 10 mantissa bits instead of 23. float64 products are not affected."""

INT, POINTER = ctypes.c_int, ctypes.c_void_p
MATRIX = [POINTER, INT]  # data, leading dimension
GEMM = [POINTER, *[INT] * 5, POINTER, *MATRIX, *MATRIX, POINTER, *MATRIX]
"""The types of handle, transb, transa, n, m, k, α, B, A, β and out."""
ARGUMENTS = {
    "cublasCreate_v2": [POINTER],
    "cublasSetMathMode": [POINTER, INT],
    "cublasSetStream_v2": [POINTER, POINTER],
    "cublasSetWorkspace_v2": [POINTER, POINTER, ctypes.c_size_t],
    "cublasSgemm_v2": GEMM,
    "cublasDgemm_v2": GEMM,
}
"""Argument types of each cuBLAS function."""
REAL = {"float32": ("S", ctypes.c_float), "float64": ("D", ctypes.c_double)}
"""For each dtype, its letter in cuBLAS function names and the C type of α and β."""


class CuBLASError(RuntimeError):
    """Raised if a cuBLAS function returns an error."""


class Products(local):
    """Matrix products of float32 or float64 arrays on the current stream.

    Threads must not use the same cuBLAS handle concurrently, so each thread has its own.

    Parameters
    ----------
    xp : module
        CuPy.
    tf32 : bool
        Whether the operands of float32 products may be rounded to TF32.
    """

    def __init__(self, xp: ModuleType, tf32: bool = False) -> None:
        pathfinder = import_module("cuda.pathfinder")  # finds the library that CuPy uses
        self.xp, self.tf32 = xp, tf32
        self.library: Any = ctypes.CDLL(pathfinder.load_nvidia_dynamic_lib("cublas").abs_path)
        for name, types in ARGUMENTS.items():
            getattr(self.library, name).argtypes = types
        self.library.cublasGetStatusName.restype = ctypes.c_char_p
        self.stream: Any = None
        self.handle = POINTER()
        self.call("cublasCreate_v2", ctypes.byref(self.handle))
        self.call("cublasSetMathMode", self.handle, TF32 if tf32 else STRICT)
        self.workspace = xp.cuda.Memory(WORKSPACE)
        WORKSPACES.append(self.workspace)
        self.streams: list[Any] = []
        self.workspaces: dict[Any, Any] = {}

    def call(self, name: str, *arguments: Any) -> None:
        """Call a cuBLAS function, and raise an exception if it fails."""
        if status := getattr(self.library, name)(*arguments):
            raise CuBLASError(f"{name} returned {self.library.cublasGetStatusName(status).decode()}")

    def lanes(self, n: int) -> list[Any]:
        """Return the first n of this thread's streams, which may run concurrently.

        Each has its own workspace, which is not allocated from the pool of the current graph.
        """
        cuda = self.xp.cuda
        while len(self.streams) < n:
            stream, memory = cuda.Stream(non_blocking=True), cuda.Memory(LANE_WORKSPACE)
            self.streams.append(stream)
            self.workspaces[stream.ptr] = memory
            WORKSPACES.append(memory)
        return self.streams[:n]

    def use_current_stream(self) -> None:
        """Make cuBLAS use the current stream.

        Otherwise, a graph captured on the current stream would not contain the matrix products. Setting the
        stream resets the workspace, which must then be set again so that cuBLAS does not allocate its own.
        """
        stream = self.xp.cuda.get_current_stream()
        if stream != self.stream:
            self.call("cublasSetStream_v2", self.handle, stream.ptr)
            memory = self.workspaces.get(stream.ptr, self.workspace)
            self.call("cublasSetWorkspace_v2", self.handle, memory.ptr, memory.size)
            self.stream = stream  # kept alive, so that no other stream reuses the address

    def matmul(self, A: Array, B: Array, out: Array | None = None, add: bool = False) -> Array:
        """Return ``A @ B`` ``(M, N)``, optionally written to `out` or added to it."""
        (M, K), N = A.shape, B.shape[-1]
        if out is None:
            out = self.xp.empty((M, N), A.dtype)
        if B.shape != (K, N) or out.shape != (M, N) or not A.dtype == B.dtype == out.dtype:
            described = (f"{X.dtype} {X.shape}" for X in (A, B, out))
            raise ValueError("cannot multiply {} by {} into {}".format(*described))
        (trans_a, lda), (trans_b, ldb), (trans_out, ldc) = layout(A), layout(B), layout(out)
        if trans_out:
            raise ValueError(f"the rows of the output are not contiguous: strides {out.strides}")
        letter, real = REAL[A.dtype.name]
        self.use_current_stream()
        alpha, beta = ctypes.byref(real(1.0)), ctypes.byref(real(1.0 if add else 0.0))
        a, b, c = (A.data.ptr, lda), (B.data.ptr, ldb), (out.data.ptr, ldc)
        self.call(f"cublas{letter}gemm_v2", self.handle, trans_b, trans_a, N, M, K, alpha, *b, *a, beta, *c)
        return out


def layout(X: Array) -> tuple[int, int]:
    """Return ``(0, leading dimension)`` if the rows of X are contiguous, or ``(1, …)`` if its columns are."""
    (rows, columns), (row, column) = X.shape, (stride // X.itemsize for stride in X.strides)
    for transposed, inner, size, outer, count in (
        (0, column, columns, row, rows),
        (1, row, rows, column, columns),
    ):
        if (inner == 1 or size == 1) and (outer >= size or count == 1):
            return transposed, max(outer, size)
    raise ValueError(f"neither the rows nor the columns are contiguous: shape {X.shape}, strides {X.strides}")
