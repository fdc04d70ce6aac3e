"""Compare the throughput of two benchmarks by running them alternately.

Each benchmark has its own process, so that its threads cannot slow down the other one, and its peak memory is
its own. Each runs once per round, after a pause, which lets the other's threads go idle, and one warm-up
iteration. Each round yields one throughput ratio. The two runs in a round are close in time, so other load on
the machine usually affects both. The result is the median ratio over all rounds.
"""

import os
import re
import resource
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from math import ceil
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from time import perf_counter, sleep
from typing import Any

from bench_work import Work

from minichar.devices.choose import open_backend
from minichar.devices.doctor import gigaflops

SIDES = {"minichar": "bench_minichar", "pytorch": "bench_pytorch", "pytorch-graph": "bench_pytorch"}
PYTORCH = {"pytorch": "PyTorch", "pytorch-graph": "PyTorch, CUDA graph"}
FULL_PRECISION = {"CUPY_TF32": "0"}
"""Environment variables that keep CuPy from rounding the operands of float32 products to TF32."""
WARM_UP = 3
"""Warm-up iterations before the first measurement."""
PAUSE = 0.05
"""Pause before each run, in seconds."""
UNITS = 20
"""Minimum total number of timed iterations per benchmark."""
TURN = 0.2
"""Minimum duration of a run, in seconds."""
DISTURBED = 2.0
"""A result is considered unreliable if its largest ratio is more than this many times its smallest."""
N = 2048
"""Size of the matrices used to measure the peak speed of the machine."""


@dataclass(frozen=True)
class Result:
    """Measurements of a benchmark and, if it has one, its baseline."""

    works: list[Work]
    seconds: list[list[list[float]]]  # of each work: duration of each iteration, by round
    memory: list[int]  # of each work: peak host memory of the process, in bytes
    peak: float  # speed of a large matrix product on the device, in GFLOP/s

    @property
    def ratios(self) -> list[float]:
        """Throughput relative to the baseline in each round; empty if there is no baseline."""
        if len(self.works) == 1:
            return []
        scale = self.works[0].characters / self.works[1].characters
        return [scale * median(theirs) / median(ours) for ours, theirs in zip(*self.seconds, strict=True)]

    @property
    def disturbed(self) -> bool:
        """Whether the ratios vary too much between rounds to be reliable."""
        return bool(self.ratios) and max(self.ratios) > DISTURBED * min(self.ratios)

    def speed(self, side: int = 0) -> float:
        """Return the median throughput of the benchmark, or of its baseline, in characters per second."""
        return self.works[side].characters / median(s for turn in self.seconds[side] for s in turn)

    def row(self) -> tuple[str, ...]:
        """Return a row of the table, with one string for each of `HEADINGS`."""
        work, *against = self.works
        baseline = ["–"] * 4
        if against:
            name = PYTORCH.get(against[0].engine, against[0].kind)
            spread = f"{min(self.ratios):.2f} – {max(self.ratios):.2f}"
            baseline = [name, f"{self.speed(1):,.0f}", f"{median(self.ratios):.2f}", spread]
        speed = self.speed()
        share = speed / work.characters * work.flop / 1e9 / self.peak
        memory = " / ".join(f"{bytes_ / 1e6:.0f}" for bytes_ in self.memory)
        return title(work), f"{speed:,.0f}", *baseline, f"{share:.0%}", f"{memory} MB"


HEADINGS = (
    "benchmark",
    "characters/s",
    "baseline",
    "characters/s",
    "ratio",
    "range",
    "of peak",
    "peak memory",
)
WIDTHS = (32, 12, 19, 12, 5, 13, 7, 14)


def line(cells: tuple[str, ...]) -> str:
    """Return a line of the table."""
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, WIDTHS, strict=True)).rstrip()


def title(work: Work) -> str:
    """Return the name of a benchmark."""
    return f"{work.kind} {work.model} {work.num_layers}×{work.rnn_size}"


def new_process() -> Executor:
    """Return a process for one benchmark."""
    return ProcessPoolExecutor(1, get_context("spawn"), use_full_precision)


def use_full_precision() -> None:
    """Keep CuPy, which this process has not imported yet, from rounding to TF32."""
    os.environ.update(FULL_PRECISION)


@cache
def prepared(work: Work) -> Callable[[], None]:
    """Prepare a benchmark in this process, and return a function that runs one iteration."""
    return import_module(SIDES[work.engine]).prepare(work)


def durations(work: Work, times: int) -> list[float]:
    """Run a benchmark in this process, and return the duration of each iteration, in seconds."""
    return [seconds(prepared(work)) for _ in range(times)]


def seconds(unit: Callable[[], object]) -> float:
    """Call `unit` and return the duration of the call, in seconds."""
    start = perf_counter()
    unit()
    return perf_counter() - start


def peak_speed(device: str) -> float:
    """Return the speed of a large matrix product on a device, in GFLOP/s."""
    return gigaflops(open_backend(device), N)


def peak_memory() -> int:
    """Return the peak memory of this process, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        # The peak memory reported by getrusage survives exec, so it may be the parent process's peak.
        return int(re.search(r"VmHWM:\s+(\d+)", status.read_text())[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def compare(works: list[Work], rounds: int = 5) -> Result:
    """Run a benchmark and, if it has one, its baseline alternately.

    If an implementation cannot run its benchmark, this raises the exception of its process.
    """
    processes = [new_process() for _ in works]

    def ask(side: int, function: Callable[..., Any], *arguments: Any) -> Any:
        return processes[side].submit(function, *arguments).result()

    try:
        repeats = []
        for side, work in enumerate(works):
            *_, typical = ask(side, durations, work, WARM_UP + 1)
            repeats.append(ceil(max(UNITS / rounds, TURN / typical)))
        memory = [ask(side, peak_memory) for side in range(len(works))]
        peaks = [ask(0, peak_speed, works[0].device)]
        seconds: list[list[list[float]]] = [[] for _ in works]
        for _ in range(rounds):
            for side, work in enumerate(works):
                sleep(PAUSE)
                seconds[side].append(ask(side, durations, work, 1 + repeats[side])[1:])
        peaks.append(ask(0, peak_speed, works[0].device))
    finally:
        for process in processes:
            process.shutdown()
    return Result(works, seconds, memory, max(peaks))
