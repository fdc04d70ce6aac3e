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
"""Workspace size in bytes for each stream of a wavefront, of which there are several."""
WORKSPACES: list[Any] = []
"""All workspaces, kept because a graph that uses a workspace can outlive the capturing thread."""
STRICT, TF32 = 0, 3
"""``CUBLAS_DEFAULT_MATH`` and ``CUBLAS_TF32_TENSOR_OP_MATH``. The second mode rounds the operands of float32
products to TF32, which has 10 mantissa bits instead of 23. float64 products are not affected."""

INT, STRIDE, POINTER = ctypes.c_int, ctypes.c_longlong, ctypes.c_void_p
HEAD = [POINTER, *[INT] * 5, POINTER]  # handle, transb, transa, n, m, k, α
MATRIX, MATRICES = [POINTER, INT], [POINTER, INT, STRIDE]  # data, leading dimension, batch stride
GEMM = [*HEAD, *MATRIX, *MATRIX, POINTER, *MATRIX]  # … B, A, β, out
BATCHED_GEMM = [*HEAD, *MATRICES, *MATRICES, POINTER, *MATRICES, INT]
ARGUMENTS = {
    "cublasCreate_v2": [POINTER],
    "cublasSetMathMode": [POINTER, INT],
    "cublasSetStream_v2": [POINTER, POINTER],
    "cublasSetWorkspace_v2": [POINTER, POINTER, ctypes.c_size_t],
    "cublasSgemm_v2": GEMM,
    "cublasDgemm_v2": GEMM,
    "cublasSgemmStridedBatched": BATCHED_GEMM,
    "cublasDgemmStridedBatched": BATCHED_GEMM,
}
"""Argument types of each cuBLAS function."""
REAL = {"float32": ("S", ctypes.c_float), "float64": ("D", ctypes.c_double)}
"""For each dtype, its letter in cuBLAS function names and the C type of α and β."""


class CuBLASError(RuntimeError):
    """Raised if a cuBLAS function returns an error."""


def load_library() -> Any:
    """Load the cuBLAS library that CuPy uses. Loading can fail with any type of exception."""
    pathfinder = import_module("cuda.pathfinder")  # CuPy 14 requires this package
    return ctypes.CDLL(pathfinder.load_nvidia_dynamic_lib("cublas").abs_path)


class Products(local):
    """Matrix products of float32 or float64 arrays on the current stream.

    Threads must not use the same cuBLAS handle concurrently, so each thread has its own.

    Parameters
    ----------
    xp : module
        CuPy.
    library
        The cuBLAS library, as returned by `load_library`.
    tf32 : bool
        Whether the operands of float32 products may be rounded to TF32.
    """

    def __init__(self, xp: ModuleType, library: Any, tf32: bool = False) -> None:
        self.xp, self.library, self.tf32 = xp, library, tf32
        for name, types in ARGUMENTS.items():
            getattr(library, name).argtypes = types
        library.cublasGetStatusName.restype = ctypes.c_char_p
        self.stream: Any = None
        self.handle = POINTER()
        self.call("cublasCreate_v2", ctypes.byref(self.handle))
        self.call("cublasSetMathMode", self.handle, TF32 if tf32 else STRICT)
        self.workspace = xp.cuda.alloc(WORKSPACE)
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
            memory = self.workspaces.get(stream.ptr)
            workspace = (self.workspace.ptr, WORKSPACE) if memory is None else (memory.ptr, memory.size)
            self.call("cublasSetWorkspace_v2", self.handle, *workspace)
            self.stream = stream  # kept alive, so that no other stream reuses the address

    def matmul(self, A: Array, B: Array, out: Array | None = None, add: bool = False) -> Array:
        """Return ``A @ B``, optionally written to `out` or added to it.

        A is ``(M, K)`` and B is ``(K, N)``, each with an optional leading batch dimension.
        """
        (M, K), N = A.shape[-2:], B.shape[-1]
        batch = [len(X) for X in (A, B) if X.ndim == 3]
        shape = (*batch[:1], M, N)
        if out is None:
            out = self.xp.empty(shape, A.dtype)
        if B.shape[-2] != K or len({*batch}) > 1 or out.shape != shape or not A.dtype == B.dtype == out.dtype:
            described = (f"{X.dtype} {X.shape}" for X in (A, B, out))
            raise ValueError("cannot multiply {} by {} into {}".format(*described))
        (trans_a, lda), (trans_b, ldb), (trans_out, ldc) = layout(A), layout(B), layout(out)
        if trans_out:
            raise ValueError(f"the rows of the output are not contiguous: strides {out.strides}")
        letter, real = REAL[A.dtype.name]
        self.use_current_stream()
        head = self.handle, trans_b, trans_a, N, M, K, ctypes.byref(real(1.0))
        beta = ctypes.byref(real(1.0 if add else 0.0))
        pa, pb, pc = (X.data.ptr for X in (A, B, out))
        if batch:
            a, b, c = (pa, lda, distance(A)), (pb, ldb, distance(B)), (pc, ldc, distance(out))
            self.call(f"cublas{letter}gemmStridedBatched", *head, *b, *a, beta, *c, batch[0])
        else:
            self.call(f"cublas{letter}gemm_v2", *head, pb, ldb, pa, lda, beta, pc, ldc)
        return out


def layout(X: Array) -> tuple[int, int]:
    """Return ``(0, leading dimension)`` if the rows of X are contiguous, or ``(1, …)`` if its columns are."""
    (rows, columns), itemsize = X.shape[-2:], X.itemsize
    row, column = (stride // itemsize for stride in X.strides[-2:])
    for transposed, inner, size, outer, count in (
        (0, column, columns, row, rows),
        (1, row, rows, column, columns),
    ):
        if (inner == 1 or size == 1) and (outer >= size or count == 1):
            return transposed, max(outer, size)
    raise ValueError(f"neither the rows nor the columns are contiguous: shape {X.shape}, strides {X.strides}")


def distance(X: Array) -> int:
    """Return the stride between the matrices of a batch, in elements, or 0 if X is a single matrix."""
    return int(X.strides[0] // X.itemsize) if X.ndim == 3 else 0
