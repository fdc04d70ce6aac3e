"""Check every device of this machine: open, describe and time it, or say why it is not available."""

import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from statistics import median
from time import perf_counter

from minichar.devices.backend import Backend
from minichar.devices.choose import open_backend
from minichar.devices.cpu import host_generator
from minichar.errors import MinicharError

DEVICES = ("cpu", "gpu", "opencl")
N = 1024
"""The size of the timed matrix product."""
REPEATS = 5
LITTLE_DISK = 1 << 30
"""The free disk space below which checkpoints may not fit, in bytes."""


@dataclass(frozen=True)
class Finding:
    """One line of the table.

    Attributes
    ----------
    what : str
        What was checked.
    ok : bool
        Whether it can be used.
    found : str
        What was found, or why it cannot be used and how to fix that.
    """

    what: str
    ok: bool
    found: str


def examine(folder: str = ".") -> Iterator[Finding]:
    """Yield the findings, from Python to the free disk space of `folder`."""
    yield Finding(
        "Python", True, f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    )
    for kind in DEVICES:
        yield from examine_kind(kind)
    yield Finding("auto", True, f"the same as {open_backend('auto').name}")
    free = shutil.disk_usage(folder).free
    enough = free >= LITTLE_DISK
    yield Finding("disk", enough, f"{free / 1e9:.1f} GB free{'' if enough else ': checkpoints may not fit'}")


def examine_kind(kind: str) -> Iterator[Finding]:
    """Yield every device of a kind, or one finding that says why there is none."""
    finding = examine_device(kind)
    yield finding
    numbers = count(1)
    while finding.ok and kind != "cpu":
        try:
            backend = open_backend(f"{kind}:{next(numbers)}")
        except MinicharError:  # there are no more
            return
        finding = time_device(backend)
        yield finding


def examine_device(name: str) -> Finding:
    """Open a device and time a product on it, or say why it cannot be opened."""
    try:
        backend = open_backend(name)
    except MinicharError as error:
        return Finding(name, False, str(error))
    return time_device(backend)


def time_device(backend: Backend) -> Finding:
    """Describe an open device, and time a product on it."""
    name = backend.kind if backend.name.endswith(":0") else backend.name
    try:
        return Finding(name, True, f"{backend.describe()}: {gigaflops(backend):,.0f} GFLOP/s")
    except Exception as error:  # drivers and libraries raise errors of any kind
        why = f"{type(error).__name__}: {error}".splitlines()[0]
        return Finding(name, False, f"it can be opened, but not used: {why}")


def gigaflops(backend: Backend) -> float:
    """Return the median speed of a float32 product of two N × N matrices, in GFLOP/s."""
    A = backend.to_device(host_generator(0).random((N, N), dtype="float32"))  # (N, N)
    out = backend.zeros((N, N), "float32")  # (N, N)

    def once() -> float:
        begun = perf_counter()
        backend.xp.matmul(A, A, out=out)
        backend.to_host(out[:1, :1])  # wait for the device
        return perf_counter() - begun

    once()
    return 2 * N**3 / median(once() for _ in range(REPEATS)) / 1e9
