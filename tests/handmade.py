"""Build files byte by byte, so that tests can create invalid files and need no optional packages."""

import io
import json
import pickle
import struct
import zipfile

import numpy as np

STORAGES = {"float16": "Half", "float32": "Float", "float64": "Double", "uint8": "Byte", "int64": "Long"}
PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
SAFETENSORS = {"float16": "F16", "float32": "F32", "float64": "F64", "uint8": "U8", "int64": "I64"}


def text(characters):
    """Return a pickle opcode that pushes a string."""
    encoded = characters.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(encoded)) + encoded


def integer(n):
    """Return a pickle opcode that pushes an integer."""
    return b"\x8a\x0a" + n.to_bytes(10, "little", signed=True)


def integers(ns):
    """Return pickle opcodes that push a tuple of integers."""
    return b"(" + b"".join(map(integer, ns)) + b"t"


def storage(key, kind, size=0):
    """Return pickle opcodes that push a storage, as written by torch.save."""
    return b"(" + text("storage") + kind + text(key) + text("cpu") + integer(size) + b"tQ"


def torch_type(dtype):
    """Return a pickle opcode that pushes the storage type for a NumPy dtype."""
    return f"ctorch\n{STORAGES[dtype]}Storage\n".encode()


def tensor(stored, shape, strides, offset=0):
    """Return pickle opcodes that push a tensor, as written by torch.save."""
    arguments = b"(" + stored + integer(offset) + integers(shape) + integers(strides)
    return b"ctorch._utils\n_rebuild_tensor_v2\n" + arguments + b"\x89ccollections\nOrderedDict\n)RtR"


def state_dict(tensors):
    """Return a pickled dict, given the pickle opcodes that push each of its values."""
    items = b"".join(text(name) + program for name, program in tensors.items())
    return b"\x80\x02ccollections\nOrderedDict\n)R(" + items + b"u."


def zipped(members, compression=zipfile.ZIP_STORED):
    """Return a zip archive, given a dict that maps member names to contents."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def pt(tensors, order="little"):
    """Return a ``.pt`` file, given a dict that maps names to contiguous NumPy arrays."""
    programs, members = {}, {"a/byteorder": order.encode()}
    for key, (name, array) in enumerate(tensors.items()):
        stored = storage(str(key), torch_type(str(array.dtype)), array.size)
        strides = [stride // array.itemsize for stride in np.ascontiguousarray(array).strides]
        programs[name] = tensor(stored, array.shape, strides)
        members[f"a/data/{key}"] = (array if order == "little" else array.byteswap()).tobytes()
    return zipped({"a/data.pkl": state_dict(programs)} | members)


def safetensors(tensors, header=None):
    """Return a ``.safetensors`` file, given a dict that maps names to contiguous NumPy arrays."""
    described, end = {} if header is None else {"__metadata__": {"minichar": header}}, 0
    for name, array in tensors.items():
        begin, end = end, end + array.nbytes
        dtype = SAFETENSORS[str(array.dtype)]
        described[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [begin, end]}
    return raw_safetensors(json.dumps(described), b"".join(array.tobytes() for array in tensors.values()))


def raw_safetensors(header, data=b""):
    """Return a ``.safetensors`` file with an arbitrary string as its header."""
    encoded = header.encode("utf-8", "surrogatepass")
    return len(encoded).to_bytes(8, "little") + encoded + data


def same(found, expected):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == np.asarray(array).dtype
        np.testing.assert_array_equal(found[name], array)


def declared(shape, dtype=b"f4", data=b"\0" * 8):
    """Return a pickle of an array with the given shape, dtype and data."""
    start = b"\x80\x04cnumpy.core.numeric\n_frombuffer\n(C" + bytes([len(data)]) + data
    return start + b"cnumpy\ndtype\nX\2\0\0\0" + dtype + b"\x85R" + shape + b"X\1\0\0\0CtR."
