"""Send the text that a job generates to HTTP clients, either as a stream or all at once."""

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Iterator
from contextlib import AsyncExitStack, aclosing
from functools import partial
from itertools import chain
from typing import Any

from starlette.requests import Request as HttpRequest

from minichar.web.details import Details
from minichar.web.errors import Busy
from minichar.web.metrics import ServerMetrics
from minichar.web.queue import JobQueue
from minichar.web.rate_limit import ConcurrencyLimit, Slot
from minichar.web.request import Request
from minichar.web.responses import PartsResponse, encode
from minichar.web.texts import cost
from minichar.web.update import Update, merge

MAX_DOCUMENTS = 32 * 2**20
"""No document is started while the texts of the documents in progress take up at least this many bytes. A
text takes up less than 1.2 MiB, so a client with the default limit of 16 requests cannot reach this size."""
KEEP_ALIVE = ": keep-alive\n\n"
"""An SSE comment, which is sent to find out whether the client has disconnected."""


class Form(ABC):
    """How a route presents the text of a job, without its first `after` characters."""

    request: Request
    after: int

    @abstractmethod
    def begin(self) -> str:
        """Return the server-sent events that precede the text; may be empty."""

    @abstractmethod
    def events(self, update: Update) -> Iterator[str]:
        """Yield the server-sent events for an update."""

    async def idle(self, after: int) -> str:
        """Return the server-sent event for a job without new text."""
        return KEEP_ALIVE

    @abstractmethod
    def document(self, update: Update) -> dict[str, Any]:
        """Return the whole text as an argument for `minichar.web.responses.encode`."""


class Delivery:
    """A server's job queue, with its concurrency limit and metrics.

    All routes that generate text share one instance.
    """

    def __init__(self, queue: JobQueue, limit: ConcurrencyLimit, metrics: ServerMetrics) -> None:
        self.queue, self.limit, self.metrics = queue, limit, metrics
        self._documents: list[int] = []

    def acquire(self, http: HttpRequest, job_id: str = "") -> Slot:
        """Count an HTTP request towards the concurrency limits."""
        return self.limit.acquire(http.state.client, job_id)

    async def submit(self, http: HttpRequest, request: Request) -> tuple[Slot, Request]:
        """Queue a request. Return the request's slot, and the request with its model name filled in."""
        slot = self.acquire(http)
        try:
            slot.job_id = await self.queue.submit(request)
            return slot, (await self.queue.text(slot.job_id)).request
        except BaseException:
            slot.open = False
            raise

    async def close(self, slot: Slot) -> None:
        """End a request, even if its job is still running."""
        slot.open = False
        await self.queue.leave(slot.job_id)

    def events(self, slot: Slot, form: Form) -> PartsResponse:
        """Return a response that streams the text of a job."""
        # nginx would otherwise buffer several kilobytes.
        headers = {"X-Accel-Buffering": "no"}
        parts = self._events(slot, form)
        return PartsResponse(parts, "text/event-stream", headers, partial(self.close, slot))

    async def whole(self, slot: Slot, after: int) -> Update:
        """Wait for a job to end, and return its text after the first `after` characters."""
        async with aclosing(self._follow(slot, after)) as updates:
            return await merge(updates)

    async def document(self, slot: Slot, form: Form) -> PartsResponse:
        """Wait for a job to end, and return its text as a JSON response.

        Until the response has been sent, its text counts towards `MAX_DOCUMENTS`, and the request counts
        towards its client's limit.
        """
        async with AsyncExitStack() as cleanup:
            cleanup.push_async_callback(self.close, slot)
            size = cost(form.request, form.request.length)
            if sum(self._documents) >= MAX_DOCUMENTS:
                await self.queue.cancel(slot.job_id)
                raise Busy("too many long texts are in progress: try again later")
            self._documents.append(size)
            cleanup.callback(self._documents.remove, size)
            update = await self.whole(slot, form.after)
            parts = sent(chain(encode(form.document(update)), "\n"))
            return PartsResponse(parts, "application/json", {}, cleanup.pop_all().aclose)

    async def _follow(self, slot: Slot, after: int) -> AsyncGenerator[Update | None]:
        start, waiting = time.monotonic(), True
        async with aclosing(self.queue.follow(slot.job_id, after)) as updates:
            async for update in updates:
                if update is not None and update.text:
                    self.metrics.characters.inc(len(update.text))
                    if waiting:
                        self.metrics.first.observe(time.monotonic() - start)
                    waiting = False
                yield update

    async def _events(self, slot: Slot, form: Form) -> AsyncGenerator[str]:
        """Yield server-sent events until the job ends.

        Errors are sent as events, because the HTTP status has already been sent.
        """
        after = form.after
        if begin := form.begin():
            yield begin
        try:
            async with aclosing(self._follow(slot, after)) as updates:
                async for update in updates:
                    if update is None:
                        yield await form.idle(after)
                        continue
                    for part in form.events(update):
                        yield part
                    after = update.end
        except Exception:
            logging.exception("a text cannot be sent")
            failure = Update("", Details(), after, "error", "internal error: see the server log")
            for part in form.events(failure):
                yield part


async def sent(parts: Iterator[str]) -> AsyncGenerator[str]:
    """Yield parts."""
    for part in parts:
        yield part
