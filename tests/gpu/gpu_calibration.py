"""Measure single operations of a step: executed on the CPU (cpu_cuda), latency never measured on a card.

The estimates in docs/measured/gpu.csv assume how long these operations take.
"""

from collections.abc import Callable, Iterable
from statistics import median
from typing import Any

import gpu_checks as checks
from bench_compare import seconds
from bench_work import Work, waiting
from gpu_measurements import WARM_UP

from minichar.devices.backend import Backend
from minichar.engine import lstm

OPERATIONS = 200
"""Number of operations in a graph, each of which waits for the one before."""
REPEATS = 20
"""Number of timed launches."""
PRODUCT, KERNEL = "matrix product", "fused kernel"


def calibration(backend: Backend, work: Work, sizes: Iterable[int]) -> dict[str, Any]:
    """Return the time of single operations, of launches, and of the host for a chunk."""
    found = {}
    for H in sizes:
        for name, operation in operations(backend, H, work.batch_size).items():
            one, many = (time_of(backend, backend.recorded(repeated(operation, n))) for n in (1, OPERATIONS))
            found[f"{name}, H = {H}"] = (many - one) / (OPERATIONS - 1)
    kernel = operations(backend, work.rnn_size, work.batch_size)[KERNEL]
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
        KERNEL: lambda: forward(a.reshape(4, H, B), c, into=[(0, h)]),
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
