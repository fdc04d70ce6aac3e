"""What a benchmark computes, and what it is compared with."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from math import prod

import numpy as np

from minichar.engine.config import Config

KINDS = ("train", "dropout", "scheduled-sampling", "evaluate", "sample", "sample-many")
LAYERS = {"rnn": "RNN", "lstm": "LSTM", "gru": "GRU"}
"""The class of PyTorch's layer for each cell that has one, by name."""
MANY = 64
"""Number of streams that ``sample-many`` generates in parallel."""
PIECE = 200
"""Number of characters per stream in one sampling iteration."""


@dataclass(frozen=True)
class Work:
    """A benchmark of one implementation.

    One *iteration* of a training or evaluation benchmark processes one chunk. One iteration of a sampling
    benchmark generates `PIECE` characters per stream.
    """

    kind: str = "train"  # ``dropout`` and ``scheduled-sampling`` are training with that option enabled
    engine: str = "minichar"  # or ``pytorch``, or ``pytorch-graph``, which is captured as a CUDA graph
    model: str = "lstm"
    rnn_size: int = 128
    num_layers: int = 2
    vocab_size: int = 65
    seq_length: int = 50
    batch_size: int = 50  # ignored by sampling, which generates 1 or `MANY` streams
    device: str = "cpu"  # as for ``--device``
    chunk_kernel: bool = False  # as with ``--chunk-kernel``
    tf32: bool = False  # as with ``--tf32``

    def config(self) -> Config:
        """Return the configuration of the network."""
        dropout = 0.5 if self.kind == "dropout" else 0.0
        return Config(self.vocab_size, self.model, self.rnn_size, self.num_layers, dropout)

    @property
    def on_gpu(self) -> bool:
        """Whether the device is an NVIDIA GPU."""
        return self.device.startswith("gpu")

    @property
    def trains(self) -> bool:
        """Whether an iteration includes the backward pass and the parameter update."""
        return self.kind in ("train", "dropout", "scheduled-sampling")

    @property
    def teacher_forcing_ratio(self) -> float:
        """The teacher-forcing ratio."""
        return 0.9 if self.kind == "scheduled-sampling" else 1.0

    @property
    def streams(self) -> int:
        """Number of parallel streams."""
        return {"sample": 1, "sample-many": MANY}.get(self.kind, self.batch_size)

    @property
    def characters(self) -> int:
        """Number of characters per iteration."""
        return self.streams * (PIECE if self.kind.startswith("sample") else self.seq_length)

    @property
    def flop(self) -> float:
        """Number of floating-point operations per iteration, counting only matrix products with weights.

        The forward pass performs two operations per weight and character. Training performs three times as
        many, because it also computes Wᵀ @ da and dW. ``Wx`` is not counted, because its columns are
        gathered, not multiplied.
        """
        weights = sum(prod(shape) for name, shape in self.config().shapes().items() if "Wx" not in name)
        return 2.0 * weights * self.characters * (3 if self.trains else 1)

    def ids(self) -> np.ndarray:
        """Return random ids, ``(T+1, B)``, with a skewed distribution, as in natural text."""
        u = np.random.default_rng(1).random((self.seq_length + 1, self.batch_size))  # (T+1, B)
        return (self.vocab_size**u).astype(np.intp) - 1  # (T+1, B)


def opponents(work: Work) -> list[Work]:
    """Return the baselines for a benchmark of minichar.

    For training with dropout or scheduled sampling, the baseline is plain training. For sampling many
    streams, the baseline is sampling one stream. For all other benchmarks, the baseline is PyTorch, if it is
    installed and implements the cell. On an NVIDIA GPU, training and evaluation are also compared with
    PyTorch running in a CUDA graph.
    """
    if work.kind in ("dropout", "scheduled-sampling"):
        return [replace(work, kind="train")]
    if work.kind == "sample-many":
        return [replace(work, kind="sample")]
    if work.model not in LAYERS or not find_spec("torch"):
        return []
    graph = work.on_gpu and work.kind in ("train", "evaluate")
    return [replace(work, engine=engine) for engine in ("pytorch", *["pytorch-graph"] * graph)]


def waiting(unit: Callable[[], object], synchronise: Callable[[], object]) -> Callable[[], None]:
    """Return a function that calls `unit` and waits for the GPU, so that queued work is timed too."""

    def waited() -> None:
        unit()
        synchronise()

    return waited
