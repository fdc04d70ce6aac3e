"""``minichar doctor``."""

import click

from minichar.cli.options import GroupedCommand
from minichar.devices.doctor import examine


@click.command("doctor", cls=GroupedCommand)
def command() -> None:
    """Show which devices this machine can use, and how to enable the others.

    Opens each device and times the multiplication of two large matrices.
    """
    for finding in examine():
        click.echo(f"{finding.what:9}{'ok' if finding.ok else 'no':4}{finding.found}")
