"""``minichar serve``."""

from functools import partial

import click

from minichar.cli.options import GroupedCommand, group
from minichar.extras import need

part = partial(need, extra="web", what="the server")
reaching = group("Where it is reached")
sharing = group("Sharing the machine")


@click.command("serve", cls=GroupedCommand)
@click.argument("checkpoints", nargs=-1)
@reaching("--host", default="127.0.0.1", metavar="ADDRESS", help="Beyond this machine only if you say so.")
@reaching("--port", default=8080, type=click.IntRange(0, 65535), help="0: any that is free.")
@reaching("--open", "opened", is_flag=True, show_default=False, help="Open the page in the browser.")
@sharing(
    "--redis",
    "url",
    metavar="URL",
    help="Let workers write (minichar worker), over this Redis. No CHECKPOINT then: the workers have them.",
)
@sharing(
    "--columns", default=256, type=click.IntRange(1, 4096), help="Texts of a model written at the same time."
)
@sharing(
    "--queue", default=256, type=click.IntRange(0, 65536), help="How many more may wait; then it says 503."
)
@sharing(
    "--pace",
    default=2000.0,
    type=click.FloatRange(0),
    metavar="N",
    help="Characters a second that a text gets at most, which leaves time to others. 0: no limit.",
)
@sharing(
    "--per-client",
    default=16,
    type=click.IntRange(0),
    metavar="N",
    help="Requests that a visitor may have going on. 0: no limit, for a server behind a proxy.",
)
def command(
    checkpoints: tuple[str, ...],
    host: str,
    port: int,
    opened: bool,
    url: str | None,
    columns: int,
    queue: int,
    pace: float,
    per_client: int,
) -> None:
    """Show models in the browser.

    CHECKPOINT is a file, or a folder of which the page lists all; without any, it is the best
    checkpoint in cv/. Ctrl-C stops the server.
    """
    server, app = part("minichar.web.server"), part("minichar.web.app")
    if url is not None:
        if checkpoints:
            raise click.UsageError("with --redis the workers have the checkpoints: name them there")
        desk = part("minichar.web.shared").SharedDesk(url, queue)
    else:
        models = part("minichar.web.models").load_models(checkpoints)
        desk = part("minichar.web.desk").OwnDesk(models, columns, queue, pace)
        for model in desk.models():
            click.echo(f"{model.name}: {model.summary}", err=True)
    if not server.is_loopback(host):
        click.echo(f"warning: whoever can reach {host} can use this server", err=True)

    def ready(address: str) -> None:
        click.echo(f"serving at {address} - Ctrl-C stops it", err=True)
        if opened:
            click.launch(address)

    server.serve(app.make_app(desk, per_client), host, port, columns + queue, ready, desk.close)
    click.echo("stopped", err=True)
