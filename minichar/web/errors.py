"""Error responses, in the format that the clients of each route expect."""

from typing import Any

import flask
from werkzeug.exceptions import HTTPException

from minichar.web.job import Busy
from minichar.web.rate_limit import RETRY_AFTER
from minichar.web.request import BadRequest

OPENAI_PREFIX = "/v1/"
"""Prefix of the paths that return errors in the format of OpenAI's API."""
CODES = {401: "invalid_api_key", 429: "rate_limit_exceeded"}


def error_body(
    path: str, status: int, message: str, field: str | None = None, code: str | None = None
) -> dict[str, Any]:
    """Return the JSON body of an error response.

    Parameters
    ----------
    path : str
        Path of the request.
    status : int
    message : str
    field : str or None
        The invalid field of the request, if there is one.
    code : str or None
        Name of the error. For OpenAI's API, `CODES` contains the defaults for some statuses.
    """
    if not path.startswith(OPENAI_PREFIX):
        named = {"field": field, "code": code}
        return {"error": message} | {name: value for name, value in named.items() if value}
    kind = "invalid_request_error" if status < 500 else "server_error"
    code = code or CODES.get(status)
    return {"error": {"message": message, "type": kind, "param": field, "code": code}}


def handle_errors(app: flask.Flask) -> None:
    """Make an application return errors as JSON."""

    def body(status: int, message: str, **details: str | None) -> flask.Response:
        return flask.jsonify(error_body(flask.request.path, status, message, **details))

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> flask.Response:
        response = flask.make_response(error.get_response())  # preserves headers such as Retry-After
        response.data = body(response.status_code, error.description or error.name).data
        response.mimetype = "application/json"
        return response

    @app.errorhandler(BadRequest)
    def bad_request(error: BadRequest) -> tuple[flask.Response, int]:
        return body(error.status, str(error), field=error.field, code=error.code), error.status

    @app.errorhandler(Busy)
    def busy(error: Busy) -> tuple[flask.Response, int, dict[str, str]]:
        return body(503, str(error), code=error.code), 503, {"Retry-After": str(RETRY_AFTER)}

    @app.errorhandler(KeyError)
    def not_found(error: KeyError) -> tuple[flask.Response, int]:
        return body(404, "no such job, or it has expired"), 404
