"""``minichar doctor``."""

import click

from minichar.cli.options import GroupedCommand
from minichar.devices.doctor import examine


@click.command("doctor", cls=GroupedCommand)
def command() -> None:
    """Show which devices are available and how to enable the others.

    Opens each device and times a large matrix multiplication.
    """
    for finding in examine():
        click.echo(f"{finding.what:9}{'ok' if finding.ok else 'no':4}{finding.found}")
