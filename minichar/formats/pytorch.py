"""Read and write ``.pt`` files: state dicts (`minichar.formats.state_dict`) saved with ``torch.save``.

Files are read with ``torch.load(…, weights_only=True)``, which allows only tensors and plain values, so
the header is stored as a byte tensor named ``minichar.json``. To load the other tensors into PyTorch
modules, call ``pop("minichar.json")`` first.
"""

import io
import json
import zipfile
from pathlib import Path

import numpy as np

from minichar.checkpoints.checkpoint import header_of
from minichar.devices.backend import Backend
from minichar.errors import MinicharError
from minichar.extras import first_line, need
from minichar.formats.state_dict import from_state_dict, to_state_dict
from minichar.model import CharRNN
from minichar.text.vocabulary import Vocabulary

KEY = "minichar.json"


def to_bytes(model: CharRNN, weights: dict[str, np.ndarray], path: Path) -> bytes:
    """Return a model as the bytes of a ``.pt`` file. For errors, see `to_state_dict`."""
    # Convert first: if this fails, installing a package would not help.
    tensors = to_state_dict(model.config, weights, path)
    torch = need("torch", "torch", str(path))
    header = np.frombuffer(json.dumps(header_of(model)).encode(), dtype=np.uint8)
    file = io.BytesIO()
    torch.save({name: torch.tensor(array) for name, array in (tensors | {KEY: header.copy()}).items()}, file)
    return file.getvalue()


def read(path: Path, vocabulary: Vocabulary | None, backend: Backend) -> CharRNN:
    """Return the model in a ``.pt`` file. For parameters and errors, see `from_state_dict`."""
    torch = need("torch", "torch", str(path))

    def damaged(why: str) -> MinicharError:
        return MinicharError(f"{path} is not a .pt file that minichar can read: {why}")

    try:
        size = path.stat().st_size
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except OSError as error:
        raise MinicharError(f"cannot read {path}: {error.strerror or error}") from error
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise damaged(
            "it is empty, truncated, or not written by torch.save in PyTorch 1.6 or later"
        ) from error
    if sum(member.file_size for member in members) > size:
        raise damaged("its contents are larger than the file")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises many exception types for damaged files
        raise damaged("it is damaged, or contains objects other than tensors and plain values") from error
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(tensor, torch.Tensor) for name, tensor in state.items()
    ):
        raise damaged("it is not a state dict (a dict of named tensors)")
    try:
        tensors: dict[str, np.ndarray] = {name: tensor.detach().numpy() for name, tensor in state.items()}
    except (TypeError, RuntimeError) as error:
        raise damaged(f"a tensor cannot be converted to NumPy ({first_line(error)})") from error
    # A tensor with stride 0 can be larger than its stored data.
    if sum(array.nbytes for array in tensors.values()) > size:
        raise damaged("its tensors are larger than the file")
    header = tensors.pop(KEY, None)
    if header is not None and header.dtype != np.uint8:
        raise damaged(f"its {KEY} is not a byte tensor")
    text = None if header is None else header.tobytes().decode("utf-8", "replace")
    return from_state_dict(tensors, text, path, vocabulary, backend)
