"""Atomic file writing."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from minichar.errors import MinicharError


@contextmanager
def replacing(path: Path, like: Path | None = None) -> Iterator[IO[bytes]]:
    """Open a temporary binary file, and rename it to `path` if the block succeeds.

    The temporary file is in the same directory and is flushed to disk before the rename, so readers
    see either the old file or the complete new file. If the block fails, the temporary file is
    deleted and the old file is unchanged.

    Parameters
    ----------
    path : Path
    like : Path, optional
        File whose permissions are copied.

    Raises
    ------
    OSError
        If opening, writing or renaming fails.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as file:
            if like is not None:
                shutil.copymode(like, temporary)
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


@contextmanager
def writing(path: Path) -> Iterator[IO[bytes]]:
    """Open `path` as in `replacing`, and create its directory if necessary.

    Raises
    ------
    MinicharError
        If the file cannot be written. An existing file at `path` remains unchanged.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            yield file
    except IsADirectoryError as error:
        raise MinicharError(f"cannot write {path}: it is a directory; specify a file name") from error
    except OSError as error:
        raise MinicharError(
            f"cannot write {path}: {error.strerror or error}; free disk space or choose another directory"
        ) from error
