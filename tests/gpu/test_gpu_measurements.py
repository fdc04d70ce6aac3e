"""Tests of the measurements of ``first_hour.py``."""

from dataclasses import replace
from types import SimpleNamespace

import bench_minichar
import bench_work
import gpu_measurements
import pytest
from first_hour import DRY, has_failed

from minichar.devices.cpu import CPU

GPU = replace(DRY.work, device="gpu")


@pytest.fixture
def with_pytorch(monkeypatch):
    monkeypatch.setattr(bench_work, "find_spec", lambda name: object())


@pytest.fixture
def prepared(monkeypatch):
    """Return a list that has one element for each iteration of a benchmark that does nothing."""
    calls = []
    monkeypatch.setattr(bench_minichar, "prepare", lambda work: lambda: calls.append(work))
    return calls


@pytest.mark.usefixtures("with_pytorch")
def test_columns(monkeypatch):
    """Expect minichar on both devices and PyTorch on one, but not minichar's other baselines.

    Sizes and benchmarks without a chunk kernel have no column for it.
    """
    timed = []
    monkeypatch.setattr(gpu_measurements, "milliseconds", lambda work, duration: timed.append(work) or 1.0)
    work = replace(DRY.work, device="gpu:1", rnn_size=64)
    works = [
        work,
        replace(work, kind="dropout"),
        replace(work, kind="scheduled-sampling"),
        replace(work, kind="dropout", rnn_size=8),
    ]
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


@pytest.mark.usefixtures("with_pytorch")
@pytest.mark.parametrize(
    ("broken", "failed"),
    [(("pytorch-graph", False), False), (("minichar", False), True), (("minichar", True), True)],
)
def test_only_errors_of_minichar_on_the_device_are_failures(monkeypatch, broken, failed):
    def failing(work, duration):
        if (work.engine, work.chunk_kernel, work.device) == (*broken, "gpu"):
            raise RuntimeError("first line\nsecond line")
        return 1.0

    monkeypatch.setattr(gpu_measurements, "milliseconds", failing)
    (row,) = rows = list(gpu_measurements.speed([replace(GPU, rnn_size=64)], 0, lambda: False))
    assert [*row["errors"].values()] == ["RuntimeError: first line"]
    assert len(row["milliseconds"]) == 4
    assert has_failed(rows, "gpu") == failed
    late = iter([False, True, True, True, True])
    (row,) = rows = list(gpu_measurements.speed([replace(GPU, rnn_size=64)], 0, lambda: next(late)))
    assert (list(row["milliseconds"]), len(row["left out"]), row["errors"]) == (["cpu"], 4, {})
    assert not has_failed(rows, "gpu")


def test_milliseconds_are_the_median_after_the_warm_up(monkeypatch, prepared):
    durations = iter([0.003, 0.001, 0.002])
    monkeypatch.setattr(gpu_measurements, "seconds", lambda unit: next(durations))
    assert gpu_measurements.milliseconds(GPU, 0) == pytest.approx(2)
    assert len(prepared) == gpu_measurements.WARM_UP


@pytest.mark.parametrize(("left", "passed"), [(0.2e9, True), (0.3e9, False)])
def test_memory_of_a_gpu(left, passed, monkeypatch, prepared):
    """The driver keeps 1 GB, which is not counted as left by the steps that are dropped later."""
    free = iter([7e9, 7e9, 4.5e9, 6e9, 6e9 - left])
    runtime = SimpleNamespace(memGetInfo=lambda: (next(free), 8e9))
    pool = SimpleNamespace(free_all_blocks=lambda: None)
    xp = SimpleNamespace(cuda=SimpleNamespace(runtime=runtime), get_default_memory_pool=lambda: pool)
    assert gpu_measurements.memory(SimpleNamespace(xp=xp), GPU) == {
        "passed": passed,
        "H": 8,
        "megabytes": 2500,
        "left by 5 dropped steps": left / 1e6,
        "available": 7000,
        "of": 8000,
    }
    assert len(prepared) == (1 + 5) * gpu_measurements.WARM_UP


@pytest.mark.parametrize(("tf32", "chunk_kernel"), [(False, True), (True, False)])
def test_a_benchmark_opens_the_device_in_its_mode(tf32, chunk_kernel, monkeypatch):
    opened = []

    def open_backend(name, tf32):
        opened.append((type(CPU)(), tf32))
        return opened[0][0]

    monkeypatch.setattr(bench_minichar, "open_backend", open_backend)
    bench_minichar.prepare(replace(DRY.work, tf32=tf32, chunk_kernel=chunk_kernel))
    ((device, used),) = opened
    assert (used, device.uses_chunk_kernel) == (tf32, chunk_kernel)
