"""Options that ``minichar serve`` and ``minichar worker`` share."""

import os
from urllib.parse import parse_qs, quote, urlsplit

import click

from minichar.cli.options import Integer, Number, OneOf, group

PASSWORD = "MINICHAR_REDIS_PASSWORD"
"""Environment variable that contains the Redis password."""
working = group("Workers and limits")
watching = group("Log and metrics")
pace = working(
    "--pace",
    default=2000.0,
    type=Number(0),
    metavar="N",
    help="Maximum speed per request, in characters per second. 0: no limit.",
)
log_level = watching(
    "--log-level",
    default="warning",
    type=OneOf(("error", "warning", "info")),
    help="Minimum level of the messages written to standard error. info: also log every request.",
)


metrics_port = watching(
    "--metrics-port",
    type=Integer(1, 65535),
    metavar="PORT",
    help="Additional port on which /metrics needs no API key; for a worker, also serves /healthz.",
)


def with_password(url: str) -> str:
    """Return the Redis URL. If it has no password, add the one in the environment, if any."""
    password = os.environ.get(PASSWORD, "")
    try:
        parts = urlsplit(url)
        given = parts.password is not None or "password" in parse_qs(parts.query)
    except ValueError:
        return url  # an invalid URL is reported when it is used
    if given:
        click.echo(f"warning: other users can see a password in --redis; set {PASSWORD} instead", err=True)
    if not password or given:
        return url
    host = parts.netloc.rpartition("@")[2]
    user = parts.username or ""  # percent-encoded, unlike the password
    return parts._replace(netloc=f"{user}:{quote(password, safe='')}@{host}").geturl()
