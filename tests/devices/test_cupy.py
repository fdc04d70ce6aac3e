"""Tests for opening a GPU. Other test modules cover computations."""

import tracemalloc

import numpy as np
import pytest

from minichar.devices.choose import open_backend
from minichar.devices.cpu import CPU
from minichar.devices.cupy import ONEHOT
from minichar.extras import install_command, one_line


@pytest.mark.parametrize(
    ("status", "why", "remedy"),
    [
        (35, "driver version is insufficient", "install or update the driver"),
        (100, "no CUDA-capable", "whether CUDA_VISIBLE_DEVICES hides it"),
    ],
)
def test_a_missing_or_old_driver_or_a_missing_gpu(status, why, remedy, fake_cupy, error_of):
    fake_cupy(error=status)
    message = error_of("gpu:3")
    assert message.startswith("device gpu:3: CuPy ")
    assert why in message
    assert message.endswith(remedy)


INSTALL, INSPECT = install_command("gpu"), "check the GPU with nvidia-smi"


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (RuntimeError('Failure finding "libnvrtc.so.12": No such file: libnvrtc.so.12\n'), INSTALL),
        (RuntimeError("CuPy failed to load libcublas.so.12:\nOSError: no such file"), INSTALL),
        (RuntimeError('catastrophic error: cannot open source file "cuda_fp16.h"'), INSTALL),
        (ImportError("DLL load failed"), INSTALL),
        (OSError("[WinError 126] The specified module could not be found"), INSTALL),
        (PermissionError(13, "Permission denied", "/home/ada/.cupy"), INSPECT),
        (
            RuntimeError("cudaErrorDevicesUnavailable: CUDA-capable device(s) is/are busy"),
            INSPECT,
        ),
        (MemoryError("Out of memory allocating 512 bytes"), INSPECT),
    ],
)
def test_a_gpu_that_cannot_compute(error, remedy, fake_cupy, error_of):
    """`auto` does not select a GPU that cannot compute, for example because a CUDA library is missing."""
    cupy = fake_cupy()

    def ones(*args):
        raise error

    cupy.ones = ones
    assert error_of("gpu").endswith(f" failed ({one_line(error)}): {remedy}")
    assert open_backend("auto") is CPU


def test_the_gpu_with_the_given_number_is_used(fake_cupy):
    cupy = fake_cupy(count=3)
    assert open_backend("gpu").name == "gpu:0"
    assert cupy.device_.used == 0
    third = open_backend("gpu:2")
    assert (third.name, third.kind) == ("gpu:2", "gpu")
    assert cupy.device_.used == 2


def test_a_gpu_number_out_of_range(fake_cupy, error_of):
    fake_cupy(count=3)
    assert error_of("gpu:3") == "device gpu:3: no such GPU; 3 found, numbered from 0"
    fake_cupy(count=0)
    assert "0 found" in error_of("gpu")


def test_the_description_contains_the_versions_the_gpu_and_its_memory(fake_cupy):
    cupy = fake_cupy(count=2)
    assert open_backend("gpu:1").describe() == (
        f"CuPy {cupy.__version__}, CUDA driver 12080, runtime {cupy.cuda.runtime.runtimeGetVersion()}, "
        "on gpu:1: Double, 8 GB"
    )


def test_kernels_are_counted_in_the_cache_of_cupy(fake_cupy, monkeypatch, tmp_path):
    cache = pytest.importorskip("cupy.cuda._compiler_cache", reason="this CuPy has another kernel cache")
    fake_cupy()
    monkeypatch.delenv("CUPY_CACHE_DIR", raising=False)
    monkeypatch.setattr("pathlib.Path.glob", lambda path, pattern: [])
    assert open_backend("gpu").compile_notice().endswith(f" caches them in {cache._default_cache_dir}")
    monkeypatch.setenv("CUPY_CACHE_DIR", str(tmp_path))
    folder = cache.DiskKernelCacheBackend()._cache_dir
    assert open_backend("gpu").compile_notice().endswith(f" caches them in {folder}")


@pytest.mark.parametrize(
    ("H", "size"),
    [
        *((51, 51), (52, 64), (64, 64), (85, 64), (86, 86)),
        *((102, 102), (103, 128), (170, 128), (171, 171), (204, 204), (205, 256), (341, 256), (342, 342)),
    ],
)
def test_a_size_near_that_of_a_chunk_kernel_is_replaced_if_it_is_used(H, size, fake_cupy, monkeypatch):
    fake_cupy()
    monkeypatch.setattr("minichar.devices.cupy.runs_on", lambda *arguments: True)
    gpu = open_backend("gpu")
    assert gpu.suitable_size("lstm", H) == CPU.suitable_size("lstm", H) == H
    gpu.uses_chunk_kernel = True
    assert gpu.suitable_size("lstm", H) == size
    assert gpu.suitable_size("gru-reset-before", H) == H


class TestSumColumns:
    """Tests for the one-hot products, with the sizes of a chunk of Chinese text and a layer of 2 units."""

    N, V = 2500, 6934

    @pytest.fixture
    def gpu(self, fake_cupy):
        fake_cupy()
        return open_backend("gpu")

    def test_a_large_vocabulary_takes_little_memory_and_a_graph_can_contain_it(self, gpu, generator):
        ids = gpu.to_device(np.zeros(self.N, "int64"))
        columns, out = gpu.zeros((2, self.N), "float32"), gpu.zeros((4, self.V), "float32")
        step = gpu.recorded(lambda: gpu.sum_columns(columns, ids, out[1:3]))
        for _ in range(4):  # warm-up, capture and replay
            a = generator.normal(size=(2, self.N)).astype("float32")
            k = generator.integers(self.V, size=self.N)
            k[:2] = self.V - 1, 0
            columns[...], ids[...], out[...] = gpu.to_device(a), gpu.to_device(k), 7.0
            tracemalloc.start()
            try:
                step()
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            if step.graph is None:  # the test double keeps all arrays of a graph
                assert ONEHOT // 2 < peak < 1.1 * ONEHOT
            wanted = np.zeros((2, self.V))
            np.add.at(wanted.T, k, a.T)
            found = gpu.to_host(out)
            np.testing.assert_allclose(found[1:3], wanted, rtol=0, atol=1e-5)
            assert (found[[0, 3]] == 7.0).all()
        assert step.graph is not None

    def test_a_block_has_at_least_one_column(self, gpu, monkeypatch):
        monkeypatch.setattr("minichar.devices.cupy.ONEHOT", 1)
        out = gpu.zeros((1, 3), "float64")
        gpu.sum_columns(gpu.zeros((1, 4), "float64") + 1.0, gpu.to_device(np.array([2, 0, 2, 2])), out)
        np.testing.assert_array_equal(gpu.to_host(out), [[1, 0, 3]])
