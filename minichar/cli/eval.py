"""``minichar eval``."""

from dataclasses import replace
from functools import partial
from math import log
from pathlib import Path
from typing import NamedTuple

import click

from minichar.checkpoints.archive import TextFile
from minichar.checkpoints.choosing import open_checkpoint
from minichar.cli import options
from minichar.cli.advice import verdict
from minichar.cli.bar import with_bar
from minichar.cli.options import PATH, GroupedCommand, Integer, OneOf, checkpoint, group
from minichar.cli.usage import reject_argument
from minichar.devices.backend import Array, Backend
from minichar.errors import MinicharError, Option, counted, one_line, quoted
from minichar.formats.convert import load_model
from minichar.model import CharRNN
from minichar.terminal import say
from minichar.text.corpus import Corpus, load_corpus
from minichar.text.ngram import yardstick
from minichar.text.resets import Resets
from minichar.training.device import fit_threads, suited
from minichar.training.evaluation import Evaluation, evaluate_blocks, evaluate_streams
from minichar.training.recipes import settings_from
from minichar.training.saved import settings_of, settings_with_text
from minichar.training.settings import HELD_OUT, Settings
from minichar.training.text import check_text, lay_out, note_on_change, resets_of, where_reset

PARTS = {"train": "training", **HELD_OUT}
WHOLE = "whole"
option = group("Evaluation")


@click.command("eval", cls=GroupedCommand, context_settings={"allow_extra_args": True})
@checkpoint
@option(
    "--data",
    metavar="PATH",
    type=PATH,
    help="A text file, or a directory containing input.txt or other .txt files.  "
    "[default: the training text]",
)
@option("--encoding", help="Text encoding.", show_default="as in training")
@option(
    "--part",
    type=OneOf([*PARTS, WHOLE]),
    show_default="val; whole for a text other than the training text",
    help="Split of the text to evaluate on, as in training, or all of the text as one stream. "
    "A file specified with --val or --test during training is evaluated as a whole.",
)
@option(
    "--block",
    default=0,
    type=Integer(0),
    metavar="N",
    help="Reset the state to zero every N characters, to compare with a nanoGPT model with a context "
    "length of N. Characters after the last complete block of a stream are not evaluated. 0: do not reset.",
)
@click.option("--quiet", is_flag=True, help="Hide the progress bar.")
@options.devices
@click.pass_context
def command(
    ctx: click.Context,
    /,
    checkpoint: Path | None,
    data: Path | None,
    encoding: str | None,
    part: str | None,
    block: int,
    quiet: bool,
    devices: tuple[Backend, ...],
) -> None:
    """Evaluate a model on text.

    Prints the cross-entropy loss in nats per character, in bits per character (nats / ln 2), and as
    perplexity (exp of the loss in nats). Each stream starts from a zero state. Losses are comparable only if
    the text and the split are the same, so these are also printed.
    """
    reject_argument(ctx, "--data")
    options.announce_waits(*devices)
    try:
        path, model = open_checkpoint(checkpoint, lambda path: load_model(path, devices[0]))
    except TextFile as error:
        advice = f", or evaluate a model on the text with `minichar eval --data {quoted(checkpoint)}`"
        raise MinicharError(*error.args, advice) from error
    settings = settings_for(model, path, data, encoding)
    name = part or "val"
    file: Path | None = getattr(settings, name) if data is None and name in HELD_OUT else None
    corpus = read(settings, model, path, name, file)
    same = corpus.digest == model.text_digest
    if file or part == WHOLE or not (part or data is None or same):
        chosen = whole_text(corpus, settings, model, name if file else "")
    else:
        chosen, device = part_of(corpus, settings, model, name, devices)
        model = model if device is devices[0] else load_model(path, device)
    fit_threads(model.parameters.backend, model.config, len(chosen.streams))
    evaluate, T = (evaluate_blocks, block) if block else (evaluate_streams, settings.seq_length)
    result = evaluate(model, chosen.streams, T, partial(with_bar, hidden=quiet), chosen.resets)
    blocks = f"blocks of {counted(block, 'character')}" if block else counted(len(chosen.streams), "stream")
    where = where_reset(corpus, settings)
    what = f"{chosen.what}, {blocks} from a zero state{f', reset {where}' if where else ''}"
    click.echo(one_line(f"model       {path}: {model.summary()}, on {model.parameters.backend.name}"))
    click.echo(one_line(f"text        {corpus.path}: {what}, {result.characters:,} characters"))
    print_losses(result)
    if chosen.training is not None and (file or same) and not block:
        V = len(corpus.vocabulary)
        best = yardstick(chosen.training, chosen.streams, V)
        lines = verdict(result.loss, result.characters, best, log(V))
        click.echo("result      " + "\n            ".join(lines))


def settings_for(model: CharRNN, path: Path, data: Path | None, encoding: str | None) -> Settings:
    """Return the settings with which the model was trained, with the given text and encoding."""
    if data is None:
        settings = settings_with_text(model, path)
    else:
        known = "settings" in model.details
        settings = settings_of(model, path) if known else settings_from({"recipe": "char-rnn"})
        settings = replace(settings, data=(data,))
    return settings if encoding is None else replace(settings, encoding=encoding)


def read(settings: Settings, model: CharRNN, path: Path, name: str, file: Path | None) -> Corpus:
    """Return the text to evaluate: `file`, the model's file called `name`, or the text in `settings`."""
    role = name if file else "data"
    if file:
        check_text(settings, path, ("evaluate another file with ", Option("data")), name)
    corpus = load_corpus(file or settings.data, encoding=settings.encoding, vocabulary=model.vocabulary)
    for note in (*corpus.notes, *note_on_change(corpus, model.text_digests.get(role), path, role)):
        say(note)
    return corpus


class Chosen(NamedTuple):
    """The text that is evaluated."""

    streams: Array  # (B, M)
    resets: Resets | None
    what: str
    training: Array | None  # (B', M'), the text for the yardstick; None if the streams are not held out


def whole_text(corpus: Corpus, settings: Settings, model: CharRNN, name: str) -> Chosen:
    """Return all of a text as one stream. `name` is ``val`` or ``test`` for a file of the model."""
    training = None
    if name:
        text = load_corpus(settings.data, encoding=settings.encoding, vocabulary=model.vocabulary)
        training = text.ids[None]
    elif corpus.digest == model.text_digest:
        say("warning: the whole text includes the training text; omit --part whole for held-out text")
    what = f"whole {HELD_OUT[name]} text" if name else "whole text"
    return Chosen(corpus.ids[None], resets_of(corpus, settings), what, training)


def part_of(
    corpus: Corpus, settings: Settings, model: CharRNN, name: str, devices: tuple[Backend, ...]
) -> tuple[Chosen, Backend]:
    """Return a part of a text, split as in training, and the device that suits it."""
    split = lay_out(corpus, settings)
    device, notes = suited(devices, model.config, split.B)
    for note in (*split.notes, *notes):
        say(note)
    chunks = getattr(split, name)
    if not len(chunks):
        raise MinicharError(f"the {PARTS[name]} split is empty: choose another ", Option("part"))
    same = corpus.digest == model.text_digest
    if name == "val" and same and 0 < settings.max_val_chunks < len(chunks):
        first = f"during training, only the first {settings.max_val_chunks:,} were evaluated"
        say(f"evaluating all {len(chunks):,} validation chunks; {first}")
    training = split.train.streams if name in HELD_OUT else None
    return Chosen(chunks.streams, chunks.resets, f"{PARTS[name]} split ({split.how})", training), device


def print_losses(result: Evaluation) -> None:
    """Print the losses."""
    ends = f"first chunk {result.first:.4f}, last {result.last:.4f}"
    click.echo(f"loss        {result.loss:.4f} nats per character ({ends})")
    click.echo(f"            {result.bits:.4f} bits per character")
    click.echo(f"perplexity  {result.perplexity:.3f}")
