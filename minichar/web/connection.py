"""Connections of the HTTP server, with the limits that uvicorn lacks.

A connection is closed if its client does not send a request, or take part of a pending response, in time.
Near the maximum number of connections, the oldest ones without a request in progress are closed.
"""

import json
import math
import socket
import sys
import time
from http import HTTPStatus
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from minichar.web.errors import error_body
from minichar.web.guard import HEADERS, log_access

TIMEOUT = 10.0
"""Maximum time in seconds for a client to send a request, or to receive part of a pending response."""
MAX_INCOMPLETE = 32 * 2**20
"""Maximum number of bytes in incomplete requests. Above this total, connections that send more are closed."""
MAX_UNSENT = 16 * 1024
"""Number of unsent bytes at which a response waits for its client."""
SEND_BUFFER = 64 * 1024
"""Size of a socket's send buffer, in bytes. This memory belongs to the kernel."""


class Connections:
    """All connections of a server, at most `most`."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.incomplete = 0
        self._open: dict[Connection, None] = {}

    def add(self, connection: "Connection") -> None:
        """Add a connection. If there are too many, close the oldest one without a request in progress."""
        self._open[connection] = None
        if len(self._open) > self.most:
            oldest = next((each for each in self._open if not each.in_progress), connection)
            oldest.transport.abort()
            self.remove(oldest)

    def remove(self, connection: "Connection") -> None:
        """Remove a connection."""
        self._open.pop(connection, None)

    def check_deadlines(self) -> None:
        """Close connections to slow clients. Call this method regularly."""
        now = time.monotonic()
        for connection in list(self._open):
            connection.check_deadline(now)


class Connection(H11Protocol):
    """One connection."""

    all: Connections
    """Set by a subclass."""
    waiting_since: float
    """Time at which the client began to send the current request, or at which the connection became idle."""
    progress: float
    """Time of the last check that found the client receiving its response, or no response pending."""
    unsent: float
    """Number of unsent bytes at that check."""
    incomplete: int
    """Number of bytes received for the current request; 0 once it is complete."""
    head: bool
    """Whether the method of the current request is HEAD."""

    def connection_made(self, transport: Any) -> None:
        """Start waiting for a request."""
        super().connection_made(transport)
        self.waiting_since = self.progress = time.monotonic()
        self.unsent, self.incomplete, self.head = math.inf, 0, False
        transport.set_write_buffer_limits(high=MAX_UNSENT)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        self.all.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Remove the connection."""
        self.all.remove(self)
        self._count(0)
        super().connection_lost(exc)

    @property
    def in_progress(self) -> bool:
        """Whether a response is being generated or sent."""
        return self.cycle is not None and not self.cycle.response_complete

    @property
    def is_waiting(self) -> bool:
        """Whether the server is waiting for a request or for the rest of one."""
        return not self.in_progress or (self.cycle.more_body and not self.cycle.response_started)

    def data_received(self, data: bytes) -> None:
        """Parse received data."""
        if not self.incomplete and not self.in_progress:
            self.waiting_since, self.head = time.monotonic(), data.startswith(b"HEAD ")
        received = self.incomplete + len(data)
        super().data_received(data)
        self._count(received if self.is_waiting else 0)
        if self.incomplete and self.all.incomplete > MAX_INCOMPLETE:
            self.transport.abort()

    def on_response_complete(self) -> None:
        """Start waiting for the next request."""
        self.waiting_since = time.monotonic()
        self._count(0)
        super().on_response_complete()

    def _count(self, incomplete: int) -> None:
        self.all.incomplete += incomplete - self.incomplete
        self.incomplete = incomplete

    def resume_writing(self) -> None:
        """Record that the client has received most of the unsent bytes."""
        self.unsent = math.inf
        super().resume_writing()

    def check_deadline(self, now: float) -> None:
        """Close the connection if the client is too slow."""
        unsent = self.transport.get_write_buffer_size()
        # While more data is added, the number of unsent bytes does not tell whether the client takes any.
        adding = self.in_progress and not self.flow.write_paused and not self.transport.is_closing()
        if not unsent or unsent < self.unsent or adding:
            self.progress = now
        self.unsent = unsent or math.inf
        if now - self.progress > TIMEOUT:
            self.transport.abort()
        elif not unsent and self.is_waiting and now - self.waiting_since > TIMEOUT:
            if self.incomplete or self.in_progress:
                self.reject(408, "the request was not completed in time")
            else:
                self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """Reject a malformed request. uvicorn calls this method while it handles h11's error."""
        error = sys.exc_info()[1]
        status = getattr(error, "error_status_hint", 400)
        self.reject(status, "the request headers are too long" if status == 431 else "malformed request")

    def reject(self, status: int, message: str) -> None:
        """Send an error in the application's format, and close the connection."""
        path = ""
        if self.in_progress:
            path, self.cycle.disconnected = self.scope["path"], True
            self.cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = b"" if self.head else json.dumps(error_body(path, status, message)).encode()
            headers = {"Content-Type": "application/json", "Connection": "close", **HEADERS}
            headers["Content-Length"] = str(len(body))
            response = h11.Response(
                status_code=status, headers=list(headers.items()), reason=HTTPStatus(status).phrase.encode()
            )
            for event in (response, h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
            if not path:
                log_access(self.client[0] if self.client else "", "-", "-", status, len(body), 0.0)
        self.transport.close()
