"""Two runs on a small part of Python's help: one that overfits, and one that dropout holds back.

Takes some seconds of training. The second model is also looked into: `inside.html` is that page.
"""

import tempfile
from pathlib import Path

from matplotlib.axes import Axes

import minichar
from minichar.checkpoints.naming import best_checkpoint, newest_checkpoint
from minichar.pictures.curves import Curve, read_curve
from minichar.pictures.page import make_page
from minichar.text.datasets import pydocs_text

from .draw import BLUE, FOLDER, INK, ORANGE, figure

CHARACTERS, SHOWN = 40_000, 3000
RUN = {
    "use_ss": False,
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


def train(folder: Path, dropout: float) -> Curve:
    """Train on the text in `folder`; return what was measured."""
    name = f"dropout {dropout:g}"
    minichar.train(folder / "input.txt", checkpoint_dir=str(folder / name), dropout=dropout, keep=1, **RUN)
    return read_curve(newest_checkpoint(folder / name), name)


def main() -> None:
    """Train and draw."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        text = pydocs_text()[:CHARACTERS]
        (folder / "input.txt").write_text(text, encoding="utf-8")
        curves = [train(folder, dropout) for dropout in (0.0, 0.5)]
        model = minichar.load(best_checkpoint(folder / curves[1].name))
    page = make_page(model, model.vocabulary.encode(text[-SHOWN:]), "One layer of 64 reads Python's help")
    (FOLDER / "inside.html").write_text(page, encoding="utf-8")

    def draw(ax: Axes) -> None:
        for curve, colour in zip(curves, (ORANGE, BLUE), strict=True):
            ax.plot(curve.epochs, curve.train, "--", color=colour, lw=1.5, label=f"{curve.name}: training")
            ax.plot(curve.epochs, curve.val, color=colour, label=f"{curve.name}: validation")
            ax.plot(*curve.best, "o", color=colour, mec=INK)
        ax.set(xlabel="epoch", ylabel="nats per character")
        ax.legend(fontsize=9)

    figure(draw, 5.4, 3.6, "losses")
