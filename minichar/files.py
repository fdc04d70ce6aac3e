"""Read text files, and write files atomically: readers see either the old file or the complete new one.

New content is written to a temporary file in the same directory, flushed to disk, and renamed over the old
file. The process locks its temporary file so that `remove_abandoned` can tell files in use from files left
behind by killed processes. Symbolic links are followed. Devices and pipes are written to directly instead of
being replaced.

This module is not in a package, because every package that reads or writes files uses it.
"""

import errno
import os
import re
import secrets
import shutil
import stat
import sys
from codecs import getincrementaldecoder
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from minichar.errors import MinicharError, Option, nearest

try:
    import fcntl
except ImportError:  # no locks on Windows, where open files cannot be deleted anyway
    fcntl = None  # type: ignore[assignment]

TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")
STREAMS = {"/dev/stdin": 0, "/dev/stdout": 1, "/dev/stderr": 2}
DESCRIPTOR = re.compile(r"/(?:dev|proc/self)/fd/(\d+)")


@contextmanager
def replacing(path: Path, like: Path | None = None) -> Iterator[IO[bytes]]:
    """Open a temporary binary file, and rename it to `path` if the ``with`` block succeeds.

    The temporary file is in the same directory as `path`, with the permissions of `like`, if given. The file
    and, where possible, the directory are flushed to disk, so the new file survives a power failure. If the
    block raises an exception, the temporary file is deleted and the old file is unchanged.
    """
    temporary, file = _new_temporary(path)
    try:
        with file:
            if like is not None:
                shutil.copymode(like, temporary)
            yield file
            file.flush()
            os.fsync(file.fileno())
            if fcntl is not None:  # rename before unlocking, so that no other process deletes the file
                os.replace(temporary, path)
        if fcntl is None:
            os.replace(temporary, path)
        _sync_directory(path.parent)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


@contextmanager
def writing(path: Path) -> Iterator[IO[bytes]]:
    """Open `path` for writing, creating its directory if necessary.

    A regular file is replaced atomically. If `path` is a symbolic link, its target is replaced. Output to a
    device, a pipe or a standard stream is buffered first, so nothing is written if the block raises an
    exception. Raises a `MinicharError` if the file cannot be written. An existing file then remains
    unchanged.
    """
    try:
        kind, descriptor = _kind(path), descriptor_of(path)
        if kind is not None and stat.S_ISDIR(kind):
            raise IsADirectoryError
        if kind is None or (stat.S_ISREG(kind) and descriptor is None):
            target = Path(os.path.realpath(path))
            target.parent.mkdir(parents=True, exist_ok=True)
            with replacing(target, like=None if kind is None else target) as file:
                yield file
            return
        with TemporaryFile() as file:
            yield file
            file.seek(0)
            with open(path if descriptor is None else os.dup(descriptor), "wb") as stream:
                shutil.copyfileobj(file, stream)
    except IsADirectoryError as error:
        raise MinicharError(f"cannot write {path}: it is a directory; specify a file name") from error
    except OSError as error:
        advice = {errno.ENOSPC: "; free up disk space or choose another directory", errno.EPIPE: ""}
        what_to_do = advice.get(error.errno or 0, "; choose another directory")
        raise MinicharError(f"cannot write {path}: {error.strerror or error}{what_to_do}") from error


@contextmanager
def sharing(directory: Path) -> Iterator[Callable[[], bool]]:
    """Mark a directory as in use by this process.

    Yields a function that returns whether another process has marked the same directory: False if file locks
    are not supported.
    """
    if fcntl is None:
        yield lambda: False
        return
    descriptor = os.open(directory, os.O_RDONLY)

    def is_locked() -> bool:
        try:
            return _is_locked(descriptor)
        finally:
            with suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_SH)

    def shared() -> bool:
        # Another process in `is_shared` locks the directory for a moment, which the first call waits for.
        return is_locked() and is_locked()

    try:
        shared()
        yield shared
    finally:
        os.close(descriptor)


def is_shared(directory: Path) -> bool:
    """Return whether a process has marked a directory as in use. False if the platform has no file locks."""
    if fcntl is None:
        return False
    try:
        descriptor = os.open(directory, os.O_RDONLY)
    except OSError:
        return False
    try:
        return _is_locked(descriptor)
    finally:
        os.close(descriptor)


def _is_locked(descriptor: int) -> bool:
    """Return whether another process has locked an open directory; otherwise, lock it exclusively."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    except OSError:  # some file systems do not support locks
        return False


@contextmanager
def locking(path: Path, wait: bool = True) -> Iterator[bool]:
    """Lock a file, creating it and its directory if necessary.

    The lock is released at the end of the ``with`` block, or when the process exits or is killed. On systems
    without file locks, such as Windows, the file is not locked. If another process holds the lock, this
    function waits or, if `wait` is False, yields False. A file that cannot be created or locked raises a
    `MinicharError`.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "ab")  # noqa: SIM115  (closed below)
    except OSError as error:
        raise MinicharError(f"cannot lock {path}: {error.strerror}; choose another directory") from error
    with file:
        yield fcntl is None or _lock(file, wait)


def _lock(file: IO[bytes], wait: bool) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False
    except OSError as error:
        raise MinicharError(f"cannot lock {file.name}: {error.strerror}; choose another directory") from error


def check_directory(directory: Path, size: int) -> None:
    """Create a directory if it does not exist, and check that a file of `size` bytes can be written to it.

    Temporary files left behind by killed processes are deleted first. Raises a `MinicharError` if the
    directory is not writable, or there is not enough disk space for the file.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        remove_abandoned(directory)
        with TemporaryFile(dir=directory) as file:
            _reserve(file, size)
    except FileExistsError as error:
        raise MinicharError(
            f"cannot write to {str(directory)!r}: it is not a directory; choose another one with ",
            Option("checkpoint_dir"),
        ) from error
    except OSError as error:
        full = f" ({size / 1e6:,.1f} MB needed); free up space or" if error.errno == errno.ENOSPC else ";"
        raise MinicharError(
            f"cannot write to {directory}/: {error.strerror or error}{full} choose another directory with ",
            Option("checkpoint_dir"),
        ) from error


def remove_abandoned(directory: Path) -> None:
    """Delete the temporary files that killed processes left behind in a directory."""
    for path in directory.iterdir():
        if not TEMPORARY.fullmatch(path.name):
            continue
        with suppress(OSError):  # the file is in use, or another process has deleted it
            if not stat.S_ISREG(path.lstat().st_mode):
                continue
            if fcntl is None:
                path.unlink()
                continue
            with open(path, "rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()


def _new_temporary(path: Path) -> tuple[Path, IO[bytes]]:
    """Create a temporary file in the same directory as `path`; return its path and the open, locked file."""
    while True:
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
        file = open(temporary, "xb")  # noqa: SIM115  (closed by the caller)
        if fcntl is None:
            return temporary, file
        with suppress(OSError):  # some file systems do not support locks
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(file.fileno()).st_nlink:  # 0 if `remove_abandoned` deleted the file before it was locked
            return temporary, file
        file.close()


def _kind(path: Path) -> int | None:
    """Return the mode of the file at `path`, or None if it does not exist."""
    try:
        return os.stat(path).st_mode
    except FileNotFoundError:
        return None


def descriptor_of(path: Path) -> int | None:
    """Return the file descriptor that `path` refers to, such as 1 for ``/dev/stdout``, or None."""
    name = os.path.abspath(path)
    match = DESCRIPTOR.fullmatch(name)
    return int(match[1]) if match else STREAMS.get(name)


def _reserve(file: IO[bytes], size: int) -> None:
    """Allocate `size` bytes on disk."""
    if hasattr(os, "posix_fallocate") and size:
        os.posix_fallocate(file.fileno(), 0, size)
    else:
        file.write(bytes(size))
        file.flush()


def _sync_directory(directory: Path) -> None:
    """Flush a directory to disk, if possible, so that a rename survives a power failure."""
    if fcntl is None:  # directories cannot be opened on Windows
        return
    try:
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        # The new file is already complete, so ignore the error if the directory is writable but not readable,
        # or if the file system cannot flush directories.
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EINVAL, errno.ENOTSUP):
            raise


def is_text(path: Path) -> bool:
    """Return whether a file starts with UTF-8 text."""
    with open(path, "rb") as file:
        start = file.read(1000)
    try:
        text = getincrementaldecoder("utf-8")().decode(start)  # the last character may be incomplete
    except UnicodeDecodeError:
        return False
    return text != "" and "\0" not in text


def similar(path: Path) -> list[Path]:
    """Return the files and directories beside the missing `path` that have similar names."""
    with suppress(OSError):
        found = [path.with_name(name) for name in nearest(path.name, os.listdir(path.parent))]
        # Short names with the same suffix, such as "mine.txt" and "tiny.txt", are similar only because of it.
        stem = path.stem.lower()
        return [each for each in found if each.suffix != path.suffix or nearest(stem, [each.stem.lower()])]
    return []


def cache_folder() -> Path | None:
    """Return minichar's directory in the user's cache directory, or None if there is none.

    The environment variable ``MINICHAR_CACHE`` specifies another directory or, if it is empty, none.
    """
    if (given := os.environ.get("MINICHAR_CACHE")) is not None:
        return Path(given) if given else None
    xdg = Path(os.environ.get("XDG_CACHE_HOME", ""))
    try:
        if xdg.is_absolute():  # the XDG specification says to ignore relative paths
            return xdg / "minichar"
        if sys.platform == "darwin":
            return Path.home() / "Library" / "Caches" / "minichar"
        if sys.platform == "win32" and "LOCALAPPDATA" in os.environ:
            return Path(os.environ["LOCALAPPDATA"]) / "minichar"
        return Path.home() / ".cache" / "minichar"
    except RuntimeError:  # the user has no home directory
        return None


def read_text(path: Path) -> str:
    """Return the contents of a UTF-8 file, or raise a `MinicharError` if it cannot be read."""
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise MinicharError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise MinicharError(
            f"cannot read {path}: it is not UTF-8 (invalid byte at offset {error.start})"
        ) from error
