"""Routes that generate text as server-sent events or as one JSON document, and resume and cancel jobs."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import Route

from minichar.web.delivery import KEEP_ALIVE, Delivery, Form
from minichar.web.errors import NoSuchJob, Refused, Unavailable
from minichar.web.queue import JobQueue
from minichar.web.request import Request
from minichar.web.responses import json_body
from minichar.web.update import Update, pieces

MAX_EVENT_ID = 2**31 - 1


def generate_routes(delivery: Delivery) -> list[Route]:
    """Return the routes ``/api/generate`` and ``/api/generate/JOB``."""
    queue = delivery.queue

    async def generate(http: HttpRequest) -> Response:
        data = await json_body(http)
        slot, request = await delivery.submit(http, Request.from_json(data))
        form = Generation(queue, slot.job_id, request, request.start)
        if data.get("stream", True):
            return delivery.events(slot, form)
        return await delivery.document(slot, form)

    async def resume(http: HttpRequest) -> Response:
        job = http.path_params["job"]
        given = http.headers.get("Last-Event-ID", "0")
        try:
            after = int(given)
        except ValueError:
            after = -1
        if not 0 <= after <= MAX_EVENT_ID:
            raise Refused(f"Last-Event-ID must be an integer from 0 to {MAX_EVENT_ID}")
        request = (await queue.text(job)).request
        after = max(after, request.start)
        return delivery.events(delivery.acquire(http, job), Generation(queue, job, request, after))

    async def cancel(http: HttpRequest) -> Response:
        await queue.cancel(http.path_params["job"])
        return Response(status_code=204)

    async def one(http: HttpRequest) -> Response:
        return await (cancel if http.method == "DELETE" else resume)(http)

    return [
        Route("/api/generate", generate, methods=["POST"]),
        Route("/api/generate/{job}", one, methods=["GET", "DELETE"]),
    ]


@dataclass(frozen=True)
class Generation(Form):
    """The events and the document of the API."""

    queue: JobQueue
    job_id: str
    request: Request
    after: int

    def begin(self) -> str:
        """Return the first event."""
        request = self.request
        fields = {"job": self.job_id, "model": request.model, "seed": request.seed, "from": self.after}
        return event("begin", self.after, fields)

    async def idle(self, after: int) -> str:
        """Return the event for a job without new text: why it makes no progress, if known."""
        try:
            position = await self.queue.position(self.job_id)
        except Unavailable:
            return event("notice", after, {"what": "no_worker"})
        except NoSuchJob:  # expired
            return KEEP_ALIVE
        waiting = {"what": "waiting", "position": position}
        return KEEP_ALIVE if position is None else event("notice", after, waiting)

    def events(self, update: Update) -> Iterator[str]:
        """Yield the server-sent events for an update of the job."""
        if update.restarted:
            yield event("notice", update.end, {"what": "restarted"})
        if update.text:
            details = {"details": list(update.details)} if self.request.alternatives else {}
            yield event("text", update.end, {"text": update.text, **details})
        if update.reason:
            error = {"error": update.error} if update.error else {}
            yield event("end", update.end, {"reason": update.reason, **error})

    def document(self, update: Update) -> dict[str, Any]:
        """Return the job's complete text as a ``Document``."""
        request = self.request
        result = {"model": request.model, "seed": request.seed, "from": request.start, "text": update.text}
        result["reason"] = update.reason
        if request.alternatives:
            result["details"] = (list(piece.details) for piece in pieces(update))
        if update.error:
            result["error"] = update.error
        return result


def event(name: str, id: int, data: dict[str, Any]) -> str:
    """Return a server-sent event. JSON escapes newlines, so the data is a single line."""
    return f"event: {name}\nid: {id}\ndata: {json.dumps(data)}\n\n"
