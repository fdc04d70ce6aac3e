"""Read and write ``.npz`` files that contain named arrays and a JSON header.

The files can be read with NumPy alone: ``numpy.load(path)`` returns the arrays and, under ``"header"``, the
JSON text. Writing is atomic. Files are untrusted: nothing is unpickled, and every size is checked against the
file size before memory is allocated.
"""

import json
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from minichar.checkpoints.stored_zip import StoredZip
from minichar.errors import MinicharError, Refused, brief, plain
from minichar.files import is_text, writing

MAX_HEADER_CHARACTERS = 16 << 20
MAX_HEADER_BYTES = 4 * MAX_HEADER_CHARACTERS
"""Maximum header size in an ``.npz`` file, in bytes. NumPy stores each character in 4 bytes."""
MAX_HEADER_VALUES = 1 << 20
"""Maximum number of values in a header. Even a two-character value can take up 180 bytes of memory."""

MAX_NAME = 1000
"""Maximum length of an array's name, in characters."""

RESERVED = "it contains an array named header, a name reserved for minichar's own header: rename it"
"""Reason for rejecting an array that would be read as the header."""

Corrupted = Callable[[str], MinicharError]
"""Function that returns the error for a corrupted file, given the reason."""


class Missing(MinicharError):
    """Raised if a checkpoint does not exist."""


class TextFile(MinicharError):
    """Raised if a text file is passed as a checkpoint."""


def write_archive(path: Path, header: dict[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Write an archive atomically. An empty header is omitted.

    Raises
    ------
    MinicharError
        If the file cannot be written. Any existing file at `path` is left unchanged.
    """
    text = json.dumps(header)
    check_header_size(text, lambda why: MinicharError(f"cannot write {path}: {why}"))
    members = {"header": np.array(text)} if header else {}
    # numpy.savez takes names as keyword arguments, so it cannot store an array named "file".
    with writing(path) as file, zipfile.ZipFile(file, "w") as archive:
        for name, array in (members | dict(arrays)).items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)


class Archive:
    """Context manager that verifies an ``.npz`` file and reads arrays from it.

    Parameters
    ----------
    path : Path
    kinds : str
        Allowed kinds of NumPy dtypes; by default, floats and integers.

    Attributes
    ----------
    header : dict
        The JSON header; empty if the file has none.
    shapes : dict of str to tuple of int
        The shape of each array except the header.

    Raises
    ------
    MinicharError
        If the file is missing, unreadable, truncated, compressed or not an ``.npz`` file, or
        contains anything other than plain numeric arrays with sizes that match the file.
    """

    def __init__(self, path: Path, kinds: str = "fiu") -> None:
        self.path, self.kinds = path, kinds
        try:
            self.zip = StoredZip(self.path)
        except FileNotFoundError:
            raise Missing(
                f"no such checkpoint: {str(self.path)!r}; choose a file or directory created by "
                "`minichar train`"
            ) from None
        except OSError as error:
            raise MinicharError(f"cannot read {self.path}: {error.strerror or error}") from error
        except Refused as error:
            if self.path.suffix != ".npz" and is_text(self.path):
                raise TextFile(
                    f"{str(self.path)!r} is a text file, not a checkpoint: choose a checkpoint or a "
                    "directory of checkpoints"
                ) from error
            raise self.corrupted(str(error)) from error
        try:
            self.dtypes: dict[str, np.dtype] = {}
            self.shapes: dict[str, tuple[int, ...]] = {}
            for member, size in self.zip.sizes.items():
                self._check_member(member, size)
            self.header = self._read_header()
        except BaseException:
            self.__exit__()
            raise

    def __enter__(self) -> "Archive":
        return self

    def __exit__(self, *exception: object) -> None:
        self.zip.__exit__()

    def corrupted(self, why: str) -> MinicharError:
        """Return the error for an unreadable file, given the reason `why`."""
        return MinicharError(f"{self.path} is not a checkpoint that minichar can read: {why}")

    def read(self, name: str) -> np.ndarray:
        """Return one array by name."""
        try:
            with quiet(), self.zip.open(f"{name}.npy") as file:
                return np.lib.format.read_array(file, allow_pickle=False)
        except Exception as error:  # zipfile and NumPy raise many exception types for corrupted files
            raise self.corrupted(f"array {plain(name)} is missing or corrupted") from error

    def _check_member(self, member: str, size: int) -> None:
        name = member.removesuffix(".npy")
        if name == member or not name.isprintable() or len(name) > MAX_NAME:
            raise self.corrupted(f"it contains {brief(member)}, which is not a valid array name")
        shown = plain(name)
        try:
            with quiet(), self.zip.open(member) as file:
                version = np.lib.format.read_magic(file)
                if version == (1, 0):
                    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
                else:
                    shape, _, dtype = np.lib.format.read_array_header_2_0(file)
                data_bytes = size - file.tell()
        except Exception as error:  # see `read`
            raise self.corrupted(f"array {shown} is corrupted") from error
        if name == "header" and dtype.kind not in "UO":
            raise self.corrupted(RESERVED)
        if dtype.hasobject or dtype.kind not in ("U" if name == "header" else self.kinds):
            raise self.corrupted(
                f"array {shown} has dtype {plain(str(dtype))}; only plain numbers are allowed, "
                "not pickled objects"
            )
        if prod(shape) * dtype.itemsize != data_bytes:
            raise self.corrupted(f"array {shown} has shape {brief(shape)} but {data_bytes:,} bytes of data")
        self.shapes[name], self.dtypes[name] = shape, dtype

    def _read_header(self) -> dict[str, Any]:
        shape = self.shapes.pop("header", None)
        if shape is None:
            return {}
        if shape != () or self.dtypes["header"].itemsize > MAX_HEADER_BYTES:
            raise self.corrupted(f"its header is not a single string of at most {MAX_HEADER_BYTES:,} bytes")
        stored = self.read("header")
        little_endian = stored.astype(stored.dtype.newbyteorder("<")).tobytes()
        try:  # NumPy does not check the code points: str(stored) can return an invalid string
            text = little_endian.decode("utf-32-le", "surrogatepass").rstrip("\0")
        except UnicodeDecodeError as error:
            raise self.corrupted("its header is not Unicode text") from error
        return parse_header(text, self.corrupted)


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress NumPy's warning that a file was written by Python 2."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def check_header_size(text: str, corrupted: Corrupted) -> None:
    """Check that a JSON header is small enough to be parsed.

    Raises
    ------
    MinicharError
        If `text` is too long or contains too many JSON values. The error is created by `corrupted`.
    """
    if len(text) > MAX_HEADER_CHARACTERS:
        raise corrupted(f"its header has more than {MAX_HEADER_CHARACTERS:,} characters")
    if sum(map(text.count, "[{,")) > MAX_HEADER_VALUES:
        raise corrupted(f"its header has more than {MAX_HEADER_VALUES:,} values")


def parse_header(text: str, corrupted: Corrupted) -> dict[str, Any]:
    """Parse `text` and return the JSON object.

    Raises
    ------
    MinicharError
        If `text` is too large or is not a JSON object. The error is created by `corrupted`.
    """
    check_header_size(text, corrupted)
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise corrupted("its header is not JSON") from error
    if not isinstance(header, dict):
        raise corrupted("its header is not a JSON object")
    return header
