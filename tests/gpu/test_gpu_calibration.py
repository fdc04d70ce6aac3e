"""Tests of the calibration of ``first_hour.py``."""

from dataclasses import replace
from types import SimpleNamespace

import gpu_calibration
import pytest
from first_hour import DRY
from gpu_calibration import KERNEL, PRODUCT, REPEATS, WARM_UP

from minichar.devices.cpu import CPU


def test_the_time_of_an_operation_excludes_that_of_a_launch(monkeypatch):
    """A launch takes 5 µs, a product 2 µs and a kernel 3 µs."""
    time = 0.0

    def take(seconds):
        nonlocal time
        time += seconds

    def time_of(backend, unit):
        before = time
        unit()
        return 5e-6 + time - before

    operations = {PRODUCT: lambda: take(2e-6), KERNEL: lambda: take(3e-6)}
    monkeypatch.setattr(gpu_calibration, "operations", lambda *sizes: operations)
    monkeypatch.setattr(gpu_calibration, "time_of", time_of)
    monkeypatch.setattr(gpu_calibration, "host_time", lambda *arguments: 7e-6)
    monkeypatch.setattr(gpu_calibration, "OPERATIONS", 10)
    assert gpu_calibration.calibration(CPU, DRY.work, [4])["microseconds"] == pytest.approx(
        {
            "matrix product, H = 4": 2,
            "fused kernel, H = 4": 3,
            "launch of a graph": 8,
            "launch of a kernel without a graph": 3.5,
            "host time per chunk": 7,
        }
    )


def test_the_operations_are_those_of_an_lstm():
    """The arrays are zero, so the kernel computes σ(0) and tanh(0)."""
    used = gpu_calibration.operations(CPU, 3, 2)
    assert used[PRODUCT]().shape == (4 * 3, 2)
    h, c, (i, *_) = used[KERNEL]()
    assert h.shape == c.shape == (3, 2)
    assert (i == 0.5).all()


@pytest.fixture
def calls(monkeypatch):
    """Record the calls that are timed, which take 1, 2, 3, … seconds."""
    timed = []

    def seconds(unit):
        unit()
        timed.append(len(timed) + 1)
        return timed[-1]

    monkeypatch.setattr(gpu_calibration, "seconds", seconds)
    return timed


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_the_time_is_the_median_and_includes_the_work_of_a_gpu(kind, calls):
    events = []
    stream = SimpleNamespace(synchronize=lambda: events.append("wait"))
    xp = SimpleNamespace(cuda=SimpleNamespace(get_current_stream=lambda: stream))
    time = gpu_calibration.time_of(SimpleNamespace(kind=kind, xp=xp), lambda: events.append("run"))
    assert time == (1 + REPEATS) / 2
    assert events == (["run", "wait"] if kind == "gpu" else ["run"]) * (WARM_UP + REPEATS)


def test_the_host_time_excludes_the_work_of_the_device(calls, monkeypatch):
    events = []
    step = SimpleNamespace(loss=0.0, learn=lambda *chunk: events.append("learn"))
    monkeypatch.setattr(gpu_calibration.checks, "training_losses", lambda *arguments: (None, step))
    backend = SimpleNamespace(to_host=lambda loss: events.append("wait"), uniform=lambda seed: None)
    assert gpu_calibration.host_time(backend, replace(DRY.work, device="gpu")) == (1 + REPEATS) / 2
    assert events == ["wait", "learn"] * REPEATS
