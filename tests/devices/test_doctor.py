import platform
import sys

import numpy as np
import pytest
from click.testing import CliRunner

from minichar.cli import main
from minichar.devices import doctor
from minichar.extras import install_command


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Use small matrices and idle cores, and no dpnp. The OpenCL test makes it available again."""
    monkeypatch.setattr(doctor, "N", 32)
    monkeypatch.setattr(doctor, "clearly_faster", lambda M, K, N: 0)
    monkeypatch.setitem(sys.modules, "dpctl", None)


def findings():
    return {finding.what: finding for finding in doctor.examine()}


def test_the_command_prints_one_line_per_finding_and_exits_with_0(fake_cupy):
    """A missing device does not change the exit status."""
    cupy = fake_cupy()
    result = CliRunner().invoke(main, ["doctor"])
    assert result.exit_code == 0
    python, cpu, gpu, opencl, auto = result.stdout.splitlines()
    assert python.startswith(f"Python   ok  {platform.python_version()} on ")
    assert cpu.startswith(f"cpu      ok  NumPy {np.__version__} with ")
    assert cpu.endswith(" GFLOP/s")
    assert gpu.startswith(f"gpu      ok  CuPy {cupy.__version__}, CUDA ")
    assert gpu.endswith(" GFLOP/s")
    assert opencl.startswith("opencl   no  ")
    assert opencl.endswith(install_command("opencl"))
    assert auto == "auto     ok  cpu or gpu:0, depending on the size of the network"
    fake_cupy(error=35)
    _, _, gpu, _, auto = CliRunner().invoke(main, ["doctor"]).stdout.splitlines()
    assert gpu.startswith("gpu      no  device gpu:0: CuPy ")
    assert auto == "auto     ok  the same as cpu"


def test_a_gpu_that_fails_does_not_hide_the_next_one(fake_cupy, monkeypatch):
    """The first GPU fails when it is timed, and the second when it is opened."""
    cupy = fake_cupy(count=3)
    gigaflops = doctor.gigaflops

    def busy(*args):
        if cupy.device_.used == 1:
            raise RuntimeError("all CUDA-capable devices are busy")
        return np.ones(*args)

    def timed(backend, *size):
        if backend.name == "gpu:0":
            raise RuntimeError("out of memory\nof a large matrix")
        return gigaflops(backend, *size)

    cupy.ones = busy
    monkeypatch.setattr(doctor, "gigaflops", timed)
    found = {what: finding for what, finding in findings().items() if "gpu" in what}
    assert [(what, one.ok) for what, one in found.items()] == [
        *(("gpu", False), ("gpu:1", False), ("gpu:2", True)),
    ]
    assert found["gpu"].found.endswith("cannot be used: RuntimeError: out of memory")
    assert "gpu:1: a test computation with CuPy" in found["gpu:1"].found
    assert "on gpu:2: Double" in found["gpu:2"].found


def test_a_broken_package_is_reported_once_and_as_the_reason_why_auto_uses_the_cpu(broken_cupy):
    found = findings()
    assert [what for what in found if "gpu" in what] == ["gpu"]
    assert (found["auto"].ok, found["auto"].found) == (False, f"cpu; {found['gpu'].found}")
    lines = CliRunner().invoke(main, ["doctor"]).output.splitlines()
    assert len(lines) == len(found)
    assert lines[4].startswith("auto     no  cpu; device gpu: requires CuPy (AttributeError: ")


def test_busy_cores_are_reported(monkeypatch, fake_cupy):
    """Cores are busy if fewer threads multiply the matrices of an LSTM faster."""
    fake_cupy(count=0)
    monkeypatch.setattr(doctor, "clearly_faster", lambda M, K, N: int((M, K) == (4 * K, K)))
    found = findings()
    assert list(found)[:3] == ["Python", "idle", "cpu"]
    assert not found["idle"].ok


def test_the_speed_is_the_highest_of_several_matrix_products(monkeypatch, count_copies):
    """Multiplying two N × N matrices takes 2 N³ floating-point operations."""
    backend = doctor.open_backend("cpu")
    ticks = iter([0.0, 1.0, 0.0, 9.0, 0.0, 5.0, 0.0, 3.0, 0.0, 4.0, 0.0, 5.0])
    monkeypatch.setattr(doctor, "perf_counter", lambda: next(ticks))
    copies = count_copies(backend)
    assert doctor.gigaflops(backend, 32) == pytest.approx(2 * 32**3 / 3.0 / 1e9)
    assert copies["to_host"] == 6  # copying the result waits for the device


def test_a_real_opencl_device(fake_cupy, monkeypatch):
    monkeypatch.delitem(sys.modules, "dpctl")
    dpctl = pytest.importorskip("dpctl", reason="--device opencl requires dpnp")
    fake_cupy(error=35)
    finding = findings()["opencl"]
    assert finding.ok, finding
    assert f"on opencl:0, {dpctl.get_devices(backend='opencl')[0].name}: " in finding.found
    assert finding.found.endswith(" GFLOP/s")
