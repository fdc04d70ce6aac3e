"""Read untrusted, uncompressed zip archives with bounded memory use."""

import io
import zipfile
from itertools import pairwise
from pathlib import Path
from typing import IO, Self

from minichar.errors import Refused

MAX_DIRECTORY_BYTES = 8 << 20
"""Maximum size of the central directory, in bytes. zipfile needs about 15 times as much memory to read it."""
HEADER_BYTES = 30
"""Minimum size of a local file header, in bytes."""


class StoredZip:
    """Context manager for reading an uncompressed zip archive.

    Parameters
    ----------
    path : Path

    Attributes
    ----------
    size : int
        Size of the file, in bytes.
    sizes : dict of str to int
        Size of each member in bytes, keyed by name.

    Raises
    ------
    OSError
        If the file cannot be read.
    Refused
        If the file is not a zip archive, or if its members are compressed, duplicated or overlapping.
    """

    def __init__(self, path: Path) -> None:
        self.size = path.stat().st_size
        self.file = LimitedFile(path)
        try:
            self.zip = self._open()
            self.file.limit = None
            self.sizes = self._check()
        except BaseException:
            self.file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.zip.close()
        self.file.close()

    def open(self, name: str) -> IO[bytes]:
        """Open a member for reading. Reading a corrupted member can raise many different exceptions."""
        return self.zip.open(name)

    def read(self, name: str) -> bytes:
        """Return the contents of a member.

        Raises
        ------
        Refused
            If the member is missing or corrupted.
        """
        try:
            return self.zip.read(name)
        except Exception as error:  # zipfile raises many different exceptions for corrupted files
            raise Refused("it is corrupted: a member is missing, or its checksum is wrong") from error

    def _open(self) -> zipfile.ZipFile:
        try:
            return zipfile.ZipFile(self.file)
        except (OSError, Refused):
            raise
        except Exception as error:  # see `read`
            raise Refused("it is empty, truncated, or not a zip archive") from error

    def _check(self) -> dict[str, int]:
        """Check all members and return their sizes, keyed by name."""
        members = sorted(self.zip.infolist(), key=lambda member: member.header_offset)
        sizes = {member.filename: member.compress_size for member in members}
        if len(sizes) < len(members):
            raise Refused("it contains several members with the same name")
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise Refused("it is compressed; save it without compression")
        starts = [*(member.header_offset for member in members), self.size]
        if any(
            start + HEADER_BYTES + member.compress_size > following
            for member, (start, following) in zip(members, pairwise(starts), strict=True)
        ):
            raise Refused("its members overlap, or are larger than the file")
        return sizes


class LimitedFile(io.FileIO):
    """A file that limits the size of each read until `limit` is set to None."""

    limit: int | None = MAX_DIRECTORY_BYTES

    def read(self, size: int | None = -1, /) -> bytes:
        """Return the next bytes.

        Raises
        ------
        Refused
            If `size` is larger than `limit`.
        """
        if self.limit is not None and size is not None and size > self.limit:
            raise Refused(f"its list of members is larger than {self.limit:,} bytes")
        return super().read(size)
