"""Read and write ``.pt`` files: state dicts (`minichar.formats.state_dict`) saved with ``torch.save``.

Each file is an uncompressed zip archive with the following members in one directory:

    data.pkl       a pickle of the state dict, in which tensors refer to storages
    data/0, …      the bytes of each storage
    byteorder      "little" or "big"

The pickle is read without calling any function named in it (see `minichar.formats.pickles`). minichar's
header is a byte tensor named ``minichar.json``. To load a file into PyTorch modules, first remove the
header with ``pop("minichar.json")``. Only writing requires PyTorch.
"""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from minichar.checkpoints.archive import MAX_HEADER_CHARACTERS, header_text
from minichar.checkpoints.checkpoint import header_of
from minichar.checkpoints.stored_zip import stored_zip
from minichar.devices.backend import Backend
from minichar.errors import Refused, reading
from minichar.extras import need
from minichar.formats.budget import Budget
from minichar.formats.pickles import run
from minichar.formats.stand_ins import Function, empty_dict
from minichar.formats.state_dict import from_state_dict, to_state_dict
from minichar.formats.tensors import check_shape, is_size, size_of, tensor
from minichar.model import CharRNN
from minichar.text.vocabulary import Vocabulary

STORAGES = {
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "FloatStorage": "float32",
    "DoubleStorage": "float64",
    "CharStorage": "int8",
    "ShortStorage": "int16",
    "IntStorage": "int32",
    "LongStorage": "int64",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
}


class StorageType(NamedTuple):
    """A storage class in ``torch`` for elements of one dtype."""

    dtype: str


class Storage(NamedTuple):
    """Tensor data, stored in the archive member ``data/{key}``."""

    key: str
    dtype: str


@dataclass(frozen=True)
class Tensor:
    """A view of a storage, with the offset and strides in elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def storage(identifier: Any) -> Storage:
    """Return the storage for a persistent id ``("storage", type, key, device, size)``."""
    match identifier:
        case ("storage", StorageType(dtype), str(key), _, _):
            return Storage(key, dtype)
        case _:
            raise Refused("it contains a storage with an unknown type")


def rebuild_tensor(stored: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Tensor:
    """Return a tensor. The arguments that only autograd needs are ignored."""
    if not isinstance(stored, Storage) or not is_size(offset):
        raise Refused("it contains a tensor without a storage")
    check_shape(shape)
    if not isinstance(strides, tuple) or len(strides) != len(shape) or not all(map(is_size, strides)):
        raise Refused("it contains a tensor with invalid strides")
    return Tensor(stored, offset, tuple(shape), strides)


KNOWN = {
    **{f"torch.{name}": StorageType(dtype) for name, dtype in STORAGES.items()},
    "torch._utils._rebuild_tensor_v2": Function(rebuild_tensor),
    "torch._utils._rebuild_parameter": Function(lambda tensor, *_: tensor),
    "collections.OrderedDict": Function(empty_dict),
}
"""The global names that the pickle in a ``.pt`` file may refer to, with their replacements."""

KEY = "minichar.json"
MAX_PICKLE_BYTES = 64 << 20


def to_bytes(model: CharRNN, weights: dict[str, np.ndarray], path: Path) -> bytes:
    """Return the contents of a ``.pt`` file that stores a model. For errors, see `to_state_dict`."""
    # Convert first, so that users are not asked to install PyTorch for a model that cannot be converted.
    tensors, header = to_state_dict(model.config, weights, path), header_text(header_of(model), path)
    torch = need("torch", "torch", str(path))
    tensors[KEY] = np.frombuffer(bytearray(header.encode()), dtype=np.uint8)
    file = io.BytesIO()
    torch.save({name: torch.tensor(array) for name, array in tensors.items()}, file)
    return file.getvalue()


def read(path: Path, vocabulary: Vocabulary | None, backend: Backend) -> CharRNN:
    """Return the model stored in a ``.pt`` file. For parameters and errors, see `from_state_dict`."""
    with reading(path, "a .pt file"):
        tensors = read_tensors(path)
    with reading(path, "a model"):
        return from_state_dict(tensors, header_in(tensors), path, vocabulary, backend)


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """Return the tensors stored in a ``.pt`` file, keyed by name. The arrays may share memory."""
    with stored_zip(path) as archive:
        sizes = {member.filename: member.compress_size for member in archive.infolist()}
        pickles = [name for name in sizes if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(pickles) != 1 or sizes[pickles[0]] > MAX_PICKLE_BYTES:
            raise Refused("it was not written by torch.save")
        folder = pickles[0].removesuffix("data.pkl")

        def member(name: str) -> bytes:
            try:
                return archive.read(folder + name)
            except Exception as error:  # zipfile raises many different exceptions for corrupted files
                raise Refused("it is corrupted: a member is missing, or its checksum is wrong") from error

        state = run(io.BytesIO(member("data.pkl")), KNOWN, storage)
        if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
            raise Refused("it is not a state dict (a dict of named tensors)")
        big = f"{folder}byteorder" in sizes and member("byteorder") == b"big"
        room = Budget(path.stat().st_size, "the total size of its tensors exceeds the file size")
        storages: dict[str, bytes] = {}
        tensors = {}
        for name, view in state.items():
            key, dtype = view.storage
            room.spend(size_of(dtype, view.shape))  # a stride of 0 can make a tensor larger than its storage
            if key not in storages:
                storages[key] = member(f"data/{key}")
            tensors[name] = tensor(
                storages[key], dtype, view.shape, view.strides, view.offset, ">" if big else "<"
            )
        return tensors


def header_in(tensors: dict[str, np.ndarray]) -> str | None:
    """Remove and return minichar's header, or return None if the tensors include no header."""
    header = tensors.pop(KEY, None)
    if header is None:
        return None
    if header.dtype != np.uint8 or header.size > MAX_HEADER_CHARACTERS:
        raise Refused(f"its {KEY} is not a byte tensor of at most {MAX_HEADER_CHARACTERS:,} elements")
    return header.tobytes().decode("utf-8", "replace")
