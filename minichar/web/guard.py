"""What every request passes before it reaches a route, and every response on its way back.

Requests: the client's address, the Host header, the API key. Responses: security headers, the count of
responses, and one line in the access log.
"""

import logging
import re
import time
from collections.abc import Sequence
from itertools import chain
from urllib.parse import quote

from prometheus_client import Counter
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from minichar.web.access import Forwarded, Network, check_host, checked_key
from minichar.web.errors import error_response
from minichar.web.rate_limit import client_name
from minichar.web.request import BadRequest

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
"""Headers of every response, unless a route sets others."""
MAX_HEADER = 16 * 1024
"""Maximum size of the request headers, in bytes. uvicorn's own limit applies only to incomplete headers."""
MAX_PATH = 200
"""Maximum length of a path in the access log."""
ACCESS = logging.getLogger("minichar.access")
JOB = re.compile(r"(?<=^/api/generate/).+")
"""The id of a job in a path. It is not logged, because anyone who knows it can read the text."""


class Guard:
    """Wraps an application.

    Parameters
    ----------
    responses : Counter
        Counter with the labels ``route`` and ``status``.
    keys, hosts : sequence of str
        See `minichar.web.app.create_app`.
    trusted : sequence of networks
        Addresses of trusted proxies.
    metrics_port : int or None
        Port at which ``/metrics`` needs no key. At other ports, it is not served without one.
    """

    def __init__(
        self,
        app: ASGIApp,
        responses: Counter,
        keys: Sequence[str],
        hosts: Sequence[str],
        trusted: Sequence[Network],
        metrics_port: int | None = None,
    ) -> None:
        self._app, self._responses = app, responses
        self._keys, self._hosts, self._forwarded = keys, hosts, Forwarded(trusted)
        self._metrics_port = metrics_port

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, status, size, headers = time.monotonic(), 0, 0, Headers(scope=scope)

        async def sending(message: Message) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status, given = message["status"], MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    given.setdefault(name, value)
            else:
                size += len(message.get("body", b""))
            await send(message)

        peer, port = scope["client"] or ("", 0)
        address = self._forwarded.client(peer, headers.get("x-forwarded-for"))
        scope["client"] = (address, port)
        try:
            if (
                sum(map(len, (scope["raw_path"], scope["query_string"], *chain(*scope["headers"]))))
                > MAX_HEADER
            ):
                raise HTTPException(431, "the request headers are too long", {"Connection": "close"})
            # Two ways to find the end of a body: a proxy may have chosen the other one.
            if "content-length" in headers and "transfer-encoding" in headers:
                message = "the request has both Content-Length and Transfer-Encoding"
                raise HTTPException(400, message, {"Connection": "close"})
            key, private = "", scope["server"][1] == self._metrics_port
            if scope["path"] != "/metrics" or not private:
                check_host(headers.get("host", "localhost"), self._hosts)
                key = await checked_key(scope["path"], headers.get("authorization", ""), self._keys)
            scope["state"] |= {"client": key or client_name(address), "private": private or bool(key)}
            await self._app(scope, receive, sending)
        except (BadRequest, HTTPException) as error:
            await error_response(scope["path"], error)(scope, receive, sending)
        finally:
            route = scope["route"].path if "route" in scope else "none"
            self._responses.labels(route, str(status)).inc()
            log_access(address, scope["method"], scope["path"], status, size, time.monotonic() - start)


def log_access(client: str, method: str, path: str, status: int, size: int, seconds: float) -> None:
    """Log a request in printable ASCII, without its query and job id."""
    shown = quote(JOB.sub("JOB", path))[:MAX_PATH]
    ACCESS.info(
        "%s %s %s %s %d bytes %.3f s", quote(client, safe=":"), quote(method), shown, status, size, seconds
    )
