"""A double for CuPy where there is no GPU: CuPy's rules, NumPy's numbers.

Made from the installed ``cupy`` package, which imports without a GPU. A name, a function,
a keyword or a method that the real namespace does not have, this one does not have either:
functions are bound to the real signatures, methods to those in the real docstrings. An
array refuses to become a NumPy array unasked, and refuses host arrays beside it in
functions, operators, assignments and indices. In that it is stricter than CuPy, which
lets some through by copying them, unasked, to the device; lists as indices are among them.

Stream capture is honest. Between ``begin_capture`` and ``end_capture`` each call is
recorded, and what it wrote is taken back at the end, for a GPU under capture computes
nothing. What would make the host wait for the device raises, as it does there. Launching
the graph runs the recorded calls again on the same arrays: a Python number among their
arguments stays what it was. A fused function may call element-wise functions only.
"""

import ast
import inspect
import re
import sys
from functools import cache
from types import ModuleType

import numpy as np
import pytest

from minichar.devices.choose import open_backend

real = pytest.importorskip(
    "cupy", reason="the double of CuPy is made from the installed package: cupy-cuda12x"
)

CUDARuntimeError = real.cuda.runtime.CUDARuntimeError
RealGenerator = real.random.Generator  # read now: the package looks it up under the name "cupy"
INVALID_DEVICE, CAPTURE_UNSUPPORTED = 101, 900  # of CUDA's errors

PRODUCTS = (np.matmul, np.dot, np.tensordot)
WAITING = ("unique", "nonzero", "flatnonzero", "argwhere", "bincount", "repeat", "array_equal", "allclose")
"""Functions after which the host waits for the device: it must know a size or a verdict."""
IN_PLACE = ("sort", "partition", "put", "set", "scatter_add", "scatter_max", "scatter_min", "byteswap")
"""Methods that write where a capture would have to look; the engine has no use for them."""
OPERATORS = {
    "add": "add",
    "sub": "subtract",
    "mul": "multiply",
    "truediv": "true_divide",
    "pow": "power",
    "floordiv": "floor_divide",
    "mod": "remainder",
    "and": "bitwise_and",
    "or": "bitwise_or",
    "xor": "bitwise_xor",
    "lshift": "left_shift",
    "rshift": "right_shift",
    "matmul": "matmul",
}
COMPARISONS = {
    "lt": "less",
    "le": "less_equal",
    "gt": "greater",
    "ge": "greater_equal",
    "eq": "equal",
    "ne": "not_equal",
}


class Device:
    """What the module and its arrays share: the stream in use, what is being recorded, what has crossed."""

    def __init__(self, count, error, captures_products):
        self.count, self.error, self.captures_products = count, error, captures_products
        self.used = None
        self.streams = []
        self.allocator = None
        self.capture = None
        self.fusing = False
        self.crossings = {"to_device": 0, "to_host": 0}

    def cross(self, where):
        """Count an array, or a number of one, that goes between host and device."""
        self.wait(where)
        self.crossings[where] += 1

    def wait(self, what):
        """Let the host wait for the device, which a capture forbids."""
        if self.capture is not None:
            raise CUDARuntimeError(CAPTURE_UNSUPPORTED)
        if self.fusing:
            raise TypeError(f"{what} in a fused function")

    def call(self, function, *args, **kwargs):
        """Call a function of NumPy on arrays of this device; record it if a capture is on."""
        if self.fusing and (not isinstance(function, np.ufunc) or function.signature):
            raise TypeError(f"a fused function called {function}, which is not element by element")
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
            return result  # a shape, a dtype
        array = np.asarray(result)
        self.made(array, [a for a in flat(plain) if isinstance(a, np.ndarray)])
        if self.capture is not None and array is self.capture.fresh.get(id(array)):
            self.record(lambda: np.copyto(array, function(*plain[0], **plain[1]), casting="unsafe"))
        return self.wrapped(array)

    def made(self, array, sources):
        """Note an array that was allocated, rather than being a view of one of the sources."""
        if self.capture is None or any(np.may_share_memory(array, source) for source in sources):
            return
        if self.allocator is None:
            raise RuntimeError("a recorded step took memory from the pool that everybody uses")
        self.capture.fresh[id(array)] = array

    def save(self, array):
        """Remember what a call under capture is about to overwrite."""
        if self.capture is not None:
            self.capture.undo.append((array._a, array._a.copy()))

    def record(self, call):
        """Remember a call under capture."""
        if self.capture is not None:
            self.capture.calls.append(call)

    def wrapped(self, value):
        return ndarray(np.asarray(value), self)


class Capture:
    """What happens between `begin_capture` and `end_capture`."""

    def __init__(self):
        self.calls, self.undo, self.fresh = [], [], {}

    def end(self):
        """Take back what was written; what was allocated holds nothing yet."""
        for array, values in reversed(self.undo):
            array[...] = values
        for array in self.fresh.values():
            array[...] = np.nan if array.dtype.kind in "fc" else 0


def flat(value):
    """Yield what is in nested tuples, lists and dicts."""
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, list | tuple):
        yield value
        return
    for item in value:
        yield from flat(item)


def bare(value):
    """Return the argument with NumPy's arrays in the place of ours; refuse NumPy's own."""
    if isinstance(value, ndarray):
        return value._a
    if isinstance(value, np.ndarray):
        raise TypeError(f"Unsupported type {type(value)}")
    if isinstance(value, dict):
        return {name: bare(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(bare, value))
    return value


class ndarray:
    """An array on the device."""

    __slots__ = ("_a", "_device")
    __array_ufunc__ = None  # NumPy's operators leave the operation to ours
    __hash__ = None

    def __init__(self, a, device):
        self._a, self._device = a, device

    def __array__(self, *args, **kwargs):
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. "
            "Please use `.get()` to construct a NumPy array explicitly."
        )

    def __array_function__(self, function, types, args, kwargs):
        raise TypeError(f"numpy.{function.__name__} was given an array of the device")

    def __getattr__(self, name):
        attribute = getattr(real.ndarray, name)  # raises AttributeError if CuPy's has none
        if name in ("T", "mT", "real", "imag"):
            return self._device.call(lambda a: getattr(a, name), self)
        if not callable(attribute):
            return getattr(self._a, name)
        if name in IN_PLACE:
            raise NotImplementedError(f"the double's arrays have no {name}")
        signature = method_signature(name)

        def method(*args, **kwargs):
            signature.bind(self, *args, **kwargs)
            if name in ("nonzero", "tobytes"):
                self._device.wait(name)
            return self._device.call(getattr(np.ndarray, name), self, *args, **kwargs)

        return method

    def get(self, stream=None, order="C", out=None, blocking=True):
        self._device.cross("to_host")
        return self._a.copy(order)

    def fill(self, value):
        self[...] = value

    def item(self):
        return self.get().item()

    def tolist(self):
        return self.get().tolist()

    def __float__(self):
        return float(self.item())

    def __int__(self):
        return int(self.item())

    def __complex__(self):
        return complex(self.item())

    def __bool__(self):
        return bool(self.item())

    def __format__(self, spec):
        return format(self.item() if self._a.ndim == 0 else str(self.get()), spec)

    def __repr__(self):
        return f"double of a CuPy {self._a!r}"

    def __len__(self):
        return len(self._a)

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index):
        self._check(index)
        if any(isinstance(i, ndarray) and i.dtype == bool for i in flat([index])):
            self._device.wait("a mask as index")
        return self._device.call(lambda a, index: a[index], self, index)

    def __setitem__(self, index, value):
        self._check(index)
        if self._device.fusing:
            raise TypeError("an assignment in a fused function")
        masked = any(isinstance(i, ndarray) and i.dtype == bool for i in flat([index]))
        if masked and isinstance(value, ndarray) and value.ndim:
            self._device.wait("a mask as index")
        a, index, value = self._a, bare(index), bare(value)
        self._device.save(self)
        a[index] = value
        self._device.record(lambda: a.__setitem__(index, value))

    @staticmethod
    def _check(index):
        if any(isinstance(i, list) for i in (index if isinstance(index, tuple) else [index])):
            raise TypeError("a list as index would go to the device unasked")

    def __neg__(self):
        return self._device.call(np.negative, self)

    def __abs__(self):
        return self._device.call(np.absolute, self)

    def __invert__(self):
        return self._device.call(np.invert, self)


@cache
def method_signature(name):
    """Return the signature of a method of the real array, which is written in its docstring."""
    first = getattr(real.ndarray, name).__doc__.splitlines()[0]
    arguments = re.search(r"\((.*)\)", first)[1]
    # Cython's types stand before some names: Py_ssize_t axis1
    arguments = ", ".join(re.sub(r"^\w+ (?=\w)", "", argument.strip()) for argument in arguments.split(","))
    parsed = ast.parse(f"def method({arguments}): pass").body[0].args
    parameters = [inspect.Parameter(a.arg, inspect.Parameter.POSITIONAL_OR_KEYWORD) for a in parsed.args]
    for i, default in enumerate(reversed(parsed.defaults), start=1):
        parameters[-i] = parameters[-i].replace(default=ast.literal_eval(default))
    if parsed.vararg:
        parameters.append(inspect.Parameter(parsed.vararg.arg, inspect.Parameter.VAR_POSITIONAL))
    parameters += [
        inspect.Parameter(a.arg, inspect.Parameter.KEYWORD_ONLY, default=ast.literal_eval(default))
        for a, default in zip(parsed.kwonlyargs, parsed.kw_defaults, strict=True)
    ]
    return inspect.Signature(parameters)


def operator(ufunc, kind):
    """Return a method of an operator: ``plain``, ``reflected`` or ``in place``."""

    def method(self, other):
        if not isinstance(other, ndarray | np.ndarray | np.generic | int | float | complex):
            return NotImplemented
        if kind == "in place":
            return self._device.call(ufunc, self, other, out=self)
        left, right = (other, self) if kind == "reflected" else (self, other)
        return self._device.call(ufunc, left, right)

    return method


for _name, _ufunc in OPERATORS.items():
    for _form, _kind in (("__{}__", "plain"), ("__r{}__", "reflected"), ("__i{}__", "in place")):
        if hasattr(real.ndarray, _form.format(_name)):
            setattr(ndarray, _form.format(_name), operator(getattr(np, _ufunc), _kind))
for _name, _ufunc in COMPARISONS.items():
    setattr(ndarray, f"__{_name}__", operator(getattr(np, _ufunc), "plain"))


class Ufunc:
    """An element-wise function, with the keywords that CuPy's have."""

    def __init__(self, name, device):
        self.real, self.numpy, self.device = getattr(real, name), getattr(np, name), device

    def __call__(self, *args, out=None, casting="same_kind", dtype=None):
        nin = self.real.nin
        if not nin <= len(args) <= nin + (out is None):
            raise TypeError(f"Wrong number of arguments for {self.real!r}")
        if len(args) > nin:
            out = args[nin]
        if out is not None and not isinstance(out, ndarray):
            raise TypeError("return arrays must be of ArrayType")
        if not any(isinstance(a, ndarray) for a in args):
            bare(args)  # a host array is refused first
            raise TypeError(f"{self.real!r} of plain numbers would go to the device unasked")
        keywords = {"casting": casting} | ({"dtype": dtype} if dtype else {})
        if out is not None:
            keywords["out"] = out
        return self.device.call(self.numpy, *args[:nin], **keywords)

    def at(self, a, indices, b=None):
        device, plain = self.device, (a._a, bare(indices), bare(b))
        if device.fusing:
            raise TypeError("a scattered operation in a fused function")
        device.save(a)
        self.numpy.at(*plain)
        device.record(lambda: self.numpy.at(*plain))


class DoubleOfCuPy(ModuleType):
    """The module.

    Parameters
    ----------
    count : int
        How many GPUs there are.
    error : int, optional
        The status that CUDA's runtime fails with, such as 35: the driver is too old.
    captures_products : bool
        Whether products can be recorded, as cuBLAS allows and CuPy 14 does not.
    """

    def __init__(self, count=1, error=None, captures_products=False):
        super().__init__("cupy")
        self.device_ = Device(count, error, captures_products)
        self.__version__ = real.__version__
        self.ndarray = ndarray
        self.cuda = Cuda(self.device_)
        self.random = Random(self.device_)

    @property
    def crossings(self):
        return self.device_.crossings

    def __getattr__(self, name):
        value = getattr(real, name)  # raises AttributeError if CuPy has none
        if isinstance(value, ModuleType):
            raise NotImplementedError(f"the double has no cupy.{name}")
        if not callable(value) or isinstance(value, type):
            return value  # a number such as pi, a dtype
        if isinstance(value, real.ufunc):
            return Ufunc(name, self.device_)
        return self._function(name, inspect.signature(value))

    def _function(self, name, signature):
        device = self.device_

        def function(*args, **kwargs):
            bound = signature.bind(*args, **kwargs)
            if device.fusing:
                raise TypeError(f"a fused function called {name}, which is not element by element")
            if name in WAITING or (name == "where" and len(bound.arguments) == 1):
                device.wait(name)
            if name == "take":
                # CuPy's takes an index out of range around the end.
                kwargs = kwargs | {"mode": "wrap"}
            if name in ("put_along_axis", "copyto"):
                target, *_ = bound.arguments.values()
                plain = bare(args), bare(kwargs)
                device.save(target)
                getattr(np, name)(*plain[0], **plain[1])
                device.record(lambda: getattr(np, name)(*plain[0], **plain[1]))
                return None
            return device.call(getattr(np, name), *args, **kwargs)

        return function

    def asarray(self, a, dtype=None, order=None, *, copy=None, blocking=False):
        if isinstance(a, ndarray):
            return self.device_.call(np.asarray, a, dtype, order)
        self.device_.cross("to_device")
        return ndarray(np.array(a, dtype, order=order, copy=True), self.device_)

    array = asarray

    def asnumpy(self, a, stream=None, order="C", out=None, *, blocking=True):
        if not isinstance(a, ndarray):
            return np.asarray(a, order=order)
        return a.get(stream, order, out, blocking)

    def fuse(self, *, kernel_name):
        """Return a decorator; it lets only element-wise functions through."""
        device = self.device_

        def decorate(function):
            def fused(*arrays):
                for i, one in enumerate(arrays):
                    for other in arrays[:i]:
                        if np.may_share_memory(one._a, other._a) and not same_place(one._a, other._a):
                            raise ValueError(f"{kernel_name}: two arrays overlap, so elements would race")
                device.fusing = True
                try:
                    return function(*arrays)
                finally:
                    device.fusing = False

            return fused

        return decorate


def open_double(name="gpu", **options):
    """Return the backend of a GPU, opened by its own code with the double in the place of CuPy."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "cupy", DoubleOfCuPy(**options))
        return open_backend(name)


def same_place(one, other):
    return (
        one.__array_interface__["data"] == other.__array_interface__["data"] and one.strides == other.strides
    )


class Known:
    """A part of the namespace: what it does not define must at least be a name of the real one."""

    def __init__(self, device, there):
        self._device, self._there = device, there
        for name in (name for name in vars(type(self)) if not name.startswith("_")):
            getattr(there, name)  # nothing here that is not there

    def __getattr__(self, name):
        getattr(self._there, name)
        raise NotImplementedError(f"the double has no {name}")


class Runtime(Known):
    CUDARuntimeError = CUDARuntimeError

    def _answer(self, value):
        if self._device.error is not None:
            raise CUDARuntimeError(self._device.error)
        return value

    def getDeviceCount(self):
        return self._answer(self._device.count)

    def getDeviceProperties(self, device):
        if not 0 <= device < self._device.count:
            raise CUDARuntimeError(INVALID_DEVICE)
        return self._answer({"name": b"Double", "totalGlobalMem": 8_000_000_000})

    def driverGetVersion(self):
        return 12080 if self._device.error is None else 0

    def runtimeGetVersion(self):
        return real.cuda.runtime.runtimeGetVersion()


class Cuda(Known):
    def __init__(self, device):
        super().__init__(device, real.cuda)
        self.runtime = Runtime(device, real.cuda.runtime)
        self._null = Stream(device)

    def Device(self, device=None):
        return DeviceHandle(self._device, device)

    def Stream(self, null=False, non_blocking=False, ptds=False, priority=None):
        return Stream(self._device)

    def get_current_stream(self, device_id=-1):
        return self._device.streams[-1] if self._device.streams else self._null

    def MemoryPool(self, allocator=None):
        return MemoryPool(self._device, real.cuda.MemoryPool)

    def using_allocator(self, allocator=None):
        return UsingAllocator(self._device, allocator)


class DeviceHandle(Known):
    def __init__(self, device, index):
        super().__init__(device, real.cuda.Device)
        self._index = index

    def use(self):
        if not 0 <= self._index < self._device.count:
            raise CUDARuntimeError(INVALID_DEVICE)
        self._device.used = self._index


class Stream(Known):
    def __init__(self, device):
        super().__init__(device, real.cuda.Stream)

    def __enter__(self):
        self._device.streams.append(self)
        return self

    def __exit__(self, *exception):
        self._device.streams.pop()

    def synchronize(self):
        self._device.wait("synchronize")

    def begin_capture(self, mode=None):
        if self._device.streams[-1:] != [self]:
            raise RuntimeError("the stream to capture is not the current one, so no call would be recorded")
        self._device.wait("begin_capture")
        self._device.capture = Capture()

    def end_capture(self):
        capture, self._device.capture = self._device.capture, None
        capture.end()
        return Graph(self._device, capture)


class Graph(Known):
    def __init__(self, device, capture):
        super().__init__(device, real.cuda.Graph)
        self._capture = capture
        self._launches = 0

    def launch(self, stream=None):
        self._device.wait("launch")
        self._launches += 1
        for call in self._capture.calls:
            call()


class MemoryPool(Known):
    def malloc(self, size):
        raise NotImplementedError("the double allocates nothing")


class UsingAllocator:
    def __init__(self, device, allocator):
        self.device, self.allocator = device, allocator

    def __enter__(self):
        self.before, self.device.allocator = self.device.allocator, self.allocator

    def __exit__(self, *exception):
        self.device.allocator = self.before


class Random(Known):
    def __init__(self, device):
        super().__init__(device, real.random)

    def default_rng(self, seed=None):
        self._device.wait("a new generator")
        return Generator(self._device, seed)


class Generator(Known):
    def __init__(self, device, seed):
        super().__init__(device, RealGenerator)
        self._generator = np.random.default_rng(seed)

    def random(self, size=None, dtype=np.float64, out=None):
        self._device.wait("random numbers")  # their state would be baked into the graph
        return ndarray(np.asarray(self._generator.random(size, dtype)), self._device)
