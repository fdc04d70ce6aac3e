"""HTTP server based on uvicorn, with limits suitable for a public demo."""

import asyncio
import errno
import ipaddress
import logging
import os
import signal
import socket
from collections.abc import Callable
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from minichar.errors import MinicharError
from minichar.web.connection import TIMEOUT, Connection, Connections
from minichar.web.errors import log_regularly
from minichar.web.guard import MAX_HEADER
from minichar.web.pipe import FORMAT
from minichar.web.queue import JobQueue

try:
    import resource
except ImportError:  # on Windows
    resource = None  # type: ignore[assignment]

MAX_CONNECTIONS = 4096
"""Maximum number of connections. Near it, the oldest ones without a request in progress are closed."""
SPARE_FILES = 64
"""Number of open files that are not connections."""
CHECK_TICKS = 10
"""Number of uvicorn's ticks, of 0.1 s, between checks of all deadlines."""
GRACE = 2
"""Seconds for responses in progress to end after the server has been stopped."""
MIN_STREAMS = 600
"""The server allows at least this many concurrent streams, regardless of `--queue`."""
BACKLOG = 1024
"""Maximum number of connections waiting to be accepted."""
ACCEPTED = 32
"""Maximum number of connections to accept before other events are handled. If file descriptors run out,
asyncio tries this many times and reports each error."""


class Server(uvicorn.Server):
    """Server with limits on its connections.

    It closes the queue when it stops, so that all streams end, and calls `on_ready` with its URL when it
    accepts connections.
    """

    def __init__(self, app: ASGIApp, queue: JobQueue, on_ready: Callable[[str], None]) -> None:
        self._queue, self._on_ready = queue, on_ready
        most = allow_open_files(MAX_CONNECTIONS + SPARE_FILES) - SPARE_FILES
        self.connections = connections = Connections(most)

        class Limited(Connection):
            """A connection of this server."""

            all = connections

        config = uvicorn.Config(
            app,
            http=Limited,
            loop="asyncio",
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            headers=[("Server", "minichar")],
            server_header=False,
            timeout_keep_alive=int(TIMEOUT) + 1,  # the connections have their own deadline
            timeout_graceful_shutdown=GRACE,
            h11_max_incomplete_event_size=MAX_HEADER,
            backlog=ACCEPTED,
        )
        super().__init__(config)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start accepting connections."""
        asyncio.get_running_loop().set_exception_handler(self._handle)
        await super().startup(sockets)
        if self.should_exit or not sockets:  # the queue cannot be started
            return
        sockets[0].listen(BACKLOG)  # asyncio has set the limit to `ACCEPTED`
        host, port, *_ = sockets[0].getsockname()
        self._on_ready(f"http://{f'[{host}]' if ':' in host else host}:{port}/")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End all streams, and stop."""
        await self._queue.close()
        await super().shutdown(sockets)

    async def on_tick(self, counter: int) -> bool:
        """Check all deadlines. uvicorn calls this method regularly, with the number of calls so far."""
        if counter % CHECK_TICKS == 0:
            self.connections.check_deadlines()
        return await super().on_tick(counter)

    def _handle(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Handle an error that asyncio reports. It tries to accept connections again after a second."""
        error = context.get("exception")
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
            log_regularly("cannot accept connections: too many open files; raise the limit (ulimit -n)")
        elif not (self.should_exit and isinstance(error, ValueError)):  # the socket has been closed meanwhile
            loop.default_exception_handler(context)


def serve(
    app: ASGIApp, queue: JobQueue, sockets: list[socket.socket], on_ready: Callable[[str], None]
) -> None:
    """Serve an application on sockets until SIGINT or SIGTERM is received. See `Server`."""
    server = Server(app, queue, on_ready)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, server.handle_exit)  # uvicorn raises the signal again after it has stopped
    server.run(sockets)


def log(level: str) -> None:
    """Log messages of at least this level to standard error, with timestamps.

    Level ``INFO`` includes the access log. uvicorn's messages below ``ERROR`` are never logged, because every
    malformed request causes one.
    """
    logging.basicConfig(level=level, format=FORMAT)
    logging.getLogger("uvicorn").setLevel(logging.ERROR)


def listening_socket(host: str, port: int, option: str = "--port") -> socket.socket:
    """Return a socket that listens on an address, or raise `MinicharError`. Port 0 is any free port."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, *_, address = found[0]
        return socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except (OSError, UnicodeError) as error:
        number = getattr(error, "errno", None) or 0  # negative if the name cannot be resolved
        reason = os.strerror(number) if number > 0 else getattr(error, "strerror", None) or error
        raise MinicharError(
            f"cannot listen on {host} port {port}: {reason}; choose another {option} or --host"
        ) from error


def allow_open_files(wanted: int) -> int:
    """Try to raise the limit on open files to `wanted`. Return the resulting limit, at most `wanted`."""
    if resource is None:
        return wanted
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return wanted if soft == resource.RLIM_INFINITY else min(wanted, soft)


def is_loopback(host: str) -> bool:
    """Return whether `host` is a loopback address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
