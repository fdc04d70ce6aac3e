"""Options that ``minichar serve`` and ``minichar worker`` share."""

import os
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import click

from minichar.cli.options import PATH, Number, OneOf, group
from minichar.files import read_text

PASSWORD = "MINICHAR_REDIS_PASSWORD"
"""Environment variable that contains the Redis password."""
working = group("Workers and limits")
watching = group("Log and metrics")
redis_password_file = working(
    "--redis-password-file",
    "password_file",
    type=PATH,
    metavar="FILE",
    help=f"File that contains the Redis password.  [default: use ${PASSWORD}]",
)
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


def with_password(url: str, file: Path | None) -> str:
    """Return the Redis URL. If it has no password, add one from `file` or the environment, if available."""
    password = os.environ.get(PASSWORD, "") if file is None else read_text(file).strip()
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
