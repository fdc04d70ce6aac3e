"""`minichar.load`: a model from a file or a folder."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from minichar.api.model import Model
from minichar.checkpoints.archive import Archive
from minichar.checkpoints.naming import find_checkpoint
from minichar.devices.backend import Backend
from minichar.devices.choose import open_backend
from minichar.formats.convert import format_of, load_model
from minichar.text.vocabulary import Vocabulary


def load(
    path: str | os.PathLike[str] = "cv", device: str = "cpu", vocabulary: Vocabulary | None = None
) -> Model:
    """Return the model in a file, or the one with the lowest validation loss in a folder.

    Parameters
    ----------
    path : path-like
        An ``.npz``, ``.safetensors`` or ``.pt`` file, or a folder of checkpoints.
    device : str
        Where to compute: ``cpu``, ``gpu``, ``gpu:N``, ``opencl``, ``opencl:N``, or ``auto``: an NVIDIA
        GPU if there is one, else the CPU.
    vocabulary : Vocabulary, optional
        For a PyTorch state dict that was not saved by minichar, so that its characters are not known.

    Raises
    ------
    MinicharError
        If the file is missing, damaged or of another format, the folder has no checkpoint, or there
        is no such device.
    """
    return load_on(open_backend(device), find_checkpoint(Path(path)), vocabulary)


def load_on(backend: Backend, path: Path, vocabulary: Vocabulary | None = None) -> Model:
    """Return the model in a file, with the history of its training if the file has one."""
    loaded = load_model(path, backend, vocabulary)
    model = Model(loaded.config, loaded.vocabulary, loaded.parameters, loaded.details)
    if format_of(path) in (None, "npz"):  # no other format stores the state of training
        with Archive(path) as archive:
            training = archive.header.get("training")
        if training is not None:
            try:
                model.details["history"] = rows(training["history"])
            except (AttributeError, LookupError, TypeError) as error:
                raise archive.damaged(f"the history of its training is incomplete ({error})") from error
    return model


def rows(history: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the measurements of a training run, as a checkpoint stores them, as flat rows."""
    return [
        {
            "iteration": row["iteration"],
            "epoch": row["epoch"],
            "train_loss": row["train_loss"],
            "val_loss": row["val"] and row["val"]["loss"],
            "fit_loss": row["fit"] and row["fit"]["loss"],
            "learning_rate": row["learning_rate"],
            "teacher_forcing_ratio": row["true_share"],
        }
        for row in history
    ]
