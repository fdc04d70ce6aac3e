"""`minichar.load`: load a model from a file or a directory."""

import os
from pathlib import Path

from minichar.api.keywords import suggesting
from minichar.api.model import Model
from minichar.checkpoints.checkpoint import load_history
from minichar.checkpoints.choosing import open_checkpoint
from minichar.checks import FILE_NAME, checked
from minichar.devices.backend import Backend
from minichar.devices.choose import open_backend
from minichar.formats.convert import load_model
from minichar.formats.naming import may_have_state
from minichar.text.vocabulary import Vocabulary, checked_vocabulary


@suggesting
def load(
    path: str | os.PathLike[str] = "cv", device: str = "cpu", vocabulary: Vocabulary | None = None
) -> Model:
    """Load a model from a file, or the best checkpoint (lowest validation loss) from a directory.

    Parameters
    ----------
    path : path-like
        An ``.npz``, ``.safetensors`` or ``.pt`` file, or a directory of checkpoints.
    device : str
        Device to compute on: ``cpu``, ``gpu``, ``gpu:N``, ``opencl``, ``opencl:N``, or ``auto`` (the
        CPU, because generation steps are too small for a GPU).
    vocabulary : Vocabulary, optional
        Vocabulary for a PyTorch state dict saved without one.

    Raises
    ------
    MinicharError
        If the file is missing, corrupted or in an unsupported format, the directory contains no
        checkpoint, or the device is not available.
    """
    given = checked("path", path, Path, FILE_NAME)
    if vocabulary is not None:
        checked_vocabulary(vocabulary)
    backend = open_backend(device)
    return open_checkpoint(given, lambda found: load_on(backend, found, vocabulary))[1]


def load_on(backend: Backend, path: Path, vocabulary: Vocabulary | None = None) -> Model:
    """Load a model from a file, with its training history if the file contains one."""
    loaded = load_model(path, backend, vocabulary)
    model = Model(loaded.config, loaded.vocabulary, loaded.parameters, loaded.details)
    if may_have_state(path):
        model.history = load_history(path) or model.history
    return model
