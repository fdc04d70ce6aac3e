"""Find out which options the user specified, and reject those that have no effect."""

from collections.abc import Iterable
from shlex import join, quote

import click
from click.core import ParameterSource

from minichar.cli.dashes import reject_typographic_dashes
from minichar.errors import undashed


def given_by_user(ctx: click.Context, names: Iterable[str]) -> list[str]:
    """Return the parameters in `names` that the user specified, even if the value equals the default."""
    return [name for name in names if ctx.get_parameter_source(name) is not ParameterSource.DEFAULT]


def reject(ctx: click.Context, names: Iterable[str], why: str) -> None:
    """Raise the usage error ``--option {why}`` if the user specified any of the parameters in `names`."""
    flags = {parameter.name: parameter.opts[0] for parameter in ctx.command.params}
    for name in given_by_user(ctx, names):
        raise click.UsageError(f"{flags[name]} {why}")


def reject_argument(ctx: click.Context, advice: str) -> None:
    """Raise a usage error if the user specified an extra argument after the checkpoint.

    In `advice`, ``{command}`` is replaced with the command and its checkpoint, ``{argument}`` with the first
    extra argument, and ``{arguments}`` with all of them as one argument.
    """
    if ctx.args:
        checkpoint = str(ctx.params["checkpoint"])
        reject_typographic_dashes(ctx, [checkpoint, *ctx.args])
        command = join([*ctx.command_path.split(), undashed(checkpoint)])
        argument, arguments = quote(ctx.args[0]), quote(" ".join(ctx.args))
        advice = advice.format(command=command, argument=argument, arguments=arguments)
        raise click.UsageError(f"unexpected argument {ctx.args[0]!r}: {advice}")
