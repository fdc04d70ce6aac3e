"""The options of ``minichar train`` that are fields of `Settings`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from minichar.cli.options import Minutes, OneOf, group, options_in
from minichar.training.recipes import RECIPES, table
from minichar.training.settings import OUTPUT, SAVING, Settings

LIST = "list"
"""Value of ``--recipe`` that prints the recipes."""


def list_recipes(ctx: click.Context, parameter: click.Parameter, name: str | None) -> str | None:
    """Return the name of the recipe. For ``list``, print all recipes and exit."""
    if name == LIST:
        click.echo("\n".join(table()))
        ctx.exit()
    return name


def only_one(ctx: click.Context, parameter: click.Parameter, paths: tuple[Path, ...]) -> Path | None:
    """Return the training text, if specified. Specifying a second one is an error."""
    if len(paths) > 1:
        raise click.UsageError("--data can be used only once: to train on multiple files, use a directory")
    return paths[0] if paths else None


saving, output = group(SAVING), group(OUTPUT)
SPECIAL: Mapping[str, dict[str, Any]] = {
    "recipe": {
        "type": OneOf([*RECIPES, LIST]),
        "is_eager": True,
        "callback": list_recipes,
        "metavar": f"NAME|{LIST}",
    },
    "data": {"multiple": True, "callback": only_one},
    "max_time": {"type": Minutes()},
}
"""What cannot be derived from the fields."""
settings_options = options_in(Settings, SPECIAL)
"""Decorator that adds the training options to a command, which receives them as keyword arguments."""
