"""Tests of the measurements of ``first_hour.py``."""

import sys
from dataclasses import replace
from types import SimpleNamespace

import gpu_measurements
import pytest
from first_hour import DRY, has_failed

from minichar.bench import compare, ours


class TestMeasurements:
    def test_columns(self, monkeypatch):
        """Expect minichar on both devices and PyTorch on one, but not minichar's other baselines.

        Sizes and benchmarks without a chunk kernel have no column for it.
        """
        monkeypatch.setattr(compare, "find_spec", lambda name: object())
        timed = []
        monkeypatch.setattr(
            gpu_measurements, "milliseconds", lambda work, duration: timed.append(work) or 1.0
        )
        work = replace(DRY.work, device="gpu:1", rnn_size=64)
        changes = (
            {},
            {"kind": "dropout"},
            {"kind": "scheduled-sampling"},
            {"kind": "dropout", "rnn_size": 8},
        )
        works = [replace(work, **change) for change in changes]
        rows = list(gpu_measurements.speed(works, 0, lambda: False))
        assert [list(row["milliseconds"]) for row in rows] == [
            ["cpu", "gpu:1", "chunk kernel", "PyTorch", "PyTorch, CUDA graph"],
            ["cpu", "gpu:1", "chunk kernel"],
            ["cpu", "gpu:1"],
            ["cpu", "gpu:1"],
        ]
        assert [(one.engine, one.device, one.chunk_kernel) for one in timed[:5]] == [
            *(("minichar", "cpu", False), ("minichar", "gpu:1", False), ("minichar", "gpu:1", True)),
            *(("pytorch", "gpu:1", False), ("pytorch-graph", "gpu:1", False)),
        ]

    @pytest.mark.parametrize(
        ("broken", "failed"),
        [(("pytorch-graph", False), False), (("minichar", False), True), (("minichar", True), True)],
    )
    def test_only_errors_of_minichar_on_the_device_are_failures(self, monkeypatch, broken, failed):
        def failing(work, duration):
            if (work.engine, work.chunk_kernel, work.device) == (*broken, "gpu"):
                raise RuntimeError("first line\nsecond line")
            return 1.0

        monkeypatch.setattr(compare, "find_spec", lambda name: object())
        monkeypatch.setattr(gpu_measurements, "milliseconds", failing)
        work = replace(DRY.work, device="gpu", rnn_size=64)
        (row,) = rows = list(gpu_measurements.speed([work], 0, lambda: False))
        assert [*row["errors"].values()] == ["RuntimeError: first line"]
        assert len(row["milliseconds"]) == 4
        assert has_failed(rows, "gpu") == failed

    def test_measurements_are_left_out_when_the_time_is_up(self, monkeypatch):
        left = iter([False, True])
        monkeypatch.setattr(gpu_measurements, "milliseconds", lambda work, duration: 1.0)
        work = replace(DRY.work, device="gpu")
        (row,) = gpu_measurements.speed([work], 0, lambda: next(left))
        assert (row["milliseconds"], row["left out"], row["errors"]) == ({"cpu": 1.0}, ["gpu"], {})
        assert not has_failed([row], "gpu")

    def test_milliseconds_are_the_median_after_the_warm_up(self, monkeypatch):
        calls, durations = [], iter([0.003, 0.001, 0.002])
        monkeypatch.setattr(ours, "prepare", lambda work: lambda: calls.append(work))
        monkeypatch.setattr(gpu_measurements, "seconds", lambda unit: next(durations))
        assert gpu_measurements.milliseconds(replace(DRY.work, device="gpu"), 0) == pytest.approx(2)
        assert len(calls) == gpu_measurements.WARM_UP

    def test_launches(self):
        def event(device, name, microseconds):
            elapsed = SimpleNamespace(elapsed_us=lambda: microseconds)
            return SimpleNamespace(device_type=SimpleNamespace(name=device), name=name, time_range=elapsed)

        events = [
            *(event("CPU", "cudaGraphLaunch", 9), event("CPU", "cudaMemcpyAsync", 9)),
            *(event("CUDA", "gemm", 300), event("CUDA", "lstm_forward", 200)),
        ]
        assert gpu_measurements.count_launches(iter(events)) == {
            "launches": 1,
            "operations": 2,
            "busy milliseconds": 0.5,
        }

    def test_memory_of_a_gpu(self, monkeypatch):
        free = iter([(7e9, 8e9), (5e9, 8e9)])
        runtime = SimpleNamespace(memGetInfo=lambda: next(free))
        pool = SimpleNamespace(free_all_blocks=lambda: None)
        xp = SimpleNamespace(cuda=SimpleNamespace(runtime=runtime), get_default_memory_pool=lambda: pool)
        monkeypatch.setattr(ours, "prepare", lambda work: lambda: None)
        result = gpu_measurements.memory(SimpleNamespace(xp=xp), replace(DRY.work, device="gpu"))
        assert result == {"H": 8, "megabytes": 2000, "available": 7000, "of": 8000}

    def test_speed_on_the_double(self, monkeypatch):
        from cupy_double import DoubleOfCuPy

        monkeypatch.setitem(sys.modules, "cupy", DoubleOfCuPy())
        plan = replace(DRY, device="gpu", sizes=(4,), chunk=2)
        works = gpu_measurements.all_works(plan.work, plan.sizes)[:1]
        (row,) = gpu_measurements.speed(works, 0, lambda: False)
        assert row["errors"] == {}
        assert [*row["milliseconds"]] == ["cpu", "gpu"]
