"""A NumPy-based test double of CuPy for machines without a GPU.

It is based on the installed ``cupy`` package, which can be imported without a GPU. Names, functions,
keywords and methods that CuPy does not have are not available here either: function calls are checked
against CuPy's signatures, and method calls against the signatures in CuPy's docstrings. Arrays are never
converted to NumPy arrays implicitly, and functions, operators, assignments and indices reject host arrays
and lists. This is stricter than CuPy, which copies some of them to the device implicitly.

Stream capture works as in CUDA. Each call between ``begin_capture`` and ``end_capture`` is recorded, and its
effects are undone at the end, because captured work does not run on the GPU. Launching the graph replays the
recorded calls on the same arrays with the same Python numbers. During capture, the following raise an
exception:

- CuPy's own matrix products, as in CuPy 14
- whatever makes the host wait for the device, as in CUDA
- an operation or a product on another stream, which the graph would silently not contain
- memory that is not from the graph's own pool, which other code could overwrite

A fused function can only call element-wise functions. The operations that the host launches are counted.
"""

from cupy_double.array import CUDARuntimeError, method_signature, ndarray, real
from cupy_double.module import DoubleOfCuPy, open_double

__all__ = ["CUDARuntimeError", "DoubleOfCuPy", "method_signature", "ndarray", "open_double", "real"]
