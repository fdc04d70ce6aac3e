"""Tests for operations that run on every device."""

import sys

import numpy as np
import pytest

from minichar.devices.cpu import CPU
from minichar.devices.graph import WARM_UP


def test_a_step_runs_at_each_call_and_only_a_gpu_records_it(backend, host):
    one, total, calls = backend.to_device(np.ones(3)), backend.zeros((3,), "float64"), []

    def step():
        calls.append(None)
        total[...] = total + one

    run = backend.recorded(step)
    for n in range(1, 7):
        run()
        np.testing.assert_array_equal(host(total), [n] * 3)
    one[...] = 10.0  # the step must read the new value
    run(2)
    np.testing.assert_array_equal(host(total), [26] * 3)
    assert len(calls) == (WARM_UP + 1 if backend.kind == "gpu" else 8)


@pytest.mark.parametrize(
    ("blas", "words"),
    [
        ({"blas": {"name": "scipy-openblas", "version": "0.3.31"}}, "with scipy-openblas 0.3.31, "),
        ({"blas": {"name": "accelerate"}}, "with accelerate, "),
        ({}, "with an unknown BLAS, "),
    ],
)
def test_the_description_names_the_blas_if_numpy_reports_it(blas, words, monkeypatch):
    monkeypatch.setattr(np, "show_config", lambda mode: {"Build Dependencies": blas})
    assert words in CPU.describe()


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

    @pytest.mark.parametrize("shape", [(10**23,), (sys.maxsize,), (sys.maxsize // 4 + 1,), (2**31, 2**31)])
    def test_an_array_that_exceeds_the_address_space(self, shape, backend):
        with pytest.raises(MemoryError, match="exceeds the address space"):
            backend.zeros(shape, "float32")


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
