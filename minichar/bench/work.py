"""What is measured: one piece of work, how many characters it handles, and how much arithmetic that is."""

from dataclasses import asdict, dataclass
from math import prod
from typing import Any

import numpy as np

from minichar.engine.config import Config
from minichar.errors import MinicharError

KINDS = ("train", "dropout", "scheduled-sampling", "evaluate", "sample", "sample-many")
ENGINES = ("minichar", "pytorch")
MANY = 64
"""Streams that ``sample-many`` writes at once."""
PIECE = 200
"""Characters a stream writes in one unit of sampling."""


@dataclass(frozen=True)
class Work:
    """One engine's work; a *unit* of it is a chunk learned or read, or `PIECE` characters written.

    Attributes
    ----------
    kind : str
        One of `KINDS`. ``dropout`` and ``scheduled-sampling`` train with these on.
    engine : str
        ``minichar`` or ``pytorch``.
    model, gru_reset, rnn_size, num_layers, vocab_size : as `Config`
    seq_length, batch_size : int
        T and B. Sampling has one stream, or `MANY`, whatever B is.
    threads : int
        What the BLAS and PyTorch may use; 0 for as many as they like.
    device : str
        As ``--device``.

    Raises
    ------
    MinicharError
        If a value is out of its range.
    """

    kind: str = "train"
    engine: str = "minichar"
    model: str = "lstm"
    gru_reset: str = "after"
    rnn_size: int = 128
    num_layers: int = 2
    vocab_size: int = 65
    seq_length: int = 50
    batch_size: int = 50
    threads: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.kind not in KINDS or self.engine not in ENGINES:
            raise MinicharError(f"there is no work called {self.kind!r} by {self.engine!r}")
        self.config()

    def config(self) -> Config:
        """Return what the network is made of."""
        dropout = 0.5 if self.kind == "dropout" else 0.0
        return Config(self.vocab_size, self.model, self.rnn_size, self.num_layers, dropout, self.gru_reset)

    @property
    def trains(self) -> bool:
        """Whether it learns, forward and backward."""
        return self.kind in ("train", "dropout", "scheduled-sampling")

    @property
    def true_share(self) -> float:
        """The share of true input."""
        return 0.9 if self.kind == "scheduled-sampling" else 1.0

    @property
    def streams(self) -> int:
        """Streams side by side."""
        return {"sample": 1, "sample-many": MANY}.get(self.kind, self.batch_size)

    @property
    def characters(self) -> int:
        """Characters a unit."""
        return self.streams * (PIECE if self.kind.startswith("sample") else self.seq_length)

    @property
    def flop(self) -> float:
        """Floating-point operations a unit: those of the products with weights, and no others.

        Two a weight and character, three times as many to train: forward, Wᵀ @ da and dW. A character's
        column of ``Wx`` is picked and not multiplied, and element-wise functions are not counted.
        """
        weights = sum(prod(shape) for name, shape in self.config().shapes().items() if "Wx" not in name)
        return 2.0 * weights * self.characters * (3 if self.trains else 1)

    def ids(self) -> np.ndarray:
        """Return characters to read, ``(T+1, B)``: as in a text, a few of them make up most of it."""
        u = np.random.default_rng(1).random((self.seq_length + 1, self.batch_size))  # (T+1, B)
        return (self.vocab_size**u).astype(np.intp) - 1  # (T+1, B)

    def describe(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return asdict(self)
