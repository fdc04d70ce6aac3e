"""The log file of ``minichar train``, in JSON Lines format."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from minichar.errors import MinicharError
from minichar.files import descriptor_of


class Log:
    """Append-only log file in JSON Lines format, or nothing if `path` is None.

    The first time a write fails, `warn` is called with a message, and training continues.
    """

    def __init__(self, path: Path | None, warn: Callable[[str], None]) -> None:
        self.path, self.warn, self.failed = path, warn, False
        if path is None:
            return
        try:
            if is_foreign(path):
                raise MinicharError(f"log file {path} is not a JSON Lines file: choose another name")
            open(path, "a").close()
        except OSError as error:
            raise MinicharError(f"cannot write to log file {path}: {error.strerror}") from error

    def append(self, record: dict[str, Any]) -> None:
        """Append a record."""
        if self.path is None:
            return
        try:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
        except OSError as error:
            if not self.failed:
                self.warn(f"cannot write to log file {self.path}: {error.strerror}; continuing")
            self.failed = True


def is_foreign(path: Path) -> bool:
    """Return whether `path` is an existing file that is not a log, such as a training text."""
    # Do not read from a pipe, which would block, or from /dev/stderr, which may be redirected to a file that
    # contains other output.
    if descriptor_of(path) is not None or not path.is_file():
        return False
    with open(path, "rb") as file:
        return file.read(1) not in (b"", b"{")
