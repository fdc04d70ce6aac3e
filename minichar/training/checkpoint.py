"""Checkpoints: a model and, while it is in training, everything needed to go on exactly.

In the archive (`minichar.training.archive`):

    weights         layer1.W, layer1.Wx, …, readout.W       (out, in), in the dtype of training
    header          format, version, config, vocabulary, details

and in a checkpoint of training also

    mean_square     RMSprop's m                             (number of parameters,)
    state           the carried state                       (L, states a layer, H, B)
    header          training: position, random state, history
"""

import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from minichar.backend import CPU, Backend
from minichar.engine.config import Config
from minichar.engine.parameters import Parameters
from minichar.errors import MinicharError
from minichar.model import CharRNN
from minichar.text.vocabulary import Vocabulary
from minichar.training.archive import Archive, write_archive

FORMAT = "minichar"
VERSION = 1
WEIGHT_DTYPES = ("float16", "float32", "float64")


@dataclass
class TrainingState:
    """What training needs beside the model.

    Attributes
    ----------
    mean_square : array, (size,)
        RMSprop's m.
    state : array, (L, states a layer, H, B)
        The carried state.
    progress : dict
        Position, random state and history, as `minichar.training.trainer` writes them.
    """

    mean_square: np.ndarray
    state: np.ndarray
    progress: dict[str, Any]


def save(
    path: str | os.PathLike[str],
    model: CharRNN,
    training: TrainingState | None = None,
    dtype: str | None = None,
) -> None:
    """Write a checkpoint; without `training`, one to sample from and no more.

    Parameters
    ----------
    path : path-like
    model : CharRNN
    training : TrainingState, optional
    dtype : {"float16", "float32", "float64"}, optional
        Of the weights in the file; the model's own by default.

    Raises
    ------
    MinicharError
        If it cannot be written, or a weight is too large for `dtype`.
    """
    header: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "config": asdict(model.config),
        "vocabulary": {"characters": model.vocabulary.characters, "unknown": model.vocabulary.unknown},
        "details": model.details,
    }
    arrays = {}
    for name, view in model.parameters.items():
        with np.errstate(over="ignore"):
            arrays[name] = model.parameters.backend.to_host(view).astype(dtype or model.parameters.dtype)
        if not np.isfinite(arrays[name]).all():
            raise MinicharError(f"cannot write {path}: {name} holds values that {arrays[name].dtype} cannot")
    if training is not None:
        header["training"] = training.progress
        arrays |= {"mean_square": training.mean_square, "state": training.state}
    write_archive(Path(path), header, arrays)


def load(path: str | os.PathLike[str], backend: Backend = CPU) -> CharRNN:
    """Return the model in a checkpoint. float16 weights are computed with as float32.

    Raises
    ------
    MinicharError
        If the file is missing, damaged, hostile, not minichar's or of a later version.
    """
    with Archive(path) as archive:
        return _model(archive, backend)


def load_training(path: str | os.PathLike[str], backend: Backend = CPU) -> tuple[CharRNN, TrainingState]:
    """Return the model and the state of its training.

    Raises
    ------
    MinicharError
        As `load`, and if the checkpoint was converted for sampling only.
    """
    with Archive(path) as archive:
        model = _model(archive, backend)
        progress = archive.header.get("training")
        if not isinstance(progress, dict):
            raise MinicharError(
                f"{path} holds a model without the state of its training; --init-from can start from it"
            )
        arrays = {name: archive.read(name) for name in ("mean_square", "state")}
    fits = arrays["mean_square"].shape == (model.parameters.size,) and arrays["state"].ndim == 4
    if not fits or not all(np.isfinite(array).all() for array in arrays.values()):
        raise archive.damaged("its training state does not fit its model, or is not finite")
    return model, TrainingState(arrays["mean_square"], arrays["state"], progress)


def _model(archive: Archive, backend: Backend) -> CharRNN:
    header = archive.header
    if header.get("format") != FORMAT:
        raise archive.damaged("it has no minichar header")
    if header.get("version") != VERSION:
        raise archive.damaged(
            f"it is of format version {header.get('version')!r}, this minichar reads {VERSION}: upgrade it"
        )
    try:
        config = Config(**{name: header["config"][name] for name in (field.name for field in fields(Config))})
        vocabulary = Vocabulary(header["vocabulary"]["characters"], bool(header["vocabulary"]["unknown"]))
        details = dict(header["details"])
    except (AttributeError, KeyError, TypeError, ValueError, MinicharError) as error:
        raise archive.damaged(f"its header is incomplete or wrong ({error})") from error
    if len(vocabulary) != config.vocab_size:
        raise archive.damaged(
            f"its vocabulary has {len(vocabulary)} characters and its config {config.vocab_size}"
        )

    # The shapes are compared before the parameters are made: a hostile size takes no memory.
    expected = config.shapes() if config.num_layers <= len(archive.shapes) else {}
    weights = {name: shape for name, shape in archive.shapes.items() if name not in ("mean_square", "state")}
    for name in sorted(expected.keys() | weights.keys()):
        if expected.get(name) != weights.get(name):
            raise archive.damaged(
                f"array {name} should be {expected.get(name, 'absent')} and is {weights.get(name, 'absent')}"
            )
    dtypes = {str(archive.dtypes[name]) for name in weights}
    if len(dtypes) != 1 or not dtypes <= set(WEIGHT_DTYPES):
        raise archive.damaged(f"its weights have dtypes {', '.join(sorted(dtypes))}")
    (dtype,) = dtypes
    parameters = Parameters(expected, "float32" if dtype == "float16" else dtype, backend)
    for name, view in parameters.items():
        values = archive.read(name)
        if not np.isfinite(values).all():
            raise archive.damaged(f"array {name} holds values that are not finite")
        view[...] = backend.to_device(values)
    return CharRNN(config, vocabulary, parameters, details)
