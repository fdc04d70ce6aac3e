"""The names and layouts of PyTorch's modules, whatever file the tensors travel in.

    rnn = nn.RNN | nn.LSTM | nn.GRU (V, H, num_layers=L)
        rnn.weight_ih_l{k}   (G, V) in layer k = 0, (G, H) above      G = H, 4H or 3H
        rnn.weight_hh_l{k}   (G, H)
        rnn.bias_ih_l{k}     (G,)
        rnn.bias_hh_l{k}     (G,)
    decoder = nn.Linear(H, V)
        decoder.weight       (V, H)
        decoder.bias         (V,)

PyTorch's LSTM has its rows in the order i f g o, ours are i f o g. Its GRU has r z n and
``h = (1 - z) ∘ n + z ∘ h_prev`` as ours, and resets after the product, always. It wants a
one-hot x of (T, B, V). Where we have one bias, bias_hh is zero, and reading adds the two.

Characters and configuration are JSON beside the tensors, the header of our ``.npz``.
A state dict without it tells its configuration by its shapes, but not its characters.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minichar.checkpoints.archive import Damaged, parse_header
from minichar.checkpoints.checkpoint import check_arrays, fill, read_header
from minichar.devices.backend import Backend
from minichar.engine.cell import Counterpart
from minichar.engine.cells import CELLS
from minichar.engine.config import Config
from minichar.engine.parameters import Shapes
from minichar.errors import MinicharError
from minichar.formats.gates import Gates, join, split
from minichar.model import CharRNN
from minichar.text.vocabulary import Vocabulary

PARTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def torch_form(config: Config, path: Path) -> Counterpart:
    """Return PyTorch's form of the cell.

    Raises
    ------
    MinicharError
        That `path` cannot be written or read, if there is none.
    """
    form = config.cell.torch
    if form is None:
        other = " (.onnx has one)" if config.cell.onnx else ""
        raise MinicharError(
            f"cannot convert to or from {path}: {config.cell.title} has no PyTorch form{other}; use .npz"
        )
    return form


def shapes(config: Config, form: Counterpart) -> Shapes:
    """Return the name and shape of every tensor."""
    H, V = config.rnn_size, config.vocab_size
    G = len(form.gates) * H
    expected: Shapes = {"decoder.weight": (V, H), "decoder.bias": (V,)}
    for k in range(config.num_layers):
        layer = ((G, H if k else V), (G, H), (G,), (G,))
        expected |= {f"rnn.{part}_l{k}": shape for part, shape in zip(PARTS, layer, strict=True)}
    return expected


def to_state_dict(config: Config, weights: Mapping[str, np.ndarray], path: Path) -> dict[str, np.ndarray]:
    """Return our weights under PyTorch's names, each array in one piece.

    Raises
    ------
    MinicharError
        If PyTorch has no such network.
    """
    form = torch_form(config, path)
    W = weights["readout.W"]
    tensors = {"decoder.weight": W[:, :-1], "decoder.bias": W[:, -1]}
    for k in range(config.num_layers):
        gates = split(config, weights, k + 1, form)
        tensors |= {f"rnn.{part}_l{k}": array for part, array in zip(PARTS, gates, strict=True)}
    # Whoever writes bytes writes a slice of a matrix as if it were the whole.
    return {name: np.ascontiguousarray(array) for name, array in tensors.items()}


def from_state_dict(
    tensors: dict[str, np.ndarray],
    header: str | None,
    path: Path,
    vocabulary: Vocabulary | None,
    backend: Backend,
) -> CharRNN:
    """Return the model in a state dict.

    Parameters
    ----------
    tensors : dict of str to array
    header : str or None
        The JSON beside them.
    path : Path
        Where they come from, for the errors.
    vocabulary : Vocabulary or None
        For a state dict without a header, and for no other.
    backend : Backend

    Raises
    ------
    MinicharError
        If names, shapes, values, header or vocabulary are not as they should be.
    """

    def damaged(why: str) -> MinicharError:
        return MinicharError(f"{path} holds no model minichar can read: {why}")

    details: dict[str, Any] = {}
    if header is not None:
        if vocabulary is not None:
            raise MinicharError(f"{path} knows its characters: leave --vocab-from out")
        config, vocabulary, details = read_header(parse_header(header, damaged), damaged)
    else:
        config = config_of({name: array.shape for name, array in tensors.items()}, damaged)
        if vocabulary is None:
            raise damaged(
                "it does not say which characters its ids are; "
                "give the text it was trained on, or a model of it, as --vocab-from"
            )
        if len(vocabulary) != config.vocab_size:
            raise damaged(
                f"its network knows {config.vocab_size} characters and --vocab-from has {len(vocabulary)}"
            )

    # A deep network has many tensors: where the file has not, they are not even named.
    form = torch_form(config, path)
    expected = shapes(config, form) if config.num_layers <= len(tensors) else {}
    check_arrays(expected, tensors, damaged)
    if tensors["decoder.weight"].dtype == np.float16:  # the sum of two biases may need the range
        tensors = {name: array.astype("float32") for name, array in tensors.items()}
    weights = {"readout.W": np.column_stack([tensors["decoder.weight"], tensors["decoder.bias"]])}
    for k in range(config.num_layers):
        gates = Gates(*(tensors[f"rnn.{part}_l{k}"] for part in PARTS))
        weights |= join(config, gates, k + 1, form)
    return CharRNN(config, vocabulary, fill(config, weights, backend), details)


def config_of(found: Shapes, damaged: Damaged) -> Config:
    """Return the configuration that the shapes of a state dict tell."""
    try:
        (G, V), (_, H) = found["rnn.weight_ih_l0"], found["rnn.weight_hh_l0"]
        models = {len(cell.torch.gates) * H: name for name, cell in CELLS.items() if cell.torch}
        model = models[G]
        layers = sum(re.fullmatch(r"rnn\.weight_hh_l\d+", name) is not None for name in found)
        return Config(V, model, H, layers)
    except (KeyError, ValueError, MinicharError) as error:
        raise damaged(
            "it has no rnn.weight_ih_l0 and rnn.weight_hh_l0 of an nn.RNN, nn.LSTM or nn.GRU"
        ) from error
