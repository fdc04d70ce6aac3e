"""Decide whether to accept a request, and which client it counts towards."""

import asyncio
import hmac
import ipaddress
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import Scope

from minichar.errors import MinicharError
from minichar.files import read_text
from minichar.web.errors import Refused

PROTECTED = ("/api", "/metrics", "/plain", "/res", "/v1")
"""Paths that require a key, including all paths below them."""
PENALTY = 1.0
"""Seconds by which the response to a wrong key is delayed."""


@dataclass
class Access:
    """The rules of a server."""

    keys: Sequence[str] = ()
    """API keys. Every API request must include one of them; if there are none, no key is required."""
    hosts: Sequence[str] = ()
    """Host names to accept, in addition to IP addresses and ``localhost``; ``*`` to accept any name."""
    trusted: Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network] = ()
    """Addresses of proxies whose X-Forwarded-For header is trusted."""
    metrics_port: int | None = None
    """Port on which ``/metrics`` needs no key. On other ports, it is not served without one."""
    _warned = False

    async def check(self, scope: Scope, address: str) -> tuple[str, bool]:
        """Return the client that a request counts towards, and whether it may read the metrics.

        Raise `Refused` or `HTTPException` if the request is rejected.
        """
        headers, key = Headers(scope=scope), ""
        private = scope["server"][1] == self.metrics_port
        if scope["path"] != "/metrics" or not private:
            self._check_host(headers.get("host", "localhost"))
            key = await self._check_key(scope["path"], headers.get("authorization", ""))
        return key or client_name(address), private or bool(key)

    def _check_host(self, host: str) -> None:
        """Reject a Host header whose host name is not allowed.

        Without this check, another website could point its own domain name at this server's address, and its
        pages could then send requests to this server. IP addresses and ``localhost`` cannot be redirected in
        this way, so they are always allowed.
        """
        name, allowed = host_name(host), ("localhost", *(other.lower() for other in self.hosts))
        if "*" not in allowed and name not in allowed and not parsed(name):
            raise Refused(f"the server does not serve the host {name!r}: allow it with --allow-host")

    async def _check_key(self, path: str, authorization: str) -> str:
        """Return the API key of a request, or an empty string if no key is required."""
        if not self.keys or not any(path == each or path.startswith(f"{each}/") for each in PROTECTED):
            return ""
        scheme, _, given = authorization.partition(" ")
        token = given.strip().encode() if scheme.lower() == "bearer" else b""
        # Compare with every key, so that the response time reveals nothing about the keys.
        found = [key for key in self.keys if hmac.compare_digest(key.encode(), token)]
        if not found:
            if token:
                await asyncio.sleep(PENALTY)
            message = "missing or invalid API key: send the header Authorization: Bearer KEY"
            raise HTTPException(401, message, {"WWW-Authenticate": "Bearer"})
        return found[0]

    def address(self, peer: str, header: str | None) -> str:
        """Return the address of a client, from the address of its connection and its X-Forwarded-For header.

        uvicorn can also replace the address. However, it trusts any name in the header, and clients control
        everything in the header except the last address.
        """
        if header is None:
            return peer
        if any(ipaddress.ip_address(peer) in network for network in self.trusted):
            return last_address(header) or peer
        if not self._warned:
            self._warned = True
            logging.warning(
                "%s sends X-Forwarded-For, which is ignored, so all its clients count as one: "
                "if it is your proxy, use --trusted-proxy",
                peer,
            )
        return peer


def last_address(header: str) -> str | None:
    """Return the last address in an X-Forwarded-For header, without its port; None if it is malformed."""
    last = header.rpartition(",")[2].strip()
    found = parsed(last) or parsed(host_name(last))
    return str(found) if found else None


def client_name(address: str) -> str:
    """Return the client name under which requests from an address are counted.

    The addresses in an IPv6 /64 network usually belong to the same client, so they count as one client. All
    IPv4-mapped addresses (``::ffff:192.0.2.1``) share one /64 network, so they count as IPv4 addresses.
    """
    found = parsed(address)
    if not isinstance(found, ipaddress.IPv6Address):
        return address
    return str(found.ipv4_mapped or ipaddress.ip_network(f"{address}/64", strict=False))


def host_name(host: str) -> str:
    """Return a host without its port; an empty string if it is malformed."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def parsed(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return an IP address, or None if it is not one."""
    try:
        return ipaddress.ip_address(address)
    except ValueError:
        return None


def read_keys(path: Path) -> list[str]:
    """Read API keys, one per line, from a file. Raise `MinicharError` if it has none or one is not ASCII."""
    keys = read_text(path).split()
    if not keys:
        raise MinicharError(f"{path} contains no API key: write one key per line")
    if not all(key.isascii() for key in keys):  # clients encode non-ASCII characters differently
        raise MinicharError(f"{path} contains an API key that is not ASCII: use letters, digits and hyphens")
    return keys
