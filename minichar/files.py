"""Writing a file whole or not at all."""

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
    """Open a file for bytes that takes the place of `path` when the block ends well.

    It is written beside `path`, flushed to the disk and renamed, so a reader sees the
    old file or the new one. If the block fails, it vanishes and the old file stays.
    Who may read it is as for the file `like`, if that is given.

    Raises
    ------
    OSError
        As opening, writing and renaming raise it.
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
    """Open `path` as `replacing` does, in a folder that is made if need be; failure is one line.

    Raises
    ------
    MinicharError
        If it cannot be written. A file that was at `path` is then still there, unharmed.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            yield file
    except IsADirectoryError as error:
        raise MinicharError(f"cannot write {path}: it is a folder; name a file in it") from error
    except OSError as error:
        raise MinicharError(
            f"cannot write {path}: {error.strerror or error}; free some space or choose another folder"
        ) from error
