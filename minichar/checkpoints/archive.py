"""One ``.npz`` file: arrays by name and a JSON header, written whole or not at all, read with suspicion.

Plain NumPy reads it: ``numpy.load(path)`` gives the arrays, and the text in
``["header"]`` is the JSON. Files from elsewhere are untrusted: nothing is unpickled,
and every size is checked against the file's own before memory is taken.
"""

import json
import os
import zipfile
from collections.abc import Callable, Mapping
from math import prod
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np

from minichar.errors import MinicharError
from minichar.files import writing

MAX_HEADER_BYTES = 64 << 20

Damaged = Callable[[str], MinicharError]
"""Makes the error that says which file cannot be trusted, from why."""


def write_archive(path: Path, header: dict[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Write the archive, or arrays alone where the header is empty; the whole of it or nothing.

    Raises
    ------
    MinicharError
        If it cannot be written. A file that was at `path` is then still there, unharmed.
    """
    members = {"header": np.array(json.dumps(header))} if header else {}
    # Not numpy.savez: it takes names as keywords, and an array may well be called "file".
    with writing(path) as file, zipfile.ZipFile(file, "w") as archive:
        for name, array in (members | dict(arrays)).items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)


def check_folder(folder: Path) -> None:
    """Make `folder` if need be, and see that files can be written there before hours of work count on it.

    Raises
    ------
    MinicharError
        If they cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise MinicharError(
            f"cannot write to {folder}/: {error.strerror or error}; choose another folder"
        ) from error


class Archive:
    """A checked ``.npz`` file, open for reading; use it in a ``with`` block.

    Parameters
    ----------
    path : path-like
    kinds : str
        The kinds of NumPy dtypes that are numbers here: floats and integers in a checkpoint.

    Attributes
    ----------
    header : dict
        The JSON header; empty where there is none.
    shapes : dict of str to tuple of int
        Every array but the header.

    Raises
    ------
    MinicharError
        If the file is missing, unreadable, truncated, no ``.npz``, compressed, or holds
        anything but plain numbers whose sizes agree with the file's.
    """

    def __init__(self, path: str | os.PathLike[str], kinds: str = "fiu") -> None:
        self.path, self.kinds = Path(path), kinds
        try:
            self.zip = zipfile.ZipFile(self.path)
        except FileNotFoundError:
            raise MinicharError(
                f"no such checkpoint: {self.path}: name a file or a folder that minichar train has written"
            ) from None
        except OSError as error:
            raise MinicharError(f"cannot read {self.path}: {error.strerror or error}") from error
        except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
            raise self.damaged("it is empty, truncated, or no .npz file") from error
        try:
            self.dtypes: dict[str, np.dtype] = {}
            self.shapes: dict[str, tuple[int, ...]] = {}
            members = self.zip.infolist()
            # Together, since members may lie in the file one over the other.
            if sum(member.file_size for member in members) > self.path.stat().st_size:
                raise self.damaged("its arrays are larger than the file (save with numpy.savez)")
            for member in members:
                self._check_member(member)
            self.header = self._read_header()
        except BaseException:
            self.zip.close()
            raise

    def __enter__(self) -> "Archive":
        return self

    def __exit__(self, *exception: object) -> None:
        self.zip.close()

    def damaged(self, why: str) -> MinicharError:
        """Return the error that says the file cannot be trusted, and why."""
        return MinicharError(f"{self.path} is not a checkpoint minichar can read: {why}")

    def read(self, name: str) -> np.ndarray:
        """Return one array."""
        try:
            with self.zip.open(f"{name}.npy") as file:
                return np.lib.format.read_array(file, allow_pickle=False)
        except Exception as error:  # there is no end to what zipfile and NumPy raise on a damaged file
            raise self.damaged(f"array {name} is missing or damaged") from error

    def _check_member(self, member: zipfile.ZipInfo) -> None:
        name = member.filename.removesuffix(".npy")
        if name == member.filename or name in self.shapes:
            raise self.damaged(f"it holds {member.filename!r}, which is no array or is there twice")
        if member.compress_type != zipfile.ZIP_STORED:
            raise self.damaged(f"array {name} is compressed (save with numpy.savez)")
        try:
            with self.zip.open(member) as file:
                version = np.lib.format.read_magic(file)
                if version == (1, 0):
                    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
                else:
                    shape, _, dtype = np.lib.format.read_array_header_2_0(file)
                data_bytes = member.file_size - file.tell()
        except Exception as error:  # as in `read`
            raise self.damaged(f"array {name} is damaged") from error
        if dtype.hasobject or dtype.kind not in ("U" if name == "header" else self.kinds):
            raise self.damaged(
                f"array {name} has dtype {dtype}; only plain numbers are read, never pickled objects"
            )
        if prod(shape) * dtype.itemsize != data_bytes:
            raise self.damaged(f"array {name} says shape {shape}, which its {data_bytes:,} bytes do not fit")
        self.shapes[name], self.dtypes[name] = shape, dtype

    def _read_header(self) -> dict[str, Any]:
        shape = self.shapes.pop("header", None)
        if shape is None:
            return {}
        if shape != () or self.dtypes["header"].itemsize > MAX_HEADER_BYTES:
            raise self.damaged("its header is no single text of a sensible size")
        return parse_header(str(self.read("header")), self.damaged)


def parse_header(text: str, damaged: Damaged) -> dict[str, Any]:
    """Return the JSON object in `text`.

    Raises
    ------
    MinicharError
        As `damaged` makes it, if it is none.
    """
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise damaged("its header is not JSON") from error
    if not isinstance(header, dict):
        raise damaged("its header is not a JSON object")
    return header
