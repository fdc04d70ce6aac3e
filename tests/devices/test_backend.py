"""Tests for array operations that run on every device."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest

import minichar

SOURCES = sorted(Path(minichar.__file__).parent.rglob("*.py"))


def test_only_the_backend_modules_import_cupy_and_dpnp():
    pattern = re.compile(r"""(^ *(import|from) +|import_module\(["'])(cupy|dpnp|dpctl)\b""", re.MULTILINE)
    found = [path.name for path in SOURCES if pattern.search(path.read_text("utf-8"))]
    assert found == ["cupy.py", "nccl.py", "opencl.py"]


def test_engine_and_training_do_not_check_the_kind_of_device():
    pattern = re.compile(r"""["'](cpu|gpu|opencl)|is_gpu|backend\.name|isinstance\([^)]*Backend""")
    for path in SOURCES:
        if path.parent.name in ("engine", "training"):
            assert not pattern.search(path.read_text("utf-8")), path


class TestArrays:
    @pytest.mark.parametrize("dtype", ["float32", "float64", "complex128", "int64", "bool"])
    def test_a_round_trip_to_the_device_does_not_change_an_array(self, dtype, backend, generator):
        array = generator.integers(9, size=(3, 4)).astype(dtype)
        there = backend.to_device(array)
        assert str(there.dtype) == dtype
        back = backend.to_host(there)
        assert type(back) is np.ndarray
        assert back.dtype == dtype
        np.testing.assert_array_equal(back, array)

    def test_zeros_are_allocated_on_the_device(self, backend):
        zeros = backend.zeros((2, 3), "int64")
        assert str(zeros.dtype) == "int64"
        np.testing.assert_array_equal(backend.to_host(zeros), np.zeros((2, 3)))

    @pytest.mark.parametrize("shape", [(10**23,), (sys.maxsize,), (sys.maxsize // 4 + 1,), (2**31, 2**31)])
    def test_an_array_that_exceeds_the_address_space(self, shape, backend):
        with pytest.raises(MemoryError, match="exceeds the address space"):
            backend.zeros(shape, "float32")

    def test_the_description_is_one_line_and_contains_the_name(self, backend):
        description = backend.describe()
        assert (backend.name if backend.kind != "cpu" else f"NumPy {np.__version__} with ") in description
        assert "\n" not in description


class TestColumns:
    G, V, N = 3, 7, 40

    @pytest.mark.parametrize(
        ("dtype", "seen", "ids_dtype"),
        [
            ("float32", [0, 1, 2, 3, 4, 5, 6], "int64"),
            ("float64", [1, 4, 6], "int32"),
            ("complex128", [1, 4, 6], "int64"),
            ("float32", [2], "int64"),
        ],
    )
    def test_sum_columns(self, dtype, seen, ids_dtype, backend, host, generator):
        """The arrays are parts of larger arrays. The output has nonzero initial values, as in a GRU."""
        columns = generator.normal(size=(self.G, self.N)).astype(dtype)
        ids = generator.choice(seen, size=self.N).astype(ids_dtype)
        expected = np.zeros((self.G, self.V), np.result_type(dtype, "float64"))
        for j, k in enumerate(ids):
            expected[:, k] += columns[:, j]
        whole = backend.to_device(np.full((self.G + 2, self.V), 7.0, dtype))
        rows, after = backend.to_device(np.vstack([columns + 1, columns]))[self.G :], np.pad(ids, (5, 0))
        backend.sum_columns(rows, backend.to_device(after)[5:], whole[1:-1])
        result = host(whole)
        np.testing.assert_allclose(result[1:-1], expected, rtol=0, atol=100 * np.finfo(dtype).eps)
        assert (result[[0, -1]] == 7.0).all()
        assert not np.delete(result[1:-1], seen, axis=1).any()

    def test_sum_columns_is_deterministic(self, backend, host, generator):
        """Exact resuming requires deterministic sums."""
        columns = backend.to_device(generator.normal(size=(self.G, 500)).astype("float32"))
        ids = backend.to_device(generator.integers(2, size=500))
        results = []
        for _ in range(3):
            out = backend.zeros((self.G, self.V), "float32")
            backend.sum_columns(columns, ids, out)
            results.append(host(out).tobytes())
        assert len(set(results)) == 1
