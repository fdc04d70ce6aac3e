"""API keys."""

import hmac
from collections.abc import Sequence
from pathlib import Path

import flask
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import Unauthorized

from minichar.errors import MinicharError
from minichar.files import read_text

PROTECTED = ("/api", "/plain", "/res", "/v1")
"""Paths that require a key, including all paths below them."""


def read_keys(path: Path) -> list[str]:
    """Read keys from a file, one per line.

    Raises
    ------
    MinicharError
        If the file cannot be read, contains no key, or contains a key that is not ASCII.
    """
    keys = read_text(path).split()
    if not keys:
        raise MinicharError(f"{path} contains no API key: write one key per line")
    if not all(key.isascii() for key in keys):  # clients encode non-ASCII characters differently
        raise MinicharError(f"{path} contains an API key that is not ASCII: use letters, digits and hyphens")
    return keys


def checked_key(keys: Sequence[str]) -> str:
    """Return the API key of the current request, or an empty string if no key is required.

    Raises
    ------
    Unauthorized
        If a key is required and the request does not have a valid one.
    """
    path = flask.request.path
    if not keys or not any(path == prefix or path.startswith(f"{prefix}/") for prefix in PROTECTED):
        return ""
    given = flask.request.authorization
    token = given.token if given is not None and given.type == "bearer" else None
    # Compare with every key, so that the response time reveals nothing about the keys.
    found = [key for key in keys if hmac.compare_digest(key.encode(), (token or "").encode())]
    if not found:
        message = "missing or invalid API key: send the header Authorization: Bearer KEY"
        raise Unauthorized(message, www_authenticate=WWWAuthenticate("bearer"))
    return found[0]
