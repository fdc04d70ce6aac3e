"""Deliver the text of jobs to HTTP clients, either as a stream or all at once."""

import logging
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import flask

from minichar.web.details import Details
from minichar.web.job import Update, merge, pieces
from minichar.web.metrics import Metrics
from minichar.web.queue import JobQueue
from minichar.web.rate_limit import ConcurrencyLimit, Slot, client_name
from minichar.web.request import Request

Updates = Iterator[Update | None]
PART = 32 * 1024
"""Number of bytes of a document to send at a time."""
BUILDING = threading.Lock()
"""Held while a document is built, which takes 20 MB of memory for the longest text with alternatives."""


def parts(body: bytes) -> Iterator[bytes]:
    """Split a response body into parts, because Waitress waits for a slow client only between parts."""
    for start in range(0, len(body), PART):
        yield body[start : start + PART]


class Delivery:
    """The queue of a server, with the limits and metrics for its clients.

    Every route that generates text uses the same instance.

    Parameters
    ----------
    queue : JobQueue
    limit : ConcurrencyLimit
    metrics : Metrics
    """

    def __init__(self, queue: JobQueue, limit: ConcurrencyLimit, metrics: Metrics) -> None:
        self.queue, self.limit, self.metrics = queue, limit, metrics

    def acquire(self, job_id: str = "") -> Slot:
        """Count the current HTTP request towards its client's limit."""
        return self.limit.acquire(flask.g.key or client_name(flask.request.remote_addr or ""), job_id)

    def submit(self, request: Request) -> tuple[Slot, Request]:
        """Queue a request, and return the slot of its job and the request with its model filled in."""
        slot = self.acquire()
        try:
            slot.job_id = self.queue.submit(request)
            return slot, self.queue.request(slot.job_id)
        except BaseException:
            slot.close()
            raise

    def close(self, slot: Slot) -> None:
        """End a request, whose job may still be running."""
        slot.close()
        self.queue.leave(slot.job_id)

    def stream(self, slot: Slot, after: int, form: Callable[[Updates], Iterator[str]]) -> flask.Response:
        """Return a response that streams the text of a job after the first `after` characters.

        Parameters
        ----------
        slot : Slot
        after : int
        form : callable
            Function that converts updates to server-sent events.
        """
        response = flask.Response(form(self._updates(slot, after)), mimetype="text/event-stream")
        response.headers["X-Accel-Buffering"] = "no"  # nginx would otherwise buffer several kilobytes
        response.call_on_close(partial(self.close, slot))
        return response

    def whole(self, slot: Slot, after: int) -> Update:
        """Return the text of a job after the first `after` characters, once it is complete."""
        try:
            update = merge(self._follow(slot, after))
            slot.release()
            return update
        finally:
            self.close(slot)

    def document(self, slot: Slot, after: int, form: Callable[[Update], dict[str, Any]]) -> flask.Response:
        """Return a JSON response with the text of a job after the first `after` characters, once complete.

        The request counts towards its client's limit until the response, which takes up memory, is sent.

        Parameters
        ----------
        slot : Slot
        after : int
        form : callable
            Function that converts the text to a JSON object.
        """

        def end() -> None:
            slot.release()
            self.close(slot)

        try:
            update = merge(self._follow(slot, after))
        except BaseException:
            self.close(slot)
            raise
        try:
            with BUILDING:
                body = flask.jsonify(form(update)).data
        except BaseException:
            end()
            raise
        response = flask.Response(parts(body), mimetype="application/json")
        response.content_length = len(body)
        response.call_on_close(end)
        return response

    def _follow(self, slot: Slot, after: int) -> Updates:
        return self.metrics.count(self.queue.follow(slot.job_id, after))

    def _updates(self, slot: Slot, after: int) -> Updates:
        """Yield updates until the job ends. Exceptions become updates, because the status is already sent."""
        end = after
        try:
            for update in self._follow(slot, after):
                if update is None:
                    yield None
                else:
                    yield from pieces(update)
                    end = update.end
            slot.release()
        except Exception:
            logging.exception("job %s failed", slot.job_id)
            yield Update("", Details(), end, "error", "internal error: see the server log")
