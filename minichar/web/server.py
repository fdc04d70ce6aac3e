"""The HTTP server: Cheroot, with the limits that a public demo needs."""

import ipaddress
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

from cheroot.wsgi import Server

from minichar.errors import MinicharError
from minichar.web.app import BODY

WSGIApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

HEADER = 16 * 1024
"""The largest head of a request, in bytes."""
TIMEOUT = 10
"""Seconds that a visitor may let the server wait for a byte, or to take one."""
SPARE = 64
"""Threads beyond those for texts, so that short requests and slow visitors find one."""


def serve(
    app: WSGIApp,
    host: str,
    port: int,
    texts: int,
    on_ready: Callable[[str], None],
    close: Callable[[], None],
) -> None:
    """Serve until Ctrl-C or SIGTERM.

    Parameters
    ----------
    app : WSGI application
    host : str
    port : int
        0 for any that is free.
    texts : int
        How many texts may be sent at the same time.
    on_ready : callable
        Is given the address once visitors can come.
    close : callable
        Ends the texts that are being sent, when the server is to stop.

    Raises
    ------
    MinicharError
        If the address cannot be had.
    """
    server = Server(
        (host, port),
        whole_body(app),
        numthreads=texts + SPARE,
        request_queue_size=1024,
        timeout=TIMEOUT,
        shutdown_timeout=2,
    )
    server.max_request_header_size, server.max_request_body_size = HEADER, BODY
    try:
        server.prepare()
    except OSError as error:
        raise MinicharError(f"cannot serve at {host} port {port}: {error}; choose another --port") from error
    try:
        with interruptible():
            shown = f"[{host}]" if ":" in host else host
            on_ready(f"http://{shown}:{server.bind_addr[1]}/")
            server.serve()
    except KeyboardInterrupt:
        pass
    finally:
        close()
        server.stop()


def whole_body(app: WSGIApp) -> WSGIApp:
    """Return the application behind a reader of bodies: it is called when a body is there.

    So a body that does not come is the server's to refuse, with 408, and never holds up the application.
    """

    def call(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        try:
            if environ.get("CONTENT_LENGTH", "").startswith("-"):
                raise ValueError("a body of less than nothing")
            body = environ["wsgi.input"].read(BODY + 1)
        except TimeoutError:
            raise
        except (ValueError, OSError):  # chunks that are none, or that never end
            start_response("400 Bad Request", [("Content-Length", "0"), ("Connection", "close")])
            return []
        return app(environ | {"wsgi.input": BytesIO(body), "CONTENT_LENGTH": str(len(body))}, start_response)

    return call


@contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGTERM do what Ctrl-C does, and both of them even where a shell had them ignored."""

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach it."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
