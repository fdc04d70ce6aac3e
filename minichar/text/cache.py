"""Cache the ids of large texts in the user's cache directory.

Each cached text is one file, which contains a line of JSON, the ids, and a checksum. It is looked up by the
size and the digest of the text, not by its path. A missing or corrupted file is not an error: the text is
encoded again. A forged file can supply the ids of a different text, but not invalid ids.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from minichar.files import cache_folder, remove_abandoned, replacing
from minichar.text.joining import Count, Text
from minichar.text.mapping import blocks, read
from minichar.text.vocabulary import Vocabulary

VERSION = 4
"""Increase this if the format changes, or if the same bytes and settings would give different ids."""
SMALLEST = 10_000_000
"""Minimum size of a cached text, in bytes. Smaller texts are encoded in less than a second."""
MOST = 8
"""Maximum number of cached texts. If there are more, the least recently used ones are deleted."""
LARGEST = 1 << 25
"""Maximum number of bytes in the line of JSON."""


class Encoded(NamedTuple):
    """An encoded text. See `Corpus` for the fields."""

    ids: NDArray[np.unsignedinteger]
    starts: NDArray[np.int64]
    vocabulary: Vocabulary
    distinct: int
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Cache:
    """The cache of a text, for one encoding and one minimum character frequency.

    `folder` contains all cached texts, `size` is the size of `text` in bytes, and `key` consists of
    everything that the cached values depend on, apart from the bytes of the text.
    """

    text: Text
    folder: Path
    size: int
    key: tuple[str | int, ...]

    @classmethod
    def of(cls, text: Text, encoding: str, min_freq: int) -> Cache | None:
        """Return the cache of a text, or None if the text is small or the user has no cache directory."""
        size, folder = sum(size for size, _ in text.stamps), cache_folder()
        if folder is None or size < SMALLEST:
            return None
        # The notes about multiple files contain their names.
        names = [path.name for path in text.files] if len(text.files) > 1 else []
        return cls(text, folder / "texts", size, (VERSION, sys.byteorder, encoding, min_freq, *names))

    def load(self) -> Encoded | None:
        """Return the encoded text, or None if it is not cached."""
        try:  # without a text of this size, there is no need to compute the digest
            if not any(self.folder.glob(f"{self.size}-*.ids")):
                return None
        except OSError:
            return None
        path = self._path()
        try:
            if not path.is_file():  # opening a pipe would block
                return None
            with open(path, "rb") as file:
                line = file.readline(LARGEST)
                kept = json.loads(line)
                vocabulary = Vocabulary(kept["characters"], kept["unknown"])
                ids = read(file, vocabulary.dtype, kept["N"], len(line))  # (N,)
                file.seek(len(line) + ids.nbytes)
                expected = file.read(5)
            starts = np.array(kept["starts"], np.int64)  # (F,)
            checksum, largest = crc32(line), 0
            for block in blocks(ids):
                checksum, largest = crc32(block.data, checksum), max(largest, int(block.max()))
            sound = (
                checksum.to_bytes(4, "little") == expected
                and largest < len(vocabulary)
                and starts.ndim == 1
                and starts[0] == 0
                and bool(np.all(starts[:-1] < starts[1:]))
                and starts[-1] < len(ids)
            )
            notes = tuple(map(str, kept["notes"]))
            found = Encoded(ids, starts, vocabulary, int(kept["distinct"]), notes) if sound else None
        except Exception:  # NumPy and json raise many types of exceptions for corrupted files
            return None
        with suppress(OSError):  # the file may be read-only
            os.utime(path)
        return found

    def save(self, vocabulary: Vocabulary, count: Count) -> None:
        """Cache the text if the directory is writable, and delete the least recently used texts."""
        kept = {
            "characters": vocabulary.characters,
            "unknown": vocabulary.unknown,
            "N": count.N,
            "starts": count.starts.tolist(),
            "distinct": count.distinct,
            "notes": count.notes,
        }
        line = json.dumps(kept).encode()
        line += b" " * (3 - len(line) % 4) + b"\n"  # aligns the ids, which take up to 4 bytes each
        checksum = crc32(line)
        with suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            remove_abandoned(self.folder)
            with replacing(self._path()) as file:
                os.chmod(file.name, 0o600)  # the text may be private
                file.write(line)
                for piece in self.text.encode(vocabulary, count.N):
                    file.write(piece.data)
                    checksum = crc32(piece.data, checksum)
                file.write(checksum.to_bytes(4, "little"))
            self._delete_oldest()

    def _path(self) -> Path:
        key = hashlib.sha256(json.dumps([self.text.digest, *self.key]).encode()).hexdigest()
        return self.folder / f"{self.size}-{key[:32]}.ids"

    def _delete_oldest(self) -> None:
        """Delete the texts that exceed `MOST`, or raise OSError if another process deletes one first."""
        used = sorted(self.folder.glob("*.ids"), key=lambda path: path.lstat().st_mtime_ns)
        for path in used[:-MOST]:
            with suppress(OSError):  # on Windows, a memory-mapped file cannot be deleted
                path.unlink()
