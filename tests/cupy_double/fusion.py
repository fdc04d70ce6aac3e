"""Run CuPy's own tracer, which needs no GPU, on functions that are to be fused.

`cupy.fuse` traces a function with symbolic arrays and makes one kernel of the operations. If the trace fails,
it silently changes to a second implementation, whose kernels are slower to launch.
"""

import numpy as np
import pytest

from cupy_double.array import real

tracer = pytest.importorskip("cupy._core.fusion", reason="this version of CuPy has no cupy._core.fusion")
Traced = tracer._FusionVarScalar
"""Base class of the symbolic arrays and numbers."""


def array_without_memory(shape, dtype):
    """Return a CuPy array whose memory is never accessed."""
    memory = real.cuda.UnownedMemory(1 << 20, 1 << 20, None, 0)
    return real.ndarray(shape, dtype, real.cuda.MemoryPointer(memory, 0))


def like(argument):
    """Return an array without memory like the given one, or the given NumPy scalar."""
    return (
        argument if isinstance(argument, np.generic) else array_without_memory(argument.shape, argument.dtype)
    )


def kernel_of(function, arguments, name):
    """Return the kernel that CuPy generates for a function called with such arrays and NumPy scalars."""
    state = tracer._thread_local
    state.history, state.is_old_fusing = tracer._FusionHistory(), True
    try:
        kernel, _ = state.history.get_fusion(function, [like(argument) for argument in arguments], name)
    finally:
        state.history, state.is_old_fusing = None, False
    return kernel


def check_one_kernel(function, arguments, name):
    """Raise TypeError unless CuPy fuses the function into one element-wise kernel."""
    try:
        kernel = kernel_of(function, arguments, name)
    except Exception as error:  # CuPy also catches all exceptions
        raise TypeError(f"CuPy does not fuse {name} into one kernel ({error})") from error
    if not isinstance(kernel, real.ElementwiseKernel):
        raise TypeError(f"the kernel of {name} is not element-wise")
