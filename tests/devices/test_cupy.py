"""Tests for opening a GPU. Other test modules cover computations, and test_fusion.py covers fused kernels."""

import pytest

from minichar.devices.choose import open_backend
from minichar.devices.cpu import CPU


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


@pytest.mark.usefixtures("broken_cupy")
def test_a_failing_import(error_of):
    message = error_of("gpu")
    assert "requires CuPy (AttributeError: NumPy has no such attribute): pip install" in message


def test_a_gpu_that_cannot_compute(fake_cupy, error_of):
    """`auto` does not select a GPU that cannot compute, for example because a CUDA library is missing."""
    cupy = fake_cupy()

    def ones(*args):
        raise RuntimeError("CuPy failed to load libcublas.so.12:\nno such file")

    cupy.ones = ones
    message = error_of("gpu")
    assert "failed (RuntimeError: CuPy failed to load libcublas.so.12:): pip" in message
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
