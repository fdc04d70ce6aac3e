"""A test double of CuPy for machines without a GPU: CuPy's rules, NumPy's numbers.

It is made from the installed ``cupy`` package, which imports without a GPU. A name, a function,
a keyword or a method that the real namespace does not have, this one does not have either:
functions are bound to the real signatures, methods to those in the real docstrings. An array
does not convert to a NumPy array implicitly, and host arrays beside it are refused in functions,
operators, assignments and indices. In that it is stricter than CuPy, which copies some of them to
the device implicitly; lists as indices are among them.

Stream capture is faithful. Between ``begin_capture`` and ``end_capture`` each call is recorded,
and what it wrote is undone at the end, because a GPU under capture computes nothing. Whatever
would make the host wait for the device raises, as it does there. Launching the graph repeats the
recorded calls on the same arrays: a Python number among their arguments stays what it was. A fused
function may call element-wise functions only.
"""

from cupy_double.array import CUDARuntimeError, method_signature, ndarray, real
from cupy_double.module import DoubleOfCuPy, open_double

__all__ = ["CUDARuntimeError", "DoubleOfCuPy", "method_signature", "ndarray", "open_double", "real"]
