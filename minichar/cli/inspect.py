"""``minichar inspect``."""

from collections.abc import Iterator
from pathlib import Path

import click

from minichar.checkpoints.checkpoint import is_resumable, load_history
from minichar.checkpoints.choosing import open_checkpoint
from minichar.cli.options import OUTPUT, PATH, GroupedCommand, Integer, checkpoint, group, print_path
from minichar.cli.planned import another, changed_options, train_command
from minichar.cli.speed import duration
from minichar.cli.usage import reject, reject_argument
from minichar.errors import MinicharError, Option, brief, counted, one_line
from minichar.files import writing
from minichar.formats.convert import load_model
from minichar.formats.naming import may_have_state
from minichar.history import History
from minichar.model import CharRNN
from minichar.pictures.page import make_page
from minichar.terminal import say
from minichar.text.corpus import load_corpus
from minichar.training.saved import settings_of, settings_with_text
from minichar.training.text import note_on_change

SHOWN = 300
"""Number of columns for the vocabulary, which may contain thousands of Chinese characters."""
NOT_REPEATED = "recipe", "max_time"
"""Settings that are not part of the command: the values that minichar chose replace them."""

looking = group("Page")


@click.command("inspect", cls=GroupedCommand, context_settings={"allow_extra_args": True})
@checkpoint
@looking(
    "--html",
    metavar="OUT.html",
    type=OUTPUT,
    help="Write a self-contained HTML page that shows how each unit responds to the text.",
)
@looking(
    "--text",
    metavar="PATH",
    type=PATH,
    help="Text file to process, or a directory containing input.txt or other .txt files.  "
    "[default: the training text]",
)
@looking("--encoding", help="Encoding of the text.  [default: utf-8; for the training text, as in training]")
@looking(
    "--length",
    default=3000,
    metavar="N",
    type=Integer(2, 20_000),
    help="Number of characters to show, from the start of the text.",
)
@click.pass_context
def command(
    ctx: click.Context,
    checkpoint: Path | None,
    html: Path | None,
    text: Path | None,
    encoding: str | None,
    length: int,
) -> None:
    """Show the contents of a checkpoint: configuration, parameters, training command and loss history.

    With --html, write an HTML page and print its path. The page colours the text by a hidden unit's
    activation and ranks the units by their correlation with features such as position in the line or
    whether a character is inside quotes. It also shows the surprisal of each character, the most likely
    alternatives, and the distribution of gate values.
    """
    reject_argument(ctx, "--html and --text")
    if html is None:
        why = "requires --html: specify an output file, such as --html page.html"
        reject(ctx, ["text", "length", "encoding"], why)
    else:
        if html.suffix.lower() != ".html":
            raise MinicharError(f"cannot write the page to {html}: its name must end in .html")
    path, model = open_checkpoint(checkpoint, load_model)
    if html is None:
        show(model, path)
        return
    page = page_of(model, path, text, encoding, length)
    with writing(html) as file:
        file.write(page.encode())
    print_path(html)


def page_of(model: CharRNN, path: Path, text: Path | None, encoding: str | None, length: int) -> str:
    """Return an HTML page for the first `length` characters of a text, by default the training text."""
    data: tuple[Path, ...] = (text,) if text else ()
    digest = None
    if not data:
        settings = settings_with_text(model, path, ("specify the text with ", Option("text")))
        data, digest = settings.data, model.text_digest
        encoding = encoding or settings.encoding
    corpus = load_corpus(data, encoding=encoding or "utf-8", vocabulary=model.vocabulary)
    notes = [*corpus.notes, *note_on_change(corpus, digest, path)]
    if length < (N := len(corpus.ids)):
        notes.append(f"the page shows the first {length:,} of {N:,} characters; to show more, use --length")
    for note in notes:
        say(note)
    return make_page(model, corpus.ids[:length], f"{path} on {corpus.path}")


def show(model: CharRNN, path: Path) -> None:
    """Print the contents of a checkpoint."""
    has_state = may_have_state(path)
    history, resumable = (load_history(path), is_resumable(path)) if has_state else (None, False)
    settings = settings_of(model, path) if "settings" in model.details else None
    click.echo(one_line(f"checkpoint {path}"))
    if model.title:
        click.echo(f"title      {model.title}")
    click.echo(f"model      {model.summary()}")
    characters = model.vocabulary.characters
    unknown = " and the unknown token" if model.vocabulary.unknown else ""
    click.echo(f"vocabulary {counted(len(characters), 'character')}{unknown}: {brief(characters, SHOWN)}")
    if model.seconds is not None:
        click.echo(f"trained    {duration(model.seconds)}")
    click.echo(f"resumable  {'yes, with `minichar train --resume`' if resumable else 'no, inference only'}")
    if settings:
        options = changed_options(settings, NOT_REPEATED)
        options["checkpoint_dir"] = another(settings.checkpoint_dir)
        click.echo(one_line(f"command    {train_command(options)}"))
    click.echo("parameters")
    for name, view in model.parameters.items():
        sizes = " × ".join(map(str, view.shape))
        click.echo(f"  {name:12} {sizes:>12} {view.size:>12,}  max |w| {abs(view).max():.3g}")
    for line in history_table(history or History()):
        print(line)  # unlike click.echo, print does not flush after each line


def history_table(history: History) -> Iterator[str]:
    """Yield a heading and one line per evaluation, or nothing if there are no evaluations."""
    if history:
        yield "history (nats per character)"
        yield "    epoch   train  validation  learning rate  teacher forcing"
    for row in history:
        val_loss = f"{'-':>10}" if row["val_loss"] is None else f"{row['val_loss']:10.4f}"
        rates = f"{row['learning_rate']:13.3g}  {row['teacher_forcing_ratio']:15.3g}"
        yield f"  {row['epoch']:7.2f} {row['train_loss']:7.4f}  {val_loss}  {rates}"
