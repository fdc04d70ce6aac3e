"""The device protocol, which keeps all other modules device-independent.

A `Backend` has an array module ``xp`` with NumPy's function names, and methods for the operations that
differ between devices.
"""

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from math import prod
from types import ModuleType
from typing import Any

import numpy as np

from minichar.devices.random import Uniform
from minichar.errors import MinicharError, brief
from minichar.extras import one_line

Array = Any
"""An array from the backend's array module. Comments in the code give the shape of each new array."""
Function = Callable[..., Any]
Into = Sequence[tuple[int, Array]]
"""Pairs of the index of a result and the array to write it to (see `Backend.fuse`)."""


def as_columns(steps: Array) -> Array:
    """Rearrange n steps ``(n, K, B)`` into one matrix ``(K, n·B)`` with one column per character."""
    return steps.transpose(1, 0, 2).reshape(steps.shape[1], -1)


class Backend(ABC):
    """Abstract base class for devices.

    Attributes
    ----------
    name : str
        Value of ``--device``, such as ``cpu``, ``gpu:0`` or ``opencl:0``.
    xp : module
        The array module.
    plain : Backend
        The backend for the same device without exact matrix products (see `minichar.engine.exact`).
    tf32 : bool
        Whether the operands of float32 matrix products are rounded to TF32.
    samples_in_blocks : bool
        Whether characters are sampled on the device and copied to the host in blocks.
    warm_up : int
        Number of initial calls of a step that may take longer than later calls, because they compile kernels
        or record the step (see `recorded`).
    uses_chunk_kernel : bool
        Whether an NVIDIA GPU runs all steps of a layer in one kernel where it can (see docs/chunk-kernel.md).
    threads : int
        The number of threads for matrix products on the CPU if it is limited, otherwise 0.
    announce : callable
        Called with a one-line message before a long wait. By default, the message is ignored.
    """

    xp: ModuleType
    name: str
    samples_in_blocks = False
    warm_up = 1
    uses_chunk_kernel = False
    threads = 0

    def __init__(self, name: str, xp: ModuleType) -> None:
        self.name, self.xp = name, xp
        self.plain = self
        self.tf32 = False
        self.announce: Callable[[str], None] = lambda notice: None

    @property
    def kind(self) -> str:
        """The name without the index: ``cpu``, ``gpu`` or ``opencl``."""
        return self.name.partition(":")[0]

    def to_device(self, array: Array) -> Array:
        """Copy a host array to the device, preserving its shape and dtype."""
        return self.xp.asarray(array)

    def to_host(self, array: Array) -> np.ndarray:
        """Copy a device array to the host, preserving its shape and dtype."""
        return self.xp.asnumpy(array)

    def _zeros(self, shape: tuple[int, ...], dtype: Any) -> Array:
        return self.xp.zeros(shape, dtype=dtype)

    def zeros(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """Return an array of zeros on the device.

        Raises
        ------
        MemoryError
            If the device does not have enough memory, or the size exceeds the address space.
        """
        if prod(shape) * np.dtype(dtype).itemsize > sys.maxsize:  # array modules raise other exceptions
            raise MemoryError(f"an array of shape {brief(shape)} exceeds the address space")
        return self._zeros(shape, dtype)

    def zeros_of_steps(self, shape: tuple[int, int, int], dtype: Any) -> Array:
        """Return zeros ``(T, K, B)`` for T steps, in the memory layout that suits `matmul_steps`."""
        return self.zeros(shape, dtype)

    @abstractmethod
    def uniform(self, *words: int) -> Uniform:
        """Return a uniform random number generator on the device, seeded with `words`.

        Different `words` yield independent streams.
        """

    def matmul(self, A: Array, B: Array, out: Array | None = None) -> Array:
        """Return the matrix product ``A @ B``, written to `out` if given."""
        return self.xp.matmul(A, B, out=out)

    def add_matmul(self, A: Array, B: Array, out: Array) -> Array:
        """Add the matrix product ``A @ B`` to `out`, and return `out`."""
        out += self.xp.matmul(A, B)
        return out

    def matmul_steps(self, W: Array, columns: Array, out: Array) -> None:
        """Set `out` ``(n, G, B)``, for n steps, to the matrix product ``W @ columns`` ``(G, n·B)``."""
        product = self.matmul(W, columns)  # (G, n·B)
        out[...] = product.reshape(len(W), len(out), -1).transpose(1, 0, 2)

    def wavefront(self, layers: Sequence[Any], T: int) -> Any:
        """Return a `minichar.devices.wavefront.Wavefront`, or None if the network runs step by step."""
        return None

    def take_columns(self, W: Array, ids: Array, out: Array) -> None:
        """Set ``out[t, :, b] = W[:, ids[t, b]]``.

        `W` is ``(G, V)``, `ids` is ``(m, B)`` and `out` is ``(m, G, B)``. The ids are not checked.
        """
        self.xp.take(W, ids, axis=1, out=out.transpose(1, 0, 2))

    def sum_columns(self, columns: Array, ids: Array, out: Array) -> None:
        """Set ``out[:, k]`` to the sum of ``columns[:, j]`` over all j for which ``ids[j] == k``.

        `columns` is ``(G, N)``, `ids` is ``(N,)`` and `out` is ``(G, V)``. The sums are computed as one
        matrix product with a one-hot matrix of the distinct ids, which is faster than a scatter-add because a
        chunk contains few distinct characters.
        """
        xp = self.xp
        occurs = self._zeros((out.shape[1],), bool)  # (V,)
        occurs[ids] = True
        seen, place = xp.flatnonzero(occurs), xp.cumsum(occurs) - 1  # (M,), (V,)
        onehot = self._zeros((len(ids), len(seen)), columns.dtype)  # (N, M)
        xp.put_along_axis(onehot, place[ids][:, None], 1.0, axis=1)
        out[...] = 0.0
        out[:, seen] = self.matmul(columns, onehot)  # (G, M)

    def fuse(self, function: Function) -> Function:
        """Bind the first argument of an element-wise function to `xp`, and fuse the function if possible.

        ``function(xp, *arguments)`` may change its arguments in place, but must have no other effects.
        Arguments and results are arrays (no numbers) of the same shape, such as ``(H, B)``, or tuples of such
        arrays. An argument can also be an array that is broadcast to this shape, or a block ``(G, H, B)``,
        which is passed to the function unchanged or as a tuple of G arrays.

        The returned function has a keyword argument ``into``, a sequence of pairs ``(k, out)``. For each
        pair, result k is also written to `out`, which has shape ``(H, B)``, or ``(G·H, B)`` if the result is
        a tuple of G arrays. A fused kernel writes directly to `out`, without a separate copy.
        """
        xp = self.xp

        def call(*arguments: Any, into: Into = ()) -> Any:
            results = function(xp, *arguments)
            for k, out in into:
                if isinstance(results[k], tuple):
                    xp.concatenate(results[k], out=out)
                else:
                    out[...] = results[k]
            return results

        return call

    def fuse_with_mean(self, function: Function, H: int, dtype: Any) -> Function:
        """Bind the first arguments of a function to `xp` and the mean over H units, and fuse it if possible.

        ``function(xp, mean, *arguments)`` must be pure, return a tuple, and use no functions other than
        ``xp.sqrt`` and ``mean``. Arguments and results are arrays ``(gates, H, B)`` or ``(gates, 1, B)``,
        and the first argument is ``(gates, H, B)``.

        The returned function takes the arguments of one or more calls, and returns the results of each. If
        the function has only one result, the keyword argument ``out`` lists the array for it in each call.
        """
        ones = self.zeros((1, H), dtype) + 1.0  # (1, H)

        def mean(a: Array) -> Array:
            # Faster than xp.mean. The sum is exact if the backend's matrix products are exact.
            return self.matmul(ones, a) / H  # (gates, 1, B)

        def call(*calls: Sequence[Array], out: Sequence[Array] = ()) -> list[Any]:
            results = [function(self.xp, mean, *arguments) for arguments in calls]
            for target, (result, *_) in zip(out, results, strict=False):
                target[...] = result
            return results

        return call

    def recorded(self, step: Function, agree: Callable[[bool], bool] = bool) -> Function:
        """Return a function ``run(times=1)`` that runs `step`, or replays a recording of it, which is faster.

        All arrays that `step` uses must have fixed addresses. `agree` is called with True if recording
        succeeded, and with False otherwise. The recording is used only if `agree` returns True.
        """

        def run(times: int = 1) -> None:
            for _ in range(times):
                step()

        return run

    def limit_threads(self, threads: int) -> None:  # noqa: B027
        """Set the number of threads for matrix products on the CPU. 0 means the original number."""

    def fit_threads(self, M: int, K: int, N: int) -> None:  # noqa: B027
        """Limit the number of threads if this clearly speeds up chunks of N streams and ``(M, K)`` weights.

        This is usually the case if other programs use the CPU (see `minichar.devices.threads`).
        """

    def all_reduce(self, comm: Any) -> Callable[[Array, Array], None] | None:
        """Return a function that sums device arrays over the ranks of an MPI communicator.

        ``all_reduce(sent, received)`` sets `received` to the sum. Return None if arrays must first be copied
        to the host. All ranks must call this method.
        """
        return None

    def tf32_note(self, dtype: str) -> str:
        """Return the reason why TF32 does not affect matrix products of a dtype, or "" if it does."""
        if not self.tf32:
            return f"TF32 has no effect on device {self.name}: it requires an NVIDIA GPU, Ampere or newer"
        return "" if dtype == "float32" else f"TF32 has no effect on {dtype} matrix products"

    @abstractmethod
    def describe(self) -> str:
        """Return a one-line description of the library, the hardware and the mode."""


class DeviceMissing(MinicharError):
    """Raised if the package, the driver or the device is not found."""


class DeviceFailure(MinicharError):
    """Raised if a device exists but cannot be used. Other devices of the same kind may still work."""


def unusable(
    device: str, what: str, error: Exception, remedy: str, kind: type[MinicharError] = MinicharError
) -> MinicharError:
    """Return a one-line error of type `kind` that states why a device cannot be used."""
    return kind(f"device {device}: {what} ({one_line(error)}): {remedy}")
