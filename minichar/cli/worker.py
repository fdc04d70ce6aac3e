"""``minichar worker``."""

import signal
from functools import partial
from pathlib import Path
from typing import Any

import click

from minichar.cli.options import PATH, GroupedCommand, argument, group
from minichar.extras import need

part = partial(need, extra="web", what="a worker")
working = group("Work")


@click.command("worker", cls=GroupedCommand)
@argument(
    "checkpoints",
    "Checkpoints, or folders whose checkpoints are all loaded.  [default: the best in cv]",
    nargs=-1,
    metavar="[CHECKPOINT]...",
    type=PATH,
)
@working("--redis", "url", required=True, metavar="URL", help="For example redis://127.0.0.1:6379/0.")
@working("--columns", default=64, type=click.IntRange(1, 1024), help="Texts generated at once, per model.")
@working(
    "--pace",
    default=2000.0,
    type=click.FloatRange(0),
    metavar="N",
    help="Maximum speed of each text, in characters per second. 0: no limit.",
)
def command(checkpoints: tuple[Path, ...], url: str, columns: int, pace: float) -> None:
    """Generate texts for minichar serve --redis.

    Run any number of workers, on any machines. Ctrl-C stops a worker
    after it has finished its current texts; if a worker dies, another continues its texts.
    """
    models = part("minichar.web.models").load_models(checkpoints)
    worker = part("minichar.web.worker").Worker(url, models, columns, pace)

    def stop(number: int, frame: Any) -> None:
        signal.signal(number, signal.SIG_DFL)  # a second signal stops at once
        click.echo("finishing the current texts (press Ctrl-C again to stop at once)", err=True)
        worker.stopping.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    for name in models:
        click.echo(f"{name}: {models[name].summary()}", err=True)
    worker.run(lambda: click.echo("ready for work", err=True))
    click.echo("stopped", err=True)
