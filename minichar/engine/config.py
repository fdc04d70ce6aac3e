"""Network configuration and weight initialisation."""

from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np

from minichar.checks import BELOW_1, between, check, one_of
from minichar.engine.cell import Cell
from minichar.engine.cells import CELLS
from minichar.engine.parameters import Parameters, Shapes
from minichar.errors import MinicharError, Option

CellName = Annotated[str, one_of(CELLS)]
MAX_SIZE = 1 << 20
Size = Annotated[int, between(1, MAX_SIZE)]
DropProbability = Annotated[float, BELOW_1]
INITIAL = 0.08
"""Limit of the absolute values of initial weights, as in char-rnn."""


@dataclass(frozen=True)
class Config:
    """The configuration of a network.

    Attributes
    ----------
    vocab_size : int
        V, the vocabulary size.
    model : str
        Name of a registered cell: ``rnn``, ``lstm``, ``gru``, ``gru-reset-before`` or a custom cell.
    rnn_size : int
        H, the number of hidden units in each layer.
    num_layers : int
        L, the number of layers.
    dropout : float
        Dropout probability during training, in [0, 1).
    weight_drop : float
        DropConnect probability for the recurrent weights during training, in [0, 1).
    embedding : int
        D, the embedding dimension (`minichar.engine.embedding`), or 0 for one-hot inputs.
    layer_norm : bool
        Whether to normalise the pre-activations of each gate (`minichar.engine.layer_norm`).
    tied : bool
        Whether the readout's weights are also the embedding (`minichar.engine.tied_embedding`). Requires
        `embedding` to equal `rnn_size`.

    Raises
    ------
    MinicharError
        If a value has the wrong type or is out of range, or `tied` is True and `embedding` differs from
        `rnn_size`.
    """

    vocab_size: Size
    model: CellName = "lstm"
    rnn_size: Size = 128
    num_layers: Size = 2
    dropout: DropProbability = 0.0
    weight_drop: DropProbability = 0.0
    embedding: Annotated[int, between(0, MAX_SIZE)] = 0
    layer_norm: bool = False
    tied: bool = False

    def __post_init__(self) -> None:
        check(self)
        if self.tied and self.embedding != self.rnn_size:
            raise MinicharError(
                Option("tied", True),
                " requires ",
                Option("embedding"),
                " to equal ",
                Option("rnn_size"),
                f" ({self.rnn_size}), not {self.embedding}: specify ",
                Option("embedding", self.rnn_size),
            )

    @property
    def cell(self) -> Cell:
        """The cell used in every layer."""
        cell = CELLS[self.model]
        if not self.layer_norm:
            return cell
        return replace(cell, title=f"{cell.title} with layer normalisation")

    def shapes(self) -> Shapes:
        """Return the shapes of all parameters, keyed by names such as ``layer1.W`` and ``readout.W``."""
        H, D, V = self.rnn_size, self.embedding, self.vocab_size
        shapes: Shapes = {"embedding.E": (D, V)} if D and not self.tied else {}
        for layer in range(1, self.num_layers + 1):
            cell_shapes = self.cell.shapes(H, D if layer == 1 else H, V)
            shapes |= {f"layer{layer}.{name}": shape for name, shape in cell_shapes.items()}
        return shapes | {"readout.W": (V, H + 1)}

    def state_shape(self, B: int) -> tuple[int, int, int, int]:
        """Return the shape of the carried state, ``(L, S, H, B)``."""
        return self.num_layers, len(self.cell.states), self.rnn_size, B


def initialise(config: Config, parameters: Parameters, generator: np.random.Generator) -> None:
    """Draw weights uniformly from [-0.08, 0.08), as in char-rnn, and set the cell's initial biases.

    Embeddings that are not tied to the readout are drawn from [-1, 1), because inputs should have about the
    same magnitude as hidden states.
    """
    values = generator.uniform(-INITIAL, INITIAL, parameters.size)  # (P,)
    parameters.flat[...] = parameters.backend.to_device(values)
    if config.embedding and not config.tied:
        parameters["embedding.E"][...] *= 1.0 / INITIAL
    H = config.rnn_size
    for layer in range(1, config.num_layers + 1):
        for product in config.cell.products:
            for j, gate in enumerate(product.gates):
                if gate in config.cell.biases:
                    W = parameters[f"layer{layer}.{product.name}"]
                    W[j * H : (j + 1) * H, -1] = config.cell.biases[gate]
