"""Tests for the translation of element-wise functions to OpenCL C, and for the kernels on a device."""

import sys

import numpy as np
import pytest
from devices import open_device

from minichar.devices.elementwise import OPERATIONS, Place, translate
from minichar.devices.nesting import nest
from minichar.engine.cells import CELLS

H, B = 3, 2


def test_each_operation_is_one_line():
    def function(xp, a, b):
        return (1.0 - xp.tanh(a) * -b,)

    kernel = translate(function, [None, None], [], rows=3)
    body = kernel.source.partition("\n    v")[0].splitlines()
    assert [line.strip() for line in body if " real v" in line] == [
        "const real v0 = a0[0 * n];",
        "const real v1 = a1[0 * n];",
        "const real v2 = tanh(v0);",
        "const real v3 = -v1;",
        "const real v4 = v2 * v3;",
        "const real v5 = (real)1.0 - v4;",
    ]
    assert kernel.source.startswith("#pragma OPENCL FP_CONTRACT OFF\n")
    assert (kernel.places, kernel.nesting, kernel.new) == ([Place(2)], (None,), 1)


def test_only_new_results_have_new_arrays():
    """Arguments, blocks and arrays to which results are written are returned without a copy."""

    def function(xp, block, a, pair):
        made = a + 1.0
        return made, (block[0] + a, block[1]), (a, block[1], pair[0], made)

    kernel = translate(function, [2, None, (None, None)], [0, 1], rows=3)
    # Arrays: block, a, pair[0], pair[1], the copy of `made`, the copy of the tuple, and `made`.
    assert nest(kernel.nesting, kernel.places) == [
        Place(6),
        (Place(5, slice(0, 3)), Place(0, 1)),
        (Place(1), Place(0, 1), Place(2), Place(6)),
    ]
    assert kernel.new == 1


UNTRANSLATABLE = {
    "maximum": lambda xp, a: (xp.maximum(a, 0.0),),
    "reduction": lambda xp, a: (a + xp.add.reduce(a),),
    "where": lambda xp, a: (xp.where(a > 0.0, a, 0.0),),
    "condition": lambda xp, a: (a if a > 0.0 else -a,),
    "shape": lambda xp, a: (a * a.shape[0],),
    "in place": lambda xp, a: (xp.add(a, a, out=a),),
    "array": lambda xp, a: (a * np.ones(3),),
    "constant": lambda xp, a: (1.0,),
}


@pytest.mark.parametrize("function", UNTRANSLATABLE.values(), ids=UNTRANSLATABLE)
def test_other_functions_are_not_translated(function):
    with pytest.raises((TypeError, AttributeError)):
        translate(function, [None], [], rows=3)


class TestKernels:
    """Tests on an OpenCL device."""

    @pytest.fixture
    def opencl(self):
        return open_device("opencl")

    @pytest.fixture
    def launched(self, opencl, monkeypatch):
        """Return a list that has one element for each launched kernel."""
        kernels = []
        launch = opencl.launch
        monkeypatch.setattr(opencl, "launch", lambda *args: (kernels.append(args), launch(*args)))
        return kernels

    def test_each_operation(self, opencl, launched, generator):
        def operations(xp, *arrays):
            return tuple(operation(*arrays[: operation.nin]) for operation in OPERATIONS)

        arguments = generator.uniform(0.1, 0.9, (2, H, B))
        arguments[:, 0] = 0.5  # some elements are equal
        results = opencl.fuse(operations)(*map(opencl.to_device, arguments))
        assert len(launched) == 1
        for result, wanted in zip(results, operations(np, *arguments), strict=True):
            np.testing.assert_allclose(opencl.to_host(result), wanted, rtol=1e-15)

    def test_an_element_does_not_depend_on_its_position(self, opencl):
        """Exact sampling requires that vectorised loops and their remainders round in the same way."""
        forward = opencl.fuse(CELLS["lstm"].stages[0].forward)
        for columns in (1, 15, 64):
            a = np.full((4, H, columns), 0.7, "float32")
            h, *_ = forward(opencl.to_device(a), opencl.to_device(a[0]))
            assert len(set(opencl.to_host(h).ravel().tolist())) == 1

    def test_products_and_sums_are_rounded_separately(self, opencl, generator):
        """As in NumPy, so that generated text rarely depends on the device."""
        a, b, c = generator.normal(size=(3, 40, B))
        (result,) = opencl.fuse(lambda xp, a, b, c: (a * b + c,))(*map(opencl.to_device, (a, b, c)))
        np.testing.assert_array_equal(opencl.to_host(result), a * b + c)

    def test_arguments_are_parts_of_larger_arrays(self, opencl, launched, generator):
        whole = generator.normal(size=(6, H, B))
        there, out = opencl.to_device(whole), opencl.zeros((3, 2 * H, B), "float64")
        double = opencl.fuse(lambda xp, block, a: ((block[0] * a, block[1] - a),))
        ((first, second),) = double(there[2:4], there[5], into=[(0, out[1])])
        assert len(launched) == 1
        expected = np.concatenate([whole[2] * whole[5], whole[3] - whole[5]])
        np.testing.assert_array_equal(opencl.to_host(out), [0 * expected, expected, 0 * expected])
        np.testing.assert_array_equal(opencl.to_host(first), expected[:H])
        np.testing.assert_array_equal(opencl.to_host(second), expected[H:])

    @pytest.mark.parametrize("layout", ["complex", "integer", "transposed", "mixed", "broadcast"])
    def test_other_arrays_use_separate_operations(self, layout, opencl, launched, generator):
        a = b = generator.normal(size=(H, B))
        match layout:
            case "complex":
                a = b = a + 1j
            case "integer":
                a = b = a.astype("int64")
            case "mixed":
                b = a.astype("float32")
            case "broadcast":
                a = a[:1]
        there = [opencl.to_device(a), opencl.to_device(b)]
        if layout == "transposed":
            a, b, there = a.T, b.T, [array.T for array in there]
        (result,) = opencl.fuse(lambda xp, a, b: (a * b,))(*there)
        assert not launched
        np.testing.assert_allclose(opencl.to_host(result), a * b, rtol=1e-15)

    def test_an_untranslatable_function_uses_separate_operations(self, opencl, launched, generator):
        def relu(xp, a):
            return (xp.maximum(a, 0.0),)

        a, fused = generator.normal(size=(H, B)), opencl.fuse(relu)
        with pytest.warns(RuntimeWarning) as caught:
            results = [fused(opencl.to_device(a))[0] for _ in range(2)]
        assert [str(warning.message) for warning in caught] == [
            f"device {opencl.name}: each operation of test_elementwise.relu is launched separately, which is "
            "slower (TypeError: maximum cannot be translated)"
        ]
        assert not launched
        for result in results:
            np.testing.assert_array_equal(opencl.to_host(result), np.maximum(a, 0.0))

    def test_later_tasks_and_the_memory_wait_until_a_kernel_has_finished(self, opencl):
        """oneMKL's dot products ignore the order of the queue."""
        source = """
        __kernel void run(__global real *a, ulong first_a, __global volatile real *gate, ulong first_gate) {
            for (ulong k = 0; k < 1000000000 && gate[first_gate] == 0; k++);
            a[first_a] = 3;
        }
        """
        a = opencl.zeros((1,), "float64")
        gate = opencl.xp.zeros((1,), dtype="float64", usm_type="host", sycl_queue=opencl.queue)
        memory = gate.get_array().usm_data
        opencl.queue.wait()
        references = sys.getrefcount(memory)
        opencl.launch(source, "float64", [a, gate], 1)
        product = opencl.xp.dot(a, a)
        del gate
        assert sys.getrefcount(memory) == references
        np.frombuffer(memory)[0] = 1.0
        assert opencl.to_host(product) == 9.0
        assert sys.getrefcount(memory) < references
