"""Two runs on a small part of Python's help: one that overfits, and one that dropout holds back.

Takes some seconds of training. It leaves a model from which the site's page to look inside is made.
"""

import tempfile
from pathlib import Path

from matplotlib.axes import Axes

import minichar
from minichar.pictures.curves import Curve, read_curve
from minichar.text.datasets import pydocs_text
from minichar.training.naming import newest_checkpoint

from .draw import BLUE, INK, ORANGE, figure

CHARACTERS = 40_000
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
        (folder / "input.txt").write_text(pydocs_text()[:CHARACTERS], encoding="utf-8")
        curves = [train(folder, dropout) for dropout in (0.0, 0.5)]

    def draw(ax: Axes) -> None:
        for curve, colour in zip(curves, (ORANGE, BLUE), strict=True):
            ax.plot(curve.epochs, curve.train, "--", color=colour, lw=1.5, label=f"{curve.name}: training")
            ax.plot(curve.epochs, curve.val, color=colour, label=f"{curve.name}: validation")
            ax.plot(*curve.best, "o", color=colour, mec=INK)
        ax.set(xlabel="epoch", ylabel="nats per character")
        ax.legend(fontsize=9)

    figure(draw, 5.4, 3.6, "losses")
