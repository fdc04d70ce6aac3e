"""Fuzz targets: the readers of untrusted files, with valid and invalid seed inputs.

The first byte of an input, called the case, selects how a file is built from the other bytes. Those bytes are
used as is, or embedded in an otherwise valid file because random changes to a zip archive rarely get past its
checksums.
"""

import io
import json
import os
import pickle
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import handmade
import numpy as np
import test_costly_pickles
import test_hostile_pickles
import test_pytorch
import test_safetensors

from minichar.checkpoints.archive import parse_header
from minichar.checkpoints.checkpoint import header_of, read_header, save
from minichar.engine.config import Config
from minichar.errors import reading
from minichar.formats.convert import convert, load_model
from minichar.formats.state_dict import to_state_dict
from minichar.model import CharRNN
from minichar.text import cache
from minichar.text.corpus import load_corpus
from minichar.text.vocabulary import Vocabulary

ENCODINGS = ("utf-8", "utf-16", "utf-32", "utf-7", "latin-1", "gb18030", "big5", "shift_jis", "iso2022_jp")
TEXT = "the quick brown fox\r\njumps over the lazy dog\n" * 3
MODEL = CharRNN.new(Config(3, "lstm", 2, 1), Vocabulary("ab詩"), 1)
WEIGHTS = {name: np.asarray(view) for name, view in MODEL.parameters.items()}
TENSORS = to_state_dict(MODEL.config, WEIGHTS, Path("model"))
DETAILS = header_of(MODEL)
HEADER = json.dumps(DETAILS)
HEADERS = [HEADER] + [
    json.dumps(DETAILS | {"config": DETAILS["config"] | option})
    for option in ({"embedding": 5}, {"layer_norm": True}, {"embedding": 2, "tied": True})
]


def npy(array):
    """Return an array as the bytes of an ``.npz`` member."""
    file = io.BytesIO()
    np.lib.format.write_array(file, np.asarray(array), allow_pickle=False)
    return file.getvalue()


def as_text(data):
    return data.decode("utf-8", "replace")


@dataclass
class Reader:
    """Base class of the fuzz targets, which read files in a directory.

    Attributes
    ----------
    folder : Path
    """

    folder: Path

    def seeds(self):
        """Yield seed inputs, each starting with its case byte."""
        raise NotImplementedError

    def build(self, case, data):
        """Return the contents of a file built from `data`."""
        return data

    def read(self, case, contents):
        """Read a file."""
        raise NotImplementedError

    def written(self, name, contents):
        path = self.folder / name
        path.write_bytes(contents)
        return path


class Npz(Reader):
    def seeds(self):
        save(self.folder / "seed.npz", MODEL)
        yield b"\0" + (self.folder / "seed.npz").read_bytes()
        yield from (b"\1" + header.encode() for header in HEADERS)
        yield b"\2" + npy(WEIGHTS["readout.W"])
        yield b"\2" + npy(np.array("abc"))
        yield b"\3\x1b[31m" + bytes([22]) * 1000

    def build(self, case, data):
        members = {f"{name}.npy": npy(array) for name, array in WEIGHTS.items()}
        if case == 1:
            data = handmade.zipped(members | {"header.npy": npy(as_text(data))})
        elif case == 2:
            data = handmade.zipped(members | {"readout.W.npy": data})
        elif case == 3:
            data = handmade.zipped({as_text(data) + ".npy": npy([1.0])})
        return data

    def read(self, case, contents):
        convert(self.written("file.npz", contents), self.folder / "new.npz", force=True)


class Pt(Reader):
    def seeds(self):
        tensors = TENSORS | {"minichar.json": np.frombuffer(HEADER.encode(), "u1")}
        yield b"\0" + handmade.pt(tensors)
        shape, strides = handmade.torch_type("float32"), (2, 1)
        stored = handmade.storage("0", shape)
        yield b"\1" + handmade.state_dict({"a": handmade.tensor(stored, (2, 2), strides)})
        yield from (b"\2" + header.encode() for header in HEADERS)
        for data, _ in test_pytorch.BAD.values():
            yield b"\0" + data

    def build(self, case, data):
        if case == 1:
            data = handmade.zipped({"a/data.pkl": data, "a/data/0": bytes(24)})
        elif case == 2:
            data = handmade.pt(TENSORS | {"minichar.json": np.frombuffer(data, "u1")})
        return data

    def read(self, case, contents):
        load_model(self.written("file.pt", contents))


class Safetensors(Reader):
    def seeds(self):
        valid = handmade.safetensors(TENSORS, HEADER)
        yield b"\0" + valid
        yield b"\1" + valid[8 : 8 + int.from_bytes(valid[:8], "little")]
        yield from (b"\2" + header.encode() for header in HEADERS)
        for data, _ in test_safetensors.BAD.values():
            yield b"\0" + data
            yield b"\1" + data[8:]

    def build(self, case, data):
        if case == 1:
            size = sum(array.nbytes for array in TENSORS.values())
            data = handmade.raw_safetensors(as_text(data), bytes(size))
        elif case == 2:
            data = handmade.safetensors(TENSORS, as_text(data))
        return data

    def read(self, case, contents):
        load_model(self.written("file.safetensors", contents))


class Pickle(Reader):
    def seeds(self):
        state = OrderedDict(
            a=np.arange(3.0), b=[1, 2.5], c={"d": np.float32(1), 3: True, "e": "text"}, f=[None]
        )
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            yield b"\0" + pickle.dumps(state, protocol)
        for data, _ in (*test_hostile_pickles.HOSTILE.values(), *test_costly_pickles.COSTLY.values()):
            yield b"\0" + data
        yield from (b"\0" + data for data in test_hostile_pickles.NONSENSE)

    def read(self, case, contents):
        convert(self.written("file.pkl", contents), self.folder / "new.npz", force=True)


class Text(Reader):
    """A text file. The case selects the encoding."""

    def seeds(self):
        for case, encoding in enumerate(ENCODINGS):
            yield bytes([case]) + TEXT.encode(encoding)
        yield b"\0" + "詩é😀\ufeff\0".encode()

    def read(self, case, contents):
        path = self.written("input.txt", contents)
        load_corpus(path, encoding=ENCODINGS[case % len(ENCODINGS)], min_freq=case % 3)


class Cache(Reader):
    """A cached text: all bytes, or the line of JSON or the ids of a file with a valid checksum."""

    def seeds(self):
        cache.SMALLEST = 0
        os.environ["MINICHAR_CACHE"] = str(self.folder)
        load_corpus(self.written("input.txt", TEXT.encode()))
        (self.path,) = self.folder.glob("texts/*.ids")
        contents = self.path.read_bytes()
        self.line, rest = contents.split(b"\n", 1)
        self.ids = rest[:-4]
        yield b"\0" + contents
        yield b"\1" + self.line
        yield b"\2" + self.ids

    def build(self, case, data):
        if case == 1:
            data = data + b"\n" + self.ids
        elif case == 2:
            data = self.line + b"\n" + data
        return data + crc32(data).to_bytes(4, "little") if case in (1, 2) else data

    def read(self, case, contents):
        self.path.write_bytes(contents)
        load_corpus(self.folder / "input.txt")


class Header(Reader):
    """The JSON header used in all formats, with the vocabulary and the configuration."""

    def seeds(self):
        yield b"\0" + HEADER.encode()
        for bad in ("[" * 1000, "{" * 1000, '{"a":' * 1000, "[[],{}]", '"\\ud800"', "1e999", "9" * 5000):
            yield b"\0" + bad.encode()
            yield b"\0" + HEADER.replace("0.0", bad).encode()
            yield b"\0" + HEADER.replace('"ab', bad + '"').encode()

    def read(self, case, contents):
        with reading(self.folder, "a header"):
            read_header(parse_header(as_text(contents)))


READERS = {reader.__name__.lower(): reader for reader in Reader.__subclasses__()}
