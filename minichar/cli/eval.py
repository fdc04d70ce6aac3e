"""``minichar eval``."""

from dataclasses import replace
from functools import partial
from math import log
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from minichar.checkpoints.archive import TextFile
from minichar.checkpoints.choosing import open_checkpoint
from minichar.cli.advice import verdict
from minichar.cli.bar import with_bar
from minichar.cli.novelty import report_novelty
from minichar.cli.options import (
    PATH,
    GroupedCommand,
    Integer,
    Number,
    OneOf,
    announce_waits,
    checkpoint,
    devices,
    group,
)
from minichar.cli.reading import read_text
from minichar.cli.usage import given_by_user, reject, reject_argument
from minichar.devices.backend import Backend
from minichar.devices.choose import AUTO_CPU, SMALL_STEPS
from minichar.errors import MinicharError, Option, counted, one_line, quoted
from minichar.formats.convert import load_model
from minichar.terminal import say
from minichar.text.batches import Split
from minichar.text.corpus import Corpus, load_corpus
from minichar.text.ngram import yardstick as best_ngram
from minichar.training.device import fit_threads, suited
from minichar.training.evaluation import (
    PART_NAMES,
    PARTS,
    chunks_of,
    evaluate_blocks,
    evaluate_part,
    evaluate_whole,
)
from minichar.training.recipes import settings_from
from minichar.training.saved import settings_of, settings_with_text
from minichar.training.settings import HELD_OUT, SPLITS, Settings
from minichar.training.text import (
    check_text,
    lay_out,
    note_on_change,
    resets_of,
    what_is_left_out,
    where_reset,
)

LAYOUT = ("split", "batch_size", "seq_length", "train_frac", "val_frac")
"""Settings that determine which characters are in each part."""
CHUNKED = (*LAYOUT, "start")
"""Options that have no effect on a text read as one stream."""
PART_ONLY = ("part", "train_frac", "val_frac", "batch_size", "seq_length", "yardstick")
"""Options that have no effect with ``--split whole``."""
WITH_NOVELTY = ("checkpoint", "data", "encoding", "novelty")
"""Parameters that have an effect with ``--novelty``."""

text = group("Text")
reading = group("Evaluation")
comparison = group("Comparison")


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
    "--split",
    type=OneOf([*SPLITS, "whole"]),
    show_default="as in training",
    help="How to split the text. whole: evaluate all of it as one stream.",
)
@text(
    "--train-frac",
    type=Number(),
    show_default="as in training",
    help="Fraction of the text used for training.",
)
@text(
    "--val-frac",
    type=Number(),
    show_default="as in training",
    help="Fraction of the text used for validation.",
)
@text(
    "--part",
    default="val",
    type=OneOf(PARTS),
    help="Split to evaluate on: training, validation or test. A file specified with --val or --test "
    "during training is evaluated as a whole.",
)
@reading(
    "--start",
    default="zero",
    type=OneOf(["zero", "carried"]),
    help="Initial state: zero, as in generation, or carried over from the preceding splits.",
)
@reading(
    "--block",
    default=0,
    type=Integer(0),
    metavar="N",
    help="Reset the state to zero every N characters, to compare with a nanoGPT model with a context "
    "length of N. Characters after the last complete block of a stream are not evaluated. 0: do not reset.",
)
@reading(
    "--batch-size",
    type=Integer(1),
    show_default="as in training",
    metavar="B",
    help="Sequences per batch.",
)
@reading(
    "--seq-length",
    type=Integer(1),
    show_default="as in training",
    metavar="T",
    help="Time steps per chunk.",
)
@comparison(
    "--novelty",
    metavar="FILE",
    type=PATH,
    help="Instead of evaluating, compare the text in this file (- for stdin) with the training text or "
    "--data: print the longest run of characters that both contain, and how much of the text is in "
    "shared runs of more than 20 characters.",
)
@reading(
    "--yardstick/--no-yardstick",
    default=True,
    help="Also print the loss of the best n-gram model of the training split on a held-out split.",
)
@click.option("--quiet", is_flag=True, help="Hide the progress bar and the note on text that is left out.")
@devices
@click.pass_context
def command(
    ctx: click.Context,
    /,
    checkpoint: Path | None,
    split: str | None,
    part: str,
    start: str,
    block: int,
    yardstick: bool,
    novelty: Path | None,
    quiet: bool,
    devices: tuple[Backend, ...],
    **given: Any,
) -> None:
    """Evaluate a model on text.

    Prints the cross-entropy loss in nats per character, in bits per character (nats / ln 2), and as
    perplexity (exp of the loss in nats). Losses are comparable only if the text, the split and the
    initial state are the same, so these are also printed.
    """
    reject_argument(ctx, "use `{command} --data {argument}`")
    if start == "carried" and (block or split == "whole"):
        flag = "--block" if block else "--split whole"
        raise click.UsageError(f"{flag} always starts from a zero state: omit --start carried")
    if split == "whole":
        reject(ctx, PART_ONLY, "has no effect with --split whole: omit one of them")
    if block or part == "train":
        flag = f"--block {block}" if block else "--part train"
        reject(ctx, ["yardstick"], f"has no effect with {flag}: omit one of them")
    if novelty is not None:
        others = [name for name in ctx.params if name not in WITH_NOVELTY]
        reject(ctx, others, "has no effect with --novelty: omit one of them")
        sample = read_text(novelty, "--novelty", "text")
    announce_waits(*devices)
    try:
        path, model = open_checkpoint(checkpoint, lambda path: load_model(path, devices[0]))
    except TextFile as error:
        advice = f", or evaluate a model on the text with `minichar eval --data {quoted(checkpoint)}`"
        raise MinicharError(*error.args, advice) from error
    if given["data"] is None:
        trained = settings_with_text(model, path)
    else:
        unknown = "settings" not in model.details
        trained = settings_from({"recipe": "char-rnn"}) if unknown else settings_of(model, path)
    own = given["data"] is None and split != "whole" and novelty is None
    file = held_out_file(ctx, trained, path) if own else None
    if file or (trained.val and not own and not given_by_user(ctx, ("part", *CHUNKED))):
        split = "whole"
    train_frac, val_frac = trained.fractions
    trained = replace(trained, val=None, test=None, train_frac=train_frac, val_frac=val_frac)
    given["split"] = split if split in SPLITS else None
    settings = replace(trained, **{name: value for name, value in given.items() if value is not None})

    vocabulary = model.vocabulary if novelty is None else None  # None: all characters of the text
    read = partial(load_corpus, encoding=settings.encoding, vocabulary=vocabulary)
    corpus: Corpus = read(file or settings.data)
    role = part if file else "data"
    for note in (*corpus.notes, *note_on_change(corpus, model.text_digests.get(role), path, role)):
        say(note)
    if novelty is not None:
        click.echo(one_line(f"model       {path}: {model.summary()}"))
        name = "standard input" if str(novelty) == "-" else novelty
        click.echo(one_line(f"text        {name}: {counted(len(sample), 'character')}"))
        click.echo(one_line(f"training    {corpus.path}: {counted(len(corpus.ids), 'character')}"))
        for line in report_novelty([sample], corpus):
            click.echo(line)
        return
    same_text = model.text_digest == corpus.digest
    is_other = not (file or same_text or model.text_digest is None)
    if split == "whole" and same_text:
        remedy = "omit --split whole to evaluate on held-out text"
        say(f"warning: the whole text includes the training text; {remedy}")
    if split == "whole" and len(devices) > 1 and not quiet:
        say(AUTO_CPU.format("blocks are not timed" if block else SMALL_STEPS))

    watch = partial(with_bar, hidden=quiet)
    if split == "whole":
        what = f"whole {HELD_OUT[part]} text" if file else "whole text"
        streams: NDArray[np.integer] = corpus.ids[None]  # (1, N)
        resets = resets_of(corpus, settings)
    else:
        laid_out = lay_out(corpus, settings)
        device, chosen = suited(devices, model.config, laid_out.B)
        if device is not devices[0]:
            model = load_model(path, device)
        other = [Option(name).flag for name in LAYOUT if getattr(settings, name) != getattr(trained, name)]
        known = model.details.get("settings") and same_text
        if part != "train" and other and known and overlap(laid_out, lay_out(corpus, trained), part):
            say(
                f"warning: {' and '.join(other)} changed since training, so this split overlaps the "
                "training text; use the original values to evaluate on held-out text"
            )
        if part == "val" and same_text and not other and 0 < trained.max_val_chunks < len(laid_out.val):
            say(
                f"evaluating all {len(laid_out.val):,} validation chunks; during training, only the first "
                f"{trained.max_val_chunks:,} were evaluated"
            )
        left_out = "" if quiet else what_is_left_out(corpus, laid_out)
        for note in filter(None, (*laid_out.notes, left_out, *chosen)):
            say(note)
        if is_other and not (quiet or given_by_user(ctx, ["split"])):
            say(f"only the {PART_NAMES[part]} split is evaluated; for the whole text, add --split whole")
        what = f"{PART_NAMES[part]} split ({laid_out.how})"
        chunks = chunks_of(laid_out, part)
        streams, resets = chunks.streams, chunks.resets
    fit_threads(model.parameters.backend, model.config, len(streams))
    if block:
        result = evaluate_blocks(model, streams, block, watch, resets)
        what += f", blocks of {counted(block, 'character')}, each from a zero state"
    elif split == "whole":
        result = evaluate_whole(model, corpus.ids, watch=watch, resets=resets)
        what += ", one stream from a zero state"
    else:
        result = evaluate_part(model, laid_out, part, start, watch)
        begun = "from a zero state" if start == "zero" else "with the state carried over"
        what += f", {counted(laid_out.B, 'stream')} {begun}"
    if where := where_reset(corpus, settings):
        what += f", reset {where}"
    if block and (rest := streams[:, 1:].size - result.characters):
        say(f"not evaluated: {counted(rest, 'character')} after the last complete block of each stream")
    click.echo(one_line(f"model       {path}: {model.summary()}, on {model.parameters.backend.name}"))
    click.echo(one_line(f"text        {corpus.path}: {what}, {result.characters:,} characters"))
    ends = "" if block else f" (first chunk {result.first:.4f}, last {result.last:.4f})"
    click.echo(f"loss        {result.loss:.4f} nats per character{ends}")
    click.echo(f"            {result.bits:.4f} bits per character")
    click.echo(f"perplexity  {result.perplexity:.3f}")
    if yardstick and (file or split != "whole") and part != "train" and not block:
        V = len(corpus.vocabulary)
        training = read(settings.data).ids[None] if file else laid_out.train.streams
        best = best_ngram(training, streams, V)
        if not is_other:
            lines = verdict(result.loss, result.characters, best, log(V))
            for title, line in zip(("result", ""), lines, strict=False):
                click.echo(f"{title:12}{line}")
        else:
            click.echo(f"yardstick   {best}, trained on this text; the model, on another")


def held_out_file(ctx: click.Context, settings: Settings, path: Path) -> Path | None:
    """Return the validation or test file of the model in `path` that ``--part`` selects, if there is one."""
    part: str = ctx.params["part"]
    file: Path | None = getattr(settings, part, None)
    if file:
        why = f"has no effect on the {HELD_OUT[part]} file, which is read as one stream from a zero state"
        reject(ctx, CHUNKED, f"{why}: omit it")
        remedy = "evaluate another file with ", Option("data"), " and ", Option("split", "whole")
        check_text(settings, path, remedy, part)
    return file


def overlap(split: Split, before: Split, part: str) -> bool:
    """Return whether a part of `split` contains targets of the training chunks of `before`.

    The streams of both must be views of the same encoded text, so that shared text is shared memory.
    """
    return np.shares_memory(getattr(split, part).streams[:, 1:], before.train.streams[:, 1:])
