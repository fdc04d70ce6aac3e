"""A NumPy-based test double of CuPy, for tests that need neither a GPU nor a compiler.

CuPy itself runs in ``tests/gpu/cpu_cuda``, which shows what its kernels, streams, pools and graphs do.

It is based on the installed ``cupy`` package, which can be imported without a GPU. It provides only names
that exist in CuPy. Function calls are checked against CuPy's signatures, and method calls against the
signatures in CuPy's docstrings. Arrays are never converted to NumPy arrays implicitly. Functions, operators,
assignments and indices reject host arrays and lists, even where CuPy would implicitly copy them to the
device.

Stream capture works as in CUDA. Each call between ``begin_capture`` and ``end_capture`` is recorded, and its
effects are undone at the end because CUDA records captured work without running it. Launching the graph
replays the recorded calls on the same arrays with the same Python numbers. During capture, the following
raise an exception:

- CuPy's own matrix products, as in CuPy 14
- any call that makes the host wait for the device, as in CUDA
- an operation or a product on another stream, which would silently be missing from the graph
- allocating memory outside the graph's own pool, because other code could overwrite it

Fused functions must be element-wise.
"""

from cupy_double.array import CUDARuntimeError, method_signature, ndarray, real
from cupy_double.module import DoubleOfCuPy, open_double

__all__ = ["CUDARuntimeError", "DoubleOfCuPy", "method_signature", "ndarray", "open_double", "real"]
