"""Checkpoints: a model and, while it is in training, everything needed to go on exactly.

In the archive (`minichar.checkpoints.archive`):

    weights         layer1.W, layer1.Wx, …, readout.W       (out, in), in the dtype of training
    header          format, version, config, vocabulary, details

and in a checkpoint of training also

    mean_square     RMSprop's m                             (number of parameters,)
    state           the carried state                       (L, states a layer, H, B)
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
from minichar.errors import MinicharError
from minichar.model import CharRNN
from minichar.text.vocabulary import Vocabulary

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


def header_of(model: CharRNN) -> dict[str, Any]:
    """Return what a file says of a model beside its weights, as plain JSON values."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "config": asdict(model.config),
        "vocabulary": {"characters": model.vocabulary.characters, "unknown": model.vocabulary.unknown},
        "details": model.details,
    }


def host_weights(model: CharRNN, dtype: str | None, path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Return the weights by name as NumPy arrays of `dtype`, the model's own by default.

    Raises
    ------
    MinicharError
        That `path` cannot be written, if a weight is too large for `dtype` or not finite.
    """
    weights = {}
    for name, view in model.parameters.items():
        with np.errstate(over="ignore"):
            weights[name] = model.parameters.backend.to_host(view).astype(dtype or model.parameters.dtype)
        if not np.isfinite(weights[name]).all():
            raise MinicharError(f"cannot write {path}: {name} holds values that {weights[name].dtype} cannot")
    return weights


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
    header = header_of(model)
    arrays = host_weights(model, dtype, path)
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
    config, vocabulary, details = read_header(archive.header, archive.damaged)
    names = archive.shapes.keys() - {"mean_square", "state"}
    weights = {name: archive.read(name) for name in names}
    # A deep network has many arrays: where the file has not, they are not even named.
    expected = config.shapes() if config.num_layers <= len(weights) else {}
    check_arrays(expected, weights, archive.damaged)
    return CharRNN(config, vocabulary, fill(config, weights, backend), details)


def read_header(header: dict[str, Any], damaged: Damaged) -> tuple[Config, Vocabulary, dict[str, Any]]:
    """Return the configuration, vocabulary and details of a header, whatever file it came in.

    Raises
    ------
    MinicharError
        As `damaged` makes it, if the header is not what `header_of` returns.
    """
    if header.get("format") != FORMAT:
        raise damaged("it has no minichar header")
    if header.get("version") != VERSION:
        raise damaged(
            f"it is of format version {header.get('version')!r}, and this minichar reads {VERSION}: "
            "upgrade minichar"
        )
    try:
        config = Config(**{name: header["config"][name] for name in (field.name for field in fields(Config))})
        vocabulary = Vocabulary(header["vocabulary"]["characters"], bool(header["vocabulary"]["unknown"]))
        details = dict(header["details"])
    except (AttributeError, KeyError, TypeError, ValueError, MinicharError) as error:
        raise damaged(f"its header is incomplete or wrong ({error})") from error
    if len(vocabulary) != config.vocab_size:
        raise damaged(f"its vocabulary has {len(vocabulary)} characters and its config {config.vocab_size}")
    return config, vocabulary, details


def check_arrays(expected: Shapes, arrays: Mapping[str, np.ndarray], damaged: Damaged) -> None:
    """See that `arrays` are exactly those expected: names, shapes, one dtype, finite values.

    Raises
    ------
    MinicharError
        As `damaged` makes it; it names the array.
    """
    for name in sorted(expected.keys() | arrays.keys()):
        found = arrays[name].shape if name in arrays else "absent"
        if expected.get(name) != found:
            raise damaged(f"array {name} should be {expected.get(name, 'absent')} and is {found}")
    dtypes = {str(array.dtype) for array in arrays.values()}
    if len(dtypes) != 1 or not dtypes <= set(WEIGHT_DTYPES):
        raise damaged(f"its weights have dtypes {', '.join(sorted(dtypes))}")
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise damaged(f"array {name} holds values that are not finite")


def fill(config: Config, weights: Mapping[str, np.ndarray], backend: Backend) -> Parameters:
    """Return parameters that hold `weights`, which `check_arrays` has passed; float16 becomes float32."""
    dtype = str(weights["readout.W"].dtype)
    parameters = Parameters(config.shapes(), "float32" if dtype == "float16" else dtype, backend)
    for name, view in parameters.items():
        view[...] = backend.to_device(weights[name])
    return parameters
