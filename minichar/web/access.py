"""Who may send a request: the names of this server, API keys, and the addresses of clients behind a proxy."""

import asyncio
import hmac
import ipaddress
import logging
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException

from minichar.errors import MinicharError
from minichar.files import read_text
from minichar.web.request import BadRequest

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
PROTECTED = ("/api", "/metrics", "/plain", "/res", "/v1")
"""Paths that require a key, including all paths below them."""
PENALTY = 1.0
"""Seconds by which the response to a wrong key is delayed."""


def check_host(host: str, allowed: Collection[str]) -> None:
    """Reject a Host header whose host name is not allowed.

    Without this check, another website could point its own domain name at this server's address, and its
    pages could then send requests to this server. IP addresses and ``localhost`` cannot be redirected in this
    way, so they are always allowed.

    Raises
    ------
    BadRequest
        If the name is not in `allowed`.
    """
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        name = ""
    if "*" in allowed or name in ("localhost", *(other.lower() for other in allowed)):
        return
    try:
        ipaddress.ip_address(name)
    except ValueError:
        raise BadRequest(f"the server does not serve the host {name!r}: allow it with --allow-host") from None


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


class Forwarded:
    """Finds the address of a client whose request was forwarded by a proxy.

    uvicorn can also replace the address. However, it trusts any name in the header, and clients control most
    of it.

    Parameters
    ----------
    trusted : sequence of networks
        Addresses of the proxies whose X-Forwarded-For header is trusted.
    """

    def __init__(self, trusted: Sequence[Network]) -> None:
        self._trusted, self._warned = trusted, False

    def client(self, peer: str, header: str | None) -> str:
        """Return the address of a client.

        Parameters
        ----------
        peer : str
            The address from which the request came.
        header : str or None
            The X-Forwarded-For header, if there is one. Clients control all of it except the last address.
        """
        if header is None:
            return peer
        if any(ipaddress.ip_address(peer) in network for network in self._trusted):
            return last_address(header) or peer
        if not self._warned:
            self._warned = True
            logging.warning(
                "%s sends X-Forwarded-For, which is ignored, so that all its clients count as one: "
                "if it is your proxy, use --trusted-proxy",
                peer,
            )
        return peer


def last_address(header: str) -> str | None:
    """Return the last address in an X-Forwarded-For header, without its port; None if it is malformed."""
    last = header.rpartition(",")[2].strip()
    with suppress(ValueError):
        return str(ipaddress.ip_address(last))
    with suppress(ValueError):
        return str(ipaddress.ip_address(urlsplit(f"//{last}").hostname or ""))
    return None
