"""Middleware that checks every request, and completes and logs every response.

Requests: the client's address, the Host header, the API key. Responses: security headers, the count of
responses, and one line in the access log.
"""

import logging
import re
import time
from itertools import chain
from urllib.parse import quote

from prometheus_client import Counter
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from minichar.web.access import Access
from minichar.web.errors import Refused, error_response

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
    """Wraps an application. `responses` is a counter with the labels ``route`` and ``status``."""

    def __init__(self, app: ASGIApp, responses: Counter, access: Access) -> None:
        self._app, self._responses, self._access = app, responses, access

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
        address = self._access.address(peer, headers.get("x-forwarded-for"))
        scope["client"] = (address, port)
        try:
            head = (scope["raw_path"], scope["query_string"], *chain(*scope["headers"]))
            if sum(map(len, head)) > MAX_HEADER:
                raise HTTPException(431, "the request headers are too long", {"Connection": "close"})
            # Two ways to find the end of a body: a proxy may have chosen the other one.
            if "content-length" in headers and "transfer-encoding" in headers:
                message = "the request has both Content-Length and Transfer-Encoding"
                raise HTTPException(400, message, {"Connection": "close"})
            client, private = await self._access.check(scope, address)
            scope["state"] |= {"client": client, "private": private}
            await self._app(scope, receive, sending)
        except (Refused, HTTPException) as error:
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
