"""Opening devices, and the few things that each does in its own way."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from devices import open_device

import minichar
from minichar.cli import main
from minichar.devices.choose import open_backend
from minichar.devices.cpu import CPU, host_generator
from minichar.devices.graph import CudaGraph
from minichar.errors import MinicharError


def error_of(name):
    """Return the one line that says why a device cannot be had."""
    with pytest.raises(MinicharError) as caught:
        open_backend(name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def blocked(monkeypatch):
    """Neither CuPy nor dpnp is installed."""
    for package in ("cupy", "dpctl", "dpnp"):
        monkeypatch.setitem(sys.modules, package, None)


@pytest.fixture
def double(monkeypatch):
    """Put a double in the place of CuPy."""

    def put(**options):
        from cupy_double import DoubleOfCuPy

        monkeypatch.setitem(sys.modules, "cupy", DoubleOfCuPy(**options))
        return sys.modules["cupy"]

    return put


@pytest.fixture
def devices_of_opencl(monkeypatch):
    """Let dpctl find so many devices."""

    def put(n):
        devices = [SimpleNamespace(name=f"device {i}") for i in range(n)]
        fake = SimpleNamespace(
            get_devices=lambda backend: devices if backend == "opencl" else [],
            SyclQueue=lambda device, property: SimpleNamespace(sycl_device=device),
        )
        monkeypatch.setitem(sys.modules, "dpctl", fake)
        monkeypatch.setitem(sys.modules, "dpnp", SimpleNamespace(__version__="0"))

    return put


class TestOpen:
    @pytest.mark.parametrize(
        "name",
        [
            *("", "tpu", "GPU", "cuda", "cpu:0", "cpu:1", "cpu:", "auto:0", "gpu:", "gpu:x", "gpu:-1"),
            *("gpu:1.0", "gpu:0:0", "gpu :0", "opencl:", "opencl:x", "opencl:²"),
        ],
    )
    def test_a_name_that_means_nothing(self, name):
        message = error_of(name)
        assert message.startswith(f"no device is called {name!r}")
        assert "auto, cpu, gpu, gpu:N, opencl or opencl:N" in message

    def test_the_cpu_is_always_there(self):
        assert open_backend("cpu") is CPU
        assert CPU.name == CPU.kind == "cpu"

    @pytest.mark.usefixtures("blocked")
    @pytest.mark.parametrize(
        ("name", "package", "extra"),
        [("gpu", "CuPy", "gpu"), ("gpu:3", "CuPy", "gpu"), ("opencl", "dpnp", "opencl")],
    )
    def test_a_package_that_is_missing(self, name, package, extra):
        message = error_of(name)
        assert f"--device {extra}: it needs {package} (" in message
        assert message.endswith(f"pip install 'minichar[{extra}]'")

    @pytest.mark.parametrize(
        ("status", "why", "remedy"),
        [
            (35, "driver version is insufficient", "install or update the driver"),
            (100, "no CUDA-capable", "whether CUDA_VISIBLE_DEVICES hides it"),
        ],
    )
    def test_a_driver_that_is_missing_or_too_old_or_sees_no_gpu(self, status, why, remedy, double):
        double(error=status)
        message = error_of("gpu:3")
        assert message.startswith("--device gpu:3: CuPy ")
        assert why in message
        assert message.endswith(remedy)

    def test_a_package_that_breaks_while_it_is_imported(self, monkeypatch, tmp_path):
        (tmp_path / "cupy.py").write_text("raise AttributeError('NumPy has no such thing\\nany more')")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "cupy", raising=False)
        message = error_of("gpu")
        assert "needs CuPy (AttributeError: NumPy has no such thing): pip install" in message
        assert open_backend("auto") is CPU

    def test_a_gpu_that_cannot_compute(self, double):
        """As where CUDA's libraries are missing: `auto` does not take it."""
        cupy = double()

        def ones(*args):
            raise RuntimeError("CuPy failed to load libcublas.so.12:\nno such file")

        cupy.ones = ones
        message = error_of("gpu")
        assert "cannot compute on it (RuntimeError: CuPy failed to load libcublas.so.12:): pip" in message
        assert open_backend("auto") is CPU

    def test_the_gpu_that_was_named_is_used(self, double):
        cupy = double(count=3)
        assert open_backend("gpu").name == "gpu:0"
        assert cupy.device_.used == 0
        third = open_backend("gpu:2")
        assert third.name == "gpu:2"
        assert third.kind == "gpu"
        assert cupy.device_.used == 2

    def test_an_index_beyond_the_gpus(self, double):
        double(count=3)
        assert error_of("gpu:7") == "--device gpu:7: there is no such GPU; 3 found, counted from 0"
        double(count=0)
        assert "0 found" in error_of("gpu")

    def test_no_device_of_opencl(self, devices_of_opencl):
        devices_of_opencl(0)
        message = error_of("opencl")
        assert "no OpenCL driver answers" in message
        assert message.endswith("pip install 'minichar[opencl]'")

    def test_an_index_beyond_the_devices_of_opencl(self, devices_of_opencl):
        devices_of_opencl(2)
        assert open_backend("opencl").name == "opencl:0"
        assert open_backend("opencl:1").queue.sycl_device.name == "device 1"
        message = error_of("opencl:2")
        assert message == "--device opencl:2: there is no such device; 2 found, counted from 0"

    def test_auto_takes_a_gpu_that_answers(self, double):
        double()
        assert open_backend("auto").name == "gpu:0"
        assert open_backend().name == "gpu:0"

    def test_auto_takes_the_cpu_where_no_gpu_answers(self, double, devices_of_opencl):
        devices_of_opencl(1)
        double(error=35)
        assert open_backend("auto") is CPU
        double(count=0)
        assert open_backend("auto") is CPU

    @pytest.mark.usefixtures("blocked")
    def test_auto_takes_the_cpu_where_nothing_is_installed(self):
        assert open_backend("auto") is CPU


class TestDriverOfOpenCL:
    """The driver that comes with the package, which the loader would not look for."""

    def test_it_is_found_without_the_user_setting_a_variable(self):
        pytest.importorskip("dpnp", reason="--device opencl needs dpnp")
        environment = {name: value for name, value in os.environ.items() if name != "OCL_ICD_FILENAMES"}
        program = "from minichar.devices.choose import open_backend; print(open_backend('opencl').describe())"
        result = subprocess.run(
            [sys.executable, "-c", program],
            env=environment | {"PYTHONPATH": str(Path(minichar.__file__).parent.parent)},
            capture_output=True,
            text=True,
        )
        assert result.stdout.startswith("dpnp "), result.stderr
        assert " on opencl:0, " in result.stdout

    @pytest.fixture
    def prefix(self, monkeypatch, tmp_path, devices_of_opencl):
        """An environment of Python's with a driver in it."""
        devices_of_opencl(1)
        monkeypatch.setattr(sys, "prefix", str(tmp_path))
        monkeypatch.delenv("OCL_ICD_FILENAMES", raising=False)
        driver = tmp_path / "lib" / "libintelocl.so"
        driver.parent.mkdir()
        driver.touch()
        return driver

    def test_the_variable_names_it(self, prefix):
        open_backend("opencl")
        assert os.environ["OCL_ICD_FILENAMES"] == str(prefix)

    def test_what_the_user_chose_stays(self, prefix, monkeypatch):
        monkeypatch.setenv("OCL_ICD_FILENAMES", "/mine.so")
        open_backend("opencl")
        assert os.environ["OCL_ICD_FILENAMES"] == "/mine.so"

    def test_without_one_the_system_decides(self, prefix):
        prefix.unlink()
        open_backend("opencl")
        assert "OCL_ICD_FILENAMES" not in os.environ


class TestDeadlock:
    """What waits must not hold Python's interpreter lock, which what it waits for may need."""

    def test_dpnp_does_without_vector_functions_that_wait(self):
        open_device("opencl")
        vector = pytest.importorskip("dpnp.backend.extensions.vm._vm_impl", exc_type=ImportError)
        assert not vector._is_available()

    def test_numbers_are_written_into_it_by_a_function_that_waits_first(self, monkeypatch):
        opencl = open_device("opencl")
        copying = pytest.importorskip("dpnp.tensor._copy_utils", exc_type=ImportError)
        copy, calls = copying._copy_from_numpy_into, []
        assert copy.__module__ == "minichar.devices.deadlock"
        monkeypatch.setattr(
            copying, "_copy_from_numpy_into", lambda *args: (calls.append(args), copy(*args))[1]
        )
        array = opencl.zeros((3, 4), "float32")
        array[:, 1] = 2.0
        assert len(calls) == 1
        assert opencl.to_host(array).sum() == 6

    def test_a_dpnp_that_has_none_is_as_good(self, devices_of_opencl):
        devices_of_opencl(1)
        assert open_backend("opencl").name == "opencl:0"


def test_opencl_computes_in_order():
    """On a queue of its own, so an array made on dpnp's default one by mistake is an error everywhere."""
    assert open_device("opencl").queue.is_in_order


class TestArrays:
    @pytest.mark.parametrize("dtype", ["float32", "float64", "complex128", "int64", "bool"])
    def test_what_crosses_comes_back_as_it_was(self, dtype, backend, generator):
        array = generator.integers(9, size=(3, 4)).astype(dtype)
        there = backend.to_device(array)
        assert str(there.dtype) == dtype
        back = backend.to_host(there)
        assert type(back) is np.ndarray
        assert back.dtype == dtype
        np.testing.assert_array_equal(back, array)

    def test_crossings_are_counted(self, backend):
        assert backend.crossings == {"to_device": 0, "to_host": 0}
        there = backend.to_device(np.ones(3))
        backend.to_host(there)
        backend.to_host(there.sum())
        assert backend.crossings == {"to_device": 1, "to_host": 2}

    @pytest.mark.parametrize("dtype", ["float32", "int64"])
    def test_zeros_are_made_where_they_are_used(self, dtype, backend):
        zeros = backend.zeros((2, 3), dtype)
        assert backend.crossings["to_device"] == 0
        assert str(zeros.dtype) == dtype
        np.testing.assert_array_equal(backend.to_host(zeros), np.zeros((2, 3)))

    def test_a_host_array_beside_one_of_the_device_fails_loudly(self, device):
        there = device.to_device(np.ones(3))
        for use in (
            lambda: there + np.ones(3),
            lambda: device.xp.add(there, np.ones(3)),
            lambda: np.array(there),
        ):
            with pytest.raises(TypeError):
                use()

    def test_its_description_says_its_name_or_what_computes(self, backend):
        description = backend.describe()
        assert (backend.name if backend.kind != "cpu" else f"NumPy {np.__version__} with ") in description
        assert "\n" not in description


class TestColumns:
    G, V, N = 3, 7, 40

    @pytest.mark.parametrize("dtype", ["float32", "float64", "complex128"])
    def test_take(self, dtype, backend, host, generator):
        W, ids = generator.normal(size=(self.G, self.V)).astype(dtype), generator.integers(self.V, size=5)
        out = backend.zeros((self.G, 5), dtype)
        backend.take_columns(backend.to_device(W), backend.to_device(ids), out)
        for j, k in enumerate(ids):
            np.testing.assert_array_equal(host(out)[:, j], W[:, k])

    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    @pytest.mark.parametrize("seen", [[0, 1, 2, 3, 4, 5, 6], [1, 4, 6], [2]])
    def test_sum(self, dtype, seen, backend, host, generator):
        """Into some rows of a larger array that held something else, as the gates of a GRU are."""
        columns = generator.normal(size=(self.G, self.N)).astype(dtype)
        ids = generator.choice(seen, size=self.N)
        expected = np.zeros((self.G, self.V))
        for j, k in enumerate(ids):
            expected[:, k] += columns[:, j]
        whole = backend.to_device(np.full((self.G + 2, self.V), 7.0, dtype))
        backend.sum_columns(backend.to_device(columns), backend.to_device(ids), whole[1:-1])
        result = host(whole)
        np.testing.assert_allclose(result[1:-1], expected, rtol=0, atol=100 * np.finfo(dtype).eps)
        assert (result[[0, -1]] == 7.0).all()
        assert not np.delete(result[1:-1], seen, axis=1).any()

    def test_a_sum_gives_the_same_bits_again(self, backend, host, generator):
        """A resumed run depends on it."""
        columns = backend.to_device(generator.normal(size=(self.G, 500)).astype("float32"))
        ids = backend.to_device(generator.integers(2, size=500))
        results = []
        for _ in range(3):
            out = backend.zeros((self.G, self.V), "float32")
            backend.sum_columns(columns, ids, out)
            results.append(host(out).tobytes())
        assert len(set(results)) == 1


class TestUniform:
    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_the_numbers_are_uniform(self, dtype, backend, host):
        N = 20_000
        uniform = backend.uniform(1, 2)
        numbers = np.concatenate([host(uniform.random((N // 4, 2), dtype)).ravel() for _ in range(2)])
        assert numbers.dtype == dtype
        assert numbers.shape == (N,)
        assert numbers.min() >= 0
        assert numbers.max() <= 1
        counts = np.histogram(numbers, bins=10, range=(0, 1))[0]
        chi_square = ((counts - N / 10) ** 2 / (N / 10)).sum()
        assert chi_square < 27.9  # 999 of 1000 samples are below, with 9 degrees of freedom
        # No number depends on the one before, nor on its neighbour in the block before.
        for lag in (1, 2, N // 2):
            correlation = np.corrcoef(numbers[lag:], numbers[:-lag])[0, 1]
            assert abs(correlation) < 4 / np.sqrt(N - lag)

    def test_they_are_double_precision_unless_told_otherwise(self, backend):
        assert str(backend.uniform(1).random((2,)).dtype) == "float64"

    def test_the_words_decide(self, backend, host):
        def numbers(*words):
            return host(backend.uniform(*words).random((50,)))

        np.testing.assert_array_equal(numbers(1, 2), numbers(1, 2))
        for other in ((1,), (2, 1), (1, 3), (1, 2, 1)):
            assert (numbers(*other) != numbers(1, 2)).all()

    def test_two_streams_do_not_disturb_each_other(self, backend, host):
        alone = backend.uniform(1)
        wanted = [host(alone.random((4,))) for _ in range(3)]
        first, second = backend.uniform(1), backend.uniform(2)
        for numbers in wanted:
            np.testing.assert_array_equal(host(first.random((4,))), numbers)
            second.random((9,))

    def test_a_block_follows_another(self, backend, host):
        uniform = backend.uniform(1)
        assert (host(uniform.random((50,))) != host(uniform.random((50,)))).all()

    def test_its_state_goes_through_json(self, backend, host):
        uniform = backend.uniform(1)
        uniform.random((3, 2), "float32")
        state = json.loads(json.dumps(uniform.state))
        wanted = [host(uniform.random((4,), dtype)) for dtype in ("float32", "float64", "float32")]
        other = backend.uniform(1)
        other.state = state
        for numbers in wanted:
            np.testing.assert_array_equal(host(other.random((4,), str(numbers.dtype))), numbers)

    def test_a_state_does_not_change_by_itself(self, backend):
        uniform = backend.uniform(1)
        state = uniform.state
        uniform.random((3,))
        assert uniform.state != state

    @pytest.mark.parametrize("state", [{}, {"blocks": "many"}, {"blocks": -1}, None])
    def test_a_damaged_state_is_refused(self, state, backend):
        """By one of the errors that the trainer turns into one line."""
        with pytest.raises((AttributeError, KeyError, TypeError, ValueError, OverflowError)):
            backend.uniform(1).state = state

    def test_that_of_the_host_is_numpys(self):
        wanted = np.random.default_rng((3, 4)).random(5)
        np.testing.assert_array_equal(host_generator(3, 4).random(5), wanted)
        np.testing.assert_array_equal(CPU.uniform(3, 4).random((5,)), wanted)


class TestRecorded:
    @pytest.fixture
    def counting(self, backend):
        """A step that adds an array to another, how often Python has run it, and the sum."""
        one, total = backend.to_device(np.ones(3)), backend.zeros((3,), "float64")
        calls = []

        def step():
            calls.append(None)
            total[...] = total + one

        return backend.recorded(step), calls, total, one

    def test_each_call_takes_one_step(self, counting, host):
        step, _, total, one = counting
        for n in range(1, 7):
            step()
            np.testing.assert_array_equal(host(total), [n] * 3)
        one[...] = 10.0  # what it reads may change where it lies
        step()
        np.testing.assert_array_equal(host(total), [16] * 3)

    def test_only_a_gpu_records(self, counting, backend):
        step, calls, _, _ = counting
        for _ in range(7):
            step()
        assert len(calls) == (3 if backend.kind == "gpu" else 7)
        assert isinstance(step, CudaGraph) == (backend.kind == "gpu")

    def test_it_runs_on_a_stream_of_its_own_and_the_one_before_comes_back(self, double):
        gpu = (double(), open_backend("gpu"))[1]
        cuda, seen = gpu.xp.cuda, []
        step = gpu.recorded(lambda: seen.append(cuda.get_current_stream()))
        before = cuda.get_current_stream()
        for _ in range(3):
            step()
        assert seen == [step.stream] * 3
        assert cuda.get_current_stream() is before


class TestHouse:
    """What the design says of devices, of the source itself."""

    SOURCES = sorted(Path(minichar.__file__).parent.rglob("*.py"))

    def test_no_other_file_imports_cupy_or_dpnp(self):
        pattern = re.compile(r"""(import|from|import_module\()\W*(cupy|dpnp|dpctl)\b""")
        assert [path.name for path in self.SOURCES if pattern.search(path.read_text("utf-8"))] == [
            "backend.py"
        ]

    def test_neither_the_mathematics_nor_training_asks_which_device_it_is(self):
        pattern = re.compile(r"""["'](cpu|gpu|opencl)|is_gpu|backend\.name|isinstance\([^)]*Backend""")
        for path in self.SOURCES:
            if path.parent.name in ("engine", "training"):
                assert not pattern.search(path.read_text("utf-8")), path


class TestDocumentation:
    """The tables of devices; what each device does is tested above and in tests/cli/test_device.py."""

    ROOT = Path(__file__).parents[2]

    @pytest.fixture(params=["README.md", "docs/devices.md"])
    def rows(self, request):
        lines = (self.ROOT / request.param).read_text("utf-8").splitlines()
        return [line.split("|")[1:-1] for line in lines if re.match(r"\| `(cpu|gpu|opencl|auto)`", line)]

    @staticmethod
    def kind(row):
        return re.search(r"`(\w+)", row[0])[1]

    def test_there_is_a_row_for_every_kind_of_name(self, rows):
        names = [re.findall("`([^`]+)`", row[0]) for row in rows]
        assert names == [["cpu"], ["gpu", "gpu:N"], ["opencl", "opencl:N"], ["auto"]]

    @pytest.mark.usefixtures("blocked")
    def test_what_a_device_needs_is_what_its_error_says_and_what_pyproject_has(self, rows):
        project = tomllib.loads((self.ROOT / "pyproject.toml").read_text("utf-8"))["project"]
        extras = project["optional-dependencies"]
        for row in rows:
            kind, needs = self.kind(row), row[2]
            if kind in ("cpu", "auto"):
                assert needs.strip() == "nothing more"
                open_backend(kind)
            else:
                (command,) = re.findall("`(pip install [^`]+)`", needs)
                assert error_of(kind).endswith(command)
                assert f"minichar[{kind}]" in command
                assert extras[kind]

    def test_how_it_is_checked_is_a_command(self, rows):
        for row in rows:
            program, command, *options = re.search("`([^`]+)`", row[3])[1].split()
            assert program == "minichar"
            assert options in ([], ["--device", self.kind(row)])
            assert CliRunner().invoke(main, [command, "--help"]).exit_code == 0
