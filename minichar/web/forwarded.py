"""Addresses of clients behind a trusted proxy."""

import ipaddress
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

WSGIApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def behind_proxy(app: WSGIApp, proxy: str) -> WSGIApp:
    """Wrap an application so that it receives the client's address instead of the proxy's.

    Waitress and Werkzeug can also replace the address. However, Waitress truncates IPv4-mapped addresses and
    rejects requests with a malformed X-Forwarded-For header, even though clients control part of that header.
    Werkzeug does not validate the address: if the proxy appends a port to the address, each connection counts
    as a new client.

    Parameters
    ----------
    app : WSGI application
    proxy : str
        IP address of a proxy whose X-Forwarded-For header is trusted.
    """

    def forwarded(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["REMOTE_ADDR"] == proxy:
            environ["REMOTE_ADDR"] = last_address(environ.get("HTTP_X_FORWARDED_FOR", "")) or proxy
        return app(environ, start_response)

    return forwarded


def last_address(header: str) -> str | None:
    """Return the last address in an X-Forwarded-For header, without its port; None if it is malformed."""
    last = header.rpartition(",")[2].strip()
    with suppress(ValueError):
        return str(ipaddress.ip_address(last))
    with suppress(ValueError):
        return str(ipaddress.ip_address(urlsplit(f"//{last}").hostname or ""))
    return None
