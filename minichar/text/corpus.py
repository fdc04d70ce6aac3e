"""Turn a text file into ids, and keep them beside it for the next time."""

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

from minichar.errors import MinicharError
from minichar.files import replacing
from minichar.text.datasets import dataset_path, place, pydocs_text
from minichar.text.reading import Source, check_encoding, read_file
from minichar.text.vocabulary import Vocabulary, code_points, name_some

CACHE_VERSION = 1  # raise it when the same bytes and settings come to mean other ids
IN_MEMORY = "pydocs (in memory)"


@dataclass(frozen=True, eq=False)
class Corpus:
    """A text as ids, and where it came from.

    Attributes
    ----------
    ids : ndarray of unsigned int, shape (N,)
        One for each character, of the smallest type that holds V.
    vocabulary : Vocabulary
    path : str
        The file that was read, or "pydocs (in memory)".
    digest : str
        SHA-256 of the bytes of the file, in hexadecimal.
    notes : tuple of str
        What was changed on the way, or looks odd: for people to read.
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
    """Read a text and turn it into ids.

    A byte-order mark is removed, and CR LF and lone CR become LF. Memory stays below four times the
    size of the file, with up to 65,535 different characters.

    Parameters
    ----------
    data : path, optional
        A text file, or a folder that holds ``input.txt``. Without it the default text, always in
        UTF-8, is read from ``data/pydocs``, where it is put first if need be.
    encoding : str
        How the file encodes characters, by Python's name for it.
    min_freq : int
        Characters seen less often share the unknown id; with 0 there is none.
    vocabulary : Vocabulary, optional
        The one to use, as when a trained model reads a text. Characters it lacks become its unknown
        id. `min_freq` then says nothing, and nothing is cached.
    cache : bool
        Whether to keep the ids beside the text, in ``<file name>.minichar.npz``. They are used again
        only for the very same bytes and settings, and may be deleted at any time.

    Raises
    ------
    MinicharError
        If the file cannot be read or decoded, looks like a binary file, has fewer than two
        characters, or has one that `vocabulary` has no id for.
    """
    encoding = check_encoding("utf-8" if data is None else encoding)
    path, raw = _read_default() if data is None else read_file(Path(data))
    name, digest = str(path or IN_MEMORY), hashlib.sha256(raw).hexdigest()
    store = _Cache(path, digest, encoding, min_freq) if path and cache and vocabulary is None else None
    if store and (kept := store.load(limit=len(raw))):
        ids, vocabulary, notes = kept
        return Corpus(ids, vocabulary, name, digest, notes)
    source = Source(raw, encoding, name)
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
    """Read the default text, having put it in its place, or failing that make it in memory."""
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
        named = name_some(strangers, lambda c: f"{counts[ord(c)]:,} times")
        raise MinicharError(
            f"{name!r} has characters that the vocabulary lacks: {named}; take them out, "
            "or use a model trained with --min-freq 1 or more, which has an id for unknown ones"
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
    """The ids of one text under one set of settings, in a file beside it.

    Anything may lie under that name: what `save` could not have written counts as nothing.
    """

    def __init__(self, text: Path, digest: str, encoding: str, min_freq: int) -> None:
        self.unknown = min_freq > 0
        self.text = text
        self.path = text.with_name(f"{text.name}.minichar.npz")
        self.key = {"version": CACHE_VERSION, "digest": digest, "encoding": encoding, "min_freq": min_freq}

    def load(self, limit: int) -> tuple[NDArray[np.unsignedinteger], Vocabulary, tuple[str, ...]] | None:
        """Return ids, vocabulary and notes, or None; `limit` is the size of the text in bytes."""
        try:
            if not self.path.is_file():
                return None
            # Opened here: given a name, np.load would leave a damaged archive open.
            with open(self.path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
                # Ids and code points have at most 4 bytes each, and are no more than the bytes of the text.
                if sum(member.file_size for member in arrays.zip.infolist()) > 8 * limit + 65536:
                    return None
                header = json.loads(str(arrays["header"]))
                if header["key"] != self.key:
                    return None
                ids, characters = arrays["ids"], "".join(map(chr, arrays["code_points"]))
            vocabulary = Vocabulary(characters, self.unknown)
            sound = ids.ndim == 1 and ids.dtype == vocabulary.dtype and ids.max() < len(vocabulary)
            return (ids, vocabulary, tuple(map(str, header["notes"]))) if sound else None
        except Exception:  # there is no end to what NumPy, zipfile and json raise on a damaged file
            return None

    def save(self, ids: NDArray[np.unsignedinteger], vocabulary: Vocabulary, notes: tuple[str, ...]) -> None:
        """Keep them for the next time, if the folder can be written to."""
        header = np.array(json.dumps({"key": self.key, "notes": notes}))
        points = code_points(vocabulary.characters)
        with suppress(OSError), replacing(self.path, like=self.text) as file:
            np.savez(file, header=header, code_points=points, ids=ids)
