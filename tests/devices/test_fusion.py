"""Check the kernels that CuPy generates for the cell functions, without a GPU.

`cupy.fuse` traces a function once and generates the source code of one kernel. These tests do not launch
the kernel. They interpret its source line by line with NumPy, and compare the results with those of the
function on the CPU.
"""

import re
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from cells import ODD, B, H, arguments_of
from cupy_double import real as cupy
from cupy_double.fusion import array_without_memory, check_one_kernel, kernel_of, tracer

from minichar.devices.cpu import CPU
from minichar.devices.cupy import CuPyBackend
from minichar.engine import functions
from minichar.engine.layer_stage import LayerStage
from minichar.engine.registry import CELLS

CONSTANT = re.compile(r"const [\w ]+ (v\d+) = ([-+.\de]+)(u?ll)?;")
DECLARATION = re.compile(r"([\w ]+ v\d+(_\d+)?;\s*)+")
CAST = re.compile(r"(v[\d_]+) = static_cast< ([\w ]+) >\((v[\d_]+)\);")
CALL = re.compile(r"cupy_(\w+)\((.*), (v[\d_]+)\);")
COPY = re.compile(r"(v\d+) = (v\d+);")
COPIES = re.compile(r"(v\d+ = v\d+;\s*)+")
DTYPES = {
    "bool": "bool",
    "float": "float32",
    "double": "float64",
    "unsigned long long": "uint64",
    "long long": "int64",
}


def run(kernel, arrays):
    """Interpret a kernel's source code with NumPy arrays as arguments, and return the results."""
    values = {f"v{i}": array for i, array in enumerate(arrays)}
    for line in kernel.operation.splitlines():
        if match := CONSTANT.fullmatch(line):
            values[match[1]] = int(match[2]) if match[3] else float(match[2])
        elif match := CAST.fullmatch(line):
            uninitialised = 0  # kernels cast their outputs before assigning them
            values[match[1]] = np.asarray(values.get(match[3], uninitialised)).astype(DTYPES[match[2]])
        elif match := CALL.fullmatch(line):
            values[match[3]] = getattr(np, match[1])(*(values[name] for name in match[2].split(", ")))
        elif COPIES.fullmatch(line):
            values |= {name: values[source].copy() for name, source in COPY.findall(line)}
        else:
            assert line.startswith("//") or DECLARATION.fullmatch(line), line
    for parameter, array in zip(kernel.in_params, arrays, strict=True):
        if not parameter.is_const:
            array[...] = values[parameter.name]
    results = tuple(values[parameter.name] for parameter in kernel.out_params)
    return None if kernel.no_return else results if kernel.return_tuple else results[0]


class TracedCuPy:
    """CuPy namespace that interprets kernels with NumPy. Like CuPy, it traces a function once for each
    sequence of dtypes and dimensions of its arguments.
    """

    def __init__(self):
        self.kernels = []

    def __getattr__(self, name):
        return getattr(cupy, name)

    def fuse(self, *, kernel_name):
        def decorate(function):
            traced = {}

            def fused(*arrays):
                key = tuple((array.dtype, array.ndim) for array in arrays)
                if key not in traced:
                    traced[key] = kernel_of(function, arrays, kernel_name)
                    self.kernels.append(traced[key])
                return run(traced[key], arrays)

            return fused

        return decorate


def flat(values):
    """Flatten nested tuples and lists of arrays."""
    return [
        array for value in values for array in (flat(value) if isinstance(value, tuple | list) else [value])
    ]


STAGES = [
    pytest.param(cell, number, way, id=f"{cell.name}-{number}-{way}")
    for cell in (*CELLS.values(), ODD)
    for number in range(len(cell.stages))
    for way in ("forward", "backward")
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("cell", "number", "way"), STAGES)
def test_the_kernel_computes_the_same_results_as_numpy(cell, number, way, dtype, generator, monkeypatch):
    monkeypatch.setattr(functions, "TANH_IS_FASTER", False)  # kernels use the other formula
    stage, xp = cell.stages[number], TracedCuPy()
    function = getattr(stage, way)
    fused = CuPyBackend(0, xp).fuse(function)
    for _ in range(2):  # the first call traces the function, and the second reuses the kernel
        arguments = arguments_of(cell, number, generator, dtype)
        if way == "backward":
            *results, cache = stage.forward(np, *arguments)
            arguments = [*generator.normal(size=(len(results), *results[0].shape)).astype(dtype), cache]
        wanted, found = function(np, *arguments), fused(*arguments)
        assert [len(value) if isinstance(value, tuple) else None for value in found] == [
            len(value) if isinstance(value, tuple) else None for value in wanted
        ]
        made = 0
        for one, other in zip(flat(found), flat(wanted), strict=True):
            assert one.dtype == dtype
            np.testing.assert_allclose(one, other, rtol=4 * np.finfo(dtype).eps)
            if any(np.shares_memory(other, argument) for argument in flat(arguments)):
                assert np.shares_memory(one, other)  # an argument returned as a result is not copied
            else:
                made += 1
    (kernel,) = xp.kernels
    assert isinstance(kernel, cupy.ElementwiseKernel)
    assert all(parameter.is_const for parameter in kernel.in_params)
    assert kernel.nout == made


@pytest.mark.parametrize("number_of_copies", [1, 2])
@pytest.mark.parametrize(("cell", "number", "way"), STAGES)
def test_results_are_written_to_other_arrays(cell, number, way, number_of_copies, generator):
    """The kernel writes them itself. A backward function writes the gradients of a product to one block."""
    stage, xp = cell.stages[number], TracedCuPy()
    function, arguments = getattr(stage, way), arguments_of(cell, number, generator)
    written = [0] * number_of_copies
    if way == "backward":
        *results, cache = stage.forward(np, *arguments)
        arguments = [*generator.normal(size=(len(results), *results[0].shape)), cache]
        written = list(range(len(stage.products)))
    wanted = function(np, *arguments)
    for backend in (CuPyBackend(0, xp), CPU):
        into = [(k, np.zeros_like(np.reshape(wanted[k], (-1, B)))) for k in written]
        found = backend.fuse(function)(*arguments, into=into)
        for k, out in into:
            np.testing.assert_allclose(out, np.reshape(wanted[k], (-1, B)), rtol=1e-14)
        for one, other in zip(flat(found), flat(wanted), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-14)
        if backend is not CPU and way == "backward":  # the results are the block, not copies of it
            assert all(np.shares_memory(gate, out) for k, out in into for gate in found[k])
    (kernel,) = xp.kernels
    assert isinstance(kernel, cupy.ElementwiseKernel)
    changed = sum(len(stage.products[k].gates) if way == "backward" else 1 for k in written)
    assert sum(not parameter.is_const for parameter in kernel.in_params) == changed


def test_each_call_can_write_other_results(generator):
    """CuPy reuses a kernel for the same number of arrays, although they may have different roles."""
    function = CELLS["lstm"].stages[0].backward
    fused = CuPyBackend(0, TracedCuPy()).fuse(function)
    arguments = [*generator.normal(size=(2, H, B)), tuple(generator.normal(size=(6, H, B)))]
    wanted = function(np, *arguments)
    for written in ([], [0], [], [1] * 4, [1], [0, 1]):
        into = [(k, np.zeros_like(np.reshape(wanted[k], (-1, B)))) for k in written]
        for one, other in zip(flat(fused(*arguments, into=into)), flat(wanted), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-14)
        for k, out in into:
            np.testing.assert_allclose(out, np.reshape(wanted[k], (-1, B)), rtol=1e-14)


def test_a_kernel_is_named_after_its_function():
    """Profilers show the name of the kernel."""
    xp = TracedCuPy()
    CuPyBackend(0, xp).fuse(CELLS["lstm"].stages[0].backward)(*np.ones((2, 3, 2)), tuple(np.ones((6, 3, 2))))
    assert xp.kernels[0].name == "lstm_backward"


def test_a_kernel_that_adds_two_terms_of_dh_is_named_after_the_function_of_the_cell():
    xp = TracedCuPy()
    stage = LayerStage(CELLS["gru"].stages[0], [SimpleNamespace(reads_h=True)], 1, CuPyBackend(0, xp))
    stage.add_direct_gradient()
    stage.backward(*np.ones((2, 3, 2)), tuple(np.ones((5, 3, 2))))
    assert xp.kernels[0].name == "gru_backward"


@pytest.mark.parametrize(
    "function", [lambda a: cupy.matmul(a, a), lambda a: cupy.sum(a, axis=0), lambda a: a[0], lambda a: abs(a)]
)
def test_a_function_that_is_not_element_wise_gives_no_element_wise_kernel(function):
    with pytest.raises(TypeError):
        check_one_kernel(function, [np.ones((3, 3))], "wrong")


def square(xp, a):
    return (a * a,)


def softmax(xp, a):
    return (xp.exp(a) / xp.sum(xp.exp(a), axis=0),)


class TestFallback:
    """`cupy.fuse` itself, with kernels that are not launched, because that requires a GPU."""

    @pytest.fixture(autouse=True)
    def no_launch(self, monkeypatch):
        def traced(name, function, arrays):
            thread = second._thread_local
            thread.is_new_fusing = True
            try:
                with cupy.cuda.using_allocator(lambda size: array_without_memory((size,), "uint8").data):
                    second._fusion_trace.trace(function, arrays)
            finally:
                thread.is_new_fusing = False
            return SimpleNamespace(
                get_shapes_of_kernel_params=lambda arrays: None, execute=lambda arrays, shapes: arrays[0]
            )

        second = tracer.new_fusion
        monkeypatch.setattr(second, "_get_fused_kernel", traced)
        monkeypatch.setattr(tracer._kernel, "ElementwiseKernel", lambda *a, **k: lambda *arrays: arrays[0])

    def call(self, function, n=3):
        fused = CuPyBackend(0, cupy).fuse(function)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for _ in range(n):
                (found,) = fused(array_without_memory((H, B), "float32"))
        assert found.shape == (H, B)
        return [str(warning.message) for warning in caught]

    def test_a_warning_names_a_function_that_cupy_does_not_fuse_as_usual(self):
        (message,) = self.call(softmax)
        assert message.startswith("CuPy cannot fuse test_fusion_softmax into one element-wise kernel")

    def test_there_is_no_warning_otherwise(self):
        assert self.call(square) == []
