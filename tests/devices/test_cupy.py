"""Tests for opening a GPU. ``tests/gpu/cpu_cuda`` tests what it computes."""

import numpy as np
import pytest
from cupy_double import MESSAGES

from minichar.devices.choose import open_backend, open_devices
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


def test_the_errors_of_the_double_are_those_of_cupy():
    runtime = pytest.importorskip("cupy.cuda.runtime", reason="CuPy is not installed")
    for status, message in MESSAGES.items():
        error = runtime.CUDARuntimeError(status)
        assert (error.status, str(error)) == (status, message)


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
        (RuntimeError("cudaErrorDevicesUnavailable: CUDA-capable device(s) is/are busy"), INSPECT),
        (MemoryError("Out of memory allocating 512 bytes"), INSPECT),
    ],
)
def test_a_gpu_that_cannot_compute(error, remedy, fake_cupy, error_of, monkeypatch):
    """For example, a CUDA library is missing."""
    fake_cupy()

    def fail(*arguments):
        raise error

    monkeypatch.setattr("minichar.devices.cupy.Products", fail)
    assert error_of("gpu").endswith(f" failed ({one_line(error)}): {remedy}")


def test_an_asynchronous_error_is_found_when_the_gpu_is_opened(fake_cupy, error_of, monkeypatch):
    cupy = fake_cupy()
    monkeypatch.setattr(cupy, "asnumpy", lambda array: array.nothing, raising=False)
    assert "a test computation with CuPy" in error_of("gpu")


def test_the_gpu_with_the_given_number_is_used(fake_cupy, error_of):
    cupy = fake_cupy(count=3)
    assert open_backend("gpu").name == "gpu:0"
    assert cupy.device_.used == 0
    third = open_backend("gpu:2")
    assert (third.name, third.kind, cupy.device_.used) == ("gpu:2", "gpu", 2)
    assert error_of("gpu:3") == "device gpu:3: no such GPU; 3 found, numbered from 0"
    fake_cupy(count=0)
    assert "0 found" in error_of("gpu")


def test_the_description_contains_the_versions_the_gpu_and_its_memory(fake_cupy):
    cupy = fake_cupy(count=2)
    assert open_backend("gpu:1").describe() == (
        f"CuPy {cupy.__version__}, CUDA driver 12080, runtime {cupy.cuda.runtime.runtimeGetVersion()}, "
        "on gpu:1: Double, 8 GB"
    )


@pytest.mark.parametrize(
    ("capability", "requested", "used"),
    [("80", False, False), ("80", True, True), ("120", True, True), ("75", True, False)],  # not on Turing
)
def test_float32_products_use_tf32_only_if_requested(capability, requested, used, fake_cupy):
    for open_gpu in (
        lambda: open_backend("gpu", requested),
        lambda: open_devices("gpu:0", requested)[0],
        lambda: open_devices("auto", requested)[1],
    ):
        cupy = fake_cupy(capability=capability)
        gpu = open_gpu()
        assert cupy.cublas.modes == {3 if used else 0}
        assert gpu.tf32 == gpu.describe().endswith(", TF32") == used


def test_kernels_are_counted_in_the_cache_of_cupy(fake_cupy, monkeypatch, tmp_path):
    cache = pytest.importorskip("cupy.cuda._compiler_cache", reason="this CuPy has another kernel cache")
    fake_cupy()
    monkeypatch.delenv("CUPY_CACHE_DIR", raising=False)
    monkeypatch.setattr("pathlib.Path.glob", lambda path, pattern: [])
    for folder in (cache._default_cache_dir, tmp_path):
        gpu, notices = open_backend("gpu"), []
        gpu.announce = notices.append
        for _ in range(2):
            gpu.announce_compilation()
        (notice,) = notices
        assert notice.endswith(f" caches them in {folder}")
        monkeypatch.setenv("CUPY_CACHE_DIR", str(tmp_path))
    assert cache.DiskKernelCacheBackend()._cache_dir == str(tmp_path)


def test_a_block_of_columns_has_at_least_one_column(fake_cupy, monkeypatch):
    fake_cupy()
    gpu = open_backend("gpu")
    monkeypatch.setattr("minichar.devices.cupy.ONEHOT", 1)
    out = gpu.zeros((1, 3), "float64")
    gpu.sum_columns(gpu.zeros((1, 4), "float64") + 1.0, gpu.to_device(np.array([2, 0, 2, 2])), out)
    np.testing.assert_array_equal(gpu.to_host(out), [[1, 0, 3]])
