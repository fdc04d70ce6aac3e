"""``minichar data``: texts to begin with."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from minichar.text.datasets import DATASETS, Dataset, dataset_path, fetch
from minichar.text.download import Progress


@click.group("data")
def command() -> None:
    """Get a text to train on.

    Any text file of your own will do as well: `minichar train --data my.txt`. These few are here to
    start with, and so that results can be compared.
    """


@command.command("list")
def list_datasets() -> None:
    """Show the texts that have a name."""
    rows = [("NAME", "CHARACTERS", "LANGUAGE", "SOURCE", "LICENCE")]
    rows += [(d.name, _size(d), d.language, d.source, d.licence) for d in DATASETS.values()]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for name, size, *rest in rows:
        cells = [name.ljust(widths[0]), size.rjust(widths[1])]
        cells += [cell.ljust(width) for cell, width in zip(rest, widths[2:], strict=True)]
        click.echo("  ".join(cells).rstrip())


@command.command("get")
@click.argument("name", type=click.Choice(list(DATASETS)))
@click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path),
    default=Path("data"),
    show_default=True,
    help="Folder for texts; this one goes to DIR/NAME/input.txt.",
)
@click.option("--force", is_flag=True, help="Replace a different text that is already there.")
def get(name: str, folder: Path, force: bool) -> None:
    """Get the text NAME and print where it is.

    Texts from the network are downloaded from a fixed version and checked, so that yours is the same
    as everyone's, to the byte. `minichar data list` shows what there is.
    """
    dataset = DATASETS[name]
    click.echo(f"{name}: {dataset.description}", err=True)
    kept = dataset_path(name, folder).exists() and not force
    with _progress_bar(dataset, shown=not kept) as progress:
        path = fetch(name, folder, force=force, progress=progress)
    if kept:
        click.echo("already there, and as it should be", err=True)
    click.echo(path)
    click.echo(f"next: minichar train --data {shlex.quote(str(path.parent))}", err=True)


def _size(dataset: Dataset) -> str:
    return f"{dataset.characters:,}" if dataset.sha256 else f"about {dataset.characters:,}"


@contextmanager
def _progress_bar(dataset: Dataset, shown: bool) -> Iterator[Progress | None]:
    if not (shown and dataset.files and sys.stderr.isatty()):
        yield None
        return
    with click.progressbar(
        length=dataset.download_bytes, label=f"Downloading {dataset.name}", file=sys.stderr
    ) as bar:
        yield bar.update
