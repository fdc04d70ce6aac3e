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
    taken = []

    def time_of(backend, unit):
        taken.clear()
        unit()
        return 5e-6 + sum(taken)

    operations = {PRODUCT: lambda: taken.append(2e-6), KERNEL: lambda: taken.append(3e-6)}
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


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_the_time_is_the_median_and_only_the_host_time_excludes_the_work_of_a_gpu(kind, monkeypatch):
    """The timed calls take 1, 2, 3, … seconds."""
    events, timed = [], []
    monkeypatch.setattr(gpu_calibration, "seconds", lambda unit: unit() or timed.append(1) or len(timed))
    stream = SimpleNamespace(synchronize=lambda: events.append("wait"))
    xp = SimpleNamespace(cuda=SimpleNamespace(get_current_stream=lambda: stream))
    time = gpu_calibration.time_of(SimpleNamespace(kind=kind, xp=xp), lambda: events.append("run"))
    assert time == (1 + REPEATS) / 2
    assert events == (["run", "wait"] if kind == "gpu" else ["run"]) * (WARM_UP + REPEATS)

    events.clear()
    step = SimpleNamespace(loss=0.0, learn=lambda *chunk: events.append("learn"))
    monkeypatch.setattr(gpu_calibration.checks, "training_losses", lambda *arguments: (None, step))
    backend = SimpleNamespace(to_host=lambda loss: events.append("wait"), uniform=lambda seed: None)
    assert gpu_calibration.host_time(backend, replace(DRY.work, device=kind)) == time + REPEATS
    assert events == ["wait", "learn"] * REPEATS
