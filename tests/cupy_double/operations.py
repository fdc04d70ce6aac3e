"""The number of operations that a CuPy call launches on the device, according to the source of CuPy 14.

An operation is a kernel launch, a memset or a copy. Creating a view launches none.
"""

import numpy as np

NOTHING = ("empty", "empty_like")
REDUCTIONS = ("max", "sum", "mean", "min", "argmax", "all", "any")
SIMPLE = ("take", "where", "clip", "arange", "zeros", "zeros_like", "copyto", "isfinite", *REDUCTIONS)
ALONG_AXIS = ("take_along_axis", "put_along_axis")
MOST_COPIES = 8
"""To concatenate more arrays than this, CuPy copies their addresses to the device and launches one kernel."""


def operations(function, args, kwargs, result):
    """Yield the kinds and counts of the operations that a call launches, given its arguments and result."""
    name = getattr(function, "__name__", str(function))
    arrays = [a for a in args if isinstance(a, np.ndarray)]
    if name == "matmul":
        yield "product", 1
        operands = [*arrays[:2], kwargs.get("out")]
        yield "operand copy", sum(a is not None and not is_contiguous(a) for a in operands)
    elif isinstance(function, np.ufunc) or name in SIMPLE:
        yield "kernel", 1
    elif name in ALONG_AXIS:
        yield "kernel", 2 * arrays[0].ndim + 1
    elif name == "cumsum":
        yield "kernel", 2
    elif name in ("stack", "concatenate"):
        n = len(args[0])
        yield "copy", n if n <= MOST_COPIES else 2
    elif name not in NOTHING and isinstance(result, np.ndarray):
        yield "copy", int(not any(np.may_share_memory(result, a) for a in arrays))


def is_contiguous(a):
    return a.flags.c_contiguous or a.flags.f_contiguous
