"""Run command lines of char-rnn, torch-rnn and nanoGPT, and say what to type instead of a wrong one.

Options of other programs that have an equivalent are translated, and the command runs. Options without an
equivalent are ignored with a warning, or are an error if the model or the text would be different. Ambiguous
names are only suggested.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from shlex import join, quote, split
from typing import Any, ClassVar, NamedTuple

import click
from click.core import ParameterSource

from minichar.errors import nearest, plain

TYPOGRAPHIC_DASH = re.compile("[\u2010-\u2015\u2212\uff0d][-\u2010-\u2015\u2212\uff0d]*")
"""Dashes that some editors, phones and Chinese input methods substitute for hyphens."""
VALUE = r"(?!-[^\d.]).*"
"""A word that can be the value of an unknown option, such as ``-1`` but not ``--quiet``."""
REQUIRED, OPTIONAL = "(.*)", "((?!-.).*)"
"""Values of known options, with a group."""
Table = dict[str, str]


def by_name(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return `table` with each key, a list of names, split into one key per name."""
    return {name: value for names, value in table.items() for name in names.split()}


EXACT: Table = by_name(
    {
        "data-dir data-file data-path dataset corpus train-data train-file": "--data --text",
        "model-type rnn-type": "--model",
        "hidden hidden-size hidden-dim hidden-units n-hidden nhid n-embd": "--rnn-size",
        "layers n-layer n-layers nlayers": "--num-layers",
        "wordvec-size embed-dim embedding-dim embedding-size": "--embedding",
        "epochs num-epochs": "--max-epochs",
        "block-size bptt context-length sequence-length": "--seq-length",
        "lr": "--learning-rate",
        "log-interval": "--print-every",
        # torch-rnn's checkpoint-every is in chunks, but minichar's --checkpoint-every is in seconds
        "checkpoint-every eval-interval": "--eval-val-every",
        "eval-iters": "--max-val-chunks",
        "out-dir": "--checkpoint-dir checkpoint",
        "checkpoint": "checkpoint checkpoints source",
        "prompt prime start start-text seed-text": "--primetext",
        "max-new-tokens max-tokens n-chars num-chars": "--length",
    }
)
"""Options of other programs, and minichar's names for them. The first one that the command has is used.

A name without dashes is that of a positional argument.
"""
GUESSED: Table = by_name(
    {
        "d i input input-file infile file filename": "--data source",
        "data": "--text",
        "text": "--data --primetext",
        "m model load weights c ckpt model-path": "--model checkpoint checkpoints source",
        "e epoch n-epochs": "--max-epochs",
        "b bs": "--batch-size",
        "o out output output-file output-dir save save-to save-dir": "--html --checkpoint-dir --dir",
        "f overwrite": "--force",
        "l tokens": "--length",
        "t": "--temperature",
        "k": "--top-k",
        "p": "--primetext --port",
        "q silent": "--quiet",
    }
)
"""Ambiguous names, which are only suggested."""
BY_VALUE: Mapping[str, Table] = by_name(
    {
        "gpuid gpu cuda": {"-1": "--device cpu", r"(\d+)": "--device gpu:{}", "": "--device gpu"},
        "opencl": {"0": "", "1": "--device opencl"},
        "gpu-backend": {"cuda": ""},
        "sample": {"0": "--argmax", "1": "--sample"},
        "verbose": {"0": "--quiet", "1": ""},
        "batchnorm": {"0": ""},
        "dataset": {"shakespeare_char": "--data data/tinyshakespeare"},
        "checkpoint-name": {"(.+)/([^/]+)": "--checkpoint-dir {} --savefile {}"},
    }
)
"""Patterns for the values of options, and the words that replace an option and a matching value.

In the words, each ``{}`` is a group of the pattern. The empty pattern is for an option without a value.
"""
SCHEDULE = "warmup-iters decay-lr lr-decay-iters min-lr lr-decay-every lr-decay-factor lr-schedule"
IGNORED: Table = by_name(
    {
        "accurate-gpu-timing speed-benchmark memory-benchmark reset-iterations checkpoint-name": "",
        "compile verbose debug wandb-log wandb-project wandb-run-name always-save-checkpoint": "",
        "optimizer optim beta1 beta2 gradient-accumulation-steps": "the optimiser is always RMSprop",
        SCHEDULE: "the schedule is set by --warmup and --learning-rate-decay",
    }
)
"""Options without an equivalent that do not change the model or the text, and what minichar has instead."""
REFUSED: Table = by_name(
    {
        "n-head": "recurrent networks have no attention heads",
        "batchnorm": "use --layer-norm",
        "input-h5 input-json": "specify the text itself with --data",
        "gpu-backend": "use --device opencl:0",
    }
)
"""Options without an equivalent that change the model, the text or the device, and what to do instead."""
STEPS = "steps max-steps num-steps train-steps iterations num-iterations iters max-iters"
EXPLAINED: Table = by_name(
    {
        STEPS: "use --max-epochs; an epoch has (length of the text) / (batch size × sequence length) steps",
        "n": "use --length for the number of characters, or --num-samples for the number of samples",
        "continue": "use --resume",
        "o out output output-file save": "append `> FILE` to save the text after --primetext",
        "val val-split test test-split train-split": "use --train-frac and --val-frac, such as 0.8 and 0.1",
    }
)
"""What to use instead of an option, for commands that have all options that are mentioned."""


class Part(NamedTuple):
    """A part of a command line: an option with its value, or another word."""

    name: str  # as typed, or empty if the words are as typed
    words: list[str]  # the equivalent or, for an unknown option, its value
    table: Table  # in which the name was found; `EXPLAINED` for an unknown option


def translate(typed: Sequence[str], options: Table) -> Iterator[Part]:
    """Translate a command line to the options of a command (see `options_of`).

    An option with one dash is interpreted as in char-rnn or torch-rnn, even if minichar has an option with
    the same name. For example, ``-sample 0`` is translated to ``--argmax``.
    """
    rest = list(typed)
    while rest and rest[0] != "--":
        word = rest.pop(0)
        name, equals, value = word.partition("=")
        known = options.get(name.replace("_", "-")) if word[:1] == "-" else ""
        if len(word) < 2 or known is not None or options.get(word[:2]):  # the latter for -oVALUE
            follows = known and not equals and rest and matches(known, rest[0])
            yield Part("", [word, rest.pop(0)] if follows else [word], EXACT)
            continue
        given = value if equals else rest[0] if rest and matches(VALUE, rest[0]) else None
        pattern, words, table = next(
            (pattern, template.format(*map(quote, match.groups())), table)
            for pattern, template, table in forms(key_of(name), options)
            if (match := matches(pattern, given if pattern or equals else ""))
        )
        if pattern and not equals:
            rest.pop(0)
        yield Part(name, split(words), table)
    yield Part("", rest, EXACT)


def key_of(name: str) -> str:
    """Return the name of an option as in the tables."""
    return name.lstrip("-").replace("_", "-").lower()


def matches(pattern: str, value: str | None) -> re.Match[str] | None:
    """Match a pattern to the whole of a value, if there is one."""
    return None if value is None else re.fullmatch(pattern, value, re.DOTALL)


def forms(key: str, options: Table) -> Iterator[tuple[str, str, Table]]:
    """Yield a pattern for the value, the words and the table of each form that suits the command."""
    for pattern, words in BY_VALUE.get(key, {}).items():
        if not words or words.split()[0] in options:
            yield pattern, words, EXACT
    for names, table in ((f"{EXACT.get(key, '')} --{key}", EXACT), (GUESSED.get(key, ""), GUESSED)):
        for name in filter(options.__contains__, names.split()):
            value = "{}" if options[name] else ""
            yield options[name], f"{name} {value}" if name.startswith("-") else value, table
    for table in (IGNORED, REFUSED):
        if key in table:
            yield from ((REQUIRED, "", table), ("", "", table))
    yield from ((REQUIRED, "{}", EXPLAINED), ("", "", EXPLAINED))


def explanation(key: str, options: Table) -> str:
    """Return what to use instead of an option, or an empty string."""
    text = EXPLAINED.get(key, "")
    return text if options.keys() >= {*re.findall("--[a-z-]+", text)} else ""


class TwoDashes(click.Command):
    """Command that reads ``-rnn_size 64`` and other programs' options, and explains unknown ones."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments. An unknown option is reported exactly as the user typed it."""
        typed = list(args)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption:
            words = read(ctx, typed)
            if words == typed:  # such as `--resume=-x`
                raise
            return self.parse_args(ctx, words)
        except click.UsageError as error:
            reject_typographic_dashes(ctx, typed)
            if isinstance(error, click.BadOptionUsage):
                reject_missing_value(ctx, error.option_name)
            raise


def read(ctx: click.Context, typed: list[str]) -> list[str]:
    """Return a command line with other programs' options translated, and say so, or raise a usage error."""
    parts = [*translate(typed, options_of(ctx))]
    words = [word for part in parts if part.table is not EXPLAINED for word in part.words]
    match [part for part in parts if part.table is EXPLAINED]:
        case [part] if key_of(part.name) in STEPS.split() and (epochs := epochs_of(ctx, part.words, words)):
            words = ["--max-epochs", epochs, *words]
        case [part, *_]:
            ctx.fail(answer(ctx, part.name))
    notes = {part.name: part.table[key_of(part.name)] for part in parts if part.table in (IGNORED, REFUSED)}
    lacking = "; ".join([", ".join(notes), *filter(None, dict.fromkeys(notes.values()))])
    command = join([*ctx.command_path.split(), *words])
    for part in parts:
        if part.table in (GUESSED, REFUSED):
            ignored = f" (no equivalent: {lacking})" if lacking else ""
            ctx.fail(f"No such option {part.name!r}. Use: {command}{ignored}")
    if words != typed:
        warning = f"\nwarning: no equivalent: {lacking}" if lacking else ""
        click.echo(f"read as: {command}{warning}", err=True)
    return words


def epochs_of(ctx: click.Context, steps: Sequence[str], words: Sequence[str]) -> str:
    """Return the number of epochs that have so many training steps, or "" if it is not known."""
    from minichar.cli.settings import steps_per_epoch  # imports NumPy

    counts = [int(each) for each in steps if re.fullmatch("[1-9][0-9]{,14}", each)]
    per_epoch = steps_per_epoch(ctx, words) if counts else None
    return plain(float(f"{counts[0] / per_epoch:.6g}")) if per_epoch else ""


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


def answer(ctx: click.Context, name: str) -> str:
    """Return the error message for an option that cannot be translated."""
    key, names = key_of(name), long_options(ctx)
    if explained := explanation(key, options_of(ctx)):
        return f"No such option {name!r}: {explained}"
    similar = [each for each in names if len(key) > 2 and each.startswith(key)] or nearest(key, names)
    if not similar and (elsewhere := option_elsewhere(ctx, key)):
        return elsewhere
    return f"No such option {name!r}.{did_you_mean(repr(f'--{each}') for each in similar)}"


def did_you_mean(names: Iterable[str]) -> str:
    """Return a sentence that suggests one of the names, or an empty string if there are none."""
    listed = " or ".join(names)
    return f" Did you mean {listed}?" if listed else ""


def options_of(ctx: click.Context) -> dict[str, str]:
    """Return a pattern for the value of each of the command's options and arguments; empty for a flag."""
    patterns: dict[str, str] = {}
    for parameter in ctx.command.get_params(ctx):
        if not isinstance(parameter, click.Option):
            patterns[str(parameter.name)] = "(.+)"
            continue
        takes_value = OPTIONAL if isinstance(parameter.flag_value, str) else REQUIRED
        pattern = "" if parameter.is_flag else takes_value
        patterns |= dict.fromkeys((*parameter.opts, *parameter.secondary_opts), pattern)
    return patterns


def long_options(ctx: click.Context) -> list[str]:
    """Return the command's options that start with two dashes, without the dashes."""
    return [name.removeprefix("--") for name in options_of(ctx) if name.startswith("--")]


def option_elsewhere(ctx: click.Context, key: str) -> str:
    """Return a sentence that says which commands have the option `key`, or an empty string if none has."""
    root = ctx.find_root()
    assert isinstance(root.command, click.Group)
    commands = {name: root.command.get_command(root, name) for name in root.command.list_commands(root)}
    owners = [name for name, each in commands.items() if each and key in long_options(click.Context(each))]
    return f"--{key} is an option of {root.command_path} {', '.join(owners)}" if owners else ""


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
        takes_value = isinstance(parameter, click.Option) and not parameter.is_flag
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


def reject_argument(ctx: click.Context, option: str) -> None:
    """Raise a usage error for an extra argument after the checkpoint, which belongs to `option`."""
    if ctx.args:
        reject_typographic_dashes(ctx, [str(ctx.params["checkpoint"]), *ctx.args])
        advice = f"use {option}, with quotes around a value that contains spaces"
        raise click.UsageError(f"unexpected argument {ctx.args[0]!r}: {advice}")
