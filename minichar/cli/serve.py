"""``minichar serve``."""

import ipaddress
import re
from functools import partial
from pathlib import Path
from typing import Any

import click

from minichar.cli.options import PATH, GroupedCommand, Integer, checkpoints, group
from minichar.cli.serving import log_level, metrics_port, pace, with_password, working
from minichar.errors import plain
from minichar.extras import need
from minichar.terminal import say

part = partial(need, extra="web", what="the server")
listening = group("Address")


COLUMNS = 256
"""Maximum number of jobs in a batch, per model."""


def network(value: str) -> Any:
    """Return an IP address or network as a network."""
    try:
        return ipaddress.ip_network(value, strict=False)
    except ValueError:
        raise click.BadParameter(f"{plain(value)} is not an IP address or network") from None


def host_name(value: str) -> str:
    """Check that a value is ``*`` or a host name that can appear in a Host header."""
    if value != "*" and not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", value):
        form = "without a scheme or port (in Punycode if it is not ASCII)"
        raise click.BadParameter(f"{plain(value)} is not a host name such as demo.example, {form}")
    return value


@click.command("serve", cls=GroupedCommand)
@checkpoints
@listening("--host", default="127.0.0.1", metavar="ADDRESS", help="Address to listen on.")
@listening("--port", default=8080, type=Integer(0, 65535), help="Port to listen on. 0: any free port.")
@listening(
    "--allow-host",
    "hosts",
    multiple=True,
    metavar="NAME",
    type=host_name,
    help="Host name to accept in the Host header of requests, such as the public name of the website. "
    "IP addresses and localhost are always accepted; `*` accepts any name. Can be repeated.",
)
@working(
    "--redis",
    "url",
    metavar="URL",
    help="Redis server for the jobs. `minichar worker` processes then generate the texts.",
)
@working("--workers", default=1, type=Integer(1, 64), help="Number of processes, which generate the texts.")
@working(
    "--queue",
    default=256,
    type=Integer(0, 65536),
    help="Maximum number of waiting jobs, per model. Further requests are rejected with status 503.",
)
@working(
    "--memory",
    default=64,
    type=Integer(1, 2**20),
    metavar="MIB",
    help="Memory for texts in progress and finished texts. Finished texts are removed if memory is needed; "
    "if that is not enough, further requests are rejected with status 503.",
)
@pace
@working(
    "--per-client",
    default=16,
    type=Integer(0),
    metavar="N",
    help="Maximum number of concurrent requests per client. 0: no limit.",
)
@working(
    "--trusted-proxy",
    "trusted",
    multiple=True,
    metavar="ADDRESS",
    type=network,
    help="IP address or network of a trusted proxy that passes the client's address in the X-Forwarded-For "
    "header. Can be repeated.",
)
@working(
    "--api-key-file",
    "key_file",
    type=PATH,
    metavar="FILE",
    help="File with API keys, one per line. API requests must include one of the keys in a header, "
    "`Authorization: Bearer KEY`. Each key counts as one client.",
)
@log_level
@metrics_port
def command(
    checkpoints: tuple[Path, ...],
    host: str,
    port: int,
    hosts: tuple[str, ...],
    url: str | None,
    workers: int,
    queue: int,
    memory: int,
    pace: float,
    per_client: int,
    trusted: list[Any],
    key_file: Path | None,
    log_level: str,
    metrics_port: int | None,
) -> None:
    """Serve a web page and an HTTP API that generate text.

    The routes under /v1 are compatible with OpenAI's completions API.

    Press Ctrl-C to stop the server.
    """
    if not host:
        raise click.UsageError("--host is empty: to listen on all addresses, use 0.0.0.0 (IPv4) or :: (IPv6)")
    if url is not None and checkpoints:
        problem = "cannot be combined with CHECKPOINT: pass the checkpoints to `minichar worker`"
        raise click.UsageError(f"--redis {problem}")
    server, app = part("minichar.web.server"), part("minichar.web.app")
    server.log(log_level.upper())
    keys = part("minichar.web.access").read_keys(key_file) if key_file else []
    hold = click.get_current_context().with_resource  # closes the sockets at the end
    sockets = [hold(server.listening_socket(host, port))]  # first, because loading models takes longer
    if metrics_port is not None:
        sockets.append(hold(server.listening_socket(host, metrics_port, "--metrics-port")))
    if url is not None:
        jobs = part("minichar.web.redis_queue").RedisQueue(with_password(url), queue, memory * 2**20)
    else:
        models = part("minichar.web.models").load_models(checkpoints)
        start = part("minichar.web.processes").ProcessQueue
        jobs = start(models, COLUMNS, queue, pace, workers, memory * 2**20)
        for name, model in models.items():
            say(f"{name}: {model.summary()}")
    if not server.is_loopback(host):
        say(f"warning: anyone who can reach {host} can use this server")

    access = part("minichar.web.access").Access(keys, hosts, trusted, metrics_port)
    application = app.create_app(jobs, access, per_client, max(server.MIN_STREAMS, COLUMNS + queue))
    server.serve(
        application, jobs, sockets, lambda address: say(f"serving at {address} (press Ctrl-C to stop)")
    )
    say("stopped")
