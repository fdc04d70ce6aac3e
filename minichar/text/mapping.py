"""Keep the ids of large texts in memory-mapped files rather than in memory."""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Iterator
from tempfile import TemporaryFile, gettempdir
from typing import IO

import numpy as np
from numpy.typing import NDArray

from minichar.errors import MinicharError

IN_MEMORY = 100_000_000
"""Maximum total size, in bytes, of ids kept in memory."""
BLOCK = 1 << 20
"""Number of ids processed at a time, to limit memory use for long texts."""


def is_large(dtype: np.dtype[np.unsignedinteger], N: int) -> bool:
    """Return whether an array of N ids is too large to keep in memory."""
    return N * dtype.itemsize > IN_MEMORY


def gather(
    pieces: Iterable[NDArray[np.unsignedinteger]], dtype: np.dtype[np.unsignedinteger], N: int
) -> NDArray[np.unsignedinteger]:
    """Return the concatenated pieces, ``(N,)``, in memory or, if they are large, in a temporary file.

    The pieces are one-dimensional arrays with a total size of `N`. The temporary file, if any, is deleted
    when the array is freed or the process exits. Raises a `MinicharError` if it cannot be written.
    """
    if not is_large(dtype, N):
        ids = np.empty(N, dtype)  # (N,)
        start = 0
        for piece in pieces:
            ids[start : start + len(piece)] = piece
            start += len(piece)
        return ids
    try:
        with TemporaryFile() as file:
            for piece in pieces:
                file.write(piece.data)
            file.flush()
            return read(file, dtype, N)
    except OSError as exc:
        raise MinicharError(
            f"cannot write {N * dtype.itemsize / 1e6:,.0f} MB of ids to {gettempdir()!r}: "
            f"{exc.strerror or exc}; free up disk space, or set TMPDIR to another directory"
        ) from None


def read(
    file: IO[bytes], dtype: np.dtype[np.unsignedinteger], N: int, offset: int = 0
) -> NDArray[np.unsignedinteger]:
    """Return the N ids stored at an offset in a file, ``(N,)``, memory-mapped if the array is large.

    A memory-mapped array is read-only and remains valid after `file` is closed or deleted.
    """
    ids = np.memmap(file, dtype, "r", offset, (N,))  # (N,)
    return ids if is_large(dtype, N) else np.array(ids)


def release(array: NDArray[np.integer]) -> None:
    """Release the physical memory used by a view of a memory-mapped file. Later accesses reread the file.

    Without calls to this function, accessed pages would accumulate in memory, up to the size of the file.
    """
    base: object = array
    while base is not None and not isinstance(base, mmap.mmap):
        base = getattr(base, "base", None)
    if base is not None and hasattr(mmap, "MADV_DONTNEED"):  # not on Windows
        base.madvise(mmap.MADV_DONTNEED)


def blocks(ids: NDArray[np.integer], overlap: int = 0) -> Iterator[NDArray[np.integer]]:
    """Yield the ids in blocks of `BLOCK`, and release each block when the next one is requested.

    Each block is followed by the first `overlap` ids of the next block.
    """
    for start in range(0, len(ids) - overlap, BLOCK):
        yield ids[start : start + BLOCK + overlap]
        release(ids)
