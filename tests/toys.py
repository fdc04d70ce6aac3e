"""Small models and training runs, and functions to read, write and damage checkpoints."""

import json
import os
import zipfile
from contextlib import contextmanager
from dataclasses import asdict
from itertools import islice
from pathlib import Path

import numpy as np

from minichar import CharRNN, Vocabulary
from minichar.checkpoints.checkpoint import load_history
from minichar.checkpoints.training_state import Progress, TrainingState
from minichar.engine.config import Config
from minichar.history import COLUMNS, History
from minichar.sampling.choice import Choice
from minichar.sampling.generate import Generation
from minichar.training.recipes import RECIPES
from minichar.training.settings import Settings

TEXT = "".join(
    f"{a} {b} {c}.\n"
    for a in ("the quick fox", "a lazy dog", "my old cat")
    for b in ("jumps over", "looks at", "runs from")
    for c in ("the moon", "a river", "its tail")
)  # 27 lines

SMALL = (
    "--rnn-size",
    "8",
    "--num-layers",
    "1",
    "--batch-size",
    "4",
    "--seq-length",
    "6",
    "--max-epochs",
    "1",
)
TOY = ("--recipe", "char-rnn", "--use-ss", *SMALL)
ONE_THREAD = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
"""Environment for subprocesses that use one core."""


def toy_model(characters="\n abcd", unknown=False, seed=1, dtype="float64", scale=8.0, **config):
    """Return a model with random weights, large enough that its predictions are far from uniform."""
    vocabulary = Vocabulary(characters, unknown)
    config = {"rnn_size": 4, "num_layers": 2} | config
    model = CharRNN.new(Config(len(vocabulary), **config), vocabulary, seed, dtype)
    model.parameters.flat[...] *= scale
    return model


def generation(length=2000, prime="", choice=Choice(), **others):
    """Return options for generating text."""
    return Generation(length=length, prime=prime, **asdict(choice), **others)


def toy_training(model, history=()):
    """Return a training state for a model, with the given history."""
    generator = np.random.default_rng(7)
    return TrainingState(
        generator.random(model.parameters.size).astype(model.parameters.dtype),
        generator.normal(size=model.config.state_shape(3)).astype(model.parameters.dtype),
        Progress(12, 4.5, 2, 8.25, "cpu", np.random.default_rng(5).bit_generator.state, 3),
        History(history),
    )


def toy_settings(folder, text=TEXT, **changes):
    """Return settings for a run in `folder` with about 30 chunks per epoch, each taking about 1 ms."""
    path = Path(folder) / "input.txt"
    if not path.exists():
        path.write_text(text, encoding="utf-8")
    toy = {"data": str(path), "checkpoint_dir": str(Path(folder) / "cv"), "rnn_size": 8, "num_layers": 2}
    toy |= {"recipe": "char-rnn", "use_ss": True, "batch_size": 4, "seq_length": 6, "max_epochs": 2}
    return Settings(**{**RECIPES["char-rnn"].options, **toy, **changes})


def take(trainer, n):
    """Train up to step `n`, and return the events."""
    events = []
    for event in trainer.run():
        events.append(event)
        if trainer.iteration == n:
            trainer.stop()
    return events


def losses_of(trainer, n):
    """Train for `n` steps, and return their losses."""
    losses = []
    for _ in range(n):
        trainer.set_rates()
        losses.append(float(trainer.learn()))
    return np.array(losses)


def history_of(path):
    """Return the rows of the history in a checkpoint."""
    return list(load_history(Path(path)))


def history_with(**columns):
    """Return a history with the given columns. Other values are 1.0, except the iterations."""
    n = len(next(iter(columns.values())))
    columns = {name: [1.0] * n for name in COLUMNS} | {"iteration": range(1, n + 1)} | columns
    return History(dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True))


def parts(path):
    """Return ``(header, arrays)`` for a checkpoint."""
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    return json.loads(str(arrays.pop("header"))), arrays


def put_together(path, header, arrays):
    """Write a checkpoint with the given header and arrays, and return its path."""
    with open(path, "wb") as file:
        np.savez(file, header=np.array(header if isinstance(header, str) else json.dumps(header)), **arrays)
    return path


def places(tree, where=()):
    """Yield the path to every value in nested dicts."""
    for key, value in tree.items():
        yield (*where, key)
        if isinstance(value, dict):
            yield from places(value, (*where, key))


def set_at(tree, where, value):
    """Replace the value at a path in nested dicts; ``...`` deletes the value."""
    *there, last = where
    for step in there:
        tree = tree[step]
    if value is ...:
        del tree[last]
    else:
        tree[last] = value


WRONG = (None, True, -1, 0, 1.5, 10**40, float("nan"), "", "x", "\ud800", [], [[]], {}, {"x": 1})
"""Values of many types. For any header field, most of them are invalid."""


def npy(descr, shape, data=b""):
    """Return the bytes of an ``.npy`` file with the given header."""
    text = repr({"descr": descr, "fortran_order": False, "shape": shape}).encode("latin1")
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data


def replace_member(path, name, content, compression=zipfile.ZIP_STORED):
    """Replace the contents of one member of an archive."""
    with zipfile.ZipFile(path) as old:
        members = {info.filename: old.read(info) for info in old.infolist()}
    with zipfile.ZipFile(path, "w", compression) as new:
        for filename, data in (members | {name: content}).items():
            new.writestr(filename, data)
    return path


def listing(folder):
    """Return all files below `folder` with their contents."""
    paths = Path(folder).rglob("*")
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in paths}


class FullDisk:
    """File on a fake disk with `room` free bytes. Once the disk is full, every write and flush fails."""

    def __init__(self, path, mode, room):
        self.file, self.room, self.full = open(path, mode), room, False  # noqa: SIM115

    def __getattr__(self, name):
        return getattr(self.file, name)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.file.close()

    def write(self, data):
        size = memoryview(data).nbytes
        if size > self.room:
            self.full = True
            raise OSError(28, "No space left on device")
        self.room -= size
        return self.file.write(data)

    def flush(self):
        if self.full:
            raise OSError(28, "No space left on device")
        self.file.flush()


@contextmanager
def scripted(monkeypatch, ids):
    """Make every model generate the rows of `ids`, one per step."""
    rows = (np.atleast_1d(row) for row in ids)

    def sample_ids(model, prime, choice, generators, length):
        return islice(rows, length or None)

    with monkeypatch.context() as patch:
        patch.setattr("minichar.sampling.generate.sample_ids", sample_ids)
        yield
