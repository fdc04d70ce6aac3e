"""Encode a text file as ids, and cache the ids next to the file."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from minichar.errors import MinicharError, Option
from minichar.files import replacing
from minichar.text.datasets import dataset_path, place, pydocs_text
from minichar.text.reading import Source, check_encoding, read_file
from minichar.text.vocabulary import Vocabulary, code_points, name_some

CACHE_VERSION = 1  # increase this if the ids for the same bytes and settings change
IN_MEMORY = "pydocs (in memory)"


@dataclass(frozen=True, eq=False)
class Corpus:
    """Encoded text and its origin.

    Attributes
    ----------
    ids : ndarray of unsigned int, shape (N,)
        One id per character, in the smallest integer type that can represent V.
    vocabulary : Vocabulary
    path : str
        The text file, or "pydocs (in memory)".
    digest : str
        SHA-256 of the file's bytes, in hexadecimal.
    notes : tuple of str
        Messages for the user about changes to the text and possible problems.
    """

    ids: NDArray[np.unsignedinteger]
    vocabulary: Vocabulary
    path: str
    digest: str
    notes: tuple[str, ...]


def load_corpus(
    data: str | os.PathLike[str] | None = None,
    *,
    encoding: str = "utf-8",
    min_freq: int = 0,
    vocabulary: Vocabulary | None = None,
    cache: bool = True,
) -> Corpus:
    """Read a text file and encode it as ids.

    A byte-order mark is removed, and CR LF and lone CR are converted to LF. Memory use is below four
    times the file size for up to 65,535 distinct characters.

    Parameters
    ----------
    data : path-like, optional
        A text file, or a directory that contains ``input.txt``. By default, the built-in text (always
        UTF-8) in ``data/pydocs/input.txt``, which is created if it does not exist.
    encoding : str
        The file's encoding, as a Python codec name.
    min_freq : int
        Characters that occur fewer times are replaced with the unknown token. With 0, there is no
        unknown token.
    vocabulary : Vocabulary, optional
        Vocabulary to use, such as that of a trained model. Characters that it does not contain are
        encoded as its unknown token. With a vocabulary, `min_freq` is ignored and nothing is cached.
    cache : bool
        Whether to cache the ids next to the file, in ``<file name>.minichar.npz``. The cache is used
        only for identical bytes and settings, and can be deleted at any time.

    Raises
    ------
    MinicharError
        If the file cannot be read or decoded, looks like a binary file, has fewer than two
        characters, or contains a character that cannot be encoded with `vocabulary`.
    """
    encoding = check_encoding("utf-8" if data is None else encoding)
    path, raw = _read_default() if data is None else read_file(Path(data))
    name, digest = str(path or IN_MEMORY), hashlib.sha256(raw).hexdigest()
    source = Source(raw, encoding, name)
    store = _Cache(path, digest, encoding, min_freq) if path and cache and vocabulary is None else None
    if store and (kept := store.load(source)):
        ids, vocabulary, notes = kept
        return Corpus(ids, vocabulary, name, digest, notes)
    counts, notes = source.count()
    if vocabulary is None:
        vocabulary = Vocabulary.from_counts(counts, min_freq)
    elif not vocabulary.unknown:
        _check_known(name, counts, vocabulary)
    ids = _encode(source, vocabulary, int(counts.sum()))
    if store:
        store.save(ids, vocabulary, notes)
    return Corpus(ids, vocabulary, name, digest, notes)


def _read_default() -> tuple[Path | None, bytes]:
    """Return the default text from ``data/pydocs``, creating the file if possible."""
    path = dataset_path("pydocs")
    try:
        if not path.exists():
            place(path, pydocs_text().encode())
    except OSError:
        return None, pydocs_text().encode()
    return read_file(path)


def _check_known(name: str, counts: NDArray[np.int64], vocabulary: Vocabulary) -> None:
    seen = set(map(chr, np.flatnonzero(counts)))
    if strangers := sorted(seen - set(vocabulary.characters)):
        named = name_some(strangers, lambda c: f"{counts[ord(c)]:,} time{'' if counts[ord(c)] == 1 else 's'}")
        raise MinicharError(
            f"{name!r} contains characters that are not in the vocabulary: {named}; remove them, ",
            "or use a model trained with ",
            Option("min_freq", 1),
            " or more, which has an unknown token",
        )


def _encode(source: Source, vocabulary: Vocabulary, N: int) -> NDArray[np.unsignedinteger]:
    ids = np.empty(N, vocabulary.dtype)  # (N,)
    unknown = "unk" if vocabulary.unknown else "error"
    start = 0
    for piece in source.pieces(Counter()):
        stop = start + len(piece)
        ids[start:stop] = vocabulary.encode(piece, unknown)
        start = stop
    return ids


class _Cache:
    """The cached ids of one text file for one set of settings.

    A file that `save` could not have written is treated as a cache miss.
    """

    def __init__(self, text: Path, digest: str, encoding: str, min_freq: int) -> None:
        self.unknown = min_freq > 0
        self.text = text
        self.path = text.with_name(f"{text.name}.minichar.npz")
        self.key = {"version": CACHE_VERSION, "digest": digest, "encoding": encoding, "min_freq": min_freq}

    def load(self, text: Source) -> tuple[NDArray[np.unsignedinteger], Vocabulary, tuple[str, ...]] | None:
        """Return the ids, vocabulary and notes, or None if no cache is valid for `text`."""
        try:
            if not self.path.is_file():
                return None
            # Open the file here, because np.load does not close damaged archives that it opens.
            with open(self.path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
                # Each byte of text adds at most one id and one code point, of at most 4 bytes each.
                # The header and notes need at most 64 KiB.
                if sum(member.file_size for member in arrays.zip.infolist()) > 8 * len(text.raw) + 65536:
                    return None
                header = json.loads(str(arrays["header"]))
                if header["key"] != self.key:
                    return None
                ids, characters = arrays["ids"], "".join(map(chr, arrays["code_points"]))
            vocabulary = Vocabulary(characters, self.unknown)
            N = sum(map(len, text.pieces(Counter())))
            sound = ids.shape == (N,) and ids.dtype == vocabulary.dtype and ids.max() < len(vocabulary)
            return (ids, vocabulary, tuple(map(str, header["notes"]))) if sound else None
        except Exception:  # NumPy, zipfile and json raise many exception types for damaged files
            return None

    def save(self, ids: NDArray[np.unsignedinteger], vocabulary: Vocabulary, notes: tuple[str, ...]) -> None:
        """Write the cache if the directory is writable."""
        header = np.array(json.dumps({"key": self.key, "notes": notes}))
        points = code_points(vocabulary.characters)
        with suppress(OSError), replacing(self.path, like=self.text) as file:
            np.savez(file, header=header, code_points=points, ids=ids)
