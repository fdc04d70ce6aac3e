"""Read untrusted, uncompressed zip archives with bounded memory use."""

import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

from minichar.errors import Refused

MAX_DIRECTORY_BYTES = 8 << 20
"""Maximum size of the central directory, in bytes. zipfile needs about 15 times as much memory to read it."""
HEADER_BYTES = 30
"""Minimum size of a local file header, in bytes."""


@contextmanager
def stored_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open an uncompressed zip archive. Reading a corrupted member can raise many different exceptions.

    Raises `OSError` if the file cannot be read, and `Refused` if it is not a zip archive, or if its members
    are compressed, duplicated or overlapping.
    """
    with LimitedFile(path) as file:
        try:
            archive = zipfile.ZipFile(file)
        except (OSError, Refused):
            raise
        except Exception as error:  # zipfile raises many different exceptions for corrupted files
            raise Refused("it is empty, truncated, or not a zip archive") from error
        file.limit = None
        _check(archive, file.seek(0, io.SEEK_END))
        yield archive


def _check(archive: zipfile.ZipFile, size: int) -> None:
    """Raise `Refused` if a member is compressed, duplicated, or not within the `size` bytes of the file."""
    members = sorted(archive.infolist(), key=lambda member: member.header_offset)
    if len({member.filename for member in members}) < len(members):
        raise Refused("it contains multiple members with the same name")
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise Refused("it is compressed; save it without compression")
    starts = [*(member.header_offset for member in members), size]
    if any(
        start + HEADER_BYTES + member.compress_size > following
        for member, (start, following) in zip(members, pairwise(starts), strict=True)
    ):
        raise Refused("its members overlap, or are larger than the file")


class LimitedFile(io.FileIO):
    """A file that limits the size of each read until `limit` is set to None."""

    limit: int | None = MAX_DIRECTORY_BYTES

    def read(self, size: int | None = -1, /) -> bytes:
        """Return the next bytes. Raises `Refused` if `size` is larger than `limit`."""
        if self.limit is not None and size is not None and size > self.limit:
            raise Refused(f"its list of members is larger than {self.limit:,} bytes")
        return super().read(size)
