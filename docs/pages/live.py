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

DOWNLOADED = {"shakespeare": "tinyshakespeare", "tang": "quantangshi"}
"""Names of the pages, and the datasets of their models."""
LENGTH = 300_000
"""Maximum number of characters to train on. The options are those that minichar plans for a text."""


def write_live_model(lesson: Path, folder: Path) -> None:
    """Write ``model.html`` in `folder`. Keep the weights until the lesson changes."""
    weights = folder / "model.npz"
    if not weights.exists() or weights.stat().st_mtime < lesson.stat().st_mtime:
        model, _ = definitions(lesson)["large"]()
        model.save(weights)
    minichar.load(weights).save(folder / "model.html")


def write_downloaded(folder: Path) -> bool:
    """Write ``model-NAME.html`` in `folder` for each downloaded text. Return whether all could be downloaded.

    Texts and weights are kept for the next build.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, dataset in DOWNLOADED.items():
        weights = folder.parent / f"{name}.npz"
        if not weights.exists():
            try:
                text = fetch(dataset, folder.parent / "data").read_text(encoding="utf-8")
            except MinicharError as error:
                print(f"no model on {dataset}: {error}")
                return False
            train(text[:LENGTH]).save(weights)
        minichar.load(weights).save(folder / f"model-{name}.html")
    return True


def train(text: str) -> minichar.Model:
    """Train a model in a temporary directory."""
    with TemporaryDirectory() as temporary:
        path = Path(temporary) / "input.txt"
        path.write_text(text, encoding="utf-8")
        return minichar.train(path, min_freq=2, progress=False, checkpoint_dir=f"{temporary}/cv")
