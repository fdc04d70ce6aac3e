"""API keys."""

import asyncio
import hmac
from collections.abc import Sequence
from pathlib import Path

from starlette.exceptions import HTTPException

from minichar.errors import MinicharError
from minichar.files import read_text

PROTECTED = ("/api", "/metrics", "/plain", "/res", "/v1")
"""Paths that require a key, including all paths below them."""
PENALTY = 1.0
"""Seconds by which the response to a wrong key is delayed."""


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


async def checked_key(path: str, authorization: str, keys: Sequence[str]) -> str:
    """Return the API key of a request, or an empty string if no key is required.

    Raises
    ------
    HTTPException
        If a key is required and the request does not have a valid one.
    """
    if not keys or not any(path == prefix or path.startswith(f"{prefix}/") for prefix in PROTECTED):
        return ""
    scheme, _, given = authorization.partition(" ")
    token = given.strip().encode() if scheme.lower() == "bearer" else b""
    # Compare with every key, so that the response time reveals nothing about the keys.
    found = [key for key in keys if hmac.compare_digest(key.encode(), token)]
    if not found:
        if token:
            await asyncio.sleep(PENALTY)
        message = "missing or invalid API key: send the header Authorization: Bearer KEY"
        raise HTTPException(401, message, {"WWW-Authenticate": "Bearer"})
    return found[0]
