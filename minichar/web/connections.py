"""Connections of the HTTP server, with time limits for slow or silent clients.

Waitress reads requests in one thread and calls the application in another once a request is complete. A
client that is silent or sends slowly therefore occupies a file descriptor but not a thread.
"""

import errno
import json
import logging
import socket
import time
from typing import Any

from waitress.channel import HTTPChannel
from waitress.server import TcpWSGIServer
from waitress.utilities import BadRequest

from minichar.web.access_log import LoggedError, LoggedRequest
from minichar.web.app import HEADERS
from minichar.web.errors import error_body

TIMEOUT = 10.0
"""Maximum time in seconds for a client to send a request, or to receive part of a pending response."""
MAX_INCOMPLETE = 32 * 2**20
"""Maximum number of bytes in incomplete requests. Above this total, connections that send more are closed."""
MAX_UNSENT = 16 * 1024
"""Number of unsent bytes at which a response waits for its client. Waitress may buffer more: it adds each
part of the response as a whole, and frees a buffer only when all of it has been sent."""
LOCK_TIMEOUT = 0.005
"""Maximum number of seconds per poll that the main thread waits for a thread that is sending to a client."""
SEND_BUFFER = 64 * 1024
"""Size of a socket's send buffer, in bytes. This memory belongs to the kernel."""
PAUSE = 1.0
"""Seconds for which no connections are accepted after file descriptors have run out."""
LOG_INTERVAL = 60.0
"""Minimum number of seconds between messages about running out of file descriptors."""
NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE)


class RequestTimeout(BadRequest):
    """Response to a client that does not complete its request in time."""

    code, reason = 408, "Request Timeout"


class JsonError(LoggedError):
    """Error response, in the application's format, to a request that cannot be passed to the application."""

    def execute(self) -> None:
        """Write the response."""
        error = self.request.error
        path = getattr(self.request, "path", "")  # there is no path if the request line is incomplete
        body = json.dumps(error_body(path, error.code, error.body)).encode()
        self.version, self.status = "1.1", f"{error.code} {error.reason}"
        self.response_headers.extend([("Content-Type", "application/json"), *HEADERS.items()])
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(b"" if getattr(self.request, "command", "") == "HEAD" else body)


class Connection(HTTPChannel):
    """One connection.

    Attributes
    ----------
    waiting_since : float
        Time at which the server started waiting for the current request.
    unsent_since : float or None
        Time of the first check that found unsent data; None if the last check found none.
    incomplete : int
        Number of bytes received for the current request; 0 once it is complete.
    """

    task_class, error_task_class = LoggedRequest, JsonError

    request: Any
    will_close: bool

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.waiting_since = time.time()
        self.unsent_since: float | None = None
        self.incomplete = 0
        super().__init__(*arguments, **options)

    def received(self, data: bytes) -> bool:
        """Parse received data. Waitress calls this method in the main thread."""
        more: bool = super().received(data)
        request = self.request
        self._count(request.header_bytes_received + request.body_bytes_received if request else 0)
        self.will_close |= self.incomplete > 0 and self.server.incomplete > MAX_INCOMPLETE
        return more

    def handle_close(self) -> None:
        """Close the connection. Waitress calls this method in the main thread."""
        self._count(0)
        super().handle_close()

    def _count(self, incomplete: int) -> None:
        self.server.incomplete += incomplete - self.incomplete
        self.incomplete = incomplete

    def service(self) -> None:
        """Handle a request in one of the pool's threads."""
        with self.requests_lock:  # wait until Waitress has added all requests that it has received
            pipelined = len(self.requests) > 1
        if pipelined:  # drop later requests, because a slow client would block the thread between requests
            self.requests[0].headers["CONNECTION"] = "close"
        super().service()
        self.waiting_since = time.time()

    def _flush_some_if_lockable(self, do_close: bool = True) -> None:
        # While another thread is sending to this client, the socket is still writable, so Waitress would poll
        # it in a tight loop and delay the sending thread, which needs the GIL.
        if self.outbuf_lock.acquire(timeout=LOCK_TIMEOUT):
            try:
                super()._flush_some_if_lockable(do_close)
            finally:
                self.outbuf_lock.release()

    def check_deadline(self, now: float) -> None:
        """Close the connection if the client is too slow."""
        # The time limit starts no earlier than the first check that finds unsent data, because a busy server
        # may not have tried to send the data before that check.
        self.unsent_since = (self.unsent_since or now) if self.total_outbufs_len else None
        if self.unsent_since is not None:
            self.will_close |= now - max(self.unsent_since, self.last_activity) > TIMEOUT
        elif not self.requests and now - self.waiting_since > TIMEOUT:
            with self.requests_lock:
                if self.request is None:
                    self.will_close = True
                    return
                self.request.error = RequestTimeout("the request was not completed in time")
                self.requests.append(self.request)
                self.request = None
            self.server.add_task(self)


class Server(TcpWSGIServer):
    """Server that closes connections to slow clients and, near its limit, the oldest idle connections."""

    channel_class = Connection

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.stopping = False
        self.incomplete = 0
        self._resume = self._logged = 0.0

    def serve(self) -> None:
        """Handle requests until `stop` is called."""
        while not self.stopping:
            self.asyncore.loop(timeout=0.5, use_poll=True, map=self._map, count=1)

    def stop(self) -> None:
        """Stop accepting connections, wait briefly for responses in progress, and close all connections."""
        self.stopping = True
        self.task_dispatcher.shutdown(timeout=2)
        self.asyncore.close_all(self._map)

    def maintenance(self, now: float) -> None:
        """Check all deadlines. Waitress calls this method every `cleanup_interval` seconds."""
        self.task_dispatcher.start_thread()
        for connection in list(self.active_channels.values()):
            connection.check_deadline(now)

    def readable(self) -> bool:
        """Return whether to accept connections."""
        return super().readable() and time.time() >= self._resume

    def set_socket_options(self, conn: socket.socket) -> None:
        """Limit the kernel memory used by a client that does not read its response."""
        super().set_socket_options(conn)
        conn.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)

    def accept(self) -> Any:
        """Accept a connection. If file descriptors run out, close an idle connection or wait."""
        if len(self.active_channels) >= self.adj.connection_limit - 8:
            self._close_oldest()
        try:
            return super().accept()
        except OSError as error:
            if error.errno not in NO_DESCRIPTORS:
                raise
            now = time.time()
            if now - self._logged > LOG_INTERVAL:
                self._logged = now
                logging.error("cannot accept connections: too many open files; raise the limit (ulimit -n)")
            if not self._close_oldest():
                self._resume = now + PAUSE
            return None

    def _close_oldest(self) -> bool:
        """Close the oldest connection that has no request in progress."""
        for connection in self.active_channels.values():
            if not connection.requests:
                connection.handle_close()
                return True
        return False
