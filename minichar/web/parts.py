"""Incremental JSON encoding of documents with long lists."""

import json
import secrets
from collections.abc import Iterator
from functools import partial
from typing import Any

dumps = partial(json.dumps, separators=(",", ":"))


def encode(document: Any) -> Iterator[str]:
    """Return an iterator over the parts of a document's JSON encoding.

    An iterator in the document must yield short lists, which are encoded as one long JSON array. Each short
    list is created only when its part of the JSON is requested, so the whole array is never in memory.

    Raises
    ------
    TypeError
        If the document contains an object that cannot be encoded. If an iterator yields the object, the
        error is raised when that part of the JSON is requested.
    """
    placeholder, iterators = secrets.token_hex(), list[Iterator[list[Any]]]()

    def default(value: object) -> list[str]:
        if not isinstance(value, Iterator):
            raise TypeError(f"{type(value).__name__} cannot be encoded as JSON")
        iterators.append(value)
        return [placeholder]

    return _parts(dumps(document, default=default).split(f'"{placeholder}"'), iterators)


def _parts(texts: list[str], iterators: list[Iterator[list[Any]]]) -> Iterator[str]:
    """Yield the texts, interleaved with the encoded lists."""
    yield texts.pop(0)
    for sections in iterators:
        comma = ""
        for encoded in map(dumps, filter(None, sections)):
            yield comma + encoded[1:-1]
            comma = ","
        yield texts.pop(0)
