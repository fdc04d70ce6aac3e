"""Processes that run and time the benchmarks.

Each implementation runs in a separate process, so that its threads cannot slow down the other
implementation and its peak memory can be measured separately.
"""

import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib import import_module
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import Any, Self

from minichar.bench.work import Work
from minichar.devices.choose import open_backend
from minichar.devices.doctor import gigaflops
from minichar.devices.threads import VARIABLES
from minichar.engine.cell import Cell
from minichar.engine.registry import CELLS
from minichar.errors import MinicharError
from minichar.extras import on_interrupt, one_line

SIDES = {
    "minichar": "minichar.bench.ours",
    "pytorch": "minichar.bench.rival",
    "pytorch-graph": "minichar.bench.rival",
}
FULL_PRECISION = {"CUPY_TF32": "0"}
"""Environment variables that keep CuPy from rounding the operands of float32 products to TF32."""
N = 2048
"""Size of the matrices used to measure the peak speed of the machine."""


class Worker:
    """Context manager that starts a benchmark process and communicates with it."""

    def __init__(self, work: Work) -> None:
        context = get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, work, work.config().cell), daemon=True)
        # The parent process handles Ctrl-C. The benchmark process inherits SIG_IGN.
        with threads_limited(work.threads), environment(FULL_PRECISION), on_interrupt(signal.SIG_IGN):
            self.process.start()
        theirs.close()

    def __enter__(self) -> Self:
        self.ask(0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.connection.close()  # the process exits after its current request
        if kind is not None:
            self.process.terminate()
        self.process.join()

    def ask(self, question: Any) -> Any:
        """Send a request to the process and return the response (see `answer`).

        If the benchmark fails or its process dies, this raises a `MinicharError`.
        """
        try:
            self.connection.send(question)
            answer = self.connection.recv()
        except (EOFError, OSError) as error:
            raise MinicharError("a benchmark process died (out of memory?): try smaller sizes") from error
        if isinstance(answer, Exception):
            raise MinicharError(f"cannot run this benchmark: {answer}")
        return answer


def serve(connection: Connection, work: Work, cell: Cell) -> None:
    """Handle requests until the connection is closed."""
    CELLS.setdefault(cell.name, cell)  # custom cells are not registered in a spawned process
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # SIG_IGN is not inherited on Windows
    unit: Callable[[], None] | None = None
    while True:
        try:
            question = connection.recv()
        except EOFError:
            return
        try:
            if unit is None:
                unit = import_module(SIDES[work.engine]).prepare(work)
            connection.send(answer(question, unit, work))
        except Exception as error:
            known = isinstance(error, MinicharError)
            connection.send(RuntimeError(str(error) if known else one_line(error)))


def answer(question: Any, unit: Callable[[], None], work: Work) -> Any:
    """Handle one request."""
    if question == "describe":  # the library and hardware that the benchmark uses
        return import_module(SIDES[work.engine]).describe(work)
    if question == "peak":  # the speed of a large matrix product on the device, in GFLOP/s
        return gigaflops(open_backend(work.device), N)
    if question == "memory":  # the peak memory of the process, in bytes
        return peak_memory()
    return [seconds(unit) for _ in range(question)]  # the durations of a number of iterations, in seconds


def seconds(unit: Callable[[], object]) -> float:
    """Call `unit` and return the duration of the call, in seconds."""
    start = perf_counter()
    unit()
    return perf_counter() - start


def peak_memory() -> int:
    """Return the peak memory of this process, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        # The peak memory reported by getrusage survives exec, so it may be the parent process's peak.
        return int(re.search(r"VmHWM:\s+(\d+)", status.read_text())[1]) * 1024  # type: ignore[index]
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def threads_limited(threads: int) -> AbstractContextManager[None]:
    """Set the thread count of processes started in a ``with`` block, unless `threads` is 0."""
    return environment(dict.fromkeys(VARIABLES, str(threads)) if threads else {})


@contextmanager
def environment(variables: dict[str, str]) -> Iterator[None]:
    """Set environment variables for the duration of a ``with`` block."""
    kept = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in kept.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
