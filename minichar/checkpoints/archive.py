"""Read and write ``.npz`` files that contain named arrays and a JSON header.

The files can be read with NumPy alone: ``numpy.load(path)`` returns the arrays and, under ``"header"``, the
JSON text. Writing is atomic. Files are untrusted: nothing is unpickled, and every size is checked against the
file size before memory is allocated.
"""

import json
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from minichar.checkpoints.stored_zip import stored_zip
from minichar.errors import MinicharError, Refused, brief, plain, reading
from minichar.files import is_text, similar, writing

MAX_HEADER_CHARACTERS = 16 << 20
MAX_HEADER_BYTES = 4 * MAX_HEADER_CHARACTERS
"""Maximum header size in an ``.npz`` file, in bytes. NumPy stores each character in 4 bytes."""
MAX_HEADER_VALUES = 1 << 20
"""Maximum number of values in a header. Even a two-character value can take up 180 bytes of memory."""
MAX_NAME = 1000
"""Maximum length of an array's name, in characters."""
RESERVED = "it contains an array named header, a name reserved for minichar's own header: rename it"
"""Reason for rejecting an array that would be read as the header."""


class Missing(MinicharError):
    """Raised if a checkpoint does not exist."""


class TextFile(MinicharError):
    """Raised if a text file is passed as a checkpoint."""


def write_archive(path: Path, header: dict[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Write an archive atomically. An empty header is omitted.

    Raises a `MinicharError` if the file cannot be written. Any existing file at `path` is left unchanged.
    """
    members = {"header": np.array(header_text(header, path))} if header else {}
    # numpy.savez takes names as keyword arguments, so it cannot store an array named "file".
    with writing(path) as file, zipfile.ZipFile(file, "w") as archive:
        for name, array in (members | dict(arrays)).items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)


@contextmanager
def open_archive(path: Path, kinds: str = "fiu") -> Iterator["Archive"]:
    """Open and verify an ``.npz`` file of floats and integers, or of other `kinds` of NumPy dtypes.

    If the ``with`` block raises `Refused`, the error names the file. Raises a `MinicharError` if the file is
    missing, unreadable, truncated, compressed or not an ``.npz`` file, or contains anything other than plain
    numeric arrays with sizes that match the file.
    """
    with reading(path, "a checkpoint"):
        try:
            path.stat()
        except FileNotFoundError:
            others = [
                repr(str(each)) for each in similar(path) if each.suffix == ".npz" or [*each.glob("*.npz")]
            ]
            choice = " or ".join(others) or "a file or directory created by `minichar train`"
            raise Missing(f"no such checkpoint: {str(path)!r}; choose {choice}") from None
        if path.suffix != ".npz" and is_text(path):
            raise TextFile(
                f"{str(path)!r} is a text file, not a checkpoint: choose a checkpoint or a "
                "directory of checkpoints"
            )
        with stored_zip(path) as members:
            yield Archive(members, kinds)


class Archive:
    """The contents of an ``.npz`` file: `header`, a dict that is empty if there is none, and named arrays.

    `shapes` contains the shape of each array.
    """

    def __init__(self, members: zipfile.ZipFile, kinds: str) -> None:
        self.members, self.kinds = members, kinds
        self.shapes: dict[str, tuple[int, ...]] = {}
        for member in members.infolist():
            self._check(member)
        self.header = self._read_header()

    def read(self, name: str) -> np.ndarray:
        """Return one array by name."""
        try:
            with self.members.open(f"{name}.npy") as file:
                return np.lib.format.read_array(file, allow_pickle=False)
        except Exception as error:  # zipfile and NumPy raise many exception types for corrupted files
            raise Refused(f"array {plain(name)} is missing or corrupted") from error

    def _check(self, member: zipfile.ZipInfo) -> None:
        name = member.filename.removesuffix(".npy")
        if name == member.filename or not name.isprintable() or len(name) > MAX_NAME:
            raise Refused(f"it contains {brief(member.filename)}, which is not a valid array name")
        shown = plain(name)
        try:
            with self.members.open(member) as file:
                version = np.lib.format.read_magic(file)
                if version == (1, 0):
                    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
                else:
                    shape, _, dtype = np.lib.format.read_array_header_2_0(file)
                data_bytes = member.compress_size - file.tell()
        except Exception as error:  # see `read`
            raise Refused(f"array {shown} is corrupted") from error
        if name == "header" and dtype.kind not in "UO":
            raise Refused(RESERVED)
        if dtype.kind not in ("U" if name == "header" else self.kinds):
            raise Refused(
                f"array {shown} has dtype {plain(str(dtype))}; only plain numbers are allowed, "
                "not pickled objects"
            )
        if prod(shape) * dtype.itemsize != data_bytes:
            raise Refused(f"array {shown} has shape {brief(shape)} but {data_bytes:,} bytes of data")
        if name == "header" and (shape != () or data_bytes > MAX_HEADER_BYTES):
            raise Refused(f"its header is not a single string of at most {MAX_HEADER_BYTES:,} bytes")
        self.shapes[name] = shape

    def _read_header(self) -> dict[str, Any]:
        if self.shapes.pop("header", None) is None:
            return {}
        stored = self.read("header")
        little_endian = stored.astype(stored.dtype.newbyteorder("<")).tobytes()
        try:  # NumPy does not check the code points: str(stored) can return an invalid string
            text = little_endian.decode("utf-32-le", "surrogatepass").rstrip("\0")
        except UnicodeDecodeError as error:
            raise Refused("its header is not Unicode text") from error
        return parse_header(text)


def header_text(header: dict[str, Any], path: Path) -> str:
    """Return a header as JSON. Raises a `MinicharError` that names `path` if it is too large to be read."""
    text = json.dumps(header)
    try:
        _check_size(text)
    except Refused as error:
        raise MinicharError(f"cannot write {path}: {error}") from error
    return text


def parse_header(text: str) -> dict[str, Any]:
    """Return the JSON object in `text`. Raises `Refused` if it is too large or not a JSON object."""
    _check_size(text)
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Refused("its header is not JSON") from error
    if not isinstance(header, dict):
        raise Refused("its header is not a JSON object")
    return header


def _check_size(text: str) -> None:
    """Raise `Refused` if parsing a JSON header could take too much memory."""
    if len(text) > MAX_HEADER_CHARACTERS:
        raise Refused(f"its header has more than {MAX_HEADER_CHARACTERS:,} characters")
    if sum(map(text.count, "[{,")) > MAX_HEADER_VALUES:
        raise Refused(f"its header has more than {MAX_HEADER_VALUES:,} values")
