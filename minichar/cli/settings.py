"""The options of ``minichar train`` that are fields of `Settings`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from minichar.cli.options import PATH, OneOf, argument, group, options_in
from minichar.cli.usage import TYPOGRAPHIC_DASH, given_by_user, reject_typographic_dashes
from minichar.duration import DURATION
from minichar.errors import MinicharError
from minichar.text.datasets import dataset_path
from minichar.training.choose import choose, facts_of
from minichar.training.recipes import RECIPES, settings_from
from minichar.training.settings import OUTPUT, SAVING, Settings
from minichar.training.text import read_corpus

LAYOUT = ("recipe", "val", "encoding", "split", "train_frac", "val_frac", "batch_size", "seq_length")
"""Options that, with the text, determine the number of steps per epoch."""
STDIN = Path("-")
saving, output = group(SAVING), group(OUTPUT)
SPECIAL: Mapping[str, dict[str, Any]] = {
    "recipe": {"type": OneOf(RECIPES), "metavar": "NAME"},
    "data": {"multiple": True, "type": PATH},
}
"""What cannot be derived from the fields."""


def steps_per_epoch(ctx: click.Context, words: Sequence[str]) -> int | None:
    """Return the number of training steps per epoch with these options, or None if it is not known."""
    try:
        given, *_ = ctx.command.make_parser(ctx).parse_args([*words])
        if "checkpoint" in given:  # the text is that of the resumed run
            return None
        types = {parameter.name: parameter.type for parameter in ctx.command.params}
        options = {name: types[name].convert(given[name], None, ctx) for name in LAYOUT if name in given}
        texts = given["texts"]  # without any, Click's parser returns () or a sentinel
        data = given.get("data") or (isinstance(texts, tuple) and texts) or dataset_path("pydocs")
        settings = settings_from(options | {"data": data})
        corpus = read_corpus(settings)
        return facts_of(settings, corpus).epoch(choose(settings, corpus))
    except (MinicharError, click.UsageError, ValueError):
        return None


texts = argument(
    "texts",
    "Text files, or directories of .txt files, joined in the given order, or - for standard input.  "
    "[default: Python's bundled help text]",
    nargs=-1,
    metavar="[TEXT]...",
    type=PATH,
)


def settings_options(command: Any) -> Any:
    """Add the training options and the texts to a command. See `given_settings`."""
    return texts(options_in(Settings, SPECIAL)(command))


def given_settings(ctx: click.Context, texts: Sequence[Path], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the training options that the user specified, with the texts as ``data``."""
    reject_typographic_dashes(ctx, map(str, texts))
    for text in texts:
        if DURATION.fullmatch(str(text)) and not text.exists():
            ctx.fail(f"unexpected argument {str(text)!r}: write a time without spaces, such as 1h30m")
        if TYPOGRAPHIC_DASH.match(str(text)) and not text.exists():
            ctx.fail(f"No such option {str(text)!r}: it starts with a typographic dash instead of hyphens")
    given = {name: options[name] for name in given_by_user(ctx, options)}
    if texts and "data" in given:
        ctx.fail(f"--data and the text {str(texts[0])!r} are mutually exclusive: omit --data")
    data = given.get("data", texts)
    if len(data) > 1 and STDIN in data:
        ctx.fail("standard input (-) cannot be joined with other texts: save it to a file first")
    return given | ({"data": data} if data else {})
