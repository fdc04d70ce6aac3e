"""Why requests are refused, and error responses in the format that the clients of each route expect."""

import json
import logging
import time
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response

from minichar.errors import MinicharError

OPENAI_PREFIX = "/v1/"
"""Prefix of the paths that return errors in the format of OpenAI's API."""
CODES = {401: "invalid_api_key", 429: "rate_limit_exceeded"}
RETRY_AFTER = {"Retry-After": "2"}
"""Header that tells a client how many seconds to wait before it tries again."""
LOG_INTERVAL = 60.0
"""Minimum number of seconds between messages about the same problem."""
LOGGED: dict[str, float] = {}
"""Time of the last message about each problem, on the ``time.monotonic()`` clock."""


def log_regularly(problem: str) -> None:
    """Log a problem that may occur many times a second."""
    now = time.monotonic()
    if now - LOGGED.get(problem, -LOG_INTERVAL) >= LOG_INTERVAL:
        LOGGED[problem] = now
        logging.error(problem)


class Refused(MinicharError):
    """Raised when a request, or a `field` of it, is refused.

    `status` is the HTTP status, and `code` names the error, if it has a name.
    """

    def __init__(
        self, message: str, field: str | None = None, status: int = 400, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.field, self.status, self.code = field, status, code


class NoSuchJob(Refused):
    """Raised when a job id is unknown."""

    def __init__(self) -> None:
        super().__init__("no such job, or it has expired", status=404)


class Busy(Refused):
    """Raised when the server is too busy to handle a request."""

    def __init__(self, message: str, code: str | None = None) -> None:
        super().__init__(message, status=503, code=code)


class Unavailable(Busy):
    """Raised when no worker is available or Redis cannot be reached."""

    def __init__(self, message: str) -> None:
        super().__init__(message, "unavailable")


class AsciiJSONResponse(JSONResponse):
    """JSON response whose strings may contain lone surrogates, which JSON allows but UTF-8 cannot encode."""

    def render(self, content: Any) -> bytes:
        """Encode the content."""
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode()


def error_body(
    path: str, status: int, message: str, field: str | None = None, code: str | None = None
) -> dict[str, Any]:
    """Return the JSON body of the response to an error, in the format for the path of the request."""
    if not path.startswith(OPENAI_PREFIX):
        named = {"field": field, "code": code}
        return {"error": message} | {name: value for name, value in named.items() if value}
    kind = "invalid_request_error" if status < 500 else "server_error"
    code = code or CODES.get(status)
    return {"error": {"message": message, "type": kind, "param": field, "code": code}}


def error_response(path: str, error: Exception) -> Response:
    """Return the response to a request that caused an error."""
    headers: dict[str, str] = {}
    field = code = None
    if isinstance(error, Refused):
        status, message, field, code = error.status, str(error), error.field, error.code
    elif isinstance(error, HTTPException):
        status, message, headers = error.status_code, error.detail, dict(error.headers or {})
        if status == 404 and path.startswith(OPENAI_PREFIX):
            message = "no such route: the models only continue text; use /v1/completions"
    else:
        status, message = 500, "internal error: see the server log"
    if status in (429, 503):
        headers |= RETRY_AFTER
    return AsciiJSONResponse(error_body(path, status, message, field, code), status, headers)


async def handle_error(request: HttpRequest, error: Exception) -> Response:
    """Return the response to a request that caused an error. Starlette logs unexpected errors."""
    return error_response(request.url.path, error)
