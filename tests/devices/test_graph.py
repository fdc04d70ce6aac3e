"""Recorded steps: a CUDA graph on a GPU, the step itself elsewhere."""

import numpy as np
import pytest

from minichar.devices.choose import open_backend
from minichar.devices.graph import CudaGraph


@pytest.fixture
def counting(backend):
    """A step that adds an array to another, the calls of its function, the sum, and that array."""
    one, total = backend.to_device(np.ones(3)), backend.zeros((3,), "float64")
    calls = []

    def step():
        calls.append(None)
        total[...] = total + one

    return backend.recorded(step), calls, total, one


def test_each_call_takes_one_step(counting, host):
    step, _, total, one = counting
    for n in range(1, 7):
        step()
        np.testing.assert_array_equal(host(total), [n] * 3)
    one[...] = 10.0  # what it reads may change in place
    step()
    np.testing.assert_array_equal(host(total), [16] * 3)


def test_only_a_gpu_records(counting, backend):
    step, calls, _, _ = counting
    for _ in range(7):
        step()
    assert len(calls) == (3 if backend.kind == "gpu" else 7)
    assert isinstance(step, CudaGraph) == (backend.kind == "gpu")


def test_it_runs_on_a_stream_of_its_own_and_restores_the_current_one(fake_cupy):
    fake_cupy()
    gpu = open_backend("gpu")
    cuda, seen = gpu.xp.cuda, []
    step = gpu.recorded(lambda: seen.append(cuda.get_current_stream()))
    before = cuda.get_current_stream()
    for _ in range(3):
        step()
    assert seen == [step.stream] * 3
    assert cuda.get_current_stream() is before
