"""Parse JSON request bodies."""

import json
from typing import Any

import flask
from werkzeug.exceptions import UnsupportedMediaType

from minichar.web.request import BadRequest


def json_body() -> dict[str, Any]:
    """Return the JSON object in the body of the current request.

    Raises
    ------
    UnsupportedMediaType
        If the Content-Type is not JSON.
    BadRequest
        If the body is not a JSON object.
    """
    if not flask.request.is_json:
        raise UnsupportedMediaType("expected a JSON body with Content-Type: application/json")
    try:
        # NaN and Infinity are not valid JSON; replacing them with None makes validation fail.
        data = json.loads(flask.request.get_data(), parse_constant=lambda name: None)
    except (ValueError, RecursionError):
        raise BadRequest("the body is not valid JSON") from None
    if not isinstance(data, dict):
        raise BadRequest("the body is not a JSON object")
    return data
