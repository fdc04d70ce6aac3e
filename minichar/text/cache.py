"""Cache the ids of a text in a file next to the text."""

from __future__ import annotations

import hashlib
import json
import os
import struct
import zipfile
from collections.abc import Iterable
from functools import reduce
from operator import and_
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from minichar.files import replacing
from minichar.text.joining import Count
from minichar.text.mapping import read
from minichar.text.vocabulary import Vocabulary, code_points

VERSION = 3  # increase this if the format changes, or if the same bytes and settings would give different ids
BLOCK = 1 << 20  # number of bytes checked at a time; a multiple of every dtype's size
LOCAL_HEADER = struct.Struct("<26xHH")  # the last two values are the lengths of the name and the extra field


class Kept(NamedTuple):
    """The contents of a cache. See `Corpus` for the fields."""

    ids: NDArray[np.unsignedinteger]
    starts: NDArray[np.int64]
    vocabulary: Vocabulary
    distinct: int
    digest: str
    notes: tuple[str, ...]


class Cache:
    """The cached ids of a text, for one encoding and one minimum character frequency.

    The cache is an uncompressed ``.npz`` file, so that its ids can be memory-mapped. A corrupted file is
    treated as a cache miss. A forged cache can supply the ids of a different text, but not invalid ids.

    Parameters
    ----------
    path : Path
        The text file, or the directory that contains the text files.
    files : tuple of Path
        The text files.
    encoding, min_freq
        Part of the cache key, together with the file names.
    """

    def __init__(self, path: Path, files: tuple[Path, ...], encoding: str, min_freq: int) -> None:
        self.files, self.unknown = files, min_freq > 0
        name = "all" if path.is_dir() else path.name
        self.path = files[0].with_name(f"{name}.minichar.npz")
        names = hashlib.sha256(b"\0".join(os.fsencode(file.name) for file in files)).hexdigest()
        self.key = {"version": VERSION, "encoding": encoding, "min_freq": min_freq, "names": names}

    def load(self) -> Kept | None:
        """Return the contents of the cache, or None if it is missing or corrupted, or has a different key.

        The caller must compare the cached digest with the text's digest.
        """
        try:
            if not self.path.is_file():
                return None
            # Each byte of text yields at most one id and one code point, of at most 4 bytes each. Each file
            # has one 8-byte offset. The header and notes take up at most 64 KiB.
            largest = 8 * sum(1 + path.stat().st_size for path in self.files) + 65536
            # Open the file here: np.load does not close corrupted archives that it opens.
            with open(self.path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
                if sum(member.file_size for member in arrays.zip.infolist()) > largest:
                    return None
                header = json.loads(str(arrays["header"]))
                digest = header["key"]["digest"]
                if header["key"] != self.key | {"digest": digest}:
                    return None
                vocabulary = Vocabulary("".join(map(chr, arrays["code_points"])), self.unknown)
                ids = _read_ids(file, arrays.zip, vocabulary)
                starts = arrays["starts"]
            sound = (
                header["characters"] == len(ids)
                and starts.dtype == np.int64
                and starts[0] == 0
                and bool(np.all(starts[:-1] < starts[1:]))
                and starts[-1] < len(ids)
            )
            notes = tuple(map(str, header["notes"]))
            return Kept(ids, starts, vocabulary, int(header["distinct"]), digest, notes) if sound else None
        except Exception:  # NumPy, zipfile and json raise many exception types for corrupted files
            return None

    def save(
        self,
        pieces: Iterable[NDArray[np.unsignedinteger]],
        vocabulary: Vocabulary,
        count: Count,
        digest: str,
    ) -> None:
        """Write the cache file if its directory is writable.

        Parameters
        ----------
        pieces : iterable of ndarray of `vocabulary.dtype`
            The ids, as arrays with a total size of ``count.N``.
        vocabulary : Vocabulary
        count : Count
        digest : str
            The digest of the text.
        """
        key = self.key | {"digest": digest}
        header = json.dumps(
            {"key": key, "characters": count.N, "distinct": count.distinct, "notes": count.notes}
        )
        arrays = {
            "header": np.array(header),
            "code_points": code_points(vocabulary.characters).astype(np.uint32),
            "starts": count.starts,
        }
        ids_header = {"descr": vocabulary.dtype.str, "fortran_order": False, "shape": (count.N,)}
        try:
            with replacing(self.path) as file:
                # Only users who may read all of the text files may read the cache.
                os.chmod(file.name, reduce(and_, (path.stat().st_mode & 0o777 for path in self.files)))
                with zipfile.ZipFile(file, "w") as archive:
                    for name, array in arrays.items():
                        with archive.open(f"{name}.npy", "w") as member:
                            np.lib.format.write_array(member, array, allow_pickle=False)
                    with archive.open("ids.npy", "w", force_zip64=True) as member:
                        np.lib.format.write_array_header_1_0(member, ids_header)
                        for piece in pieces:
                            member.write(piece.data)
        except OSError:
            pass


def _read_ids(
    file: IO[bytes], archive: zipfile.ZipFile, vocabulary: Vocabulary
) -> NDArray[np.unsignedinteger]:
    """Check and return the ids in an archive. A corrupted archive can cause almost any exception.

    The ids are first read without memory mapping, so that zipfile verifies their checksum.
    """
    found: Any = archive.getinfo("ids.npy")
    if found.compress_type != zipfile.ZIP_STORED:
        raise ValueError("the ids are compressed")
    largest, size, dtype = 0, 0, vocabulary.dtype
    with archive.open(found) as member:
        if np.lib.format.read_magic(member) != (1, 0):
            raise ValueError("the ids have an unsupported npy format version")
        (N,), _, stored = np.lib.format.read_array_header_1_0(member)
        start = member.tell()
        while block := member.read(BLOCK):
            largest = max(largest, int(np.frombuffer(block, dtype).max()))
            size += len(block)
    if stored != dtype or size != N * dtype.itemsize or largest >= len(vocabulary):
        raise ValueError("the ids do not match the vocabulary or the npy header")
    file.seek(found.header_offset)
    lengths = LOCAL_HEADER.unpack(file.read(LOCAL_HEADER.size))
    return read(file, dtype, N, found.header_offset + LOCAL_HEADER.size + sum(lengths) + start)
