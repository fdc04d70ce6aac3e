"""Commands on a GPU: training and sampling, and errors in one line."""

import ctypes

import pytest

from minichar.devices import cublas
from minichar.devices.cupy import CuPyBackend
from minichar.training.step import TrainingStep

TRAIN = [
    *("train", "--data", "input.txt", "--device", "gpu", "--num-layers", "1", "--seq-length", "4"),
    *("--batch-size", "3", "--max-epochs", "1", "--sample-every", "0", "--quiet", "--val-frac", "0"),
]


def error_of(run, *arguments):
    """Return the error message, which is the last line."""
    lines = run(*arguments, status=1).stderr.splitlines()
    assert [line.startswith("Error: ") for line in lines].index(True) == len(lines) - 1, lines
    return lines[-1]


def test_train_and_sample(run):
    run(*TRAIN, "--rnn-size", "8")
    options = ["--length", "30", "--seed", "1", "--top-k", "4", "--top-p", "0.9"]
    texts = [run("sample", "cv", "--device", device, *options).stdout for device in ("cpu", "gpu")]
    assert texts[0] == texts[1]


@pytest.mark.parametrize(
    ("options", "used"),
    [
        (["--chunk-kernel"], True),
        (["--chunk-kernel", "--reset-on", "sad"], False),
        (["--no-chunk-kernel"], False),
    ],
)
def test_train_with_the_chunk_kernel(options, used, run, cuda):
    cuda.operations()
    stderr = run(*TRAIN, "--rnn-size", "64", "--model", "lstm", *options).stderr
    assert ("kernel layer_backward" in cuda.operations()) == used
    assert (", chunk kernel\n" in stderr) == ("--chunk-kernel" in options)
    assert ("chunk kernel is not used" in stderr) == ("--reset-on" in options)


@pytest.mark.parametrize(
    "options", [["--dtype", "float64"], ["--tf32"], ["--chunk-kernel", "--model", "gru"]]
)
def test_auto_trusts_a_gpu_that_agrees_with_the_cpu(options, run, monkeypatch):
    monkeypatch.setattr("minichar.training.device.LARGE_STEP", 0)
    auto = ["auto" if word == "gpu" else word for word in TRAIN if word != "--quiet"]
    assert "gpu:0 agrees with the CPU (checked in " in run(*auto, "--rnn-size", "64", *options).stderr
    monkeypatch.setattr(CuPyBackend, "sum_columns", lambda *arguments, **options: None)
    stderr = run(*auto, "--rnn-size", "64", *options).stderr
    assert "device auto: cpu, because gpu:0 differs from the CPU by " in stderr


def test_out_of_memory(run, cuda):
    cuda.set(memory=cuda.used() + (64 << 20))  # enough for the workspace of cuBLAS
    message = error_of(run, *TRAIN, "--rnn-size", "3000")
    assert "out of memory" in message.lower()


def test_no_gpu(run, cuda):
    cuda.set(devices=0)
    message = error_of(run, "gradcheck", "--device", "gpu")
    assert "no usable NVIDIA GPU (CUDARuntimeError: cudaErrorNoDevice" in message


def write_freed_memory(cuda, monkeypatch):
    pointer = ctypes.c_void_p()
    cuda.cuda.cudaMalloc(ctypes.byref(pointer), ctypes.c_size_t(512))
    cuda.cuda.cudaFree(pointer)
    cuda.cuda.cudaMemset(pointer, 0, ctypes.c_size_t(4))


def pass_wrong_strides(cuda, monkeypatch):
    monkeypatch.setattr(cublas, "layout", lambda X: (0, 0))


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (write_freed_memory, "CUDARuntimeError: cudaErrorIllegalAddress: "),
        (pass_wrong_strides, "CuBLASError: cublasSgemm_v2 returned CUBLAS_STATUS_INVALID_VALUE"),
    ],
)
def test_an_error_of_a_computation(fault, words, run, cuda, monkeypatch):
    right = TrainingStep.learn

    def wrong(step, *args):
        fault(cuda, monkeypatch)
        right(step, *args)

    monkeypatch.setattr(TrainingStep, "learn", wrong)
    message = error_of(run, *TRAIN, "--rnn-size", "8")
    assert message.startswith(f"Error: device gpu:0: a computation failed ({words}")
