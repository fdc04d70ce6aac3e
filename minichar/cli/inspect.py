"""``minichar inspect``."""

from pathlib import Path
from typing import Any

import click

from minichar.checkpoints.archive import Archive
from minichar.checkpoints.naming import find_checkpoint
from minichar.cli.options import PATH, GroupedCommand, checkpoint, group
from minichar.errors import MinicharError
from minichar.files import writing
from minichar.formats.convert import format_of, load_model
from minichar.model import CharRNN
from minichar.pictures.page import make_page
from minichar.text.corpus import load_corpus

MAX_LENGTH = 20_000

looking = group("Page")


@click.command("inspect", cls=GroupedCommand)
@checkpoint
@looking("--text", metavar="PATH", type=PATH, help="Text to process: a file, or a directory with input.txt.")
@looking(
    "--html",
    metavar="OUT.html",
    type=PATH,
    help="Write a self-contained page that shows the activity of each unit on the text.",
)
@looking(
    "--length",
    default=3000,
    metavar="N",
    type=click.IntRange(2, MAX_LENGTH),
    help="Number of characters to show, from the start of the text.",
)
@looking("--encoding", default="utf-8", help="Encoding of the text.")
def command(
    checkpoint: Path | None, text: Path | None, html: Path | None, length: int, encoding: str
) -> None:
    """Show the contents of a checkpoint: configuration, parameters, loss history.

    With --text and --html, write an HTML page and print its path. The page shows the text coloured by
    the state of a unit. It ranks the units by their correlation with known features, such as the
    position in the line or being inside quotes. It also shows the surprisal of each character, the
    most likely alternatives, and how open the gates are.
    """
    if (text is None) != (html is None):
        raise click.UsageError("--text and --html must be given together")
    path = find_checkpoint(checkpoint)
    model = load_model(path)
    if text is not None and html is not None:
        write_page(model, path, text, html, length, encoding)
    else:
        show(model, path)


def write_page(model: CharRNN, path: Path, text: Path, html: Path, length: int, encoding: str) -> None:
    """Write the page for the first `length` characters of the text."""
    corpus = load_corpus(text, encoding=encoding, vocabulary=model.vocabulary, cache=False)
    notes, ids = list(corpus.notes), corpus.ids[:length]
    if len(ids) < len(corpus.ids):
        notes.append(f"the page shows the first {len(ids):,} of {len(corpus.ids):,} characters; see --length")
    for note in notes:
        click.echo(note, err=True)
    page = make_page(model, ids, f"{path} on {corpus.path}")
    with writing(html) as file:
        file.write(page.encode())
    click.echo(html)


def show(model: CharRNN, path: Path) -> None:
    """Print the contents of a checkpoint."""
    training: dict[str, Any] = {}
    if format_of(path) in (None, "npz"):  # other formats store no training state
        with Archive(path) as archive:
            training = archive.header.get("training") or {}
    try:
        settings, history = settings_table(model.details), history_table(training)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise MinicharError(
            f"{path} is not a checkpoint minichar can read: its settings or history are damaged ({error})"
        ) from error
    click.echo(f"checkpoint {path}")
    click.echo(f"model      {model.summary()}")
    unknown = " and an unknown id" if model.vocabulary.unknown else ""
    click.echo(f"vocabulary {model.vocabulary.characters!r}{unknown}")
    click.echo(f"resumable  {'yes, with minichar train --resume' if training else 'no, for sampling only'}")
    click.echo("parameters")
    for name, shape in model.parameters.shapes.items():
        view = model.parameters[name]
        sizes = " × ".join(map(str, shape))
        click.echo(f"  {name:12} {sizes:>12} {view.size:>12,}  max |w| {abs(view).max():.3g}")
    for line in settings + history:
        click.echo(line)


def settings_table(details: dict[str, Any]) -> list[str]:
    """Return a heading and one line per setting."""
    settings = details.get("settings", {}).items()
    return ["settings", *(f"  {k!s:26} {'the default' if v is None else repr(v)}" for k, v in settings)]


def history_table(training: dict[str, Any]) -> list[str]:
    """Return a heading and one line per evaluation, or an empty list without a history."""
    lines = []
    for row in training.get("history", []):
        val = f"{row['val']['loss']:10.4f}" if row["val"] else " " * 9 + "-"
        lines.append(
            f"  {row['epoch']:7.2f} {row['train_loss']:7.4f}  {val}  {row['learning_rate']:13.3g}  "
            f"{row['true_share']:15.3g}"
        )
    heading = "    epoch   train  validation  learning rate  teacher forcing"
    return ["history (nats per character)", heading, *lines] if lines else []
