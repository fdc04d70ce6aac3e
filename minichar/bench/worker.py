"""A process that does one engine's work when told to, and measures itself.

Each side has a process of its own: neither side's threads wait in the other's way, and
the peak memory is its alone.
"""

import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import Any, Self

import numpy as np

from minichar.bench.work import Work
from minichar.devices.blas import THREAD_VARIABLES
from minichar.engine.cell import CELLS, Cell
from minichar.errors import MinicharError

SIDES = {"minichar": "minichar.bench.ours", "pytorch": "minichar.bench.rival"}
N = 2048
"""Rows and columns of the product whose speed is the machine's own peak."""
REPEATS = 5


class Worker:
    """The process, as the one that asks it sees it. Use it in a ``with`` statement.

    Raises
    ------
    MinicharError
        If the work cannot be prepared, with what its process said.
    """

    def __init__(self, work: Work) -> None:
        context = get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, work, work.config().cell), daemon=True)
        with threads_limited(work.threads):
            self.process.start()
        theirs.close()

    def __enter__(self) -> Self:
        self.ask(None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.connection.close()  # which ends it, once it has answered
        if kind is not None:
            self.process.terminate()
        self.process.join()

    def units(self, n: int) -> list[float]:
        """Do `n` units of the work; return the seconds of each."""
        return self.ask(n)

    def peak(self) -> float:
        """Return the GFLOP/s of a large float32 product in this process's BLAS, the best of a few."""
        return self.ask("peak")

    def memory(self) -> int:
        """Return the most memory the process ever held, in bytes."""
        return self.ask("memory")

    def ask(self, question: Any) -> Any:
        """Send a question and wait for its answer."""
        try:
            self.connection.send(question)
            answer = self.connection.recv()
        except (EOFError, OSError) as error:
            raise MinicharError("a process of the bench died: has it too little memory?") from error
        if isinstance(answer, Exception):
            raise MinicharError(f"the bench cannot do this work: {answer}")
        return answer


def serve(connection: Connection, work: Work, cell: Cell) -> None:
    """Answer questions until there is nobody to ask them."""
    CELLS.setdefault(cell.name, cell)  # a new process does not know a cell of the user's own
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that asks
    unit: Callable[[], None] | None = None
    while True:
        try:
            question = connection.recv()
        except EOFError:
            return
        try:
            if unit is None:
                unit = import_module(SIDES[work.engine]).prepare(work)
            connection.send(answer(question, unit))
        except Exception as error:
            connection.send(RuntimeError(f"{type(error).__name__}: {error}"))


def answer(question: Any, unit: Callable[[], None]) -> Any:
    """Return the answer to one question."""
    if question == "peak":
        return peak()
    if question == "memory":
        return peak_memory()
    return [seconds(unit) for _ in range(question or 0)]


def seconds(unit: Callable[[], object]) -> float:
    """Return how long one call takes."""
    begun = perf_counter()
    unit()
    return perf_counter() - begun


def peak() -> float:
    """Return the GFLOP/s of a product of two N × N matrices in float32, the best of a few."""
    A = np.random.default_rng(0).random((N, N), dtype="float32")  # (N, N)
    out = np.empty_like(A)  # (N, N)
    return 2 * N**3 / min(seconds(lambda: np.matmul(A, A, out=out)) for _ in range(REPEATS)) / 1e9


def peak_memory() -> int:
    """Return the most memory that this process ever held, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        # Unlike getrusage, it forgets what the process was before it became this program.
        return int(re.search(r"VmHWM:\s+(\d+)", status.read_text())[1]) * 1024  # type: ignore[index]
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@contextmanager
def threads_limited(threads: int) -> Iterator[None]:
    """Let a process that is started here have so many threads for products; 0 for as many as it likes."""
    kept = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    if threads:
        os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
    try:
        yield
    finally:
        for name, value in kept.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
