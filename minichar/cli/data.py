"""``minichar data``."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import click

from minichar.cli.bar import Bar
from minichar.cli.options import PATH, GroupedCommand, OneOf, argument, print_path
from minichar.cli.usage import Suggesting
from minichar.errors import quoted
from minichar.terminal import say
from minichar.text.datasets import DATASETS, dataset_path, fetch


class Datasets(Suggesting):
    """Group of the dataset commands. For the name of a dataset, it suggests ``get NAME``."""

    synonyms: ClassVar = {
        **dict.fromkeys(("download", "fetch", "install"), "get"),
        **dict.fromkeys(("ls", "show", "all"), "list"),
        **{name: f"get {name}" for name in DATASETS},
    }


@click.group("data", cls=Datasets)
def command() -> None:
    """List and download datasets.

    You can train on any text file: `minichar train my.txt`. The downloaded datasets are the same
    for all users, so results are comparable. pydocs and pystdlib are generated from the installed Python and
    depend on its version.
    """


@command.command("list", cls=GroupedCommand)
def list_datasets() -> None:
    """List the available datasets."""
    rows = [("NAME", "CHARACTERS", "LANGUAGE", "LICENCE")]
    for each in DATASETS.values():
        size = f"{each.characters:,}" if each.sha256 else f"about {each.characters:,}"
        rows.append((each.name, size, each.language, each.licence))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for name, size, *rest in rows:
        cells = [name.ljust(widths[0]), size.rjust(widths[1])]
        cells += [cell.ljust(width) for cell, width in zip(rest, widths[2:], strict=True)]
        click.echo("  ".join(cells).rstrip())


@command.command("get", cls=GroupedCommand)
@argument("name", f"One of {', '.join(DATASETS)}.", type=OneOf(list(DATASETS)), metavar="NAME")
@click.option(
    "--dir",
    "folder",
    type=PATH,
    default=Path("data"),
    show_default=True,
    metavar="DIR",
    help="Parent directory. The text is saved as DIR/NAME/input.txt.",
)
@click.option("--force", is_flag=True, help="Overwrite an existing file that has different contents.")
def get(name: str, folder: Path, force: bool) -> None:
    """Save a dataset as DIR/NAME/input.txt and print its path.

    Downloads are pinned to a version and verified by checksum.
    """
    dataset = DATASETS[name]
    say(f"{name}: {dataset.description} ({dataset.source})")
    kept = dataset_path(name, folder).exists() and not force
    with Bar(dataset.download_bytes, f"Downloading {name}", hidden=kept or not dataset.files) as bar:
        path = fetch(name, folder, force=force, progress=bar.update)
    if kept:
        say("already exists, verified")
    print_path(path)
    train = f"minichar train {quoted(path.parent)} {dataset.options}".rstrip()
    say(f"next: {train}")
