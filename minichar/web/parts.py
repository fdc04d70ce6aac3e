"""Encode a JSON document in parts, so that long lists are never in memory as a whole.

A character with alternatives takes up 44 bytes when packed, and a kilobyte as Python objects.
"""

import json
import secrets
from collections.abc import Iterator
from functools import partial
from typing import Any

dumps = partial(json.dumps, separators=(",", ":"))


def encode(document: Any) -> Iterator[str]:
    """Yield the JSON encoding of a document in parts.

    Each iterator in the document is encoded as one list. It must yield that list in parts, none of which is
    empty, and it is consumed only when its part of the encoding is reached.
    """
    iterators, mark = list[Iterator[list[Any]]](), secrets.token_hex()

    def default(parts: Iterator[list[Any]]) -> str:
        iterators.append(parts)
        return mark

    first, *rest = dumps(document, default=default).split(f'"{mark}"')
    yield first
    for parts, after in zip(iterators, rest, strict=True):
        bracket = "["
        for part in parts:
            yield bracket + dumps(part)[1:-1]
            bracket = ","
        yield ("[]" if bracket == "[" else "]") + after
