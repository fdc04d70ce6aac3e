"""Build the model of ``howto/one-page.md``: its weights, and an HTML page as written by ``minichar convert``.

The model is trained on Python's help text, which takes about a minute on one core. Later builds reuse
the weights until this script changes.
"""

import tempfile
from pathlib import Path

import minichar
from minichar.text.pydocs import pydocs_text

OPTIONS = {
    "rnn_size": 128,
    "num_layers": 1,
    "layer_norm": True,
    "learning_rate": 1.2e-2,
    "max_epochs": 8,
}


def write_live_model(folder: Path) -> None:
    """Write ``model.html`` in `folder`. Train the model first if its weights are missing or out of date."""
    weights = folder / "model.npz"
    if not weights.exists() or weights.stat().st_mtime < Path(__file__).stat().st_mtime:
        train().save(weights)
    minichar.load(weights).save(folder / "model.html")


def train() -> minichar.Model:
    """Train the model in a temporary directory."""
    with tempfile.TemporaryDirectory() as temporary:
        text = Path(temporary) / "input.txt"
        text.write_text(pydocs_text(), encoding="utf-8")
        return minichar.train(text, progress=False, checkpoint_dir=f"{temporary}/cv", **OPTIONS)
