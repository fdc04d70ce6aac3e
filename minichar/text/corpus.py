"""Encode text as ids."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from minichar.checks import at_least, checked
from minichar.errors import MinicharError, Option, counted, listed
from minichar.text.cache import Cache, Encoded
from minichar.text.datasets import dataset_path
from minichar.text.finding import find_files
from minichar.text.joining import Count, Text
from minichar.text.mapping import blocks, gather
from minichar.text.pydocs import pydocs_text
from minichar.text.reading import check_encoding
from minichar.text.vocabulary import Vocabulary, code_points, name_some

IN_MEMORY = "pydocs (in memory)"
"""The path of the default text if training has not saved it."""


@dataclass(frozen=True, eq=False)
class Corpus:
    """Encoded text and its origin.

    Attributes
    ----------
    ids : ndarray of unsigned int, shape (N,)
        One id per character, in the smallest integer type that can represent V. Ids that take up more than
        100 MB are stored in a memory-mapped file (`numpy.memmap`).
    starts : ndarray of int64, shape (F,)
        The position in `ids` where each file starts. Empty files are excluded.
    vocabulary : Vocabulary
    distinct : int
        The number of distinct characters, including those replaced with the unknown token.
    path : str
        The text file, the directory that contains the text files, or "pydocs (in memory)". For several
        texts, the path of the first one and the number of the others.
    digest : str
        SHA-256 of the file's bytes, in hexadecimal. For multiple files, the SHA-256 of their concatenated
        binary digests. File names are not hashed.
    notes : tuple of str
        Messages for the user about changes to the text and possible problems.
    val, test : Corpus or None
        The validation and test texts that are in separate files, with the same vocabulary.
    """

    ids: NDArray[np.unsignedinteger]
    starts: NDArray[np.int64]
    vocabulary: Vocabulary
    distinct: int
    path: str
    digest: str
    notes: tuple[str, ...]
    val: Corpus | None = None
    test: Corpus | None = None

    @property
    def texts(self) -> dict[str, Corpus]:
        """The texts by name: "data", and "val" and "test" if these are in separate files."""
        texts = {"data": self, "val": self.val, "test": self.test}
        return {name: text for name, text in texts.items() if text}

    @property
    def digests(self) -> dict[str, str]:
        """The digest of each text."""
        return {name: text.digest for name, text in self.texts.items()}

    def recoded(self, vocabulary: Vocabulary) -> Corpus:
        """Return the corpus with the ids of another vocabulary, which contains all its characters."""
        if vocabulary == self.vocabulary:
            return self
        table = vocabulary.encode(self.vocabulary.characters)  # (V,)
        pieces = (table[block.astype(np.intp)] for block in blocks(self.ids))
        ids = gather(pieces, vocabulary.dtype, len(self.ids))  # (N,)
        return replace(self, ids=ids, vocabulary=vocabulary)


def load_corpus(
    data: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None,
    *,
    encoding: str = "utf-8",
    min_freq: int = 0,
    vocabulary: Vocabulary | None = None,
) -> Corpus:
    """Read one or more text files and encode them as ids.

    A byte-order mark is removed, and CR LF and lone CR are converted to LF. Files are read in blocks, and
    large arrays of ids are memory-mapped, so the text need not fit in memory. The ids of a text of at least
    10 MB are cached in the user's cache directory (`minichar.text.cache`). The memory-mapped file is the
    cache or, if it cannot be written, a file in the temporary directory.

    Parameters
    ----------
    data : path-like or sequence of path-like, optional
        A text file, or a directory that contains ``input.txt`` or other ``.txt`` files. If there is no
        ``input.txt``, all ``.txt`` files, sorted by name in code-point order, are joined without separators.
        Hidden files and subdirectories are ignored. Several texts are joined in the same way, in the given
        order. The default is Python's help text (always UTF-8): the file ``data/pydocs/input.txt``, if
        training or ``minichar data get`` has created it, or else the text of this Python.
    encoding : str
        The encoding of all files, as a Python codec name.
    min_freq : int
        Characters that occur fewer than `min_freq` times are replaced with the unknown token. If `min_freq`
        is 0, there is no unknown token.
    vocabulary : Vocabulary, optional
        Vocabulary to use, for example a trained model's vocabulary. Characters that are not in this
        vocabulary are encoded as its unknown token. If a vocabulary is given, `min_freq` is ignored and the
        ids are not cached.

    Raises
    ------
    MinicharError
        If a file cannot be read, cannot be decoded or looks like a binary file, or if the text has fewer
        than two characters or contains a character that `vocabulary` cannot encode.
    """
    encoding = check_encoding(checked("encoding", encoding, str))
    min_freq = checked("min_freq", min_freq, int, at_least(0))
    paths = checked("data", data, tuple[Path, ...])
    text, notes = _open(paths, encoding) if paths else _open_default()
    cache = Cache.of(text, encoding, min_freq) if vocabulary is None else None
    encoded = (cache.load() if cache else None) or _encode(text, min_freq, vocabulary, cache)
    ids, starts, vocabulary, distinct, more = encoded
    return Corpus(ids, starts, vocabulary, distinct, text.name, text.digest, (*notes, *more))


def _encode(text: Text, min_freq: int, vocabulary: Vocabulary | None, cache: Cache | None) -> Encoded:
    """Encode a text, and cache it if `cache` is given."""
    count = text.count()
    if vocabulary is None:
        vocabulary = Vocabulary.from_counts(count.counts, min_freq)
    elif not vocabulary.unknown:
        _check_known(text.name, count.counts, vocabulary)
    count = replace(count, notes=(*count.notes, *_replaced(count, vocabulary)))
    if cache:
        cache.save(vocabulary, count)
        if encoded := cache.load():
            return encoded
    ids = gather(text.encode(vocabulary, count.N), vocabulary.dtype, count.N)
    return Encoded(ids, count.starts, vocabulary, count.distinct, count.notes)


def _open(data: Sequence[Path], encoding: str) -> tuple[Text, list[str]]:
    paths, files, notes = zip(*map(find_files, data), strict=True)
    name = listed([str(paths[0])], len(paths))
    return Text.from_files(name, [*chain(*files)], encoding), [*chain(*notes)]


def _open_default() -> tuple[Text, list[str]]:
    path = dataset_path("pydocs")
    if os.path.exists(path):  # `Path.exists` raises an error for a directory without permission
        return _open([path], "utf-8")
    return Text.from_bytes(IN_MEMORY, pydocs_text().encode(), "utf-8"), []


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


def _replaced(count: Count, vocabulary: Vocabulary) -> Iterator[str]:
    """Yield a message for the user if characters are replaced with the unknown token."""
    known = count.counts[code_points(vocabulary.characters)]  # (V,), without the unknown token
    if rare := count.distinct - np.count_nonzero(known):
        what, share = counted(count.distinct, "distinct character"), 1 - known.sum() / count.N
        yield f"replaced {rare:,} of {what} with the unknown token ({share:.2%} of the text)"
