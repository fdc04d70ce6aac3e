"""Read and write ``.safetensors`` files, which contain a state dict (`minichar.formats.state_dict`).

    8 bytes             length of the header, little-endian
    header              JSON: {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, …}
    rest of the file    the tensors, little-endian and in C order, without gaps

minichar's header is stored as a string in ``__metadata__``, under the key ``minichar``. Only writing requires
the `safetensors` package.
"""

from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from minichar.checkpoints.archive import MAX_HEADER_CHARACTERS, header_text, parse_header
from minichar.checkpoints.checkpoint import header_of
from minichar.devices.backend import Backend
from minichar.errors import Refused, reading
from minichar.extras import need
from minichar.formats.state_dict import from_state_dict, to_state_dict
from minichar.formats.tensors import check_shape, contiguous, is_size, size_of, tensor
from minichar.model import CharRNN
from minichar.text.vocabulary import Vocabulary

KEY = "minichar"
METADATA = "__metadata__"
DTYPES = {
    **{f"F{bits}": f"float{bits}" for bits in (16, 32, 64)},
    **{f"I{bits}": f"int{bits}" for bits in (8, 16, 32, 64)},
    **{f"U{bits}": f"uint{bits}" for bits in (8, 16, 32, 64)},
    "BF16": "bfloat16",
    "BOOL": "bool",
}


def to_bytes(model: CharRNN, weights: dict[str, np.ndarray], path: Path) -> bytes:
    """Return the contents of a ``.safetensors`` file that stores a model. For errors, see `to_state_dict`."""
    # Convert the model first so that users are not asked to install a package if the conversion fails.
    tensors, header = to_state_dict(model.config, weights, path), header_text(header_of(model), path)
    return need("safetensors.numpy", "safetensors", str(path)).save(tensors, metadata={KEY: header})


def read(path: Path, vocabulary: Vocabulary | None, backend: Backend) -> CharRNN:
    """Return the model stored in a ``.safetensors`` file. See `from_state_dict` for parameters and errors."""
    with reading(path, "a .safetensors file"), path.open("rb") as file:
        tensors, header = read_tensors(file, path.stat().st_size)
    with reading(path, "a model"):
        return from_state_dict(tensors, header, path, vocabulary, backend)


class Entry(NamedTuple):
    """A tensor in a file, with byte offsets `begin` and `end` relative to the end of the header."""

    begin: int
    end: int
    name: str
    dtype: str
    shape: list[int]


def read_tensors(file: IO[bytes], size: int) -> tuple[dict[str, np.ndarray], str | None]:
    """Return the tensors and minichar's header from a file of `size` bytes.

    Raises `Refused` if the file is corrupted, its header is too large, or NumPy cannot represent a tensor.
    """
    header_bytes = int.from_bytes(file.read(8), "little")
    data_bytes = size - 8 - header_bytes
    if data_bytes < 0:
        raise Refused("it is empty, truncated, or not a .safetensors file")
    if header_bytes > MAX_HEADER_CHARACTERS:
        raise Refused(f"its header is larger than {MAX_HEADER_CHARACTERS:,} bytes")
    described = parse_header(file.read(header_bytes).decode("utf-8", "replace"))
    metadata = described.pop(METADATA, {})
    header = metadata.get(KEY) if isinstance(metadata, dict) else None
    if not isinstance(header, str | None):
        raise Refused(f"the {KEY!r} entry in its metadata is not a string")

    position, tensors = 0, {}
    for entry in sorted(entry_of(name, description) for name, description in described.items()):
        if entry.begin != position or entry.end - entry.begin != size_of(entry.dtype, entry.shape):
            raise Refused("the offsets of its tensors leave gaps, overlap, or do not match the shapes")
        if entry.end > data_bytes:
            break
        data = file.read(entry.end - entry.begin)
        tensors[entry.name] = tensor(data, entry.dtype, entry.shape, contiguous(entry.shape))
        position = entry.end
    if position != data_bytes:
        raise Refused("the size of the file does not match its tensors: it is truncated or corrupted")
    return tensors, header


def entry_of(name: str, description: Any) -> Entry:
    """Return the entry for a tensor, given its name and its description in the header."""
    match description:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [begin, end]}:
            pass
        case _:
            raise Refused(f"its header has an invalid entry for tensor {name[:60]!r}")
    if dtype not in DTYPES:
        raise Refused(f"tensor {name[:60]!r} has dtype {dtype[:20]!r}; use one of {', '.join(DTYPES)}")
    check_shape(shape)
    if not is_size(begin) or not is_size(end):
        raise Refused(f"the offsets of tensor {name[:60]!r} are not integers")
    return Entry(begin, end, name, DTYPES[dtype], shape)
