"""Convert a number of training steps to epochs of the text that a command line names."""

from collections.abc import Sequence
from re import fullmatch

import click

from minichar.cli.options import GroupedCommand
from minichar.cli.renamed import STEPS, Translation
from minichar.cli.usage import command_line
from minichar.errors import MinicharError, counted, plain
from minichar.text.datasets import dataset_path
from minichar.training.choose import choose
from minichar.training.recipes import settings_from
from minichar.training.text import lay_out, read_corpus

LAYOUT = ("recipe", "val", "encoding", "split", "train_frac", "val_frac", "batch_size", "seq_length")
"""Options that, with the text, determine the number of steps per epoch."""


class TrainingCommand(GroupedCommand):
    """Command with the training options. It answers ``--steps 5000`` with a number of epochs."""

    def answer(self, ctx: click.Context, translation: Translation) -> str:
        """Return the error message for a command line with an unknown option."""
        match translation.unknown:
            case [option] if option.key in STEPS.split() and fullmatch(r"[0-9]{1,15}", option.value):
                steps, per_epoch = int(option.value), steps_per_epoch(ctx, translation.words)
                if steps and per_epoch:
                    epochs = float(f"{steps / per_epoch:.4g}")
                    translation.words.extend(["--max-epochs", plain(epochs)])
                    about = f"about {counted(steps, 'step')}; an epoch of this text has {per_epoch:,}"
                    return f"No such option {option.name!r}. Use: {command_line(ctx, translation)} ({about})"
        return super().answer(ctx, translation)


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
        return len(lay_out(corpus, choose(settings, corpus)).train)
    except (MinicharError, click.UsageError, ValueError):
        return None
