"""What a network is made of, and the values its weights start from."""

from dataclasses import dataclass

import numpy as np

from minichar.engine.cell import Cell
from minichar.engine.cells import CELLS, models
from minichar.engine.parameters import Parameters, Shapes
from minichar.errors import MinicharError

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
        The name of a registered cell: ``rnn``, ``lstm``, ``gru`` or one of your own.
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
        for name, choices in (("model", models()), ("gru_reset", GRU_RESETS)):
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
    def cell(self) -> Cell:
        """The cell of every layer."""
        before = self.model == "gru" and self.gru_reset == "before"
        return CELLS["gru-reset-before" if before else self.model]

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
        return self.num_layers, len(self.cell.states), self.rnn_size, B


def initialise(config: Config, parameters: Parameters, generator: np.random.Generator) -> None:
    """Draw initial weights uniform in ±0.08, as char-rnn does, and set the biases that a cell declares."""
    values = generator.uniform(-0.08, 0.08, parameters.size)  # (size,)
    parameters.flat[...] = parameters.backend.to_device(values)
    H = config.rnn_size
    for layer in range(1, config.num_layers + 1):
        for product in config.cell.products:
            for j, gate in enumerate(product.gates):
                if gate in config.cell.biases:
                    W = parameters[f"layer{layer}.{product.name}"]
                    W[j * H : (j + 1) * H, -1] = config.cell.biases[gate]
