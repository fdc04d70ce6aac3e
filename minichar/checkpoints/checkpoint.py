"""Save and load checkpoints: a model and, optionally, the training state needed to resume a run exactly.

Each archive (`minichar.checkpoints.archive`) contains

    weights         layer1.W, layer1.Wx, …, readout.W       (out, in), in the training dtype
    header          format, version, config, vocabulary, details

optionally

    history         one row per evaluation                  (n, 11), see `minichar.history`

and, if training can be resumed,

    mean_square     RMSprop's running mean square m         (number of parameters,)
    state           carried recurrent state                 (L, S, H, B)
    theta           raw weights, if `weights` is their
                    running average                         (number of parameters,)
    header          training: position and random state

Functions that read a checkpoint raise a `MinicharError` if the file is missing, corrupted or malicious, is
not a minichar checkpoint, or has another format version.
"""

import os
from collections.abc import Mapping
from dataclasses import asdict, fields
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from minichar.checkpoints.archive import Archive, open_archive, write_archive
from minichar.checkpoints.training_state import Progress, TrainingState
from minichar.devices.backend import Backend
from minichar.devices.cpu import CPU
from minichar.engine.cells import CELLS
from minichar.engine.config import Config
from minichar.engine.parameters import Parameters, Shapes
from minichar.errors import MinicharError, Option, Refused, brief, plain
from minichar.history import History
from minichar.model import CharRNN
from minichar.text.vocabulary import Vocabulary

FORMAT = "minichar"
VERSION = 2
WEIGHT_DTYPES = ("float16", "float32", "float64")
TRAINING_ARRAYS = ("mean_square", "state", "theta", "history")


def header_of(model: CharRNN) -> dict[str, Any]:
    """Return a model's header, without training state, as a JSON-compatible dict."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "config": asdict(model.config),
        "vocabulary": {"characters": model.vocabulary.characters, "unknown": model.vocabulary.unknown},
        "details": model.details,
    }


def host_weights(model: CharRNN, dtype: str | None, path: Path) -> dict[str, np.ndarray]:
    """Return a dict of the weights as NumPy arrays in `dtype` or, by default, the model's dtype.

    Raises a `MinicharError` that names `path` if a weight is not finite or is too large for `dtype`.
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
    """Write a checkpoint. Training can be resumed from it only if `training` is given.

    `dtype` is the dtype of the stored weights: float16, float32 or float64; by default, the model's dtype.
    Raises a `MinicharError` if the file cannot be written, or a weight is too large for `dtype`.
    """
    path, header = Path(path), header_of(model)
    arrays = host_weights(model, dtype, path)
    if training is not None:
        header["training"] = asdict(training.progress)
        arrays |= {
            "mean_square": training.mean_square,
            "state": training.state,
            "history": training.history.to_array(),
        }
        if training.theta is not None:
            arrays["theta"] = training.theta
    elif model.history:
        arrays["history"] = model.history.to_array()
    write_archive(path, header, arrays)


def load(path: Path, backend: Backend = CPU) -> CharRNN:
    """Return the model stored in a checkpoint. float16 weights are converted to float32."""
    with open_archive(path) as archive:
        return _model(archive, backend)


def load_training(path: Path, backend: Backend = CPU) -> tuple[CharRNN, TrainingState]:
    """Return the model and training state stored in a checkpoint. A missing training state is an error."""
    with open_archive(path) as archive:
        model = _model(archive, backend)
        stored, history = _progress(archive), _history(archive)
        if stored is None or history is None:
            raise MinicharError(
                f"{path} has no training state to resume from; use ",
                Option("init_from"),
                " to start from its weights",
            )
        try:
            progress = Progress(**{field.name: stored[field.name] for field in fields(Progress)})
        except (KeyError, MinicharError) as error:
            raise Refused(f"its training progress is incomplete or invalid ({error})") from error
        names = {"mean_square", "state"} | ({"theta"} & archive.shapes.keys())
        arrays = {name: archive.read(name) for name in names}
        kinds = {(array.shape, str(array.dtype)) for name, array in arrays.items() if name != "state"}
        fits = kinds == {((model.parameters.size,), model.parameters.dtype)} and arrays["state"].ndim == 4
        if not fits or not all(np.isfinite(array).all() for array in arrays.values()):
            raise Refused("its training state does not match its model or is not finite")
        if (arrays["mean_square"] < 0).any():
            raise Refused("array mean_square has negative values")
    return model, TrainingState(progress=progress, history=history, **arrays)


def load_history(path: Path) -> History | None:
    """Return the training history stored in a checkpoint, or None if it has none."""
    with open_archive(path) as archive:
        return _history(archive)


def load_details(path: Path) -> dict[str, Any]:
    """Return a model's details without reading its weights. If they are invalid, return an empty dict."""
    with open_archive(path) as archive:
        details = archive.header.get("details")
        return details if isinstance(details, dict) else {}


def count_parameters(path: Path) -> int:
    """Return the number of parameters of a model without reading its weights."""
    with open_archive(path) as archive:
        return sum(prod(shape) for name, shape in archive.shapes.items() if name not in TRAINING_ARRAYS)


def is_resumable(path: Path) -> bool:
    """Return whether a checkpoint has training state."""
    with open_archive(path) as archive:
        return _progress(archive) is not None


def _progress(archive: Archive) -> dict[str, Any] | None:
    progress = archive.header.get("training")
    if not isinstance(progress, dict | None):
        raise Refused("its training progress is not a JSON object")
    return progress


def _history(archive: Archive) -> History | None:
    return History.from_array(archive.read("history")) if "history" in archive.shapes else None


def _model(archive: Archive, backend: Backend) -> CharRNN:
    config, vocabulary, details = read_header(archive.header)
    names = archive.shapes.keys() - set(TRAINING_ARRAYS)
    weights = {name: archive.read(name) for name in names}
    # A corrupted header can specify millions of layers, so first compare num_layers with the array count.
    expected = config.shapes() if config.num_layers <= len(weights) else {}
    parameters = Parameters(expected, check_arrays(expected, weights), backend)
    for name, view in parameters.items():
        view[...] = backend.to_device(weights[name])
    return CharRNN(config, vocabulary, parameters, details)


def read_header(header: dict[str, Any]) -> tuple[Config, Vocabulary, dict[str, Any]]:
    """Return the configuration, vocabulary and details in a header. Raises `Refused` if it is invalid."""
    if header.get("format") != FORMAT:
        raise Refused("it has no minichar header")
    if (version := header.get("version")) != VERSION:
        reads = f"this version of minichar reads only version {VERSION}"
        raise Refused(f"it has format version {brief(version)}, but {reads}: use the version that wrote it")
    cell = config.get("model") if isinstance(config := header.get("config"), dict) else None
    if isinstance(cell, str) and cell not in CELLS:
        raise Refused(f"its cell, {brief(cell)}, is not registered: run the program that defines it")
    try:
        config = Config(**{field.name: header["config"][field.name] for field in fields(Config)})
        vocabulary = Vocabulary(header["vocabulary"]["characters"], bool(header["vocabulary"]["unknown"]))
        details = dict(header["details"])
    except (AttributeError, KeyError, TypeError, ValueError, MinicharError) as error:
        raise Refused(f"its header is incomplete or invalid ({error})") from error
    if len(vocabulary) != config.vocab_size:
        raise Refused(
            f"its vocabulary has {len(vocabulary)} characters but its config specifies {config.vocab_size}"
        )
    return config, vocabulary, details


def check_arrays(expected: Shapes, arrays: Mapping[str, np.ndarray]) -> str:
    """Check the stored weights, and return the dtype of the parameters: float16 becomes float32.

    Raises `Refused` unless `arrays` have the expected names and shapes, the same dtype, and finite values.
    """
    for name in sorted(expected.keys() | arrays.keys()):
        if name not in arrays:
            raise Refused(f"array {name} is missing")
        if name not in expected:
            raise Refused(f"array {plain(name)} is unexpected")
        if arrays[name].shape != expected[name]:
            raise Refused(f"array {name} has shape {arrays[name].shape} instead of {expected[name]}")
    dtypes = {str(array.dtype) for array in arrays.values()}
    if len(dtypes) != 1 or not dtypes <= set(WEIGHT_DTYPES):
        raise Refused(
            f"its weights have dtypes {', '.join(sorted(dtypes))}; all must have the same dtype, "
            f"one of {', '.join(WEIGHT_DTYPES)}"
        )
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise Refused(f"array {name} has values that are not finite")
    (dtype,) = dtypes
    return "float32" if dtype == "float16" else dtype
