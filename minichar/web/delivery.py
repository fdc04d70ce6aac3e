"""Send the text that a job generates to HTTP clients, either as a stream or all at once."""

import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from functools import partial
from itertools import chain
from typing import Any

import flask

from minichar.web.details import Details
from minichar.web.job import Busy, Update, merge
from minichar.web.jobs import cost
from minichar.web.metrics import Metrics
from minichar.web.parts import encode
from minichar.web.queue import JobQueue
from minichar.web.rate_limit import ConcurrencyLimit, Slot, client_name
from minichar.web.request import Request

Updates = Iterator[Update | None]
Form = Callable[[Update | None, int], Iterator[str]]
PART = 32 * 1024
"""Number of characters of a document to send at a time."""
MAX_DOCUMENTS = 32 * 2**20
"""No document is started while the texts of the documents in progress take up at least this many bytes. A
text takes up less than 1.2 MiB, so a client with the default limit of 16 requests cannot reach this size."""


def sliced(text: str) -> list[str]:
    """Split a response body into parts, because Waitress waits for slow clients only between parts."""
    return [text[start : start + PART] for start in range(0, len(text), PART)]


class Delivery:
    """A server's job queue, with its concurrency limit and metrics.

    All routes that generate text share one instance.

    Parameters
    ----------
    queue : JobQueue
    limit : ConcurrencyLimit
    metrics : Metrics
    """

    def __init__(self, queue: JobQueue, limit: ConcurrencyLimit, metrics: Metrics) -> None:
        self.queue, self.limit, self.metrics = queue, limit, metrics
        self._documents, self._lock = 0, threading.Lock()

    def acquire(self, job_id: str = "") -> Slot:
        """Count the current HTTP request towards the concurrency limits."""
        return self.limit.acquire(flask.g.key or client_name(flask.request.remote_addr or ""), job_id)

    def submit(self, request: Request) -> tuple[Slot, Request]:
        """Queue a request. Return the request's slot, and the request with its model name filled in."""
        slot = self.acquire()
        try:
            slot.job_id = self.queue.submit(request)
            return slot, self.queue.request(slot.job_id)
        except BaseException:
            slot.close()
            raise

    def close(self, slot: Slot) -> None:
        """End a request, even if its job is still running."""
        slot.close()
        self.queue.leave(slot.job_id)

    def stream(self, slot: Slot, after: int, begin: str, form: Form) -> flask.Response:
        """Return a response that streams the text of a job after the first `after` characters.

        Parameters
        ----------
        slot : Slot
        after : int
        begin : str
            Server-sent events that precede the text; may be empty.
        form : callable
            ``form(update, after)`` converts an update to server-sent events. `update` is None if nothing is
            new; otherwise, its text, which may be empty, follows the first `after` characters.
        """
        response = flask.Response(self._events(slot, after, begin, form), mimetype="text/event-stream")
        response.headers["X-Accel-Buffering"] = "no"  # nginx would otherwise buffer several kilobytes
        response.call_on_close(partial(self.close, slot))
        return response

    def whole(self, slot: Slot, after: int) -> Update:
        """Wait for a job to end, and return its text after the first `after` characters."""
        try:
            update = merge(self._follow(slot, after))
            slot.release()
            return update
        finally:
            self.close(slot)

    def document(
        self, slot: Slot, request: Request, form: Callable[[Update], dict[str, Any]]
    ) -> flask.Response:
        """Wait for a request's job to end, and return its text as a JSON response.

        Until the response has been sent, its text counts towards `MAX_DOCUMENTS`, and the request counts
        towards its client's limit.

        Parameters
        ----------
        slot : Slot
        request : Request
        form : callable
            Function that converts the text to an argument for `minichar.web.parts.encode`.

        Raises
        ------
        Busy
            If too many other documents are in progress.
        """
        cleanup = ExitStack()
        try:
            cleanup.callback(self.close, slot)
            size = cost(request, request.length)
            try:
                self._reserve(size)
            except Busy:
                if self.queue.cancel(slot.job_id):
                    slot.release()
                raise
            cleanup.callback(self._free, size)
            update = merge(self._follow(slot, request.start))
            cleanup.callback(slot.release)
            parts: Iterable[str] = chain(encode(form(update)), "\n")
            if not update.details:  # encode short texts up front, so that the Content-Length header is set
                parts = sliced("".join(parts))
        except BaseException:
            cleanup.close()
            raise
        response = flask.Response(parts, mimetype="application/json")
        response.call_on_close(cleanup.close)
        return response

    def _reserve(self, size: int) -> None:
        with self._lock:
            if self._documents >= MAX_DOCUMENTS:
                raise Busy("too many long texts are in progress: try again later")
            self._documents += size

    def _free(self, size: int) -> None:
        with self._lock:
            self._documents -= size

    def _follow(self, slot: Slot, after: int) -> Updates:
        return self.metrics.count(self.queue.follow(slot.job_id, after))

    def _events(self, slot: Slot, after: int, begin: str, form: Form) -> Iterator[str]:
        """Yield server-sent events until the job ends.

        Errors are sent as events, because the HTTP status has already been sent.
        """
        yield begin
        try:
            for update in self._follow(slot, after):
                yield from form(update, after)
                if update is not None:
                    after = update.end
            slot.release()
        except Exception:
            logging.exception("job %s failed", slot.job_id)
            failure = Update("", Details(), after, "error", "internal error: see the server log")
            yield from form(failure, after)
