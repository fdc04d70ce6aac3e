"""Reject unknown options and commands, options without effect and extra arguments, and say what to type."""

import re
from collections.abc import Iterable, Iterator, Mapping
from shlex import join, quote
from typing import ClassVar

import click
from click.core import ParameterSource

from minichar.cli.renamed import Forms, Translation, translate
from minichar.errors import nearest, undashed

TYPOGRAPHIC_DASH = re.compile("[\u2010-\u2015\u2212\uff0d][-\u2010-\u2015\u2212\uff0d]*")
"""Dashes that some editors, phones and Chinese input methods substitute for hyphens."""
SHORTEST = 3
"""Minimum length of an abbreviation to complete."""


class TwoDashes(click.Command):
    """Command that rejects ``-rnn_size 64`` or ``--lr 0.01`` and suggests the equivalent options."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments. An unknown option is reported exactly as the user typed it."""
        typed = list(args)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption:
            translation = translate(typed, options_of(ctx), ctx.allow_interspersed_args)
            if not (translation.unknown or translation.renamed):  # such as `--resume=-x`
                raise
            ctx.fail(self.answer(ctx, translation))
        except click.UsageError as error:
            reject_typographic_dashes(ctx, typed)
            if isinstance(error, click.BadOptionUsage):
                reject_missing_value(ctx, error.option_name)
            raise

    def answer(self, ctx: click.Context, translation: Translation) -> str:
        """Return the error message for a command line with an unknown option."""
        if translation.unknown:
            unknown = translation.unknown[0]
            if unknown.explanation:
                return f"No such option {unknown.name!r}: {unknown.explanation}"
            names = long_options(ctx)
            similar = completions(unknown.key, names) or nearest(unknown.key, names)
            if not similar and (elsewhere := option_elsewhere(ctx, unknown.key)):
                return elsewhere
            return f"No such option {unknown.name!r}.{did_you_mean(repr(f'--{name}') for name in similar)}"
        dropped = [", ".join(translation.dropped), *translation.notes]
        ignored = f" (no equivalent: {'; '.join(dropped)})" if translation.dropped else ""
        return f"No such option {translation.renamed[0]!r}. Use: {command_line(ctx, translation)}{ignored}"


class Suggesting(TwoDashes, click.Group):
    """Group of commands that suggests what to type instead of an unknown command."""

    synonyms: ClassVar[Mapping[str, str]] = {}
    """Other names for commands, and what to type instead. ``{}`` is the command after the name, if any."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Look up the command named in `args`, or report an error with suggestions."""
        name, known = args[0], self.list_commands(ctx)
        if name not in known and not ctx.resilient_parsing:
            following = next((word for word in args[1:2] if word in known), "")
            synonyms = [self.synonyms[name].format(following)] if name in self.synonyms else []
            meant = [" ".join([ctx.command_path, *each.split()]) for each in synonyms or nearest(name, known)]
            ctx.fail(f"No such command {name!r}.{did_you_mean(f'`{command}`' for command in meant)}")
        return super().resolve_command(ctx, args)


def did_you_mean(names: Iterable[str]) -> str:
    """Return a sentence that suggests one of the names, or an empty string if there are none."""
    listed = " or ".join(names)
    return f" Did you mean {listed}?" if listed else ""


def options_of(ctx: click.Context) -> dict[str, Forms]:
    """Return the forms of the command's options, arguments, subcommands and standard output."""
    forms: dict[str, Forms] = {}
    for parameter in ctx.command.get_params(ctx):
        if not isinstance(parameter, click.Option):
            forms[str(parameter.name)] = {".+": "{}"}
            continue
        for name in (*parameter.opts, *parameter.secondary_opts):
            if parameter.is_flag or parameter.count:
                forms[name] = {"": name}
            elif isinstance(parameter.flag_value, str):  # the value is optional
                forms[name] = {"(?!-.).*": f"{name} {{}}", "": name}
            else:
                forms[name] = {".*": f"{name} {{}}"}
    if isinstance(ctx.command, click.Group):
        return forms | {name: {"": name} for name in ctx.command.list_commands(ctx)}
    return forms | {">": {".+": "> {}"}}


def long_options(ctx: click.Context) -> list[str]:
    """Return the command's options that start with two dashes, without the dashes."""
    return [name.removeprefix("--") for name in options_of(ctx) if name.startswith("--")]


def completions(key: str, names: Iterable[str]) -> list[str]:
    """Return the names that `key` abbreviates, without those that extend another one by further words."""
    completed = [name for name in names if name.startswith(key)] if len(key) >= SHORTEST else []
    return [name for name in completed if not any(name.startswith(f"{each}-") for each in completed)]


def option_elsewhere(ctx: click.Context, key: str) -> str:
    """Return a sentence that says which commands have the option `key`, or an empty string if none has."""
    root, owners = ctx.find_root(), dict[str, list[str]]()
    for command in commands_below(root):
        for name in long_options(command):
            owners.setdefault(name, []).append(command.command_path.removeprefix(f"{root.command_path} "))
    match [key] if key in owners else completions(key, owners):
        case [name]:
            *others, last = owners[name]
            commands = " and ".join(filter(None, [", ".join(others), last]))
            return f"--{name} is an option of {root.command_path} {commands}"
    return ""


def commands_below(ctx: click.Context) -> Iterator[click.Context]:
    """Yield a context for each command and, for a group, for each of its commands."""
    if isinstance(group := ctx.command, click.Group):
        for name in group.list_commands(ctx):
            if command := group.get_command(ctx, name):
                child = click.Context(command, ctx, name)
                yield child
                yield from commands_below(child)


def command_line(ctx: click.Context, translation: Translation) -> str:
    """Return a translated command line, quoted for a shell."""
    return " ".join([join([*ctx.command_path.split(), *translation.words]), *translation.last])


def reject_typographic_dashes(ctx: click.Context, words: Iterable[str]) -> None:
    """Raise a usage error for an option such as ``—rnn-size``, which the parser mistakes for an argument."""
    options = options_of(ctx)
    for word in words:
        name = word.partition("=")[0]
        meant = TYPOGRAPHIC_DASH.sub("--", name).replace("_", "-")
        if TYPOGRAPHIC_DASH.match(name) and meant in options:
            ctx.fail(f"No such option {name!r}. Did you mean {meant!r}?")


def reject_missing_value(ctx: click.Context, name: str) -> None:
    """Raise a usage error that shows the value of the option called `name`, if it takes one."""
    for parameter in ctx.command.get_params(ctx):
        takes_value = isinstance(parameter, click.Option) and not (parameter.is_flag or parameter.count)
        if takes_value and name in parameter.opts:
            ctx.fail(f"{name} needs a value: {name} {parameter.make_metavar(ctx)}")


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
