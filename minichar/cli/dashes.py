"""Reject options that minichar does not have, and suggest the equivalent command."""

from difflib import get_close_matches
from shlex import join

import click

from minichar.cli.renamed import translate


class TwoDashes(click.Command):
    """Command that rejects ``-rnn_size 64`` or ``--lr 0.01`` and suggests the equivalent options."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments. An unknown option is reported exactly as the user typed it."""
        typed = list(args)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption:
            ctx.fail(self.answer(ctx, typed))

    def answer(self, ctx: click.Context, typed: list[str]) -> str:
        """Return the error message for a command line with an unknown option."""
        parameters = self.get_params(ctx)
        options = [name for parameter in parameters for name in (*parameter.opts, *parameter.secondary_opts)]
        argument = any(isinstance(parameter, click.Argument) for parameter in parameters)
        words, renamed, dropped, unknown = translate(typed, [*options, ""] if argument else options)
        if unknown:
            name = f"--{unknown[0].lstrip('-').replace('_', '-')}"
            similar = get_close_matches(name, [option for option in options if option.startswith("--")], n=1)
            return f"No such option {unknown[0]!r}." + (f" Did you mean {similar[0]!r}?" if similar else "")
        command = join([*ctx.command_path.split(), *words])
        ignored = f" (no equivalent: {', '.join(dropped)})" if dropped else ""
        return f"No such option {renamed[0]!r}. Use: {command}{ignored}"
