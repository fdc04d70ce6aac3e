"""The models that the site offers, as the HTML pages that ``minichar convert`` writes.

``model.html`` is the model that the last lesson trains. The texts of the other models are downloaded, so a
build without a network leaves them out.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import minichar
from minichar.cli.course import definitions
from minichar.errors import MinicharError
from minichar.text.datasets import fetch

DOWNLOADED = {"shakespeare": ("Shakespeare", "tinyshakespeare"), "tang": ("唐诗", "quantangshi")}
"""Names of the pages, and the titles and datasets of their models."""
LENGTH = 300_000
"""Approximate maximum number of characters to train on, with the options that minichar plans for a text."""


def write_live_model(lesson: Path, folder: Path) -> None:
    """Write ``model.html`` in `folder`. Keep the weights until the lesson changes."""
    weights = folder / "model.npz"
    if is_older(weights, lesson):
        model, _ = definitions(lesson)["large"]()
        model.save(weights)
    minichar.load(weights).save(folder / "model.html")


def write_downloaded(folder: Path) -> bool:
    """Write ``model-NAME.html`` in `folder` for each downloaded text. Return whether all could be downloaded.

    Keep the texts, and the weights until this file changes and the text is available.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, (title, dataset) in DOWNLOADED.items():
        weights = folder.parent / f"{name}.npz"
        if is_older(weights, Path(__file__)):
            try:
                text = fetch(dataset, folder.parent / "data").read_text(encoding="utf-8")
            except MinicharError as error:
                print(f"no new model on {dataset}: {error}")
                if not weights.exists():
                    return False
            else:
                train(selection(text), title).save(weights)
        minichar.load(weights).save(folder / f"model-{name}.html")
    return True


def is_older(weights: Path, source: Path) -> bool:
    """Return whether weights must be computed again: they do not exist or are older than their source."""
    return not weights.exists() or weights.stat().st_mtime < source.stat().st_mtime


def selection(text: str) -> str:
    """Return every n-th paragraph of a long text: poems by many poets, speeches from many plays."""
    return "\n\n".join(text.split("\n\n")[:: -(-len(text) // LENGTH)])


def train(text: str, title: str) -> minichar.Model:
    """Train a model in a temporary directory."""
    with TemporaryDirectory() as temporary:
        path = Path(temporary) / "input.txt"
        path.write_text(text, encoding="utf-8")
        folder = f"{temporary}/cv"
        return minichar.train(path, title=title, min_freq=2, progress=False, checkpoint_dir=folder)
