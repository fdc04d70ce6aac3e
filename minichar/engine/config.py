"""What a network is made of, and the values its weights start from."""

from dataclasses import dataclass

import numpy as np

from minichar.engine.gru import GRUResetAfter
from minichar.engine.gru_before import GRUResetBefore
from minichar.engine.lstm import LSTM
from minichar.engine.parameters import Parameters, Shapes
from minichar.engine.recurrent import Recurrent
from minichar.engine.rnn import RNN
from minichar.errors import MinicharError

MODELS = ("rnn", "lstm", "gru")
GRU_RESETS = ("after", "before")
MAX_SIZE = 1 << 20


@dataclass(frozen=True)
class Config:
    """What a network is made of.

    Attributes
    ----------
    vocab_size : int
        V.
    model : str
        ``rnn``, ``lstm`` or ``gru``.
    rnn_size : int
        H, the hidden units of each layer.
    num_layers : int
        L.
    dropout : float
        Drop probability while training, in [0, 1).
    gru_reset : str
        ``after`` or ``before``: where a GRU's reset gate acts (`minichar.engine.gru`).

    Raises
    ------
    MinicharError
        If a value is out of its range.
    """

    vocab_size: int
    model: str = "lstm"
    rnn_size: int = 128
    num_layers: int = 2
    dropout: float = 0.0
    gru_reset: str = "after"

    def __post_init__(self) -> None:
        for name, choices in (("model", MODELS), ("gru_reset", GRU_RESETS)):
            if getattr(self, name) not in choices:
                raise MinicharError(
                    f"{name} is {getattr(self, name)!r}; it must be one of {', '.join(choices)}"
                )
        for name in ("vocab_size", "rnn_size", "num_layers"):
            value = getattr(self, name)
            if type(value) is not int or not 1 <= value <= MAX_SIZE:
                raise MinicharError(f"{name} is {value!r}; it must be a whole number from 1 to {MAX_SIZE}")
        if type(self.dropout) not in (int, float) or not 0 <= self.dropout < 1:
            raise MinicharError(f"dropout is {self.dropout!r}; it must be at least 0 and below 1")

    @property
    def cell(self) -> type[Recurrent]:
        """The class of every recurrent layer."""
        if self.model == "gru":
            return GRUResetAfter if self.gru_reset == "after" else GRUResetBefore
        return {"rnn": RNN, "lstm": LSTM}[self.model]

    def shapes(self) -> Shapes:
        """Name and shape of every parameter: ``layer1.W``, ``layer1.Wx``, …, ``readout.W``."""
        H, V = self.rnn_size, self.vocab_size
        shapes: Shapes = {}
        for layer in range(1, self.num_layers + 1):
            cell_shapes = self.cell.shapes(H, 0 if layer == 1 else H, V)
            shapes |= {f"layer{layer}.{name}": shape for name, shape in cell_shapes.items()}
        return shapes | {"readout.W": (V, H + 1)}

    def state_shape(self, B: int) -> tuple[int, int, int, int]:
        """Shape of the carried state: layers, states a layer, H, B."""
        return self.num_layers, self.cell.n_states, self.rnn_size, B


def initialise(config: Config, parameters: Parameters, generator: np.random.Generator) -> None:
    """Draw initial weights uniform in ±0.08; an LSTM's forget bias starts at 1.

    Both are char-rnn's; a forget gate that starts open lets the gradient through
    time from the first step (Jozefowicz et al. 2015).
    """
    values = generator.uniform(-0.08, 0.08, parameters.size)  # (size,)
    parameters.flat[...] = parameters.backend.to_device(values)
    if config.model == "lstm":
        H = config.rnn_size
        for layer in range(1, config.num_layers + 1):
            parameters[f"layer{layer}.W"][H : 2 * H, -1] = 1.0
