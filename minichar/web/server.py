"""HTTP server based on Cheroot, with limits suitable for a public demo."""

import ipaddress
import re
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

from cheroot.wsgi import Server

from minichar.errors import MinicharError
from minichar.extras import on_interrupt
from minichar.web.app import MAX_BODY

WSGIApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

MAX_HEADER = 16 * 1024
"""Maximum size of the request headers, in bytes."""
TIMEOUT = 10
"""Seconds to wait for a client to send or receive data."""
SPARE_THREADS = 64
"""Number of threads for short requests and slow clients, in addition to one per stream."""


def serve(
    app: WSGIApp,
    host: str,
    port: int,
    streams: int,
    on_ready: Callable[[str], None],
    close: Callable[[], None],
) -> None:
    """Serve an application until SIGINT or SIGTERM is received.

    Parameters
    ----------
    app : WSGI application
    host : str
    port : int
        Port number; 0 for any free port.
    streams : int
        Maximum number of concurrent streams.
    on_ready : callable
        Called with the URL when the server is ready to accept connections.
    close : callable
        Called to end all streams when the server stops.

    Raises
    ------
    MinicharError
        If the server cannot listen on the given address and port.
    """
    with on_interrupt(signal.SIG_DFL):  # an exception would leave threads that keep the process alive
        server = listen(app, host, port, streams)
    try:
        with interruptible():
            on_ready(f"http://{f'[{host}]' if ':' in host else host}:{server.bind_addr[1]}/")
            server.serve()
    except KeyboardInterrupt:
        pass
    finally:
        close()
        server.stop()


def listen(app: WSGIApp, host: str, port: int, streams: int) -> Server:
    """Return a listening server. Call its ``serve`` method to handle requests.

    See `serve` for the parameters and errors.
    """
    server = Server(
        (host, port),
        buffer_body(app),
        numthreads=streams + SPARE_THREADS,
        request_queue_size=1024,
        timeout=TIMEOUT,
        shutdown_timeout=2,
    )
    server.max_request_header_size, server.max_request_body_size = MAX_HEADER, MAX_BODY
    try:
        server.prepare()
    except OSError as error:
        # Cheroot combines the errors for all addresses into one message.
        reasons = dict.fromkeys(re.findall(r"\[Errno -?\d+\] ([^)]+)", str(error)))
        raise MinicharError(
            f"cannot listen on {host} port {port}: {', '.join(reasons) or error}; "
            "choose another --port (0: any free port) or --host"
        ) from error
    return server


def buffer_body(app: WSGIApp) -> WSGIApp:
    """Return a WSGI application that reads the whole request body before it calls `app`.

    If a client does not send the body in time, the server returns status 408 and does not call `app`.
    """

    def buffered(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        try:
            if environ.get("CONTENT_LENGTH", "").startswith("-"):
                raise ValueError("negative Content-Length")
            body = environ["wsgi.input"].read(MAX_BODY + 1)
        except TimeoutError:
            raise
        except (ValueError, OSError):  # malformed or oversized chunks
            start_response("400 Bad Request", [("Content-Length", "0"), ("Connection", "close")])
            return []
        return app(environ | {"wsgi.input": BytesIO(body), "CONTENT_LENGTH": str(len(body))}, start_response)

    return buffered


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
