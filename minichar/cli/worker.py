"""``minichar worker``."""

import signal
from functools import partial
from pathlib import Path
from typing import Any

import click

from minichar.cli.options import GroupedCommand, Integer, checkpoints
from minichar.cli.serving import log_level, metrics_port, pace, watching, with_password, working
from minichar.extras import need
from minichar.terminal import say

part = partial(need, extra="web", what="a worker")


@click.command("worker", cls=GroupedCommand)
@checkpoints
@working(
    "--redis", "url", required=True, metavar="URL", help="Redis server, such as redis://127.0.0.1:6379/0."
)
@working("--columns", default=64, type=Integer(1, 1024), help="Maximum number of jobs in a batch, per model.")
@pace
@log_level
@metrics_port
@watching("--metrics-host", default="127.0.0.1", metavar="ADDRESS", help="Address for --metrics-port.")
def command(
    checkpoints: tuple[Path, ...],
    url: str,
    columns: int,
    pace: float,
    log_level: str,
    metrics_port: int | None,
    metrics_host: str,
) -> None:
    """Run a worker that generates text for `minichar serve --redis`.

    You can run any number of workers on any number of machines. Ctrl-C stops a worker after it finishes
    its running jobs. If a worker dies, another one takes over its jobs.
    """
    part("minichar.web.server").log(log_level.upper())
    models = part("minichar.web.models").load_models(checkpoints)
    link = part("minichar.web.redis_link").RedisLink(with_password(url))
    worker = part("minichar.web.worker").Worker(link, models, columns, pace)

    if metrics_port is not None:
        part("minichar.web.metrics").monitor(worker, metrics_host, metrics_port)

    def stop(number: int, frame: Any) -> None:
        signal.signal(number, signal.SIG_DFL)  # a second signal stops the worker at once
        if worker.ready.is_set():
            say("finishing the running jobs (press Ctrl-C again to stop at once)")
        worker.stopping.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    for name in models:
        say(f"{name}: {models[name].summary()}")
    worker.run(partial(say, "waiting for requests"))
    say("stopped")
