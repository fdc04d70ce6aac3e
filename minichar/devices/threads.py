"""The number of threads that compute a matrix product on the CPU.

OpenBLAS, the library that NumPy's packages include, uses one thread per core. The threads of a product wait
for each other, so if other programs use the cores, one thread can be many times faster.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from ctypes import CDLL
from functools import cache
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

VARIABLES = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")
"""Environment variables that set the number of threads. It is then left unchanged."""
FUNCTIONS = ("scipy_openblas_set_num_threads64_", "openblas_set_num_threads64_")
"""Names of OpenBLAS's function that sets the number of threads, in NumPy 2 and NumPy 1."""
CLEARLY = 1.5
"""A smaller number of threads is used only if it is faster by this factor. Results depend on the number of
threads, so on idle cores, where the factor is smaller, it should be the same in each run."""
ROUNDS, SECONDS = 5, 5e-3
"""Number of measurements, whose median counts, and the minimum time of each."""


def usual() -> str:
    """Return the number of threads: an environment variable or, if none is set, the number of cores."""
    return next((os.environ[name] for name in VARIABLES if os.environ.get(name)), str(cores()))


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def setter() -> Callable[[int], Any] | None:
    """Return OpenBLAS's function that sets the number of threads, or None if NumPy uses another library."""
    package = Path(np.__file__).parent
    for path in (*package.parent.glob("numpy.libs/*openblas*"), *package.glob(".dylibs/*openblas*")):
        for name in FUNCTIONS:
            with suppress(OSError, AttributeError):
                return getattr(CDLL(str(path)), name)
    return None


def limit(threads: int) -> bool:
    """Set the number of threads, and return whether this is possible. 0 means one per core."""
    function = setter()
    if function is None or any(os.environ.get(name) for name in VARIABLES):
        return False
    function(min(threads or cores(), cores()))
    return True


def clearly_faster(product: Callable[[], Any]) -> int:
    """Return the number of threads that computes `product` clearly faster than one per core, or 0.

    The number of cores is halved repeatedly to obtain the numbers to try. One thread per core is set again.
    """
    counts = [cores()]
    while counts[-1] > 1:
        counts.append(counts[-1] // 2)
    seconds: dict[int, list[float]] = {count: [] for count in counts}
    for count in counts * ROUNDS:
        if len(counts) == 1 or not limit(count):
            return 0
        seconds[count].append(time(product))
    limit(0)
    fastest = min(counts, key=lambda count: median(seconds[count]))
    clearly = CLEARLY * median(seconds[fastest]) < median(seconds[counts[0]])
    return fastest if clearly else 0


def time(product: Callable[[], Any]) -> float:
    """Return the mean time of as many calls as take `SECONDS`, after a first one."""
    product()
    begun, calls = perf_counter(), 0
    while (elapsed := perf_counter() - begun) < SECONDS:
        product()
        calls += 1
    return elapsed / calls
