"""``minichar eval``."""

from dataclasses import replace
from functools import partial
from math import log
from pathlib import Path

import click

from minichar.checkpoints.archive import TextFile
from minichar.checkpoints.choosing import open_checkpoint
from minichar.cli.advice import verdict
from minichar.cli.bar import with_bar
from minichar.cli.novelty import report_novelty
from minichar.cli.options import (
    PATH,
    GroupedCommand,
    Integer,
    OneOf,
    announce_waits,
    checkpoint,
    devices,
    group,
)
from minichar.cli.reading import read_text
from minichar.cli.usage import reject, reject_argument
from minichar.devices.backend import Array, Backend
from minichar.errors import MinicharError, Option, counted, one_line, quoted
from minichar.formats.convert import load_model
from minichar.model import CharRNN
from minichar.terminal import say
from minichar.text.batches import Split
from minichar.text.corpus import Corpus, load_corpus
from minichar.text.ngram import Yardstick
from minichar.text.ngram import yardstick as best_ngram
from minichar.training.device import fit_threads, suited
from minichar.training.evaluation import (
    PART_NAMES,
    PARTS,
    Evaluation,
    chunks_of,
    evaluate_blocks,
    evaluate_part,
    evaluate_whole,
)
from minichar.training.recipes import settings_from
from minichar.training.saved import settings_of, settings_with_text
from minichar.training.settings import HELD_OUT, Settings
from minichar.training.text import (
    check_text,
    lay_out,
    note_on_change,
    resets_of,
    what_is_left_out,
    where_reset,
)

WHOLE = "whole"
WITH_NOVELTY = ("checkpoint", "data", "encoding", "novelty")
"""Parameters that have an effect with ``--novelty``."""

text = group("Text")
evaluation = group("Evaluation")


@click.command("eval", cls=GroupedCommand, context_settings={"allow_extra_args": True})
@checkpoint
@text(
    "--data",
    metavar="PATH",
    type=PATH,
    help="A text file, or a directory containing input.txt or other .txt files.  "
    "[default: the training text]",
)
@text("--encoding", help="Text encoding.", show_default="as in training")
@text(
    "--part",
    type=OneOf([*PARTS, WHOLE]),
    show_default="val; whole for another text than the training text",
    help="Split of the text to evaluate on, as in training, or all of the text as one stream. "
    "A file specified with --val or --test during training is evaluated as a whole.",
)
@evaluation(
    "--block",
    default=0,
    type=Integer(0),
    metavar="N",
    help="Reset the state to zero every N characters, to compare with a nanoGPT model with a context "
    "length of N. Characters after the last complete block of a stream are not evaluated. 0: do not reset.",
)
@evaluation(
    "--yardstick/--no-yardstick",
    default=True,
    help="Also print the loss of the best n-gram model of the training split on a held-out split.",
)
@evaluation(
    "--novelty",
    metavar="FILE",
    type=PATH,
    help="Instead of evaluating, compare the text in this file (- for stdin) with the training text or "
    "--data: print the longest run of characters that both contain, and how much of the text is in "
    "shared runs of more than 20 characters.",
)
@click.option("--quiet", is_flag=True, help="Hide the progress bar and the note on text that is left out.")
@devices
@click.pass_context
def command(
    ctx: click.Context,
    /,
    checkpoint: Path | None,
    data: Path | None,
    encoding: str | None,
    part: str | None,
    block: int,
    yardstick: bool,
    novelty: Path | None,
    quiet: bool,
    devices: tuple[Backend, ...],
) -> None:
    """Evaluate a model on text.

    Prints the cross-entropy loss in nats per character, in bits per character (nats / ln 2), and as
    perplexity (exp of the loss in nats). Each stream starts from a zero state. Losses are comparable only if
    the text and the split are the same, so these are also printed.
    """
    reject_argument(ctx, "use `{command} --data {argument}`")
    if novelty is not None:
        others = [name for name in ctx.params if name not in WITH_NOVELTY]
        reject(ctx, others, "has no effect with --novelty: omit one of them")
    announce_waits(*devices)
    try:
        path, model = open_checkpoint(checkpoint, lambda path: load_model(path, devices[0]))
    except TextFile as error:
        advice = f", or evaluate a model on the text with `minichar eval --data {quoted(checkpoint)}`"
        raise MinicharError(*error.args, advice) from error
    settings = settings_for(model, path, data, encoding)
    if novelty is not None:
        compare(novelty, path, model, settings)
        return
    name = part if part in HELD_OUT else "val"
    file: Path | None = getattr(settings, name) if data is None and part in (None, *HELD_OUT) else None
    corpus, is_other = read(settings, model, path, name, file)
    if part is None:
        part = WHOLE if is_other else "val"

    watch = partial(with_bar, hidden=quiet)
    if file or part == WHOLE:
        what = f"whole {HELD_OUT[name]} text" if file else "whole text"
        if corpus.digest == model.text_digest:
            remedy = "omit --part whole to evaluate on held-out text"
            say(f"warning: the whole text includes the training text; {remedy}")
        streams: Array = corpus.ids[None]  # (1, N)
        resets = resets_of(corpus, settings)
        training: Array | None = (
            load_corpus(settings.data, vocabulary=model.vocabulary).ids[None] if file else None
        )
        begun = "one stream from a zero state"
    else:
        split, device = lay_out_part(corpus, settings, model, part, devices, is_other, quiet)
        model = model if device is devices[0] else load_model(path, device)
        what = f"{PART_NAMES[part]} split ({split.how})"
        chunks = chunks_of(split, part)
        streams, resets = chunks.streams, chunks.resets  # (B, M)
        training = split.train.streams if part in HELD_OUT else None
        begun = f"{counted(split.B, 'stream')} from a zero state"
    fit_threads(model.parameters.backend, model.config, len(streams))
    if block:
        result = evaluate_blocks(model, streams, block, watch, resets)
        begun = f"blocks of {counted(block, 'character')}, each from a zero state"
        if rest := streams[:, 1:].size - result.characters:
            say(f"not evaluated: {counted(rest, 'character')} after the last complete block of each stream")
    elif file or part == WHOLE:
        result = evaluate_whole(model, corpus.ids, watch=watch, resets=resets)
    else:
        result = evaluate_part(model, split, part, watch)
    where = where_reset(corpus, settings)
    what = ", ".join([what, begun, *([f"reset {where}"] if where else [])])
    print_result(result, what, path, model, corpus, with_ends=not block)
    if yardstick and training is not None and not block:
        print_yardstick(result, best_ngram(training, streams, len(corpus.vocabulary)), corpus, is_other)


def settings_for(model: CharRNN, path: Path, data: Path | None, encoding: str | None) -> Settings:
    """Return the settings with which the model was trained, with the given text and encoding."""
    if data is None:
        settings = settings_with_text(model, path)
    elif "settings" in model.details:
        settings = replace(settings_of(model, path), data=data)
    else:
        settings = replace(settings_from({"recipe": "char-rnn"}), data=data)
    return settings if encoding is None else replace(settings, encoding=encoding)


def read(settings: Settings, model: CharRNN, path: Path, name: str, file: Path | None) -> tuple[Corpus, bool]:
    """Return the text to evaluate, and whether it is known to be another text than in training.

    The text is `file`, the ``val`` or ``test`` file `name` of the model in `path`, if given.
    """
    role = name if file else "data"
    if file:
        check_text(settings, path, ("evaluate another file with ", Option("data")), name)
    corpus = load_corpus(file or settings.data, encoding=settings.encoding, vocabulary=model.vocabulary)
    for note in (*corpus.notes, *note_on_change(corpus, model.text_digests.get(role), path, role)):
        say(note)
    return corpus, not file and model.text_digest not in (None, corpus.digest)


def lay_out_part(
    corpus: Corpus,
    settings: Settings,
    model: CharRNN,
    part: str,
    devices: tuple[Backend, ...],
    is_other: bool,
    quiet: bool,
) -> tuple[Split, Backend]:
    """Split a text as in training, print notes, and return the split and the device that suits it."""
    train_frac, val_frac = settings.fractions  # all of it, if the validation text was a file
    split = lay_out(corpus, replace(settings, val=None, train_frac=train_frac, val_frac=val_frac))
    device, notes = suited(devices, model.config, split.B)
    if part == "val" and not is_other and 0 < settings.max_val_chunks < len(split.val):
        first = f"during training, only the first {settings.max_val_chunks:,} were evaluated"
        notes = [f"evaluating all {len(split.val):,} validation chunks; {first}", *notes]
    left_out = "" if quiet else what_is_left_out(corpus, split)
    for note in filter(None, (*split.notes, left_out, *notes)):
        say(note)
    return split, device


def print_result(
    result: Evaluation, what: str, path: Path, model: CharRNN, corpus: Corpus, with_ends: bool
) -> None:
    """Print what was evaluated, and the losses."""
    click.echo(one_line(f"model       {path}: {model.summary()}, on {model.parameters.backend.name}"))
    click.echo(one_line(f"text        {corpus.path}: {what}, {result.characters:,} characters"))
    ends = f" (first chunk {result.first:.4f}, last {result.last:.4f})" if with_ends else ""
    click.echo(f"loss        {result.loss:.4f} nats per character{ends}")
    click.echo(f"            {result.bits:.4f} bits per character")
    click.echo(f"perplexity  {result.perplexity:.3f}")


def print_yardstick(result: Evaluation, best: Yardstick, corpus: Corpus, is_other: bool) -> None:
    """Print the verdict on a loss or, if the model was trained on another text, only the yardstick."""
    if is_other:
        click.echo(f"yardstick   {best}, trained on this text; the model, on another")
        return
    lines = verdict(result.loss, result.characters, best, log(len(corpus.vocabulary)))
    for title, line in zip(("result", ""), lines, strict=False):
        click.echo(f"{title:12}{line}")


def compare(novelty: Path, path: Path, model: CharRNN, settings: Settings) -> None:
    """Print how much of a text is also in the training text, of which all characters are read."""
    sample = read_text(novelty, "--novelty", "text")
    corpus = load_corpus(settings.data, encoding=settings.encoding)
    for note in (*corpus.notes, *note_on_change(corpus, model.text_digest, path)):
        say(note)
    name = "standard input" if str(novelty) == "-" else novelty
    click.echo(one_line(f"model       {path}: {model.summary()}"))
    click.echo(one_line(f"text        {name}: {counted(len(sample), 'character')}"))
    click.echo(one_line(f"training    {corpus.path}: {counted(len(corpus.ids), 'character')}"))
    for line in report_novelty([sample], corpus):
        click.echo(line)
