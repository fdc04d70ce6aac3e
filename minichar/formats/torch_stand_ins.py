"""Safe replacements for the functions that the pickle in a ``.pt`` file calls.

    persistent id ("storage", torch.FloatStorage, "0", "cpu", 6)     the data of a tensor, stored in data/0
    torch._utils._rebuild_tensor_v2(storage, offset, size, stride)   a tensor that is a view of a storage
    torch._utils._rebuild_parameter(tensor)                          the tensor
    collections.OrderedDict                                          a dict

The functions' arguments are untrusted, as in `minichar.formats.stand_ins`.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

from minichar.errors import Refused
from minichar.formats.stand_ins import Function, empty_dict
from minichar.formats.tensors import check_shape, is_size

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


def rebuild_parameter(tensor: Any, *_: Any) -> Any:
    """Return the tensor in an ``nn.Parameter``. The arguments that only autograd needs are ignored."""
    return tensor


KNOWN = {
    **{f"torch.{name}": StorageType(dtype) for name, dtype in STORAGES.items()},
    "torch._utils._rebuild_tensor_v2": Function(rebuild_tensor),
    "torch._utils._rebuild_parameter": Function(rebuild_parameter),
    "collections.OrderedDict": Function(empty_dict),
}
"""The global names that the pickle in a ``.pt`` file may refer to, with their replacements."""
