"""Test that commands use the device given by ``--device`` or fail, and never fall back to another one."""

import re
import sys
from contextlib import nullcontext
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from click.testing import CliRunner
from devices import open_device
from toys import TOY

from minichar.cli import main, report
from minichar.devices.cpu import CPU, NumPyBackend
from minichar.errors import MinicharError
from minichar.formats.convert import load_model

RUN = ["train", "--data", "input.txt", *TOY, "--sample-every", "0"]
LOUD = [*RUN, "--dropout", "0.2", "--start-ss", "0.8", "--min-ss", "0.5"]
TRAIN = [*LOUD, "--quiet"]
GRADCHECK = [
    *("gradcheck", "--rnn-size", "2", "--vocab-size", "3", "--seq-length", "2", "--batch-size", "1"),
    *("--num-layers", "1"),
]


@pytest.fixture
def gpu(monkeypatch, tmp_path):
    """Install the CuPy test double without compiled kernels, and return it."""
    from cupy_double import DoubleOfCuPy

    cupy = DoubleOfCuPy()
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setenv("CUPY_CACHE_DIR", str(tmp_path / "kernels"))
    return cupy


@pytest.fixture(params=["cpu", "gpu", pytest.param("real gpu", marks=pytest.mark.gpu)])
def device(request):
    """Value of ``--device``. ``gpu`` uses the CuPy test double unless the test is marked ``gpu``.

    OpenCL is omitted, because compiling its kernels takes seconds.
    """
    if request.param == "gpu":
        request.getfixturevalue("gpu")
    else:
        open_device(request.param.removeprefix("real "))  # skips the test if the device is unavailable
    return request.param.removeprefix("real ")


@pytest.fixture
def shown(device):
    return device if device == "cpu" else f"{device}:0"


def test_samples_during_training_are_generated_on_the_cpu(cli, gpu, monkeypatch):
    used = []
    monkeypatch.setattr(
        report, "generate", lambda model, *_, **__: used.append(model.parameters.backend) or "ab"
    )
    cli(*LOUD, "--sample-every", "1", "--device", "gpu")
    assert set(used) == {CPU}


def test_train_sample_and_eval_use_the_device(cli, device, shown):
    trained = cli(*TRAIN, "--device", device)
    (computes,) = (line for line in trained.stderr.splitlines() if line.startswith("device"))
    assert (f"on {shown}" if device != "cpu" else "NumPy") in computes
    path = trained.stdout.strip()
    sampled = cli("sample", path, "--length", "20", "--seed", "5", "--primetext", "a", "--device", device)
    assert f", on {shown}, seed 5\n" in sampled.stderr
    assert len(sampled.stdout) == 1 + 20 + 1
    evaluated = cli("eval", path, "--quiet", "--device", device)
    assert f", on {shown}\n" in evaluated.stdout
    # The loss in the checkpoint's name was computed on the same text from the same initial state.
    assert f"loss        {path.removesuffix('.npz').rpartition('_')[2]} nats" in evaluated.stdout


@pytest.mark.usefixtures("checkpoint")
def test_commands_compute_on_the_device_that_they_open(cli, monkeypatch, count_copies):
    copies = count_copies(backend := NumPyBackend())
    for module in ("sample", "gradcheck"):
        monkeypatch.setattr(f"minichar.cli.{module}.open_backend", {"the best": backend}.__getitem__)
    monkeypatch.setattr("minichar.cli.options.open_devices", lambda *name: ({"the best": backend}[name[0]],))
    for command in (
        [*TRAIN, "--init-from", "cv"],
        ["train", "--resume", "cv", "--max-epochs", "2"],
        ["sample", "cv", "--length", "5"],
        ["eval", "cv", "--part", "whole"],
        GRADCHECK,
    ):
        copies.update(to_device=0, to_host=0)
        cli(*command, "--device", "the best")
        assert copies["to_device"]
        assert copies["to_host"]


def test_a_model_in_another_format_is_read_to_the_device(cli, checkpoint):
    pytest.importorskip("safetensors")
    cli("convert", checkpoint, "model.safetensors")
    backend = NumPyBackend()
    assert load_model("model.safetensors", backend).parameters.backend is backend


def test_gradcheck_passes_on_the_device(cli, device, shown):
    result = cli(*GRADCHECK, "--device", device)
    assert f"; on {shown}\n" in result.stderr
    verdicts = [line.split()[-1] for line in result.stdout.splitlines()[1:]]
    assert verdicts == ["passed"] * 3


@pytest.mark.parametrize(
    ("command", "name", "words"),
    [
        (TRAIN, "gpu:1", 'pip install "minichar[gpu]"'),
        (["eval"], "opencl", 'pip install "minichar[opencl]"'),
        (GRADCHECK, "cpu:1", "unknown device 'cpu:1'"),
    ],
)
def test_unavailable_device_is_an_error(refused, monkeypatch, command, name, words):
    for package in ("cupy", "dpctl"):
        monkeypatch.setitem(sys.modules, package, None)
    assert words in refused(*command, "--device", name)


@pytest.mark.usefixtures("gpu")
class TestAuto:
    """Tests for ``--device auto`` on a machine with a fake GPU."""

    @pytest.mark.parametrize(
        ("limit", "size", "name"), [(0, "large enough for a GPU, and", "gpu:0"), (1, "too small", "cpu")]
    )
    def test_trains_and_evaluates_on_the_device_for_the_size_and_says_why(
        self, cli, monkeypatch, limit, size, name
    ):
        monkeypatch.setattr("minichar.training.device.LARGE_STEP", limit)
        trained = cli(*TRAIN)
        note = f"device auto: {name}, because each step is {size} "
        assert trained.stderr.count("device auto") == trained.stderr.count(note) == 1
        assert (", on gpu:0: Double, 8 GB\n" in trained.stderr) == (name == "gpu:0")
        evaluated = cli("eval", trained.stdout.strip())
        assert evaluated.stderr.count("device auto") == evaluated.stderr.count(note) == 1
        assert f", on {name}\n" in evaluated.stdout

    def test_several_processes_use_the_cpu_and_say_why(self, cli, monkeypatch):
        used = []

        def begin(settings, *devices, **others):
            used.extend(device.name for device in devices)
            raise MinicharError("no run")

        team = SimpleNamespace(size=2, rank=0, lead=lambda function: function())
        monkeypatch.setattr("minichar.cli.train.all_ranks", lambda: nullcontext(team))
        monkeypatch.setattr("minichar.cli.train.begin", begin)
        note = "device auto: cpu for multiple processes; to use GPUs, add --device gpu\n"
        assert cli(*LOUD, status=1).stderr == f"{note}Error: no run\n"
        assert used == ["cpu"]
        for options in (TRAIN, [*LOUD, "--device", "gpu"]):
            assert note not in cli(*options, status=1).stderr
        team.rank = 1
        assert note not in cli(*LOUD, status=1).stderr

    def test_sample_says_why_it_uses_the_cpu(self, cli, checkpoint, monkeypatch):
        command = "sample", checkpoint, "--length", "20", "--seed", "5", "--num-samples", "2"
        note = "device auto: cpu, because each step is too small; to use a GPU, add --device gpu\n"
        named, chosen = cli(*command, "--device", "cpu"), cli(*command)
        assert "auto" not in named.stderr
        assert chosen.stdout == named.stdout
        assert chosen.stderr.count("device auto") == chosen.stderr.count(note) == 1
        assert "auto" not in cli(*command, "--quiet").stderr
        monkeypatch.setitem(sys.modules, "cupy", None)
        assert "auto" not in cli(*command).stderr


LEARN = "minichar.training.step.TrainingStep.learn"
NO_TF32 = "           TF32 has no effect on {}\n"


def test_only_a_gpu_uses_tf32(cli, device, shown):
    """The device is given before ``--tf32``, which is parsed first."""
    stderr = cli(*TRAIN, "--device", device, "--tf32").stderr
    (computes,) = (line for line in stderr.splitlines() if line.startswith("device"))
    assert computes.endswith(", TF32") == (device == "gpu")
    note = NO_TF32.format(f"device {shown}: it requires an NVIDIA GPU, Ampere or newer")
    assert (note in stderr) == (device != "gpu")
    assert stderr.count("TF32") == 1


def test_the_chunk_kernel_requires_a_gpu(cli):
    for options, number in ((["--chunk-kernel"], 1), (["--no-chunk-kernel"], 0), ([], 0)):
        stderr = cli(*TRAIN, "--rnn-size", "64", *options).stderr
        assert stderr.count("chunk kernel is not used on device cpu: it requires an NVIDIA GPU") == number


class TestFirstStep:
    """The notice that the first training step compiles kernels."""

    @pytest.fixture
    def failing(self, cli, gpu, monkeypatch):
        """Return a function that runs training that fails in its first step, and returns the output."""
        monkeypatch.setattr(LEARN, Mock(side_effect=MinicharError("no step")))
        return lambda device: cli(*TRAIN, "--device", device, status=1).stderr

    NOTICE = "compiling GPU kernels; this happens only once"

    def test_the_notice_is_printed_before_the_step_unless_the_kernels_are_cached(self, failing, tmp_path):
        notice, *others = failing("gpu").splitlines()
        assert notice == f"{self.NOTICE} because CuPy caches them in {tmp_path / 'kernels'}"
        assert not any(self.NOTICE in line for line in others)
        (tmp_path / "kernels").mkdir()
        for k in range(15):
            (tmp_path / "kernels" / f"{k}.cubin").touch()
        assert self.NOTICE in failing("gpu")
        assert self.NOTICE not in failing("cpu")
        (tmp_path / "kernels" / "15.cubin").touch()
        assert self.NOTICE not in failing("gpu")

    def test_the_notice_is_printed_only_if_the_gpu_is_used(self, cli, checkpoint, gpu):
        sample = "sample", checkpoint, "--length", "5"
        resume = "train", "--resume", checkpoint, "--max-epochs", "2"
        for arguments, count in (
            ((*GRADCHECK, "--device", "gpu"), 1),
            ((*sample, "--device", "gpu"), 1),
            ((*resume, "--device", "auto"), 0),
            ((*resume, "--device", "gpu"), 1),
        ):
            assert cli(*arguments).stderr.count(self.NOTICE) == count
        assert cli(*sample, "--device", "gpu", "--quiet").stderr == ""
        stderr = cli(*TRAIN, "--device", "auto", "--tf32").stderr
        assert self.NOTICE not in stderr
        assert NO_TF32.format("device cpu: it requires an NVIDIA GPU")[:-1] in stderr
        wrong = cli("train", "--data", "missing.txt", "--device", "gpu", status=1)
        assert self.NOTICE not in wrong.stderr


def test_an_error_of_cuda_is_one_line_and_other_errors_are_not_attributed_to_the_gpu(cli, gpu, monkeypatch):
    """The errors occur after a GPU has been opened."""
    from cupy_double import CUDARuntimeError

    gpu.device_.count = 2
    monkeypatch.setattr(LEARN, learn := Mock(side_effect=CUDARuntimeError(700)))
    cause = "CUDARuntimeError: cudaErrorIllegalAddress: an illegal memory access was encountered"
    message = f"Error: device gpu:1: a computation failed ({cause}): try again, or use --device cpu\n"
    assert cli(*TRAIN, "--device", "gpu:1", status=1).stderr.endswith("\n" + message)
    learn.side_effect = bug = RuntimeError("a bug")
    assert CliRunner().invoke(main, [*TRAIN, "--device", "gpu:1"]).exception is bug


def test_the_memory_of_a_gpu_is_exhausted(cli, gpu, monkeypatch):
    cupy = pytest.importorskip("cupy.cuda.memory", reason="the error is CuPy's own")
    monkeypatch.setattr(LEARN, Mock(side_effect=cupy.OutOfMemoryError(5, 3, 4)))
    assert "Error: out of memory (" in cli(*TRAIN, "--device", "gpu", status=1).stderr


def test_resuming_on_another_device_prints_a_note(cli, gpu):
    drawing = cli(*TRAIN, "--device", "cpu").stdout.strip()
    without = "--no-use-ss", "--dropout", 0, "--checkpoint-dir", "plain"
    plain = cli(*RUN, *without, "--device", "cpu").stdout.strip()
    differ = "the checkpoint was saved on cpu: rounding will differ"
    draw = "; dropout, DropConnect and scheduled sampling will draw different random numbers"
    for checkpoint, epochs, device, notes in (
        (plain, "2", "gpu", [differ]),
        (drawing, "2", "gpu", [differ + draw]),
        (drawing, "3", "cpu", []),
    ):
        stderr = cli("train", "--resume", checkpoint, "--max-epochs", epochs, "--device", device).stderr
        assert "resumed    at epoch 1.00" in stderr
        assert re.findall("the checkpoint was saved on .*", stderr) == notes
