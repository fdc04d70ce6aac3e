"""Arrays with the operators and methods of CuPy arrays."""

import ast
import inspect
import re
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest

real = pytest.importorskip("cupy", reason="the CuPy test double requires the package cupy-cuda12x")
CUDARuntimeError = real.cuda.runtime.CUDARuntimeError

IN_PLACE = ("sort", "partition", "put", "set", "scatter_add", "scatter_max", "scatter_min", "byteswap")
"""In-place methods, which capture does not support and the engine does not use."""
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


def flat(value):
    """Yield the values in nested tuples, lists and dicts."""
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, list | tuple):
        yield value
        return
    for item in value:
        yield from flat(item)


def bare(value):
    """Replace the device arrays in an argument with their NumPy arrays, and reject host arrays."""
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
    __array_ufunc__ = None  # NumPy's operators defer to the operators of this class
    __hash__ = None

    def __init__(self, a, device):
        self._a, self._device = a, device

    def __array__(self, *args, **kwargs):
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. "
            "Please use `.get()` to construct a NumPy array explicitly."
        )

    def __array_function__(self, function, types, args, kwargs):
        raise TypeError(f"numpy.{function.__name__} was called with a device array")

    def __getattr__(self, name):
        attribute = getattr(real.ndarray, name)  # raises AttributeError if CuPy lacks it
        if name in ("T", "mT", "real", "imag"):
            return self._device.call(lambda a: getattr(a, name), self)
        if not callable(attribute):
            return getattr(self._a, name)
        if name in IN_PLACE:
            raise NotImplementedError(f"the test double does not implement ndarray.{name}")
        signature = method_signature(name)

        def method(*args, **kwargs):
            signature.bind(self, *args, **kwargs)
            if name in ("nonzero", "tobytes"):
                self._device.wait(name)
            return self._device.call(getattr(np.ndarray, name), self, *args, **kwargs)

        return method

    @property
    def data(self):
        """The array's memory. A capture that uses the address keeps the memory allocated."""
        if self._device.capture is not None:
            self._device.capture.used.append(self._a)
        return SimpleNamespace(ptr=self._a.__array_interface__["data"][0])

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
        return format(self.item() if self._a.ndim == 0 else str(self), spec)

    def __str__(self):
        return str(self.get())

    def __repr__(self):
        return f"test double of a CuPy {self.get()!r}"

    def __len__(self):
        return len(self._a)

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index):
        self._check(index)
        if any(isinstance(i, ndarray) and i.dtype == bool for i in flat([index])):
            self._device.wait("indexing with a Boolean mask")
        return self._device.call(lambda a, index: a[index], self, index)

    def __setitem__(self, index, value):
        self._check(index)
        if self._device.fusing and index is not ...:
            raise ValueError("The fusion supports `[...]` or `[:]`.")
        if any(isinstance(i, ndarray) and i.dtype == bool for i in flat([index])):
            self._device.wait("indexing with a Boolean mask")  # even if the value is a Python number
        a, index, value = self._a, bare(index), bare(value)
        self._device.write(a, lambda: a.__setitem__(index, value))

    @staticmethod
    def _check(index):
        if any(isinstance(i, list) for i in (index if isinstance(index, tuple) else [index])):
            raise TypeError("a list index would be copied to the device implicitly")

    def __neg__(self):
        return self._device.call(np.negative, self)

    def __abs__(self):
        return self._device.call(np.absolute, self)

    def __invert__(self):
        return self._device.call(np.invert, self)


@cache
def method_signature(name):
    """Return the signature of a CuPy array method, parsed from its docstring."""
    first = getattr(real.ndarray, name).__doc__.splitlines()[0]
    arguments = re.search(r"\((.*)\)", first)[1]
    # Some parameters are declared with Cython types, such as Py_ssize_t axis1
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
    """Return an operator method; `kind` is ``plain``, ``reflected`` or ``in place``."""

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
