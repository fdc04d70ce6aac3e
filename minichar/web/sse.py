"""Convert job updates to server-sent events or a JSON document."""

import json
from collections.abc import Iterator
from typing import Any

from minichar.web.job import Update

KEEP_ALIVE = ": keep-alive\n\n"
"""An SSE comment. Sending it reveals whether the client has disconnected."""


def event(name: str, id: int, data: dict[str, Any]) -> str:
    """Return a server-sent event. JSON escapes newlines, so the data is a single line."""
    return f"event: {name}\nid: {id}\ndata: {json.dumps(data)}\n\n"


def events(update: Update, alternatives: bool) -> Iterator[str]:
    """Yield the server-sent events for an update."""
    if update.restarted:
        yield event("notice", update.end, {"what": "restarted"})
    if update.text:
        text: dict[str, Any] = {"text": update.text}
        yield event("text", update.end, text | ({"details": list(update.details)} if alternatives else {}))
    if update.reason:
        end = {"reason": update.reason}
        yield event("end", update.end, end | ({"error": update.error} if update.error else {}))


def document(updates: Iterator[Update | None], alternatives: bool) -> dict[str, Any]:
    """Consume all updates and return the fields of the ``Document`` schema that depend on them."""
    received = [update for update in updates if update is not None]
    last = received[-1]
    result: dict[str, Any] = {"text": "".join(update.text for update in received), "reason": last.reason}
    if alternatives:
        result["details"] = [detail for update in received for detail in update.details]
    if last.error:
        result["error"] = last.error
    return result
