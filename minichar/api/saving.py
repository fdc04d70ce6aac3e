"""`minichar.save`: save a model to a file."""

import os
from pathlib import Path

from minichar.api.keywords import suggesting
from minichar.checks import FILE_NAME, checked, wrong
from minichar.formats.convert import save_model
from minichar.model import CharRNN


@suggesting
def save(path: str | os.PathLike[str], model: CharRNN, dtype: str | None = None) -> None:
    """Save a model without its training state. An existing file is overwritten.

    An ``.npz`` file also contains the model's training history.

    Parameters
    ----------
    path : path-like
        Output file. The suffix determines the format: ``.npz``, ``.safetensors``, ``.pt``, ``.onnx`` or
        ``.html``.
    model : CharRNN
    dtype : {"float16", "float32", "float64"}, optional
        Data type of the weights in the file; by default, the model's dtype. An ``.html`` page always
        stores float16 weights.

    Raises
    ------
    MinicharError
        If an argument is invalid, the suffix is not supported, a package is missing, a weight is too large
        for `dtype`, or the file cannot be written.
    """
    if not isinstance(model, CharRNN):
        raise wrong("model", model, "a model")
    save_model(model, checked("path", path, Path, FILE_NAME), dtype)
