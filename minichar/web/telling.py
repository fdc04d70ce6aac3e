"""A text told to a visitor: as server-sent events, or whole."""

import json
from collections.abc import Iterator
from typing import Any

from minichar.web.scheduler import Piece

STILL_HERE = ": still here\n\n"
"""A comment, which shows in time that a visitor has left."""


def event(name: str, number: int, data: dict[str, Any]) -> str:
    """Return one server-sent event. JSON has no line break, so the data is one line."""
    return f"event: {name}\nid: {number}\ndata: {json.dumps(data)}\n\n"


def told(piece: Piece, alternatives: bool) -> Iterator[str]:
    """Yield the events of a piece."""
    if piece.restarted:
        yield event("notice", piece.end, {"what": "restarted"})
    if piece.text:
        text: dict[str, Any] = {"text": piece.text}
        yield event("text", piece.end, text | ({"details": piece.details} if alternatives else {}))
    if piece.reason:
        yield event(
            "end", piece.end, {"reason": piece.reason} | ({"error": piece.error} if piece.error else {})
        )


def read_all(pieces: Iterator[Piece | None], alternatives: bool) -> dict[str, Any]:
    """Return a text as the schema ``Whole`` has it."""
    read = [piece for piece in pieces if piece is not None]
    whole: dict[str, Any] = {"text": "".join(piece.text for piece in read), "reason": read[-1].reason}
    if alternatives:
        whole["details"] = [detail for piece in read for detail in piece.details]
    if read[-1].error:
        whole["error"] = read[-1].error
    return whole
