"""Checkpoints: a model and, during training, everything needed to resume exactly.

The archive (`minichar.checkpoints.archive`) contains

    weights         layer1.W, layer1.Wx, …, readout.W       (out, in), in the dtype of training
    header          format, version, config, vocabulary, details

and, if it can be resumed,

    mean_square     RMSprop's m                             (number of parameters,)
    state           the carried state                       (L, states per layer, H, B)
    header          training: position, random state, history
"""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from minichar.checkpoints.archive import Archive, Damaged, write_archive
from minichar.devices.backend import Backend
from minichar.devices.cpu import CPU
from minichar.engine.config import Config
from minichar.engine.parameters import Parameters, Shapes
from minichar.errors import MinicharError, Option
from minichar.model import CharRNN
from minichar.text.vocabulary import Vocabulary

FORMAT = "minichar"
VERSION = 1
WEIGHT_DTYPES = ("float16", "float32", "float64")


@dataclass
class TrainingState:
    """The state of training, except the model.

    Attributes
    ----------
    mean_square : array, (size,)
        RMSprop's m.
    state : array, (L, states per layer, H, B)
        The carried state.
    progress : dict
        Position, random state and history, as written by `minichar.training.trainer`.
    """

    mean_square: np.ndarray
    state: np.ndarray
    progress: dict[str, Any]


def header_of(model: CharRNN) -> dict[str, Any]:
    """Return everything a file stores about a model except its weights, as plain JSON values."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "config": asdict(model.config),
        "vocabulary": {"characters": model.vocabulary.characters, "unknown": model.vocabulary.unknown},
        "details": model.details,
    }


def host_weights(model: CharRNN, dtype: str | None, path: Path) -> dict[str, np.ndarray]:
    """Return the weights by name as NumPy arrays, in `dtype` or by default the model's own.

    Raises
    ------
    MinicharError
        If a weight is too large for `dtype` or not finite; the message names `path`.
    """
    weights = {}
    for name, view in model.parameters.items():
        with np.errstate(over="ignore"):
            weights[name] = model.parameters.backend.to_host(view).astype(dtype or model.parameters.dtype)
        if not np.isfinite(weights[name]).all():
            raise MinicharError(
                f"cannot write {path}: {name} has values that {weights[name].dtype} cannot represent"
            )
    return weights


def save(
    path: str | os.PathLike[str],
    model: CharRNN,
    training: TrainingState | None = None,
    dtype: str | None = None,
) -> None:
    """Write a checkpoint.

    Parameters
    ----------
    path : path-like
    model : CharRNN
    training : TrainingState, optional
        Without it the checkpoint cannot be resumed.
    dtype : {"float16", "float32", "float64"}, optional
        The dtype of the weights in the file; by default the model's own.

    Raises
    ------
    MinicharError
        If the file cannot be written, or a weight is too large for `dtype`.
    """
    path, header = Path(path), header_of(model)
    arrays = host_weights(model, dtype, path)
    if training is not None:
        header["training"] = training.progress
        arrays |= {"mean_square": training.mean_square, "state": training.state}
    write_archive(path, header, arrays)


def load(path: Path, backend: Backend = CPU) -> CharRNN:
    """Return the model in a checkpoint. float16 weights become float32.

    Raises
    ------
    MinicharError
        If the file is missing, damaged, malicious, not a minichar checkpoint, or of a later version.
    """
    with Archive(path) as archive:
        return _model(archive, backend)


def load_training(path: Path, backend: Backend = CPU) -> tuple[CharRNN, TrainingState]:
    """Return the model and its training state.

    Raises
    ------
    MinicharError
        As for `load`, and if the checkpoint has no training state.
    """
    with Archive(path) as archive:
        model = _model(archive, backend)
        progress = archive.header.get("training")
        if not isinstance(progress, dict):
            raise MinicharError(
                f"{path} has no training state to resume from; use ",
                Option("init_from"),
                " to start from its weights",
            )
        arrays = {name: archive.read(name) for name in ("mean_square", "state")}
    fits = arrays["mean_square"].shape == (model.parameters.size,) and arrays["state"].ndim == 4
    if not fits or not all(np.isfinite(array).all() for array in arrays.values()):
        raise archive.damaged("its training state does not fit its model or is not finite")
    return model, TrainingState(arrays["mean_square"], arrays["state"], progress)


def _model(archive: Archive, backend: Backend) -> CharRNN:
    config, vocabulary, details = read_header(archive.header, archive.damaged)
    names = archive.shapes.keys() - {"mean_square", "state"}
    weights = {name: archive.read(name) for name in names}
    # A damaged header can claim millions of layers. Do not list their arrays if the file is smaller.
    expected = config.shapes() if config.num_layers <= len(weights) else {}
    check_arrays(expected, weights, archive.damaged)
    return CharRNN(config, vocabulary, fill(config, weights, backend), details)


def read_header(header: dict[str, Any], damaged: Damaged) -> tuple[Config, Vocabulary, dict[str, Any]]:
    """Return the configuration, vocabulary and details in a header, from any file format.

    Raises
    ------
    MinicharError
        Made by `damaged`, if the header is not one of `header_of`.
    """
    if header.get("format") != FORMAT:
        raise damaged("it has no minichar header")
    if header.get("version") != VERSION:
        raise damaged(
            f"it has format version {header.get('version')!r}, and this minichar reads {VERSION}: "
            "upgrade minichar"
        )
    try:
        config = Config(**{name: header["config"][name] for name in (field.name for field in fields(Config))})
        vocabulary = Vocabulary(header["vocabulary"]["characters"], bool(header["vocabulary"]["unknown"]))
        details = dict(header["details"])
    except (AttributeError, KeyError, TypeError, ValueError, MinicharError) as error:
        raise damaged(f"its header is incomplete or wrong ({error})") from error
    if len(vocabulary) != config.vocab_size:
        raise damaged(
            f"its vocabulary has {len(vocabulary)} characters but its config says {config.vocab_size}"
        )
    return config, vocabulary, details


def check_arrays(expected: Shapes, arrays: Mapping[str, np.ndarray], damaged: Damaged) -> None:
    """Check that `arrays` are as expected: names, shapes, a single dtype, finite values.

    Raises
    ------
    MinicharError
        Made by `damaged`; it names the array.
    """
    for name in sorted(expected.keys() | arrays.keys()):
        found = arrays[name].shape if name in arrays else "absent"
        if expected.get(name) != found:
            raise damaged(f"array {name} should be {expected.get(name, 'absent')} but is {found}")
    dtypes = {str(array.dtype) for array in arrays.values()}
    if len(dtypes) != 1 or not dtypes <= set(WEIGHT_DTYPES):
        raise damaged(f"its weights have dtypes {', '.join(sorted(dtypes))}")
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise damaged(f"array {name} has values that are not finite")


def fill(config: Config, weights: Mapping[str, np.ndarray], backend: Backend) -> Parameters:
    """Return parameters with the values of `weights`, already checked; float16 becomes float32."""
    dtype = str(weights["readout.W"].dtype)
    parameters = Parameters(config.shapes(), "float32" if dtype == "float16" else dtype, backend)
    for name, view in parameters.items():
        view[...] = backend.to_device(weights[name])
    return parameters
