"""`Backend.recorded` returns a CUDA graph on a GPU and an ordinary function on other devices."""

import numpy as np
import pytest

from minichar.devices.choose import open_backend
from minichar.devices.graph import CudaGraph


@pytest.fixture
def counting(backend):
    """Return ``(step, calls, total, one)``. Each call to `step` adds `one` to `total`."""
    one, total = backend.to_device(np.ones(3)), backend.zeros((3,), "float64")
    calls = []

    def step():
        calls.append(None)
        total[...] = total + one

    return backend.recorded(step), calls, total, one


def test_each_call_runs_one_step(counting, host):
    step, _, total, one = counting
    for n in range(1, 7):
        step()
        np.testing.assert_array_equal(host(total), [n] * 3)
    one[...] = 10.0  # the step must read the new value
    step()
    np.testing.assert_array_equal(host(total), [16] * 3)


def test_only_a_gpu_records_steps(counting, backend):
    step, calls, _, _ = counting
    for _ in range(7):
        step()
    assert len(calls) == (3 if backend.kind == "gpu" else 7)
    assert isinstance(step, CudaGraph) == (backend.kind == "gpu")


def test_a_graph_uses_a_separate_stream_and_restores_the_current_one(fake_cupy):
    fake_cupy()
    gpu = open_backend("gpu")
    cuda, seen = gpu.xp.cuda, []
    step = gpu.recorded(lambda: seen.append(cuda.get_current_stream()))
    before = cuda.get_current_stream()
    for _ in range(3):
        step()
    assert seen == [step.stream] * 3
    assert cuda.get_current_stream() is before


def test_a_step_waits_for_the_current_stream_and_the_caller_for_the_step(fake_cupy, monkeypatch):
    fake_cupy()
    gpu = open_backend("gpu")
    current, events = gpu.xp.cuda.get_current_stream(), []
    monkeypatch.setattr(type(current), "synchronize", lambda stream: events.append(stream))
    step = gpu.recorded(lambda: events.append("step"))
    for _ in range(3):
        step()
    assert events == [current, "step", step.stream] * 3
    step()  # replayed
    assert events[9:] == [current, step.stream]
