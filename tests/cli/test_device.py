"""Test that commands use the device given by ``--device`` or fail, and never fall back to another one."""

import sys
from contextlib import nullcontext
from functools import partial
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from devices import open_device

from minichar.cli import main, report
from minichar.devices.cpu import CPU
from minichar.errors import MinicharError

WITHOUT_SS = [
    *("train", "--data", "input.txt", "--rnn-size", "4", "--num-layers", "1", "--seq-length", "4"),
    *("--batch-size", "3", "--max-epochs", "1", "--sample-every", "0", "--quiet"),
    *("--eval-val-every", "4", "--max-val-chunks", "0"),
    *("--train-frac", "0.7", "--val-frac", "0.3"),
]
TRAIN = [*WITHOUT_SS, "--dropout", "0.2", "--use-ss", "--start-ss", "0.8", "--min-ss", "0.5"]
GRADCHECK = [
    *("gradcheck", "--rnn-size", "2", "--vocab-size", "3", "--seq-length", "2", "--batch-size", "1"),
    *("--num-layers", "1"),
]


REAL_GPU = pytest.param("real gpu", marks=pytest.mark.gpu)
NOT_OPENCL = pytest.mark.parametrize("device", ["cpu", "gpu", REAL_GPU], indirect=True)
"""Omit OpenCL, on which compiling kernels takes seconds."""


@pytest.fixture(params=["cpu", "opencl", "gpu", REAL_GPU])
def device(request, monkeypatch):
    """Value of ``--device``. ``gpu`` uses the CuPy test double unless the test is marked ``gpu``."""
    if request.param == "gpu":
        from cupy_double import DoubleOfCuPy

        monkeypatch.setitem(sys.modules, "cupy", DoubleOfCuPy())
        return "gpu"
    open_device(request.param.removeprefix("real "))  # skips the test if the device is unavailable
    return request.param.removeprefix("real ")


@pytest.fixture
def gpu(monkeypatch, tmp_path):
    """Install the CuPy test double without compiled kernels, and return it."""
    from cupy_double import DoubleOfCuPy

    cupy = DoubleOfCuPy()
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setenv("CUPY_CACHE_DIR", str(tmp_path / "kernels"))
    return cupy


@pytest.fixture
def shown(device):
    return device if device == "cpu" else f"{device}:0"


def test_samples_during_training_are_generated_on_the_cpu(run, gpu, monkeypatch):
    used = []

    def generate(model, length, seed):
        used.append(model.parameters.backend)
        return "ab"

    monkeypatch.setattr(report, "generate", generate)
    run(*(argument for argument in TRAIN if argument != "--quiet"), "--sample-every", "1", "--device", "gpu")
    assert set(used) == {CPU}


def test_train_sample_and_eval_use_the_device(run, device, shown):
    trained = run(*TRAIN, "--device", device)
    (computes,) = (line for line in trained.stderr.splitlines() if line.startswith("device"))
    assert (f"on {shown}" if device != "cpu" else "NumPy") in computes
    path = trained.stdout.strip()

    sampled = run("sample", path, "--length", "20", "--seed", "5", "--primetext", "a", "--device", device)
    assert f", on {shown}, seed 5\n" in sampled.stderr
    assert len(sampled.stdout) == 1 + 20 + 1

    evaluated = run("eval", path, "--quiet", "--device", device)
    assert f", on {shown}\n" in evaluated.stdout
    # The loss in the checkpoint's name was computed on the same text from the same initial state.
    assert f"loss        {path.removesuffix('.npz').rpartition('_')[2]} nats" in evaluated.stdout


@NOT_OPENCL
def test_gradcheck_passes_on_the_device(run, device, shown):
    result = run(*GRADCHECK, "--device", device)
    assert f"; on {shown}\n" in result.stderr
    verdicts = [line.split()[-1] for line in result.stdout.splitlines()[1:]]
    assert verdicts == ["passed"] * 3


@pytest.mark.parametrize(
    ("command", "name", "words"),
    [
        (TRAIN, "gpu:1", 'pip install "cupy-cuda12x[ctk]>='),
        (["sample"], "gpu", 'pip install "cupy-cuda12x[ctk]>='),
        (["eval"], "opencl", 'pip install "dpnp'),
        (GRADCHECK, "cpu:1", "unknown device 'cpu:1'"),
    ],
)
def test_unavailable_device_is_an_error(run, tmp_path, monkeypatch, command, name, words):
    for package in ("cupy", "dpctl"):
        monkeypatch.setitem(sys.modules, package, None)
    result = run(*command, "--device", name, status=1)
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert len(result.stderr.splitlines()) == 1
    assert words in result.stderr
    assert not (tmp_path / "cv").exists()


@pytest.mark.usefixtures("gpu")
class TestAuto:
    """Tests for ``--device auto`` on a machine with a fake GPU."""

    @pytest.fixture
    def large(self, monkeypatch):
        """Return a function that sets how long a step of a large size takes, in seconds per time step."""
        return partial(monkeypatch.setattr, "minichar.training.device.LARGE")

    @pytest.mark.parametrize(
        ("limit", "size", "name"), [(0, "large enough", "gpu:0"), (1, "too small", "cpu")]
    )
    def test_trains_and_evaluates_on_the_device_for_the_size_and_says_why(
        self, run, large, limit, size, name
    ):
        large(limit)
        trained = run(*TRAIN)
        note = f"device auto: {name}, because each step is {size} for a GPU\n"
        assert trained.stderr.count("device auto") == trained.stderr.count(note) == 1
        assert (", on gpu:0: Double, 8 GB\n" in trained.stderr) == (name == "gpu:0")
        evaluated = run("eval", trained.stdout.strip())
        assert evaluated.stderr.count("device auto") == evaluated.stderr.count(note) == 1
        assert f", on {name}\n" in evaluated.stdout

    def test_several_processes_use_the_cpu_and_say_why(self, run, monkeypatch):
        used = []

        def begin(settings, *devices, team, started):
            used.extend(device.name for device in devices)
            raise MinicharError("no run")

        team = SimpleNamespace(size=2, rank=0, lead=lambda function: function())
        monkeypatch.setattr("minichar.cli.train.all_ranks", lambda: nullcontext(team))
        monkeypatch.setattr("minichar.cli.train.begin", begin)
        note = "device auto: cpu for multiple processes; to use GPUs, add --device gpu\n"
        loud = [option for option in TRAIN if option != "--quiet"]
        assert run(*loud, status=1).stderr == f"{note}Error: no run\n"
        assert used == ["cpu"]
        assert note not in run(*TRAIN, status=1).stderr
        assert note not in run(*loud, "--device", "gpu", status=1).stderr
        team.rank = 1
        assert note not in run(*loud, status=1).stderr

    @pytest.fixture
    def path(self, run):
        return run(*TRAIN, "--device", "cpu").stdout.strip()

    @pytest.mark.parametrize(
        ("command", "options", "why"),
        [
            ("sample", ("--length", "20", "--seed", "5", "--num-samples", "2"), "each step is too small"),
            ("eval", ("--split", "whole"), "each step is too small"),
            ("eval", ("--split", "whole", "--block", "8"), "blocks are not timed"),
        ],
    )
    def test_commands_that_time_nothing_say_why_they_use_the_cpu(
        self, run, path, command, options, why, monkeypatch
    ):
        command = command, path, *options
        note = f"device auto: cpu, because {why}; to use a GPU, add --device gpu\n"
        named, chosen = run(*command, "--device", "cpu"), run(*command)
        assert "auto" not in named.stderr
        assert chosen.stdout == named.stdout
        assert chosen.stderr.count("device auto") == chosen.stderr.count(note) == 1
        assert "auto" not in run(*command, "--quiet").stderr
        monkeypatch.setitem(sys.modules, "cupy", None)
        assert "auto" not in run(*command).stderr

    def test_sampling_does_not_import_cupy(self, run, path, monkeypatch, tmp_path):
        (tmp_path / "cupy.py").write_text("raise AssertionError('CuPy was imported')")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "cupy")
        assert "device auto: cpu" in run("sample", path, "--length", "1").stderr

    def test_evaluation_does_not_suggest_a_gpu_that_cannot_be_used(self, run, path, gpu):
        gpu.device_.count = 0
        assert "auto" not in run("eval", path, "--split", "whole").stderr


NO_TF32 = "           TF32 has no effect on {}\n"


class TestTF32:
    @NOT_OPENCL
    def test_only_a_gpu_uses_it(self, run, device, shown):
        """The device can be given before or after ``--tf32``."""
        for options in (["--device", device, "--tf32"], ["--tf32", "--device", device]):
            stderr = run(*TRAIN, *options).stderr
            (computes,) = (line for line in stderr.splitlines() if line.startswith("device"))
            assert computes.endswith(", TF32") == (device == "gpu")
            note = NO_TF32.format(f"device {shown}: it requires an NVIDIA GPU, Ampere or newer")
            assert (note in stderr) == (device != "gpu")
            assert stderr.count("TF32") == 1

    def test_a_resumed_run_uses_it_only_if_it_is_given_again(self, run, gpu):
        path = run(*TRAIN, "--device", "gpu", "--tf32").stdout.strip()
        modes = gpu.cublas.modes
        assert modes == {3}
        for epochs, option, mode in (("2", [], 0), ("3", ["--tf32"], 3)):
            modes.clear()
            run("train", "--resume", path, "--max-epochs", epochs, "--device", "gpu", *option)
            assert modes == {mode}


def test_the_chunk_kernel_requires_a_gpu(run):
    for options, number in ((["--chunk-kernel"], 1), (["--no-chunk-kernel"], 0), ([], 0)):
        stderr = run(*TRAIN, "--rnn-size", "64", *options).stderr
        assert stderr.count("chunk kernel is not used on device cpu: it requires an NVIDIA GPU") == number


class TestFirstStep:
    """The notice that the first training step compiles kernels."""

    @pytest.fixture
    def failing(self, run, gpu, monkeypatch):
        """Return a function that runs training that fails in its first step, and returns the output."""

        def learn(*arguments):
            raise MinicharError("no step")

        monkeypatch.setattr("minichar.training.step.TrainingStep.learn", learn)
        return lambda device: run(*TRAIN, "--device", device, status=1).stderr

    NOTICE = "compiling GPU kernels; this happens only once"

    def test_the_notice_is_printed_before_the_step(self, failing, tmp_path):
        notice, *others = failing("gpu").splitlines()
        assert notice == f"{self.NOTICE} because CuPy caches them in {tmp_path / 'kernels'}"
        assert not any(self.NOTICE in line for line in others)

    def test_the_notice_is_printed_only_if_the_gpu_is_used(self, run, gpu):
        assert run(*GRADCHECK, "--device", "gpu").stderr.count(self.NOTICE) == 1
        path = run(*TRAIN, "--device", "cpu").stdout.strip()
        for device, count in (("auto", 0), ("gpu", 1)):
            resumed = run("train", "--resume", path, "--max-epochs", "2", "--device", device)
            assert resumed.stderr.count(self.NOTICE) == count
        stderr = run(*TRAIN, "--device", "auto", "--tf32").stderr
        assert self.NOTICE not in stderr
        assert NO_TF32.format("device cpu: it requires an NVIDIA GPU")[:-1] in stderr
        wrong = run("train", "--data", "missing.txt", "--device", "gpu", status=1)
        assert self.NOTICE not in wrong.stderr

    def test_sampling_prints_the_notice_unless_it_is_quiet(self, run, gpu):
        sample = ("sample", run(*TRAIN, "--device", "cpu").stdout.strip(), "--device", "gpu", "--length", "5")
        assert run(*sample).stderr.count(self.NOTICE) == 1
        assert run(*sample, "--quiet").stderr == ""

    def test_there_is_no_notice_if_the_kernels_are_cached_or_the_device_is_the_cpu(self, failing, tmp_path):
        (tmp_path / "kernels").mkdir()
        for k in range(15):
            (tmp_path / "kernels" / f"{k}.cubin").touch()
        assert self.NOTICE in failing("gpu")
        (tmp_path / "kernels" / "15.cubin").touch()
        assert self.NOTICE not in failing("gpu")
        (tmp_path / "kernels" / "0.cubin").unlink()
        assert self.NOTICE not in failing("cpu")


class TestFailure:
    """Tests for errors of CUDA and cuBLAS after a GPU has been opened."""

    @pytest.fixture
    def failing(self, gpu, monkeypatch):
        """Return a function that makes the training step fail on a fake GPU."""
        gpu.device_.count = 2

        def failing(error):
            def learn(*arguments):
                raise error

            monkeypatch.setattr("minichar.training.step.TrainingStep.learn", learn)

        return failing

    MESSAGE = "Error: device gpu:1: a computation failed ({}): try again, or use --device cpu\n"

    def test_an_error_of_cuda_is_one_line(self, run, failing):
        from cupy_double import CUDARuntimeError

        failing(CUDARuntimeError(700))
        stderr = run(*TRAIN, "--device", "gpu:1", status=1).stderr
        cause = "CUDARuntimeError: cudaErrorIllegalAddress: an illegal memory access was encountered"
        assert stderr.endswith("\n" + self.MESSAGE.format(cause))

    def test_other_errors_are_not_attributed_to_the_gpu(self, run, failing):
        from cupy_double import real

        failing(real.cuda.memory.OutOfMemoryError(5, 3, 4))
        assert "Error: out of memory (" in run(*TRAIN, "--device", "gpu:1", status=1).stderr
        bug = RuntimeError("a bug")
        failing(bug)
        assert CliRunner().invoke(main, [*TRAIN, "--device", "gpu:1"]).exception is bug


def test_resuming_on_another_device_prints_a_note(run, gpu):
    path = run(*WITHOUT_SS, "--dropout", "0", "--device", "cpu", "--checkpoint-dir", "plain").stdout.strip()
    resumed = run("train", "--resume", path, "--max-epochs", "2", "--device", "gpu")
    assert "the checkpoint was saved on cpu: rounding will differ\n" in resumed.stderr
    path = run(*TRAIN, "--device", "cpu").stdout.strip()
    differ = "; dropout, DropConnect and scheduled sampling will draw different random numbers\n"
    for epochs, device, note in (
        ("2", "gpu", f"the checkpoint was saved on cpu: rounding will differ{differ}"),
        ("3", "cpu", ""),
    ):
        stderr = run("train", "--resume", path, "--max-epochs", epochs, "--quiet", "--device", device).stderr
        assert "resumed    at epoch 1.00" in stderr
        assert note in stderr
        assert stderr.count("the checkpoint was saved on") == bool(note)
