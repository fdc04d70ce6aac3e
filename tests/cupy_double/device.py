"""State shared by the module and its arrays: the current stream, the capture and the copy counts."""

import numpy as np

from cupy_double.array import CUDARuntimeError, bare, flat, ndarray

CAPTURE_UNSUPPORTED = 900  # CUDA's error code
PRODUCTS = (np.matmul, np.dot, np.tensordot)


class Device:
    """The state of the device."""

    def __init__(self, count, error, captures_products):
        self.count, self.error, self.captures_products = count, error, captures_products
        self.used = None
        self.streams = []
        self.allocator = None
        self.capture = None
        self.fusing = False
        self.crossings = {"to_device": 0, "to_host": 0}

    def cross(self, where):
        """Count a copy of an array or of one of its elements between host and device."""
        self.wait(where)
        self.crossings[where] += 1

    def wait(self, what):
        """Make the host wait for the device; waiting during capture is an error."""
        if self.capture is not None:
            raise CUDARuntimeError(CAPTURE_UNSUPPORTED)
        if self.fusing:
            raise TypeError(f"{what} in a fused function")

    def call(self, function, *args, **kwargs):
        """Call a NumPy function on device arrays, and record the call during capture."""
        if self.fusing and (not isinstance(function, np.ufunc) or function.signature):
            raise TypeError(f"a fused function called {function}, which is not element-wise")
        if self.capture is not None and function in PRODUCTS and not self.captures_products:
            raise NotImplementedError("calling cuBLAS API during stream capture is currently unsupported")
        written = kwargs.get("out")
        if written is not None:
            self.save(written)
        plain = bare(args), bare(kwargs)
        result = function(*plain[0], **plain[1])
        if isinstance(result, tuple):
            return tuple(map(self.wrapped, result))
        if written is not None:
            self.record(lambda: function(*plain[0], **plain[1]))
            return written
        if not isinstance(result, np.ndarray | np.generic):
            return result  # such as a shape or a dtype
        array = np.asarray(result)
        self.made(array, [a for a in flat(plain) if isinstance(a, np.ndarray)])
        if self.capture is not None and array is self.capture.fresh.get(id(array)):
            self.record(lambda: np.copyto(array, function(*plain[0], **plain[1]), casting="unsafe"))
        return self.wrapped(array)

    def made(self, array, sources):
        """Register a newly allocated array, unless it is a view of one of the sources."""
        if self.capture is None or any(np.may_share_memory(array, source) for source in sources):
            return
        if self.allocator is None:
            raise RuntimeError("a captured step allocated memory from the default pool")
        self.capture.fresh[id(array)] = array

    def save(self, array):
        """During capture, save an array that a call is about to overwrite."""
        if self.capture is not None:
            self.capture.undo.append((array._a, array._a.copy()))

    def record(self, call):
        """Record a call during capture."""
        if self.capture is not None:
            self.capture.calls.append(call)

    def wrapped(self, value):
        return ndarray(np.asarray(value), self)


class Capture:
    """The calls and writes between `begin_capture` and `end_capture`."""

    def __init__(self):
        self.calls, self.undo, self.fresh = [], [], {}

    def end(self):
        """Undo all writes. The contents of newly allocated arrays are undefined."""
        for array, values in reversed(self.undo):
            array[...] = values
        for array in self.fresh.values():
            array[...] = np.nan if array.dtype.kind in "fc" else 0
