"""Find out which options the user specified, and reject those that have no effect."""

from collections.abc import Iterable

import click
from click.core import ParameterSource

from minichar.errors import Option


def given_by_user(ctx: click.Context, names: Iterable[str]) -> list[str]:
    """Return those of the parameters `names` that the user specified, even with the default value."""
    return [name for name in names if ctx.get_parameter_source(name) is not ParameterSource.DEFAULT]


def reject(ctx: click.Context, names: Iterable[str], why: str) -> None:
    """Raise a usage error if the user specified one of the options. `why` follows the option's name."""
    for name in given_by_user(ctx, names):
        raise click.UsageError(f"{Option(name).flag} {why}")
