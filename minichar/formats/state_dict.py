"""Convert models to and from PyTorch state dicts, as stored in ``.pt`` and ``.safetensors`` files.

    rnn = nn.RNN | nn.LSTM | nn.GRU (V, H, num_layers=L)
        rnn.weight_ih_l{k}   (G, V) for k = 0, otherwise (G, H)      G = H, 4H or 3H
        rnn.weight_hh_l{k}   (G, H)
        rnn.bias_ih_l{k}     (G,)
        rnn.bias_hh_l{k}     (G,)
    decoder = nn.Linear(H, V)
        decoder.weight       (V, H)
        decoder.bias         (V,)

PyTorch stores the LSTM gates in the order i, f, g, o, and minichar in the order i, f, o, g. PyTorch and
minichar store the GRU gates in the order r, z, n and compute ``h = (1 - z) ∘ n + z ∘ h_prev``. PyTorch always
applies the reset gate after the matrix product. The input is one-hot, with shape (T, B, V). For a cell with
only one bias per gate, bias_hh is zero in new state dicts and is added to bias_ih when a state dict is read.

The vocabulary and configuration are stored with the tensors, in the same JSON header that ``.npz`` files use.
Without the header, the configuration is inferred from the shapes, but the vocabulary is unknown.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minichar.checkpoints.archive import parse_header
from minichar.checkpoints.checkpoint import check_arrays, read_header
from minichar.devices.backend import Backend
from minichar.engine.config import Config
from minichar.engine.parameters import Parameters, Shapes
from minichar.errors import MinicharError, Refused
from minichar.formats.gates import TORCH, Counterpart, Gates, counterpart, join, split
from minichar.model import CharRNN
from minichar.text.vocabulary import Vocabulary

MAX_NAME = 255
"""Maximum number of characters in the name of a tensor."""
PARTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def shapes(config: Config, form: Counterpart) -> Shapes:
    """Return the name and shape of each tensor."""
    H, V = config.rnn_size, config.vocab_size
    G = len(form.gates) * H
    expected: Shapes = {"decoder.weight": (V, H), "decoder.bias": (V,)}
    for k in range(config.num_layers):
        layer = ((G, H if k else V), (G, H), (G,), (G,))
        expected |= {f"rnn.{part}_l{k}": shape for part, shape in zip(PARTS, layer, strict=True)}
    return expected


def to_state_dict(config: Config, weights: Mapping[str, np.ndarray], path: Path) -> dict[str, np.ndarray]:
    """Return the weights under PyTorch's names, as contiguous arrays. For errors, see `counterpart`."""
    form = counterpart(config, TORCH, "PyTorch", path)
    W = weights["readout.W"]
    tensors = {"decoder.weight": W[:, :-1], "decoder.bias": W[:, -1]}
    for k in range(config.num_layers):
        gates = split(config, weights, k + 1, form)
        tensors |= {f"rnn.{part}_l{k}": array for part, array in zip(PARTS, gates, strict=True)}
    # safetensors ignores strides, so it would store the wrong values for a slice.
    return {name: np.ascontiguousarray(array) for name, array in tensors.items()}


def from_state_dict(
    tensors: dict[str, np.ndarray],
    header: str | None,
    path: Path,
    vocabulary: Vocabulary | None,
    backend: Backend,
) -> CharRNN:
    """Return the model stored in a state dict, with weights on the device of `backend`.

    `header` is the JSON stored with the tensors; without one, the vocabulary must be given. To save memory,
    each tensor is removed from the dict once it has been copied. `path` is the file name used in error
    messages. Raises `Refused` if the names, shapes, values, header or vocabulary are invalid or inconsistent,
    and a `MinicharError` if there is no vocabulary, or two, or PyTorch has no equivalent module.
    """
    for name in tensors:
        if not name.isprintable() or len(name) > MAX_NAME:
            raise Refused(f"the name {name[:60]!r} is not printable, or has more than {MAX_NAME} characters")
    details: dict[str, Any] = {}
    if header is not None:
        if vocabulary is not None:
            raise has_vocabulary(path)
        config, vocabulary, details = read_header(parse_header(header))
        if config.embedding:
            raise Refused("its header describes an embedding, which a state dict cannot contain")
    else:
        config = config_of({name: array.shape for name, array in tensors.items()})
        if vocabulary is None:
            raise NoVocabulary(
                f"{path} contains no vocabulary: convert it with "
                "`minichar convert SRC DST.npz --vocab-from TEXT`, or pass a vocabulary to minichar.load"
            )
        if len(vocabulary) != config.vocab_size:
            raise Refused(
                f"its vocabulary has {config.vocab_size} characters, but the given vocabulary has "
                f"{len(vocabulary)}"
            )

    # A corrupted header can declare millions of layers, so list the shapes only if there are enough tensors.
    form = counterpart(config, TORCH, "PyTorch", path)
    expected = shapes(config, form) if config.num_layers <= len(tensors) else {}
    dtype = check_arrays(expected, tensors)
    parameters = Parameters(config.shapes(), dtype, backend)
    readout = parameters["readout.W"]
    readout[:, :-1] = backend.to_device(tensors.pop("decoder.weight"))
    readout[:, -1] = backend.to_device(tensors.pop("decoder.bias"))
    for k in range(config.num_layers):
        gates = Gates(*(tensors.pop(f"rnn.{part}_l{k}") for part in PARTS))
        join(config, gates, k + 1, form, parameters)
    return CharRNN(config, vocabulary, parameters, details)


class NoVocabulary(MinicharError):
    """Raised if a state dict has no vocabulary and none was specified."""


def has_vocabulary(path: Path) -> MinicharError:
    """Return the error to raise if a vocabulary is passed for a file that already contains one."""
    return MinicharError(f"{path} already contains its vocabulary: do not pass another one")


def config_of(found: Shapes) -> Config:
    """Infer the configuration from the shapes in a state dict.

    If multiple cells have the same number of gates, use the one that is first in `TORCH`.
    """
    try:
        (G, V), (_, H) = found["rnn.weight_ih_l0"], found["rnn.weight_hh_l0"]
        model = next(name for name, form in TORCH.items() if len(form.gates) * H == G)
        layers = sum(re.fullmatch(r"rnn\.weight_hh_l\d+", name) is not None for name in found)
        return Config(V, model, H, layers)
    except (KeyError, StopIteration, ValueError, MinicharError) as error:
        raise Refused(
            "its rnn.weight_ih_l0 and rnn.weight_hh_l0 are missing or do not fit an nn.RNN, nn.LSTM or nn.GRU"
        ) from error
