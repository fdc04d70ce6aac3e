"""Measurements of ``minichar bench``: executed on the CPU (cpu_cuda), latency never measured on a card."""

import gc
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from importlib import import_module
from statistics import median
from time import monotonic
from typing import Any

from minichar.bench.compare import PYTORCH, opponents
from minichar.bench.work import Work
from minichar.bench.worker import SIDES, peak_memory, seconds
from minichar.devices.backend import Backend
from minichar.devices.chunk_kernel import CLUSTERS

KERNEL = "chunk kernel"
"""The column of times with the chunk kernel."""
WARM_UP = 5
"""Number of untimed iterations on a GPU, which compile kernels and capture the graph."""
LEAST = 3
"""Minimum number of timed iterations."""


def all_works(work: Work, sizes: Iterable[int]) -> list[Work]:
    """Return the benchmarks: training with every H, and variants with the first H, the last H or both."""
    sizes = tuple(sizes)
    return [
        *(replace(work, rnn_size=H) for H in sizes),
        *(replace(work, model=model) for model in ("gru", "rnn")),
        *(replace(work, kind=kind) for kind in ("dropout", "scheduled-sampling")),
        *(
            replace(work, kind=kind, rnn_size=H)
            for kind in ("evaluate", "sample")
            for H in (sizes[0], sizes[-1])
        ),
    ]


def speed(
    works: Iterable[Work], duration: float, out_of_time: Callable[[], bool]
) -> Iterator[dict[str, Any]]:
    """Time minichar on the CPU and on the device, with and without the chunk kernel, and PyTorch.

    Yield one row of results per benchmark.
    """
    for work in works:
        rivals = [rival for rival in opponents(work) if rival is not None and rival.engine in PYTORCH]
        columns = {"cpu": replace(work, device="cpu"), work.device: work}
        if work.on_gpu and work.rnn_size in CLUSTERS and work.kind in ("train", "dropout", "evaluate"):
            columns[KERNEL] = replace(work, chunk_kernel=True)
        columns |= {PYTORCH[rival.engine]: rival for rival in rivals}
        row: dict[str, Any] = {"work": work.describe(), "milliseconds": {}, "errors": {}, "left out": []}
        for column, one in columns.items():
            if out_of_time():
                row["left out"].append(column)
                continue
            try:
                row["milliseconds"][column] = milliseconds(one, duration)
            except Exception as error:  # so that the other columns are still measured
                row["errors"][column] = f"{type(error).__name__}: {error}".partition("\n")[0]
            gc.collect()  # a step contains reference cycles, and its arrays may fill the device's memory
        yield row


def milliseconds(work: Work, duration: float) -> float:
    """Return the median time per iteration, measured over `duration` seconds."""
    unit = warmed_up(work)
    times, end = [], monotonic() + duration
    while len(times) < LEAST or monotonic() < end:
        times.append(seconds(unit))
    return 1000.0 * median(times)


def warmed_up(work: Work) -> Callable[[], None]:
    """Run the warm-up iterations, and return a function that runs one more iteration."""
    unit = import_module(SIDES[work.engine]).prepare(work)
    for _ in range(WARM_UP if work.on_gpu else 1):
        unit()
    return unit


def launches(work: Work) -> dict[str, Any]:
    """Count the launches in one iteration with PyTorch's profiler, which also records CuPy's kernels."""
    if not work.on_gpu:
        return {"not measured": "requires a GPU"}
    try:
        profiler = import_module("torch.profiler")
    except ImportError:
        return {"not measured": "requires PyTorch"}
    unit = warmed_up(work)
    activities = [profiler.ProfilerActivity.CPU, profiler.ProfilerActivity.CUDA]
    with profiler.profile(activities=activities) as profile:
        unit()
    return count_launches(profile.events())


def count_launches(events: Iterable[Any]) -> dict[str, Any]:
    """Count the host's launches and the GPU's operations, and sum the durations of the operations."""
    events = list(events)
    on_gpu = [event for event in events if event.device_type.name == "CUDA"]
    by_host = [event for event in events if event.device_type.name == "CPU" and "Launch" in event.name]
    busy = sum(event.time_range.elapsed_us() for event in on_gpu) / 1000.0
    return {"launches": len(by_host), "operations": len(on_gpu), "busy milliseconds": busy}


def memory(backend: Backend, work: Work) -> dict[str, Any]:
    """Measure the memory used by a training step on a GPU, or the process's peak memory on the CPU.

    Excludes cuBLAS's workspace of 32 MiB, which is allocated when the GPU is opened.
    """
    if not work.on_gpu:
        warmed_up(work)
        return {"H": work.rnn_size, "process megabytes": peak_memory() / 1e6}
    gc.collect()
    backend.xp.get_default_memory_pool().free_all_blocks()
    before, total = backend.xp.cuda.runtime.memGetInfo()
    unit = warmed_up(work)
    after, _ = backend.xp.cuda.runtime.memGetInfo()
    del unit  # keeps the arrays alive until here
    return {
        "H": work.rnn_size,
        "megabytes": (before - after) / 1e6,
        "available": before / 1e6,
        "of": total / 1e6,
    }
