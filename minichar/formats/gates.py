"""Convert layers to and from a layout with separate input and recurrent weights and two biases.

    a = W_input @ x + b_input + W_recurrent @ h_prev + b_recurrent

PyTorch and ONNX use this layout. W_input and W_recurrent have G = gates·H rows, one block of H rows per
gate. For each gate, the arrays correspond to minichar's weights (`minichar.engine`) as follows:

             W_input (G, D)       W_recurrent (G, H)   b_input      b_recurrent
    RNN      Wx or W[:, H:-1]     W[:, :H]             W[:, -1]     0
    LSTM     Wx or W[:, H:-1]     W[:, :H]             W[:, -1]     0
    GRU
      after  Wx or W[:, :-1]      U[:, :-1]            W[:, -1]     U[:, -1]
      before as for an RNN, with gate n in Wn

The input to the first layer is one-hot, so D is V and W_input is Wx. If a GRU applies its reset gate after
the matrix product, it needs two biases, because the gate multiplies ``U @ [h_prev; 1]``, which includes only
the second bias. In all other cells, only the sum of the biases matters. The code derives the table above from
the inputs of each matrix product in a cell (`minichar.engine.cell`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minichar.engine.config import Config
from minichar.engine.parameters import Parameters
from minichar.errors import MinicharError, Option


@dataclass(frozen=True)
class Counterpart:
    """The equivalent cell in another library, such as ``LSTM``."""

    name: str
    gates: str  # gate order in the other library, written with minichar's gate letters
    attributes: Mapping[str, int] = field(default_factory=dict)  # must be set to obtain the same results


TORCH = {
    "rnn": Counterpart("RNN", "h"),
    "lstm": Counterpart("LSTM", "ifgo"),
    "gru": Counterpart("GRU", "rzn"),
}
"""The cells that have an equivalent layer in PyTorch, by name. Register yours here."""
ONNX = {
    "rnn": Counterpart("RNN", "h"),
    "lstm": Counterpart("LSTM", "iofg"),
    "gru": Counterpart("GRU", "zrn", {"linear_before_reset": 1}),
    "gru-reset-before": Counterpart("GRU", "zrn", {"linear_before_reset": 0}),
}
"""The cells that have an equivalent operator in ONNX, by name. Register yours here."""


def counterpart(config: Config, library: Mapping[str, Counterpart], name: str, path: Path) -> Counterpart:
    """Return the equivalent of a network's cell in `TORCH` or `ONNX`, the library called `name`.

    If there is none, raise a `MinicharError` that names `path`.
    """
    if config.layer_norm or config.model not in library:
        remedy = (", or train a model with ", Option("layer_norm", False)) if config.layer_norm else ()
        title = config.cell.title
        raise MinicharError(f"cannot convert {path}: {title} has no {name} counterpart; use .npz", *remedy)
    return library[config.model]


class Gates(NamedTuple):
    """The weights of one layer. All arrays have G rows in the same gate order."""

    W_input: np.ndarray  # (G, D)
    W_recurrent: np.ndarray  # (G, H)
    b_input: np.ndarray  # (G,)
    b_recurrent: np.ndarray  # (G,)


def rows_of(gates: str, form: Counterpart, H: int) -> np.ndarray:
    """Return the row indices ``(gates·H,)`` of `gates` in a matrix with the gate order of `form`."""
    starts = [H * form.gates.index(gate) for gate in gates]
    return np.add.outer(starts, np.arange(H)).ravel()  # (gates·H,)


def split(config: Config, weights: Mapping[str, np.ndarray], layer: int, form: Counterpart) -> Gates:
    """Return the weights of a layer in the layout of `form`. Layers are numbered from 1."""
    cell, H, name = config.cell, config.rnn_size, f"layer{layer}."
    D, G = config.vocab_size if layer == 1 else H, len(form.gates) * H
    dtype = weights["readout.W"].dtype
    theirs = Gates(np.zeros((G, D), dtype), np.zeros((G, H), dtype), np.zeros(G, dtype), np.zeros(G, dtype))
    input_rows = dict(cell.input_rows(H))
    for product in cell.products:
        W = weights[name + product.name]  # (gates·H, K+1), with columns [state; x; 1]
        rows = rows_of(product.gates, form, H)
        if product.reads_state:
            theirs.W_recurrent[rows] = W[:, :H]
        if product.reads_x and layer == 1:
            theirs.W_input[rows] = weights[name + "Wx"][input_rows[product]]
        elif product.reads_x:
            theirs.W_input[rows] = W[:, H * product.reads_state : -1]
        bias = theirs.b_input if product.reads_x else theirs.b_recurrent
        bias[rows] = W[:, -1]
    return theirs


def join(config: Config, theirs: Gates, layer: int, form: Counterpart, parameters: Parameters) -> None:
    """Copy a layer from the layout of `form` into minichar's parameters. Layers are numbered from 1.

    Gates are copied one at a time to save memory. Adding two float16 biases cannot overflow, because
    the sum is stored in a float32 or float64 parameter.
    """
    H, ours, to_device = config.rnn_size, parameters.under(f"layer{layer}."), parameters.backend.to_device
    input_rows = dict(config.cell.input_rows(H))
    for product in config.cell.products:
        for j, name in enumerate(product.gates):
            start, rows = H * form.gates.index(name), slice(H * j, H * (j + 1))
            gate = Gates(*(array[start : start + H] for array in theirs))
            W = ours[product.name][rows]  # (H, K+1), with columns [state; x; 1]
            bias = np.zeros(H, parameters.dtype)  # (H,)
            if product.reads_state:
                W[:, :H] = to_device(gate.W_recurrent)
                bias += gate.b_recurrent
            if product.reads_x:
                bias += gate.b_input
            if product.reads_x and layer == 1:
                ours["Wx"][input_rows[product]][rows] = to_device(gate.W_input)
            elif product.reads_x:
                W[:, H * product.reads_state : -1] = to_device(gate.W_input)
            W[:, -1] = to_device(bias)
