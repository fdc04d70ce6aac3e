"""Read and write ``.safetensors`` files, which contain a state dict (`minichar.formats.state_dict`).

The header is stored as a string in the file's metadata, under ``minichar``. The `safetensors` package checks
every size against the file size before it returns a tensor.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from minichar.checkpoints.checkpoint import header_of
from minichar.devices.backend import Backend
from minichar.errors import MinicharError
from minichar.extras import first_line, need
from minichar.formats.state_dict import from_state_dict, to_state_dict
from minichar.model import CharRNN
from minichar.text.vocabulary import Vocabulary

KEY = "minichar"


def to_bytes(model: CharRNN, weights: dict[str, np.ndarray], path: Path) -> bytes:
    """Return a model as the bytes of a ``.safetensors`` file. For errors, see `to_state_dict`."""
    # Convert first: if this fails, installing a package would not help.
    tensors = to_state_dict(model.config, weights, path)
    numpy = need("safetensors.numpy", "safetensors", str(path))
    return numpy.save(tensors, metadata={KEY: json.dumps(header_of(model))})


def read(path: Path, vocabulary: Vocabulary | None, backend: Backend) -> CharRNN:
    """Return the model in a ``.safetensors`` file. For parameters and errors, see `from_state_dict`."""
    safetensors = need("safetensors", "safetensors", str(path))
    try:
        with safetensors.safe_open(path, framework="np") as file:
            metadata: dict[str, str] = file.metadata() or {}
            tensors: dict[str, Any] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except OSError as error:
        raise MinicharError(f"cannot read {path}: {error.strerror or error}") from error
    except (safetensors.SafetensorError, TypeError) as error:
        raise MinicharError(
            f"{path} is not a .safetensors file that minichar can read: {first_line(error)}"
        ) from error
    return from_state_dict(tensors, metadata.get(KEY), path, vocabulary, backend)
