"""``minichar doctor``."""

import click

from minichar.cli.options import GroupedCommand
from minichar.devices.choose import open_auto
from minichar.devices.doctor import Finding, examine
from minichar.training.timings import find_all


@click.command("doctor", cls=GroupedCommand)
def command() -> None:
    """Show which devices are available and how to enable the others.

    Opens each device and times a large matrix multiplication. If `--device auto` can choose between several
    devices, also shows the training times that determine the choice.
    """
    for finding in examine():
        show(finding)
    devices, _ = open_auto()
    if len(devices) > 1:
        for timing in find_all(devices):
            show(Finding("timed", True, f"{timing.size}: {timing}"))


def show(finding: Finding) -> None:
    """Print a finding."""
    click.echo(f"{finding.what:9}{'ok' if finding.ok else 'no':4}{finding.found}")
