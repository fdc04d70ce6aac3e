"""State shared by the test double and its arrays: streams, capture and memory pools."""

import numpy as np

from cupy_double.array import CUDARuntimeError, bare, flat, ndarray

CAPTURE_UNSUPPORTED, CAPTURE_INVALIDATED, CAPTURE_ISOLATION = 900, 901, 905  # CUDA's error codes
PRODUCTS = ("matmul", "dot", "tensordot", "inner", "vdot", "einsum")


class Device:
    """The state of a fake GPU."""

    def __init__(self, count, error, bus, capability):
        self.count, self.error, self.bus, self.capability = count, error, bus, capability
        self.used = None
        self.streams = []
        self.allocator = None
        self.capture = None
        self.fusing = False
        self.crossings = {"to_device": 0, "to_host": 0}

    @property
    def stream(self):
        """The current stream."""
        return self.streams[-1]

    def cross(self, where):
        """Record one copy of an array or a single element between host and device."""
        self.wait(where)
        self.crossings[where] += 1

    def wait(self, what):
        """Make the host wait for the device. During capture, invalidate the capture and raise an error."""
        if self.capture is not None:
            self.capture.valid = False
            raise CUDARuntimeError(CAPTURE_UNSUPPORTED)
        if self.fusing:
            raise TypeError(f"{what} in a fused function")

    @np.errstate(over="ignore")  # a GPU does not report overflow
    def call(self, function, *args, **kwargs):
        """Call a NumPy function on device arrays, and record the call during capture."""
        elementwise = isinstance(function, np.ufunc) and not function.signature
        if self.fusing and not elementwise and function is not np.ndarray.astype:
            raise TypeError(f"a fused function called {function}, which is not element-wise")
        if self.capture is not None and getattr(function, "__name__", None) in PRODUCTS:
            raise NotImplementedError("calling cuBLAS API during stream capture is currently unsupported")
        written = kwargs.get("out")
        if written is not None:
            self.save(written._a)
        plain = bare(args), bare(kwargs)
        result = function(*plain[0], **plain[1])
        if isinstance(result, tuple):
            return tuple(map(self.wrapped, result))
        if written is not None:
            self.record(lambda: function(*plain[0], **plain[1]))
            return written
        if not isinstance(result, np.ndarray | np.generic):
            return result  # a shape or a dtype, for example
        array = np.asarray(result)
        self.made(array, [a for a in flat(plain) if isinstance(a, np.ndarray)])
        if self.capture is not None and array is self.capture.fresh.get(id(array)):
            self.record(lambda: np.copyto(array, function(*plain[0], **plain[1]), casting="unsafe"))
        return self.wrapped(array)

    def write(self, array, function):
        """Call a function that overwrites an array, and record the call during capture."""
        self.save(array)
        function()
        self.record(function)

    def made(self, array, sources):
        """Register a newly allocated array, unless it is a view of one of the sources."""
        if any(np.may_share_memory(array, source) for source in sources):
            return
        self.allocate(array.nbytes)
        if self.capture is not None:
            self.capture.fresh[id(array)] = array

    def allocate(self, size):
        """Call the current allocator. A capture must not use the default one."""
        if self.allocator is not None:
            self.allocator(size)
        elif self.capture is not None:
            raise RuntimeError("a captured step allocated memory from the default pool")

    def save(self, array):
        """During capture, save an array that a call is about to overwrite."""
        if self.capture is not None:
            self.capture.undo.append((array, array.copy()))

    def record(self, call):
        """Record a call during capture, which must be on a captured stream."""
        if self.capture is not None:
            if self.stream not in self.capture.streams:
                raise RuntimeError("an operation on a stream other than the captured one")
            self.capture.calls.append(call)

    def wrapped(self, value):
        return ndarray(np.asarray(value), self)


class Capture:
    """The calls and writes between `begin_capture` and `end_capture`."""

    def __init__(self, stream):
        self.stream, self.streams, self.valid = stream, {stream}, True
        self.calls, self.undo, self.fresh, self.used = [], [], {}, []

    def end(self):
        """Undo all writes. The contents of newly allocated arrays are undefined."""
        for array, values in reversed(self.undo):
            array[...] = values
        for array in self.fresh.values():
            array[...] = np.nan if array.dtype.kind in "fc" else 0
