"""Measurements of minichar and PyTorch: executed on the CPU (cpu_cuda), latency never measured on a card."""

import gc
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from importlib import import_module
from statistics import median
from time import monotonic
from typing import Any

import gpu_checks as checks
from bench_compare import PYTORCH, SIDES, durations, new_process, peak_memory, seconds
from bench_work import Work, opponents, waiting

from minichar.devices.backend import Backend
from minichar.devices.choose import open_backend
from minichar.devices.chunk_kernel import CLUSTERS
from minichar.devices.graph import free_retired
from minichar.engine import lstm

SPEED = ("speed", "other speeds")
"""The sections with rows from `speed`."""
KERNEL = "chunk kernel"
"""The column of times with the chunk kernel."""
WARM_UP = 5
"""Number of untimed iterations on a GPU, which compile kernels and capture the graph."""
LEAST = 3
"""Minimum number of timed iterations."""
DROPPED, MOST_LEFT = 5, 0.1
"""Number of training steps to drop, and how much memory they may leave in use, relative to that of a step."""

OPERATIONS = 200
"""Number of operations in a graph, each of which waits for the one before."""
REPEATS = 20
"""Number of timed launches."""
PRODUCT, FUSED = "matrix product", "fused kernel"
"""The operations of a step of an LSTM that are timed."""


def title(work: Work) -> str:
    """Return the name of a benchmark."""
    B = "" if work.batch_size == work.seq_length else f", B = {work.batch_size}"
    return f"{work.kind} {work.model} {work.num_layers}×{work.rnn_size}{B}"


def deciding(work: Work, sizes: Iterable[int]) -> list[Work]:
    """Return the benchmarks for which there are goals: training and, with the first H, evaluation."""
    return [*(replace(work, rnn_size=H) for H in sizes), replace(work, kind="evaluate")]


def others(work: Work, sizes: Sequence[int], batch_sizes: Iterable[int]) -> list[Work]:
    """Return the other benchmarks: training with other B, H and options, evaluation and sampling."""
    large, largest = (replace(work, rnn_size=H) for H in sizes[-2:])
    return [
        *(replace(one, batch_size=B) for one in (work, large) for B in batch_sizes),
        largest,
        *(replace(work, model=model) for model in ("gru", "rnn")),
        *(replace(work, kind=kind) for kind in ("dropout", "scheduled-sampling", "sample")),
        *(replace(largest, kind=kind) for kind in ("evaluate", "sample")),
    ]


def speed(
    works: Iterable[Work], duration: float, out_of_time: Callable[[], bool]
) -> Iterator[dict[str, Any]]:
    """Time minichar on the CPU and on the device, with and without the chunk kernel, and PyTorch.

    Yield one row of results per benchmark.
    """
    for work in works:
        rivals = [rival for rival in opponents(work) if rival.engine in PYTORCH]
        columns = {"cpu": replace(work, device="cpu"), work.device: work}
        if work.on_gpu and work.rnn_size in CLUSTERS and work.kind in ("train", "dropout", "evaluate"):
            columns[KERNEL] = replace(work, chunk_kernel=True)
        columns |= {PYTORCH[rival.engine]: rival for rival in rivals}
        row: dict[str, Any] = {"work": asdict(work), "milliseconds": {}, "errors": {}, "left out": []}
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


def first_step(work: Work) -> float:
    """Return the time until a new process has run its first iteration, in seconds."""
    begun = monotonic()
    with new_process() as process:
        process.submit(durations, work, 1).result()
        return monotonic() - begun


def tf32(backend: Backend, work: Work, steps: int, duration: float) -> dict[str, Any]:
    """Compare training in TF32 with training in float32."""
    reduced = open_backend(work.device, tf32=True)
    exact, rounded = (checks.training_losses(one, work, steps)[0] for one in (backend, reduced))
    times = {tf32: milliseconds(replace(work, tf32=tf32), duration) for tf32 in (False, True)}
    return {
        "H": work.rnn_size,
        "TF32 is used": reduced.tf32,
        "largest difference of losses": float(abs(rounded - exact).max()),
        "milliseconds in float32": times[False],
        "milliseconds in TF32": times[True],
    }


def memory(backend: Backend, work: Work) -> dict[str, Any]:
    """Measure the memory used by a training step on a GPU, or the process's peak memory on the CPU.

    On a GPU, the memory must be free again after the step is dropped. The measurement excludes cuBLAS's
    workspace of 32 MiB, which is allocated when the GPU is opened.
    """
    if not work.on_gpu:
        warmed_up(work)
        return {"H": work.rnn_size, "process megabytes": peak_memory() / 1e6}
    before, total = free_memory(backend), backend.xp.cuda.runtime.memGetInfo()[1]
    unit = warmed_up(work)
    used = before - backend.xp.cuda.runtime.memGetInfo()[0]
    del unit  # keeps the arrays alive until here
    first = free_memory(backend)  # the driver may keep memory that it has allocated for the first step
    for _ in range(DROPPED):
        warmed_up(work)
    left = first - free_memory(backend)
    return {
        "passed": left <= MOST_LEFT * used,
        "H": work.rnn_size,
        "megabytes": used / 1e6,
        f"left by {DROPPED} dropped steps": left / 1e6,
        "available": before / 1e6,
        "of": total / 1e6,
    }


def free_memory(backend: Backend) -> int:
    """Free the memory of all that no longer exists, and return the number of free bytes of a GPU."""
    gc.collect()
    free_retired()
    backend.xp.get_default_memory_pool().free_all_blocks()
    return backend.xp.cuda.runtime.memGetInfo()[0]


def calibration(backend: Backend, work: Work, sizes: Iterable[int]) -> dict[str, Any]:
    """Return the time of single operations, of launches, and of the host for a chunk.

    The estimates in docs/measured/gpu.csv assume how long these operations take.
    """
    found = {}
    for H in sizes:
        for name, operation in operations(backend, H, work.batch_size).items():
            one, many = (time_of(backend, backend.recorded(repeated(operation, n))) for n in (1, OPERATIONS))
            found[f"{name}, H = {H}"] = (many - one) / (OPERATIONS - 1)
    kernel = operations(backend, work.rnn_size, work.batch_size)[FUSED]
    found["launch of a graph"] = time_of(backend, backend.recorded(kernel))
    found["launch of a kernel without a graph"] = time_of(backend, repeated(kernel, OPERATIONS)) / OPERATIONS
    found["host time per chunk"] = host_time(backend, work)
    return {"microseconds": {name: 1e6 * time for name, time in found.items()}}


def operations(backend: Backend, H: int, B: int) -> dict[str, Callable[[], Any]]:
    """Return the matrix product and the fused kernel of a step of an LSTM."""
    W, a = backend.zeros((4 * H, H), "float32"), backend.zeros((4 * H, B), "float32")
    h, c = backend.zeros((2, H, B), "float32")  # each (H, B)
    forward = backend.fuse(lstm.forward)
    return {
        PRODUCT: lambda: backend.matmul(W, h, out=a),
        FUSED: lambda: forward(a.reshape(4, H, B), c, into=[(0, h)]),
    }


def repeated(operation: Callable[[], Any], times: int) -> Callable[[], None]:
    """Return a function that runs an operation several times."""

    def run() -> None:
        for _ in range(times):
            operation()

    return run


def time_of(backend: Backend, unit: Callable[[], Any]) -> float:
    """Return the median time of a call after a warm-up, including the device's work, in seconds."""
    if backend.kind == "gpu":
        unit = waiting(unit, lambda: backend.xp.cuda.get_current_stream().synchronize())
    for _ in range(WARM_UP):
        unit()
    return median(seconds(unit) for _ in range(REPEATS))


def host_time(backend: Backend, work: Work) -> float:
    """Return the median time after which the host has launched a training step, in seconds."""
    _, step = checks.training_losses(backend, work, WARM_UP)
    ids, generator, times = work.ids(), backend.uniform(1), []  # (T+1, B)
    for _ in range(REPEATS):
        backend.to_host(step.loss)  # waits until the device is idle
        times.append(seconds(lambda: step.learn(ids[:-1], ids[1:], generator)))
    return median(times)
