"""Describe and benchmark each device on this machine, or report why it is not available."""

import platform
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from time import perf_counter

from minichar.devices.backend import Backend, DeviceFailure
from minichar.devices.choose import open_auto, open_backend
from minichar.devices.cpu import host_generator
from minichar.devices.threads import clearly_faster
from minichar.errors import MinicharError
from minichar.extras import one_line

DEVICES = ("cpu", "gpu", "opencl")
N = 1024
"""Size of the matrices in the timed matrix product."""
REPEATS = 5
"""Number of times to measure the speed. The highest one is used."""
PRODUCT = (512, 128, 48)
"""Shapes of a matrix product in training, ``(M, K)`` and ``(K, N)``."""


@dataclass(frozen=True)
class Finding:
    """One row of the ``minichar doctor`` table."""

    what: str  # name of the check
    ok: bool
    found: str  # result of the check, or the problem and how to fix it


def examine() -> Iterator[Finding]:
    """Yield all findings, from the Python version to the devices that ``auto`` selects."""
    yield Finding("Python", True, f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    if clearly_faster(*PRODUCT):
        yield Finding("idle", False, "other programs use the cores, which slows down training")
    for kind in DEVICES:
        yield from examine_kind(kind)
    devices, problem = open_auto()
    choice = " or ".join(device.name for device in devices) + ", depending on the size of the network"
    cpu = f"cpu; {problem}" if problem else "the same as cpu"
    yield Finding("auto", not problem, choice if len(devices) > 1 else cpu)


def examine_kind(kind: str) -> Iterator[Finding]:
    """Yield a finding for each device of this kind or, if there are none, one that explains why."""
    for number in count():
        name = f"{kind}:{number}" if number else kind
        try:
            backend = open_backend(name)
            yield Finding(name, True, f"{backend.describe()}: {gigaflops(backend, N):,.0f} GFLOP/s")
        except MinicharError as error:
            missing = not isinstance(error, DeviceFailure)  # no device has this number
            if number == 0 or not missing:
                yield Finding(name, False, str(error))
            if missing:
                return
        except Exception as error:  # drivers and libraries can raise any exception
            yield Finding(name, False, f"the device was opened but cannot be used: {one_line(error)}")


def gigaflops(backend: Backend, n: int) -> float:
    """Return the speed of a float32 matrix product of two n × n matrices, in GFLOP/s."""
    A = backend.to_device(host_generator(0).random((n, n), dtype="float32"))  # (n, n)
    out = backend.zeros((n, n), "float32")  # (n, n)

    def once() -> float:
        begun = perf_counter()
        backend.matmul(A, A, out=out)
        backend.to_host(out[:1, :1])  # wait for the device
        return perf_counter() - begun

    once()
    return 2 * n**3 / min(once() for _ in range(REPEATS)) / 1e9
