"""A layer as other libraries keep it: input and recurrent weights apart, and two biases.

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
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

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

    def reordered(self, order: Sequence[int]) -> "Gates":
        """Return the blocks of rows in another order: new block j is old block ``order[j]``."""
        return Gates(
            *(part.reshape(len(order), -1, *part.shape[1:])[list(order)].reshape(part.shape) for part in self)
        )


def split(config: Config, weights: Mapping[str, np.ndarray], layer: int) -> Gates:
    """Return layer 1 … L of our `weights` as gates, in our order."""
    H, name = config.rnn_size, f"layer{layer}."
    W = weights[name + "W"]
    if config.model == "gru" and config.gru_reset == "after":
        U = weights[name + "U"]  # (3H, H+1)
        W_input, W_recurrent, b_recurrent = W[:, :-1], U[:, :-1], U[:, -1]
    else:
        if config.model == "gru":
            W = np.concatenate([W, weights[name + "Wn"]])  # (3H, H+D+1)
        W_input, W_recurrent, b_recurrent = W[:, H:-1], W[:, :H], np.zeros_like(W[:, -1])
    return Gates(weights.get(name + "Wx", W_input), W_recurrent, W[:, -1], b_recurrent)


def join(config: Config, gates: Gates, layer: int) -> Weights:
    """Return layer 1 … L as our weights, from gates in our order; a GRU resets after the product."""
    W_input, W_recurrent, b_input, b_recurrent = gates
    first = {"Wx": W_input} if layer == 1 else {}
    x = W_input[:, :0] if layer == 1 else W_input  # (G, D), D = 0 in the first layer
    if config.model == "gru":
        weights = {
            "U": np.column_stack([W_recurrent, b_recurrent]),  # (3H, H+1)
            "W": np.column_stack([x, b_input]),  # (3H, D+1)
        }
    else:
        weights = {"W": np.column_stack([W_recurrent, x, b_input + b_recurrent])}  # (G, H+D+1)
    return {f"layer{layer}.{name}": array for name, array in (weights | first).items()}
