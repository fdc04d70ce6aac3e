"""``minichar doctor``."""

import click

from minichar.devices.doctor import examine


@click.command("doctor")
def command() -> None:
    """Show what this machine can compute with, and what to do about what it cannot.

    Each device is opened and timed with a product of two large matrices.
    """
    for finding in examine():
        click.echo(f"{finding.what:8}{finding.found}")
        click.echo(f"{'':8}{'ok' if finding.good else 'no'}: {finding.verdict}")
