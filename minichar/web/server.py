"""HTTP server based on Waitress, with limits suitable for a public demo."""

import ipaddress
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from waitress.adjustments import Adjustments

from minichar.errors import MinicharError
from minichar.extras import on_interrupt
from minichar.web.app import MAX_BODY
from minichar.web.connections import MAX_UNSENT, Server
from minichar.web.forwarded import WSGIApp, behind_proxy
from minichar.web.memory import limit_arenas
from minichar.web.threads import Threads

try:
    import resource
except ImportError:  # on Windows
    resource = None  # type: ignore[assignment]

MAX_HEADER = 16 * 1024
"""Maximum size of the request headers, in bytes."""
MAX_CONNECTIONS = 4096
"""Maximum number of connections. Near it, the oldest ones without a request in progress are closed."""
CLEANUP_INTERVAL = 1
"""Seconds between checks of all deadlines."""
MIN_STREAMS = 600
"""The server allows at least this many concurrent streams, regardless of `--columns` and `--queue`."""
SPARE_THREADS = 64
"""Maximum number of threads for other requests."""
BACKLOG = 1024


def serve(
    app: WSGIApp,
    host: str,
    port: int,
    streams: int,
    on_ready: Callable[[str], None],
    close: Callable[[], None],
    proxy: str | None = None,
) -> None:
    """Serve an application until SIGINT or SIGTERM is received.

    Parameters
    ----------
    app : WSGI application
    host : str
    port : int
        Port number; 0 for any free port.
    streams : int
        Maximum number of concurrent requests for new or already generated text.
    on_ready : callable
        Called with the URL when the server is ready to accept connections.
    close : callable
        Called to end all streams when the server stops.
    proxy : str or None
        IP address of a proxy whose X-Forwarded-For header is trusted.

    Raises
    ------
    MinicharError
        If the server cannot listen on the given address and port.
    """
    limit_arenas()
    with on_interrupt(signal.SIG_DFL):  # no server to stop yet
        server = listen(app, host, port, streams, proxy)
    try:
        with interruptible():
            on_ready(f"http://{f'[{host}]' if ':' in host else host}:{server.effective_port}/")
            server.serve()
    except KeyboardInterrupt:
        pass
    finally:
        close()
        server.stop()


def log(level: str) -> None:
    """Log messages of at least this level to standard error, with timestamps.

    Level ``INFO`` includes the access log. Waitress's messages below ``WARNING`` are never logged, because
    they contain job ids.
    """
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("waitress").setLevel(max(logging.WARNING, getattr(logging, level)))


def listen(app: WSGIApp, host: str, port: int, streams: int, proxy: str | None = None) -> Server:
    """Return a listening server. To handle requests, call its ``serve`` method.

    See `serve` for the parameters and errors.
    """
    threads = streams + SPARE_THREADS
    allowed = allow_open_files(2 * threads + MAX_CONNECTIONS)
    # The open-file limit may be too low for this many threads.
    connections = max(allowed - 2 * threads, allowed // 2)
    sock = listening_socket(host, port)
    options = Adjustments(
        sockets=[sock],
        ident="minichar",
        server_name="localhost",  # used for requests without a Host header
        connection_limit=connections,
        cleanup_interval=CLEANUP_INTERVAL,
        log_socket_errors=False,
        max_request_header_size=MAX_HEADER,
        max_request_body_size=MAX_BODY,
        outbuf_high_watermark=MAX_UNSENT,
        clear_untrusted_proxy_headers=False,  # `behind_proxy` checks who sent them
    )
    info = (sock.family, sock.type, sock.proto, sock.getsockname())
    application = behind_proxy(app, proxy) if proxy else app
    return Server(
        application,
        map={},
        _sock=sock,
        dispatcher=Threads(threads),
        adj=options,
        sockinfo=info,
        bind_socket=False,
    )


def listening_socket(host: str, port: int) -> socket.socket:
    """Return a socket that listens on an address.

    Raises
    ------
    MinicharError
        If the server cannot listen on this address and port.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, *_, address = found[0]
        return socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except (OSError, UnicodeError) as error:
        number = getattr(error, "errno", None) or 0  # negative if the name cannot be resolved
        reason = os.strerror(number) if number > 0 else getattr(error, "strerror", None) or error
        raise MinicharError(
            f"cannot listen on {host} port {port}: {reason}; "
            "choose another --port (0: any free port) or --host"
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


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise KeyboardInterrupt on SIGINT and SIGTERM, even if the process inherited SIG_IGN."""

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def is_loopback(host: str) -> bool:
    """Return whether `host` is a loopback address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
