"""Addresses of clients behind a trusted proxy."""

import ipaddress
import logging
from collections.abc import Sequence
from contextlib import suppress
from urllib.parse import urlsplit

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


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
