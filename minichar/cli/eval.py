"""``minichar eval``."""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import click

from minichar.checkpoints.naming import find_checkpoint
from minichar.cli.options import GroupedCommand, device, group
from minichar.devices.backend import Backend
from minichar.errors import MinicharError
from minichar.formats.convert import load_model
from minichar.text.corpus import load_corpus
from minichar.training.evaluation import PARTS, Chunk, evaluate_part, evaluate_whole
from minichar.training.settings import SPLITS, Settings, flag
from minichar.training.start import lay_out, settings_of

LAYOUT = ("batch_size", "seq_length", "train_frac", "val_frac", "split")
"""The settings that decide which characters are held out."""

text = group("Text")
reading = group("Reading")


@click.command("eval", cls=GroupedCommand)
@click.argument("checkpoint", required=False)
@text(
    "--data",
    metavar="PATH",
    help="A folder with input.txt, or a text file.  [default: what it was trained on]",
)
@text("--encoding", help="Of the file.  [default: as in training]", show_default=False)
@text(
    "--split",
    type=click.Choice([*SPLITS, "whole"]),
    show_default=False,
    help="The split whose part is measured, or the whole text as one stream.  [default: as in training]",
)
@text("--train-frac", type=float, show_default=False, help="Share to learn from.  [default: as in training]")
@text("--val-frac", type=float, show_default=False, help="Share to validate on.  [default: as in training]")
@text("--part", default="val", type=click.Choice(PARTS), help="Which part of the split.")
@reading(
    "--start",
    default="zero",
    type=click.Choice(["zero", "carried"]),
    help="Begin from a zero state, as generation does, or carried on from the parts before.",
)
@reading(
    "--batch-size",
    type=click.IntRange(1),
    show_default=False,
    metavar="B",
    help="Streams.  [default: as in training]",
)
@reading(
    "--seq-length",
    type=click.IntRange(1),
    show_default=False,
    metavar="T",
    help="Characters a chunk.  [default: as in training]",
)
@click.option("--quiet", is_flag=True, help="No progress bar.")
@device
def command(
    checkpoint: str | None,
    split: str | None,
    part: str,
    start: str,
    quiet: bool,
    device: Backend,
    **given: Any,
) -> None:
    """Measure a model's loss on a text.

    Nats per character say how surprised the model is by the next one, bits are nats divided
    by ln 2, and the perplexity is how many equally likely characters would be as hard to
    guess. Losses compare only on the same text, split and start, so these are printed too.
    """
    if split == "whole" and start == "carried":
        raise click.UsageError("--split whole has no parts before, so its start is always zero")
    path = str(find_checkpoint(checkpoint))
    model = load_model(path, device)
    if given["data"] is None and "settings" not in model.details:
        raise MinicharError(f"{path} does not say what it was trained on: name a text with --data")
    trained = settings_of(model, path) if "settings" in model.details else Settings()
    given["split"] = split if split in SPLITS else None
    settings = replace(trained, **{name: value for name, value in given.items() if value is not None})

    corpus = load_corpus(settings.data, encoding=settings.encoding, vocabulary=model.vocabulary)
    for note in corpus.notes:
        click.echo(note, err=True)
    origin = model.details.get("origin")
    same_text = isinstance(origin, dict) and origin.get("digest") == corpus.digest
    if origin and not same_text:
        click.echo(f"{corpus.path} is not the text that {path} was trained on", err=True)
    hidden = quiet or not sys.stderr.isatty()

    def watch(chunks: Iterable[Chunk]) -> Iterator[Chunk]:
        with click.progressbar(chunks, file=sys.stderr, hidden=hidden) as bar:
            yield from bar

    if split == "whole":
        result = evaluate_whole(model, corpus.ids, watch=watch)
        what = "whole, one stream from a zero state"
    else:
        laid_out = lay_out(corpus, settings)
        other = [flag(name) for name in LAYOUT if getattr(settings, name) != getattr(trained, name)]
        if other and model.details.get("settings") and same_text:
            click.echo(
                f"{' and '.join(other)} differ from training, so this part was partly learned from: "
                "leave them out to measure on what was held out",
                err=True,
            )
        for note in laid_out.notes:
            click.echo(note, err=True)
        result = evaluate_part(model, laid_out, part, start, watch)
        begun = "from a zero state" if start == "zero" else "carried on from the parts before"
        streams = f"{laid_out.B} stream{'s' if laid_out.B > 1 else ''}"
        what = f"{part} part of the {laid_out.how} split, {streams} {begun}"
    click.echo(f"model       {path}: {model.summary()}, on {device.name}")
    click.echo(f"text        {corpus.path}: {what}, {result.characters:,} characters")
    ends = f"first chunk {result.first:.4f}, last {result.last:.4f}"
    click.echo(f"loss        {result.loss:.4f} nats per character ({ends})")
    click.echo(f"            {result.bits:.4f} bits per character")
    click.echo(f"perplexity  {result.perplexity:.3f}")
