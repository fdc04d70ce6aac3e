"""The options of ``minichar train`` that are fields of `Settings`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from minichar.cli.options import Minutes, OneOf, group, options_in
from minichar.errors import MinicharError
from minichar.text.datasets import dataset_path
from minichar.training.choose import choose, facts_of
from minichar.training.recipes import RECIPES, settings_from, table
from minichar.training.settings import OUTPUT, SAVING, Settings
from minichar.training.text import read_corpus

LAYOUT = ("recipe", "val", "encoding", "split", "train_frac", "val_frac", "batch_size", "seq_length")
"""Options that, with the text, determine the number of steps per epoch."""
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


def steps_per_epoch(ctx: click.Context, words: Sequence[str]) -> int | None:
    """Return the number of training steps per epoch with these options, or None if it is not known."""
    try:
        given, *_ = ctx.command.make_parser(ctx).parse_args([*words])
        if "checkpoint" in given:  # the text is that of the resumed run
            return None
        types = {parameter.name: parameter.type for parameter in ctx.command.params}
        options = {name: types[name].convert(given[name], None, ctx) for name in LAYOUT if name in given}
        (data,) = given.get("data", [dataset_path("pydocs")])
        settings = settings_from(options | {"data": data})
        corpus = read_corpus(settings)
        return facts_of(settings, corpus).epoch(choose(settings, corpus))
    except (MinicharError, click.UsageError, ValueError):
        return None
