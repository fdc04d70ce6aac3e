"""Suggest ``--option`` for ``-option``, the form that char-rnn uses."""

from difflib import get_close_matches
from typing import NoReturn

import click


class TwoDashes(click.Command):
    """Command that suggests ``--rnn-size`` for ``-rnn_size``, where Click would report only ``-r``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments. An unknown option is reported exactly as the user typed it."""
        typed = list(args)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            letter = error.option_name
            for word in typed:
                if len(letter) == 2 < len(word) and word.startswith(letter):
                    self._suggest(ctx, word.partition("=")[0])
            raise

    def _suggest(self, ctx: click.Context, name: str) -> NoReturn:
        options = [option for parameter in self.get_params(ctx) for option in parameter.opts]
        long = [option for option in options if option.startswith("--")]
        similar = get_close_matches(f"-{name.replace('_', '-')}", long, n=1)
        ctx.fail(f"No such option {name!r}." + (f" Did you mean {similar[0]!r}?" if similar else ""))
