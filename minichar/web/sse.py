"""Convert job updates to server-sent events or a JSON document."""

import json
from collections.abc import Iterator
from typing import Any

from minichar.web.queue import JobQueue
from minichar.web.request import Request
from minichar.web.update import Unavailable, Update, pieces

KEEP_ALIVE = ": keep-alive\n\n"
"""An SSE comment, which is sent to find out whether the client has disconnected."""


def event(name: str, id: int, data: dict[str, Any]) -> str:
    """Return a server-sent event. JSON escapes newlines, so the data is a single line."""
    return f"event: {name}\nid: {id}\ndata: {json.dumps(data)}\n\n"


async def idle(queue: JobQueue, job_id: str, after: int) -> str:
    """Return the event for a job without new text: why it makes no progress, if that is known."""
    try:
        position = await queue.position(job_id)
    except Unavailable:
        return event("notice", after, {"what": "no_worker"})
    except KeyError:  # expired
        return KEEP_ALIVE
    return (
        KEEP_ALIVE if position is None else event("notice", after, {"what": "waiting", "position": position})
    )


def begin(job_id: str, request: Request, after: int) -> str:
    """Return the first event of a stream that skips the first `after` characters of a job's text."""
    return event("begin", after, {"job": job_id, "model": request.model, "seed": request.seed, "from": after})


def events(request: Request, update: Update, after: int) -> Iterator[str]:
    """Yield the server-sent events for an update of a job."""
    if update.restarted:
        yield event("notice", update.end, {"what": "restarted"})
    if update.text:
        yield event("text", update.end, text_of(request, update))
    if update.reason:
        error = {"error": update.error} if update.error else {}
        yield event("end", update.end, {"reason": update.reason, **error})


def text_of(request: Request, update: Update) -> dict[str, Any]:
    """Return the data of a ``text`` event."""
    details = {"details": list(update.details)} if request.alternatives else {}
    return {"text": update.text, **details}


def document(request: Request, update: Update) -> dict[str, Any]:
    """Return a job's complete text as a ``Document``, to be encoded by `minichar.web.parts.encode`."""
    result = {"model": request.model, "seed": request.seed, "from": request.start, "text": update.text}
    result["reason"] = update.reason
    if request.alternatives:
        result["details"] = (list(piece.details) for piece in pieces(update))
    if update.error:
        result["error"] = update.error
    return result
