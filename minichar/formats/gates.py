"""A layer as other libraries store it: input and recurrent weights apart, and two biases.

    a = W_input @ x + b_input + W_recurrent @ h_prev + b_recurrent

Both matrices have G = gates·H rows, in blocks of H. Ours (`minichar.engine`) against theirs:

             rows          W_input (G, D)       W_recurrent (G, H)   b_input      b_recurrent
    RNN      h             Wx or W[:, H:-1]     W[:, :H]             W[:, -1]     0
    LSTM     i f o g       Wx or W[:, H:-1]     W[:, :H]             W[:, -1]     0
    GRU
      after  r z n         Wx or W[:, :-1]      U[:, :-1]            W[:, -1]     U[:, -1]
      before r z, n        as an RNN's, with Wn below W              …            0

The first layer reads characters: its D is V and its W_input is Wx. Two biases matter where
the reset gate acts on ``U @ [h_prev; 1]``: r multiplies only the second. Elsewhere their sum does.
What a cell's products read, which decides all this, is declared with the cell.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from minichar.engine.cell import Cell, Counterpart
from minichar.engine.config import Config

Weights = dict[str, np.ndarray]


class Gates(NamedTuple):
    """One layer's weights, all with G rows in the same order of gates.

    Attributes
    ----------
    W_input : array, (G, D)
    W_recurrent : array, (G, H)
    b_input, b_recurrent : array, (G,)
    """

    W_input: np.ndarray
    W_recurrent: np.ndarray
    b_input: np.ndarray
    b_recurrent: np.ndarray

    def reordered(self, before: str, after: str) -> "Gates":
        """Return the blocks of rows, which are in the order of gates `before`, in the order `after`."""
        blocks = [before.index(gate) for gate in after]
        return Gates(
            *(part.reshape(len(before), -1, *part.shape[1:])[blocks].reshape(part.shape) for part in self)
        )


def order(cell: Cell) -> str:
    """Return a cell's gates in the order of the rows of `Gates`: those of its products that read x."""
    return "".join(product.gates for product in cell.products if product.reads_x)


def split(config: Config, weights: Mapping[str, np.ndarray], layer: int, form: Counterpart) -> Gates:
    """Return layer 1 … L of our `weights` as gates, in the order of `form`."""
    cell, H, name = config.cell, config.rnn_size, f"layer{layer}."
    ours = {product: weights[name + product.name] for product in cell.products}  # each (G, K+1)
    reading_x = [(W, product) for product, W in ours.items() if product.reads_x]
    reading_h = [(W, product) for product, W in ours.items() if product.reads_state]
    W_input = np.concatenate([W[:, H * product.reads_state : -1] for W, product in reading_x])
    gates = Gates(
        weights.get(name + "Wx", W_input),
        np.concatenate([W[:, :H] for W, _ in reading_h]),
        np.concatenate([W[:, -1] for W, _ in reading_x]),
        # A product that reads both has one bias, which is the input's already.
        np.concatenate([W[:, -1] * (not product.reads_x) for W, product in reading_h]),
    )
    return gates.reordered(order(cell), form.gates)


def join(config: Config, gates: Gates, layer: int, form: Counterpart) -> Weights:
    """Return layer 1 … L as our weights, from gates in the order of `form`."""
    cell, H, ours = config.cell, config.rnn_size, order(config.cell)
    gates = gates.reordered(form.gates, ours)
    x = gates.W_input[:, :0] if layer == 1 else gates.W_input  # (G, D), D = 0 in the first layer
    weights = {"Wx": gates.W_input} if layer == 1 else {}
    for product in cell.products:
        start = ours.index(product.gates) * H
        rows = slice(start, start + len(product.gates) * H)
        columns = []
        if product.reads_state:
            columns.append(gates.W_recurrent[rows])
        if product.reads_x:
            columns.append(x[rows])
        bias = product.reads_x * gates.b_input[rows] + product.reads_state * gates.b_recurrent[rows]
        weights[product.name] = np.column_stack([*columns, bias])
    return {f"layer{layer}.{name}": array for name, array in weights.items()}
