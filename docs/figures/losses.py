"""Training and validation losses on a short excerpt from Python's help text, with and without dropout.

The run without dropout overfits. Training takes a few seconds. The script also writes ``inside.html``,
which shows the units of the model trained with dropout.
"""

import tempfile
from pathlib import Path

from matplotlib.axes import Axes

import minichar
from minichar.checkpoints.choosing import newest_in
from minichar.pictures.curves import Curve, read_curve
from minichar.pictures.page import make_page
from minichar.text.pydocs import pydocs_text

from .draw import FOLDER, GOLD, INK, PURPLE, drawing

CHARACTERS, SHOWN = 40_000, 3000
RUN = {
    "recipe": "char-rnn",
    "epoch_reset": True,
    "rnn_size": 64,
    "num_layers": 1,
    "batch_size": 20,
    "seq_length": 40,
    "learning_rate": 1e-2,
    "max_epochs": 30,
    "eval_val_every": 47,
    "train_frac": 0.9,
    "val_frac": 0.1,
}


def train(folder: Path, dropout: float) -> tuple[minichar.Model, Curve]:
    """Train on the text in `folder` and return ``(model, curve)``: the best model and the run's losses."""
    name = f"dropout {dropout:g}"
    cv = folder / name
    model = minichar.train(
        folder / "input.txt", progress=False, checkpoint_dir=str(cv), dropout=dropout, keep=1, **RUN
    )
    return model, read_curve(newest_in(cv)[0].path, name)


@drawing(5, 3.6)
def losses(ax: Axes) -> None:
    """Train a model without dropout and one with dropout, and plot their losses."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        text = pydocs_text()[:CHARACTERS]
        (folder / "input.txt").write_text(text, encoding="utf-8")
        _, without = train(folder, 0.0)
        model, with_dropout = train(folder, 0.25)
    page = make_page(
        model, model.vocabulary.encode(text[-SHOWN:]), "An LSTM layer with 64 units, on Python's help text"
    )
    (FOLDER / "inside.html").write_text(page, encoding="utf-8")

    for curve, colour in ((without, GOLD), (with_dropout, PURPLE)):
        name, history, epochs = curve.name, curve.history, curve.history["epoch"]
        ax.plot(epochs, history["train_loss"], "--", color=colour, lw=1.5, label=f"{name}: training")
        ax.plot(epochs, history["val_loss"], color=colour, label=f"{name}: validation")
        ax.plot(history.best["epoch"], history.best["val_loss"], "o", color=colour, mec=INK)
    ax.set(xlabel="epoch", ylabel="nats per character")
    ax.legend(fontsize=10)
