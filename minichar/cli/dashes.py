"""Reject unknown options, and suggest a corrected command."""

import re
from collections.abc import Iterable
from difflib import get_close_matches
from shlex import join

import click

from minichar.cli.renamed import translate

TYPOGRAPHIC_DASH = re.compile("[\u2010-\u2015\u2212]+")
"""Dashes that some editors and phones substitute for hyphens."""


class TwoDashes(click.Command):
    """Command that rejects ``-rnn_size 64`` or ``--lr 0.01`` and suggests the equivalent options."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments. An unknown option is reported exactly as the user typed it."""
        typed = list(args)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption:
            ctx.fail(self.answer(ctx, typed))
        except click.UsageError:
            reject_typographic_dashes(ctx, typed)
            raise

    def answer(self, ctx: click.Context, typed: list[str]) -> str:
        """Return the error message for a command line with an unknown option."""
        options = names_of_options(ctx)
        argument = any(isinstance(parameter, click.Argument) for parameter in self.get_params(ctx))
        words, renamed, dropped, notes, unknown = translate(typed, [*options, ""] if argument else options)
        if unknown:
            name = f"--{unknown[0].lstrip('-').replace('_', '-')}"
            long = [option for option in options if option.startswith("--")]
            completed = sorted((option for option in long if option.startswith(name)), key=len)
            similar = completed or get_close_matches(name, long)
            return f"No such option {unknown[0]!r}." + (f" Did you mean {similar[0]!r}?" if similar else "")
        command = join([*ctx.command_path.split(), *words])
        ignored = f" (no equivalent: {'; '.join([', '.join(dropped), *notes])})" if dropped else ""
        return f"No such option {renamed[0]!r}. Use: {command}{ignored}"


def names_of_options(ctx: click.Context) -> list[str]:
    """Return the names of the command's options, such as ``--rnn-size``."""
    options = [each for each in ctx.command.get_params(ctx) if isinstance(each, click.Option)]
    return [name for option in options for name in (*option.opts, *option.secondary_opts)]


def reject_typographic_dashes(ctx: click.Context, words: Iterable[str]) -> None:
    """Raise a usage error for an option such as ``—rnn-size``, which the parser mistakes for an argument."""
    options = names_of_options(ctx)
    for word in words:
        name = word.partition("=")[0]
        meant = TYPOGRAPHIC_DASH.sub("--", name).replace("_", "-")
        if TYPOGRAPHIC_DASH.match(name) and meant in options:
            ctx.fail(f"No such option {name!r}. Did you mean {meant!r}?")
