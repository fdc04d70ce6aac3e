"""``minichar worker``."""

import signal
from functools import partial
from typing import Any

import click

from minichar.cli.options import GroupedCommand, group
from minichar.extras import need

part = partial(need, extra="web", what="a worker")
working = group("Work")


@click.command("worker", cls=GroupedCommand)
@click.argument("checkpoints", nargs=-1)
@working("--redis", "url", required=True, metavar="URL", help="Such as redis://127.0.0.1:6379/0.")
@working(
    "--columns", default=64, type=click.IntRange(1, 1024), help="Texts of a model written at the same time."
)
@working(
    "--pace",
    default=2000.0,
    type=click.FloatRange(0),
    metavar="N",
    help="Characters a second that a text gets at most. 0: no limit.",
)
def command(checkpoints: tuple[str, ...], url: str, columns: int, pace: float) -> None:
    """Write texts for servers started with minichar serve --redis.

    CHECKPOINT as for serve. Start any number, on any machines. Ctrl-C lets the texts that are being
    written come to their end; what a worker had that is killed, another writes on.
    """
    models = part("minichar.web.models").load_models(checkpoints)
    worker = part("minichar.web.worker").Worker(url, models, columns, pace)

    def stop(number: int, frame: Any) -> None:
        signal.signal(number, signal.SIG_DFL)  # the second time, at once
        click.echo("finishing what is being written; once more to stop at once", err=True)
        worker.stopping.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    for name in models:
        click.echo(f"{name}: {models[name].summary()}", err=True)
    worker.run(lambda: click.echo("ready for work", err=True))
    click.echo("stopped", err=True)
