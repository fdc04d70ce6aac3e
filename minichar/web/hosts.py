"""Protection against DNS rebinding."""

import ipaddress
from collections.abc import Collection
from urllib.parse import urlsplit

from minichar.web.request import BadRequest

ANY = "*"


def check_host(host: str, allowed: Collection[str]) -> None:
    """Reject a Host header with a foreign name.

    A page of another site whose name is changed to the address of this server could otherwise use it. An
    address cannot be changed in this way, so addresses are always allowed, as is ``localhost``.

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
