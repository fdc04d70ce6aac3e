"""``minichar inspect``."""

from pathlib import Path
from typing import Any

import click

from minichar.checkpoints.archive import Archive
from minichar.checkpoints.naming import find_checkpoint
from minichar.cli.options import GroupedCommand, group
from minichar.errors import MinicharError
from minichar.files import writing
from minichar.formats.convert import format_of, load_model
from minichar.model import CharRNN
from minichar.pictures.page import make_page
from minichar.text.corpus import load_corpus

MAX_LENGTH = 20_000

looking = group("Looking inside")


@click.command("inspect", cls=GroupedCommand)
@click.argument("checkpoint", required=False)
@looking("--text", metavar="FILE", help="A text for the model to read, as --data of train.")
@looking(
    "--html",
    metavar="OUT.html",
    type=click.Path(path_type=Path),
    help="Write a page that shows what each unit does over the text. It needs no network.",
)
@looking(
    "--length",
    default=3000,
    metavar="N",
    type=click.IntRange(2, MAX_LENGTH),
    help=f"Characters shown, from the beginning of the text; at most {MAX_LENGTH:,}.",
)
@looking("--encoding", default="utf-8", help="Of the text.")
def command(checkpoint: str | None, text: str | None, html: Path | None, length: int, encoding: str) -> None:
    """Show what a checkpoint holds: configuration, parameters by layer, loss history.

    CHECKPOINT is a file, or a folder, of which the checkpoint of lowest validation loss is
    shown; without it the folder is cv/.

    With --text and --html, a page instead: the text coloured by the state of a unit, the units
    sorted by how closely they follow something a reader can name, such as the position in the
    line or being inside quotes; how surprising each character was, and what was likelier; how
    open the gates are. Its path is printed.
    """
    if (text is None) != (html is None):
        raise click.UsageError("--text and --html go together: a text to read, and the page to write")
    path = str(find_checkpoint(checkpoint))
    model = load_model(path)
    if text is not None and html is not None:
        write_page(model, path, text, html, length, encoding)
    else:
        show(model, path)


def write_page(model: CharRNN, path: str, text: str, html: Path, length: int, encoding: str) -> None:
    """Write the page about the first `length` characters of a text."""
    corpus = load_corpus(text, encoding=encoding, vocabulary=model.vocabulary, cache=False)
    notes, ids = list(corpus.notes), corpus.ids[:length]
    if len(ids) < len(corpus.ids):
        notes.append(f"the page shows the first {len(ids):,} of {len(corpus.ids):,} characters (--length)")
    for note in notes:
        click.echo(note, err=True)
    page = make_page(model, ids, f"{path} reads {corpus.path}")
    with writing(html) as file:
        file.write(page.encode())
    click.echo(html)


def show(model: CharRNN, path: str) -> None:
    """Print what the checkpoint holds."""
    training: dict[str, Any] = {}
    if format_of(path) in (None, "npz"):  # no other format holds the state of a training
        with Archive(path) as archive:
            training = archive.header.get("training") or {}
    try:
        settings, history = settings_table(model.details), history_table(training)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise MinicharError(
            f"{path} is not a checkpoint minichar can read: its settings or its history are damaged ({error})"
        ) from error
    click.echo(f"checkpoint {path}")
    click.echo(f"model      {model.summary()}")
    unknown = ", and one unknown id" if model.vocabulary.unknown else ""
    click.echo(f"vocabulary {model.vocabulary.characters!r}{unknown}")
    click.echo(f"state of training: {'yes, --resume can go on' if training else 'no, for sampling only'}")
    click.echo("parameters")
    for name, shape in model.parameters.shapes.items():
        view = model.parameters[name]
        sizes = " × ".join(map(str, shape))
        click.echo(f"  {name:12} {sizes:>12} {view.size:>12,}  largest {abs(view).max():.3g}")
    for line in settings + history:
        click.echo(line)


def settings_table(details: dict[str, Any]) -> list[str]:
    """Return a line for each setting, under a heading."""
    settings = details.get("settings", {}).items()
    return ["settings", *(f"  {k!s:26} {'the default' if v is None else repr(v)}" for k, v in settings)]


def history_table(training: dict[str, Any]) -> list[str]:
    """Return a line for each measurement, under a heading; nothing where there is none."""
    lines = []
    for row in training.get("history", []):
        val = f"{row['val']['loss']:10.4f}" if row["val"] else " " * 9 + "-"
        lines.append(
            f"  {row['epoch']:7.2f} {row['train_loss']:7.4f}  {val}  {row['learning_rate']:13.3g}  "
            f"{row['true_share']:19.3g}"
        )
    heading = "    epoch   train  validation  learning rate  share of true input"
    return ["history (nats per character)", heading, *lines] if lines else []
