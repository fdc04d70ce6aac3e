import re
from pathlib import Path

import pytest

from minichar.devices.choose import AUTO_CPU, auto_note, open_backend, open_devices
from minichar.devices.cpu import CPU
from minichar.errors import MinicharError
from minichar.extras import install_command

DOCS = Path(__file__).parents[2] / "docs"
UNKNOWN = (
    *("", "tpu", "mps", "cpu:0", "cpu:", "cpu:1", "auto:0", "gpu:", "gpu:x", "gpu:-1", "gpu:1.0", "gpu:0:0"),
    *("GPU:", "gpu :0", "gpus", "xgpu", "opencl:", "opencl:x", "opencl:²", "cuda:x"),
)
MEANT = {"cuda": "gpu", "CUDA:1": "gpu:1", "nvidia": "gpu", "GPU:0": "gpu:0", "Cpu": "cpu", "AUTO": "auto"}


@pytest.mark.parametrize(("name", "meant"), (dict.fromkeys(UNKNOWN) | MEANT).items())
def test_an_unknown_name(name, meant, error_of):
    hint = f"; did you mean {meant!r}?" if meant else ""
    names = "auto, cpu, gpu, gpu:N, opencl or opencl:N"
    assert error_of(name) == f"unknown device {name!r}: use {names}{hint}"


@pytest.mark.usefixtures("nothing_installed")
@pytest.mark.parametrize(
    ("name", "package", "extra"), [("gpu:3", "CuPy", "gpu"), ("opencl:1", "dpnp", "opencl")]
)
def test_a_missing_package(name, package, extra, error_of):
    message = error_of(name)
    assert f"device {extra}: requires {package} (" in message
    assert message.endswith(install_command(extra))


def test_the_documented_names_and_packages_are_right():
    lines = (DOCS / "devices.md").read_text("utf-8").splitlines()
    rows = [line.split("|") for line in lines if re.match(r"\| `(cpu|gpu|opencl|auto)`", line)]
    names = [re.findall("`([^`]+)`", row[1]) for row in rows]
    assert names == [["cpu"], ["gpu", "gpu:N"], ["opencl", "opencl:N"], ["auto"]]
    packages = [re.findall(r"pip install .*'\.\[(\w+)\]'|no extra packages", row[3]) for row in rows]
    assert packages == [[""], ["gpu"], ["opencl"], [""]]


class TestAuto:
    def test_auto_is_the_cpu_where_nothing_is_trained(self, fake_cupy):
        cupy = fake_cupy()
        assert open_backend("auto") is open_backend() is CPU
        assert cupy.device_.used is None  # the GPU is not opened

    @pytest.mark.usefixtures("broken_cupy")
    def test_the_choice_of_the_cpu_is_explained_without_importing_cupy(self):
        assert auto_note("auto") == AUTO_CPU
        assert len(auto_note("auto")) <= 80
        assert auto_note("cpu") == auto_note("gpu") == ""

    @pytest.mark.usefixtures("nothing_installed")
    def test_without_cupy_there_is_no_choice_and_nothing_to_explain(self):
        assert auto_note("auto") == ""
        assert open_devices("auto") == (CPU,)

    @pytest.mark.parametrize("machine", [{"error": 35}, {"error": 100}, {"count": 0}])
    def test_training_can_choose_a_working_gpu_if_there_is_a_driver_and_a_gpu(self, machine, fake_cupy):
        fake_cupy(count=2)
        assert [device.name for device in open_devices()] == ["cpu", "gpu:0"]
        fake_cupy(**machine)
        assert open_devices("auto") == (CPU,)

    @pytest.mark.parametrize(
        ("part", "broken", "why"),
        [
            ("cuda.runtime.driverGetVersion", lambda: 11040, ".*update the driver$"),
            ("ones", lambda *args: 1 / 0, "a test computation with .* division by zero"),
        ],
    )
    def test_a_gpu_that_does_not_work_is_reported(self, part, broken, why, fake_cupy, monkeypatch):
        fake_cupy(error=35 if "driver" in part else None)
        monkeypatch.setattr(f"cupy.{part}", broken, raising=False)
        with pytest.warns(RuntimeWarning, match=f"^device auto: cpu; device gpu:0: {why}") as warned:
            assert open_devices("auto") == (CPU,)
        assert [warning.filename for warning in warned] == [__file__]

    @pytest.mark.usefixtures("broken_cupy")
    def test_a_broken_cupy_is_reported(self, tmp_path):
        with pytest.warns(RuntimeWarning, match=r"^device auto: cpu; device gpu: requires CuPy \(Attribute"):
            assert open_devices("auto") == (CPU,)
        (tmp_path / "cupy.py").write_text("import package_that_cupy_needs")
        with pytest.warns(RuntimeWarning, match="package_that_cupy_needs"):
            assert open_devices("auto") == (CPU,)

    def test_there_is_no_choice_if_a_device_is_named(self, fake_cupy):
        fake_cupy()
        assert open_devices("cpu") == (CPU,)
        assert [device.name for device in open_devices("gpu")] == ["gpu:0"]
        with pytest.raises(MinicharError, match="unknown device 'tpu'"):
            open_devices("tpu")
