"""Protection against DNS rebinding."""

import ipaddress
from collections.abc import Collection
from urllib.parse import urlsplit

from minichar.web.request import BadRequest

ANY = "*"


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
    if ANY in allowed or name in ("localhost", *(other.lower() for other in allowed)):
        return
    try:
        ipaddress.ip_address(name)
    except ValueError:
        raise BadRequest(f"the server does not serve the host {name!r}: allow it with --allow-host") from None
