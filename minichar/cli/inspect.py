"""``minichar inspect``."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import click

from minichar.checkpoints.checkpoint import is_resumable, load_history
from minichar.checkpoints.choosing import open_checkpoint
from minichar.checks import AUTO
from minichar.cli.browser import open_page
from minichar.cli.options import OUTPUT, PATH, GroupedCommand, Integer, checkpoint, group, print_path
from minichar.cli.planned import another, changed_options, train_command
from minichar.cli.speed import duration
from minichar.cli.usage import reject, reject_argument
from minichar.errors import LONGEST_PATH, MinicharError, Option, brief, counted, one_line, plain
from minichar.files import writing
from minichar.formats.convert import load_model
from minichar.formats.naming import may_have_state
from minichar.history import History
from minichar.model import CharRNN
from minichar.pictures.page import make_page
from minichar.terminal import say
from minichar.text.corpus import Corpus, load_corpus
from minichar.training.saved import settings_of, settings_with_text
from minichar.training.settings import Settings
from minichar.training.text import note_on_change

MAX_LENGTH = 20_000
SHOWN = 300
"""Number of columns for the vocabulary, which may contain thousands of Chinese characters."""
SUFFIXES = (".html", ".htm")
NOT_REPEATED = "recipe", "max_time"
"""Settings that are not part of the command: the values that minichar chose replace them."""

looking = group("Page")


@click.command("inspect", cls=GroupedCommand, context_settings={"allow_extra_args": True})
@checkpoint
@looking(
    "--text",
    metavar="PATH",
    type=PATH,
    help="Text file to process, or a directory containing input.txt or other .txt files.  "
    "[default: the training text]",
)
@looking(
    "--html",
    metavar="OUT.html",
    type=OUTPUT,
    help="Write a self-contained HTML page that shows how each unit responds to the text.",
)
@looking(
    "--open",
    "opened",
    is_flag=True,
    help="Open the page in a browser. Without --html, the page is a temporary file.",
)
@looking(
    "--length",
    default=3000,
    metavar="N",
    type=Integer(2, MAX_LENGTH),
    help="Number of characters to show, from the start of the text.",
)
@looking(
    "--encoding",
    help="Encoding of the text.  [default: utf-8; for the training text, as in training]",
)
@click.pass_context
def command(
    ctx: click.Context,
    checkpoint: Path | None,
    text: Path | None,
    html: Path | None,
    opened: bool,
    length: int,
    encoding: str | None,
) -> None:
    """Show the contents of a checkpoint: configuration, parameters and loss history.

    With --html or --open, write an HTML page and print its path. The page colours the text by a hidden unit's
    activation and ranks the units by their correlation with features such as position in the line or
    whether a character is inside quotes. It also shows the surprisal of each character, the most likely
    alternatives, and the distribution of gate values.
    """
    reject_argument(ctx, "use `{command} --text {argument} --html inside.html`")
    if html is None and not opened:
        why = "requires --html: specify an output file, such as --html page.html"
        reject(ctx, ["text", "length", "encoding"], why)
    elif html is not None:
        check_name(html)
    path, model = open_checkpoint(checkpoint, load_model)
    if html is None and not opened:
        show(model, path)
        return
    digest = None
    if text is None:
        settings = settings_with_text(model, path, ("specify the text with ", Option("text")))
        text, digest = settings.data, model.text_digest
        encoding = encoding or settings.encoding
    corpus = load_corpus(text, encoding=encoding or "utf-8", vocabulary=model.vocabulary)
    for note in (*corpus.notes, *note_on_change(corpus, digest, path)):
        say(note)
    if html is None:
        html = Path(mkdtemp(prefix="minichar-")) / "inside.html"
    write_page(model, path, corpus, html, length)
    if opened:
        open_page(html.resolve().as_uri())


def check_name(path: Path) -> None:
    """Raise a `MinicharError` if the name of a new or regular file is not that of a page."""
    if path.suffix.lower() not in SUFFIXES and (path.is_file() or not path.exists()):
        raise MinicharError(f"cannot write the page to {path}: its name must end in {SUFFIXES[0]}")


def write_page(model: CharRNN, path: Path, corpus: Corpus, html: Path, length: int) -> None:
    """Write an HTML page for the first `length` characters of the text, and print its path."""
    ids, N = corpus.ids[:length], len(corpus.ids)
    if length < N:
        advice = f"; to show more, set --length (at most {MAX_LENGTH:,})" if length < MAX_LENGTH else ""
        say(f"the page shows the first {length:,} of {N:,} characters{advice}")
    page = make_page(model, ids, f"{path} on {corpus.path}")
    with writing(html) as file:
        file.write(page.encode())
    print_path(html)


def show(model: CharRNN, path: Path) -> None:
    """Print the contents of a checkpoint."""
    stores_training = may_have_state(path)
    history = load_history(path) if stores_training else None
    resumable = stores_training and is_resumable(path)
    try:
        settings = settings_table(model.details)
    except AttributeError as error:  # the settings are not a dict
        raise MinicharError(
            f"{path} is not a checkpoint that minichar can read: its settings are corrupted ({error})"
        ) from error
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
    click.echo("parameters")
    for name, shape in model.parameters.shapes.items():
        view = model.parameters[name]
        sizes = " × ".join(map(str, shape))
        click.echo(f"  {name:12} {sizes:>12} {view.size:>12,}  max |w| {abs(view).max():.3g}")
    for line in settings:
        click.echo(line)
    if settings:
        with suppress(MinicharError):  # those of a newer version
            trained = settings_of(model, path)
            options = changed_options(trained, NOT_REPEATED)
            options["checkpoint_dir"] = another(trained.checkpoint_dir)
            click.echo(one_line(f"command    {train_command(options)}"))
    for line in history_table(history or History()):
        print(line)  # unlike click.echo, print does not flush after each line


def settings_table(details: dict[str, Any]) -> list[str]:
    """Return a heading and a line per setting without its default value. Control characters are escaped."""
    if "settings" not in details:
        return []
    settings, defaults = details["settings"], Settings().to_json()
    changed = {name: value for name, value in settings.items() if value != defaults.get(name, AUTO)}
    return [
        f"settings (the other {len(settings) - len(changed)} have their defaults)",
        *(
            f"  {plain(name) if name.isidentifier() else brief(name):26} {brief(value, LONGEST_PATH)}"
            for name, value in changed.items()
        ),
    ]


def history_table(history: History) -> Iterator[str]:
    """Yield a heading and one line per evaluation, or nothing if there are no evaluations."""
    if history:
        yield "history (nats per character)"
        yield "    epoch   train  validation  learning rate  teacher forcing"
    for row in history:
        val_loss = f"{'-':>10}" if row["val_loss"] is None else f"{row['val_loss']:10.4f}"
        rates = f"{row['learning_rate']:13.3g}  {row['teacher_forcing_ratio']:15.3g}"
        yield f"  {row['epoch']:7.2f} {row['train_loss']:7.4f}  {val_loss}  {rates}"
