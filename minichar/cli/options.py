"""Help in groups, and the options that several commands share."""

from collections.abc import Callable, Sequence
from typing import Any

import click

from minichar.devices.choose import open_backend
from minichar.engine.cells import models


class GroupedOption(click.Option):
    """An option that stands under a heading of its own in ``--help``."""

    def __init__(self, *args: Any, group: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.group = group


class GroupedCommand(click.Command):
    """A command whose ``--help`` lists the options under their headings, in the order declared."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a section a group."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                sections.setdefault(getattr(parameter, "group", "Other"), []).append(record)
        for heading, records in sections.items():
            with formatter.section(heading):
                formatter.write_dl(records)


class CellName(click.Choice[str]):
    """The name of a registered cell, whenever it was registered."""

    def __init__(self) -> None:
        super().__init__([])

    @property
    def choices(self) -> tuple[str, ...]:
        """The names there are now."""
        return tuple(models())

    @choices.setter
    def choices(self, names: Sequence[str]) -> None:
        """Ignore what Click keeps when the option is declared."""


device = click.option(
    "--device",
    default="auto",
    show_default=True,
    metavar="DEVICE",
    callback=lambda ctx, parameter, name: open_backend(name),
    help="cpu, gpu, gpu:N, opencl or opencl:N; auto takes an NVIDIA GPU if one answers, else the CPU.",
)
"""Where to compute; the command gets an open `Backend`."""


def group(heading: str) -> Callable[..., Callable[[Any], Any]]:
    """Return a decorator like `click.option` for options under `heading`, with their defaults shown."""

    def option(*names: str, **attributes: Any) -> Callable[[Any], Any]:
        attributes.setdefault("show_default", True)
        return click.option(*names, cls=GroupedOption, group=heading, **attributes)

    return option
