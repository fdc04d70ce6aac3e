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
from time import perf_counter
from typing import Any

import numpy as np
from numpy import matmul

VARIABLES = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")
"""Environment variables that set the number of threads, which minichar then does not change."""
PREFIXES = ("scipy_openblas_{}_num_threads64_", "openblas_{}_num_threads64_")
"""Names of OpenBLAS's functions that get and set the number of threads, in NumPy 2 and NumPy 1."""
CLEARLY = 1.5
"""A smaller number of threads is used only if it is faster by this factor. Results depend on the number of
threads, so the number should not vary between runs on idle cores."""
ROUNDS, SECONDS = 5, 5e-3
"""Number of measurements, of which the second slowest is used, and the minimum duration of each, in seconds.

Other programs delay two or more of the measurements on busy cores. On idle cores, there may be one outlier.
"""
STEPS, MOST = 50, 256
"""Number of time steps in a chunk, and the maximum number of columns of a measured matrix."""


def usual() -> str:
    """Return the number of threads set by an environment variable or, if none is set, the number of cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return next((os.environ[name] for name in VARIABLES if os.environ.get(name)), str(cores))


@cache
def openblas() -> tuple[Callable[[int], Any], int] | None:
    """Return OpenBLAS's function that sets the number of threads, and the original number.

    Return None if NumPy uses another library, or if the number is 1.
    """
    package = Path(np.__file__).parent
    for path in (*package.parent.glob("numpy.libs/*openblas*"), *package.glob(".dylibs/*openblas*")):
        for name in PREFIXES:
            with suppress(OSError, AttributeError):
                get, set_ = (getattr(CDLL(str(path)), name.format(verb)) for verb in ("get", "set"))
                return (set_, get()) if get() > 1 else None
    return None


def adjustable() -> tuple[Callable[[int], Any], int] | None:
    """Like `openblas`, but also return None if an environment variable sets the number."""
    return None if any(os.environ.get(name) for name in VARIABLES) else openblas()


def limit(threads: int) -> int:
    """Set the number of threads to at most the original one; 0 means the original one.

    Return the number if it is now limited, otherwise 0.
    """
    if (found := adjustable()) is None:
        return 0
    set_, most = found
    set_(min(threads or most, most))
    return threads if threads < most else 0


def clearly_faster(M: int, K: int, N: int) -> int:
    """Return the number of threads with which a chunk is clearly faster than with all threads, or 0.

    For N streams, a chunk has one product of ``(M, K)`` and ``(K, N)`` per time step, and one for the
    gradient of the weights. Even if a step is too small for multiple threads, the gradient may use them.
    Evaluation and generation are judged in the same way. The original number of threads is halved repeatedly
    to obtain the numbers to try, and is set again at the end.
    """
    if (found := adjustable()) is None:
        return 0
    counts = [found[1]]
    while counts[-1] > 1:
        counts.append(counts[-1] // 2)
    seconds: dict[int, list[float]] = {count: [] for count in counts}
    for count in counts * ROUNDS:
        limit(count)
        seconds[count].append(STEPS * time(M, K, min(N, MOST)) + time(M, min(STEPS * N, MOST), K))
    limit(0)
    typical = {count: sorted(times)[-2] for count, times in seconds.items()}
    fastest = min(counts, key=typical.__getitem__)
    return fastest if CLEARLY * typical[fastest] < typical[counts[0]] else 0


def time(M: int, K: int, N: int) -> float:
    """Return the mean time of a matrix product, over at least `SECONDS`, after a warm-up."""
    a, b, product = (np.ones(shape, np.float32) for shape in ((M, K), (K, N), (M, N)))
    matmul(a, b, out=product)
    begun = perf_counter()
    elapsed, calls = 0.0, 0
    while calls == 0 or elapsed < SECONDS:  # even if another program ran for that long
        matmul(a, b, out=product)
        calls, elapsed = calls + 1, perf_counter() - begun
    return elapsed / calls
