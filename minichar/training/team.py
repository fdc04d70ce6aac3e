"""The processes that train a model: this process alone, or the ranks of an MPI job.

Each rank trains on its share of the B streams of the text. The mean loss and its gradient are weighted sums
over the ranks:

    L = Σ_r B_r / B · L_r           g = Σ_r B_r / B · g_r

All ranks start from the same weights and apply the same updates, so the weights do not need to be
communicated.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from time import sleep
from typing import Any, TypeVar

import numpy as np

from minichar.devices.backend import Array, Backend
from minichar.errors import MinicharError, Option, counted

Result = TypeVar("Result")
Value = TypeVar("Value")

POLL = 0.002
"""Polling interval at barriers, in seconds. MPI's own wait would keep a core busy."""


class Team:
    """The processes that train a model. All of them must call the same methods in the same order.

    `comm` is an ``mpi4py.MPI.Comm``; None for a single process. `rank` is the index of this process, of which
    there are `size`. Rank 0 prints output and saves checkpoints.
    """

    rank, size = 0, 1

    def __init__(self, comm: Any = None) -> None:
        self.comm = comm
        if comm is not None:
            self.rank, self.size = comm.Get_rank(), comm.Get_size()
        # The function that sums arrays on a device, or None if there is none.
        self.reducer = cache(lambda backend: backend.all_reduce(comm))
        # Buffers to send and receive, which are reused because mapping new memory takes time.
        self.buffers = cache(lambda backend, n, dtype: [backend.zeros((n,), dtype) for _ in range(2)])

    def streams(self, B: int) -> slice:
        """Return the slice of the B streams that this rank trains on.

        Raises a `MinicharError` if there are fewer streams than ranks.
        """
        if self.size > B:
            raise MinicharError(
                f"{self.size} processes cannot share {counted(B, 'stream')}: start at most {B}, or begin a "
                "run with a larger ",
                Option("batch_size"),
            )
        return slice(B * self.rank // self.size, B * (self.rank + 1) // self.size)

    def on_device(self, backend: Backend) -> bool:
        """Return whether a training step, including `average`, runs entirely on the device."""
        return self.comm is None or self.reducer(backend) is not None

    @np.errstate(invalid="ignore")  # the caller checks whether the loss is finite
    def average(self, share: float, backend: Backend, gradient: Array, loss: Array) -> None:
        """Replace `gradient` and `loss` with their sums over all ranks, weighted by each rank's `share`.

        There must be several ranks: a single process has nothing to send.

        The gradient and the loss are sent together, in the gradient's dtype. To preserve precision, the loss
        is split into two parts: a multiple of 2⁻¹⁰, whose sum over all ranks is exact even in single
        precision, and the remainder.
        """
        xp, size = backend.xp, gradient.size
        weighted = share * loss
        coarse = xp.rint(1024 * weighted) / 1024
        sent, received = self.buffers(backend, size + 2, str(gradient.dtype))  # (size + 2,) each
        xp.multiply(gradient.ravel(), share, out=sent[:size])
        sent[size:] = xp.stack([coarse, weighted - coarse])
        self.sum(backend, sent, received)
        gradient[...] = received[:size].reshape(gradient.shape)
        loss[...] = received[size:].sum(dtype=loss.dtype)

    def sum(self, backend: Backend, sent: Array, received: Array) -> None:
        """Set `received` to the sum of `sent` over all ranks, computed on the device if possible."""
        if (all_reduce := self.reducer(backend)) is not None:
            all_reduce(sent, received)
        elif isinstance(sent, np.ndarray):
            self.comm.Allreduce(sent, received)
        else:
            on_host = backend.to_host(sent)
            total = np.empty_like(on_host)
            self.comm.Allreduce(on_host, total)
            received[...] = backend.to_device(total)

    def all(self, value: Value) -> list[Value]:
        """Return the values of all ranks, in rank order."""
        return [value] if self.comm is None else self.comm.allgather(value)

    def mean(self, share: float, *values: float) -> tuple[float, ...]:
        """Return the sum of each value over all ranks, weighted by each rank's `share`."""
        weighted = self.all([share * value for value in values])
        return tuple(map(sum, zip(*weighted, strict=True)))

    def largest(self, *values: float) -> tuple[float, ...]:
        """Return the maximum of each value over all ranks."""
        return tuple(map(max, zip(*self.all(values), strict=True)))

    def gather(self, columns: np.ndarray) -> np.ndarray:
        """Return the columns (last axis) of all ranks, concatenated in rank order."""
        return np.concatenate(self.all(columns), axis=-1)

    def lead(self, action: Callable[[], Result]) -> Result:
        """Run `action` on rank 0 only, then return its result or raise its error on all ranks."""
        if self.comm is None:
            return action()
        result = error = None
        if self.rank == 0:
            try:
                result = action()
            except MinicharError as caught:
                error = caught
        done = self.comm.Ibarrier()
        while not done.Test():
            sleep(POLL)
        result, error = self.comm.bcast((result, error))
        if error is not None:
            raise error
        return result

    def leading(self, context: AbstractContextManager[Any]) -> AbstractContextManager[Any]:
        """Return a context manager that enters `context` on rank 0 only."""
        return context if self.rank == 0 else nullcontext()

    def in_turn(self, action: Callable[[], Result]) -> Result:
        """Run `action` on rank 0 first, then on the other ranks, which can use files that rank 0 wrote."""
        results: list[Result] = []
        self.lead(lambda: results.append(action()))
        return results[0] if results else action()


ALONE = Team()
