"""Convert models between file formats, selected by suffix.

    npz            read    write    minichar's format, with or without training state
    safetensors    read    write    PyTorch's tensor names
    pt             read    write    PyTorch's tensor names
    onnx                   write    a graph for onnxruntime
    html                   write    a web page that runs the model
    pickle         read             NumPy or CuPy arrays without a model, converted to a plain .npz

Conversion requires neither a GPU nor CuPy.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from minichar.checkpoints import checkpoint
from minichar.checkpoints.archive import open_archive, write_archive
from minichar.checkpoints.choosing import open_checkpoint
from minichar.checkpoints.naming import is_checkpoint
from minichar.devices.backend import Backend
from minichar.devices.cpu import CPU
from minichar.errors import MinicharError, Option, Refused
from minichar.files import writing
from minichar.formats import arrays, html, naming, onnx, pytorch, safetensors
from minichar.formats.state_dict import NoVocabulary, has_vocabulary
from minichar.model import CharRNN
from minichar.text.corpus import load_corpus
from minichar.text.vocabulary import Vocabulary

Reader = Callable[[Path, Vocabulary | None, Backend], CharRNN]
Writer = Callable[[CharRNN, dict[str, np.ndarray], Path], bytes]

READERS: dict[str, Reader] = {"safetensors": safetensors.read, "pt": pytorch.read}
WRITERS: dict[str, Writer] = {
    "safetensors": safetensors.to_bytes,
    "pt": pytorch.to_bytes,
    "onnx": onnx.to_bytes,
    "html": html.to_bytes,
}


@dataclass(frozen=True)
class Content:
    """Contents of a file: a model, or only arrays. `in_training` is True if the file has training state."""

    model: CharRNN | None = None
    in_training: bool = False
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def load_model(
    path: str | os.PathLike[str], backend: Backend = CPU, vocabulary: Vocabulary | None = None
) -> CharRNN:
    """Return the model stored in an ``.npz``, ``.safetensors`` or ``.pt`` file.

    A file with an unknown suffix is read as ``.npz``. `vocabulary` is for a PyTorch state dict saved without
    one. The weights are stored on the device of `backend`. Raises a `MinicharError` if the file is missing,
    corrupted or malicious, or in a format that minichar cannot read.
    """
    path = Path(path)
    kind = naming.format_of(path)
    if kind in READERS:
        return READERS[kind](path, vocabulary, backend)
    if kind in WRITERS:
        raise MinicharError(f"cannot read {path}: .{kind} is write-only; use the file it was converted from")
    if kind == "pickle":
        raise MinicharError(f"{path} contains no model: minichar reads only arrays from pickles")
    if vocabulary is not None:
        raise has_vocabulary(path)
    return checkpoint.load(path, backend)


def check_resumable(path: Path) -> None:
    """Raise a `MinicharError` if `path` is a file in a format that cannot store training state."""
    if naming.may_have_state(path) or not path.is_file():
        return
    advice: tuple[str | Option, ...] = (": only .npz checkpoints store it",)
    if naming.format_of(path) in READERS:
        advice = (": start a new run with ", Option("init_from"))
    raise MinicharError(f"{path} has no training state to resume from", *advice)


def convert(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str] | None = None,
    dtype: str | None = None,
    force: bool = False,
    sequence: bool = False,
    vocab_from: str | os.PathLike[str] | None = None,
    on_note: Callable[[str], None] | None = None,
) -> Path:
    """Convert a file to another format, and return the path of the new file.

    The new file contains no training state.

    Parameters
    ----------
    source : path-like
        A file in any readable format.
    target : path-like, optional
        The new file, whose suffix determines its format. By default, `source` with the suffix ``.npz``, or
        ``.inference.npz`` if it is already an ``.npz`` file.
    dtype : {"float16", "float32", "float64"}, optional
        The dtype of the stored weights; by default, float32, or the dtype in `source` if the file contains no
        model. An ``.html`` page always stores float16 weights.
    force : bool
        Overwrite an existing target.
    sequence : bool
        Write an ``.onnx`` graph that processes a whole sequence instead of a single time step.
    vocab_from : path-like, optional
        Source of the vocabulary for a PyTorch state dict saved without one: the training text (ids are
        assigned in code-point order), or a model or checkpoint directory with the same vocabulary.
    on_note : callable, optional
        Called with each note, for example about data that the new file does not contain.

    Raises
    ------
    MinicharError
        If `source` cannot be read, if `target` exists and `force` is False, or if the new format cannot
        represent the model.
    """
    source = Path(source)
    path = naming.inference_file(source) if target is None else Path(target)
    to = naming.format_to_write(path)
    check_dtype(dtype, to)
    naming.check_free(source, path, force)
    if sequence and to != "onnx":
        raise MinicharError(Option("sequence", True), f" is for .onnx only, but the format of {path} is {to}")

    content = _read(source, vocab_from)
    if content.model is None:
        if to != "npz":
            raise MinicharError(f"{source} contains arrays but no model: convert it to .npz")
        if vocab_from is not None:
            raise MinicharError(f"{source} contains arrays but no model: omit ", Option("vocab_from"))
        write_archive(path, {}, arrays.cast(content.arrays, dtype, path))
        notes = content.notes
    else:
        dtype = dtype or "float32"
        _write(path, content.model, to, dtype, sequence)
        dropped = content.in_training and to != "npz"
        notes = tuple(_lost(content.model, dropped, to, dtype))
    if on_note is not None:
        for note in notes:
            on_note(note)
    return path


def save_model(model: CharRNN, path: str | os.PathLike[str], dtype: str | None = None) -> None:
    """Write a model without training state, replacing an existing file.

    The suffix of `path` determines the format. `dtype` is the dtype of the stored weights: float16, float32
    or float64; by default, the model's dtype, or float16 in an ``.html`` page. Raises a `MinicharError` if
    the suffix is unknown, a weight is too large for `dtype`, or the file cannot be written.
    """
    to = naming.format_to_write(path)
    check_dtype(dtype, to)
    _write(Path(path), model, to, dtype, sequence=False)


def _write(path: Path, model: CharRNN, to: str, dtype: str | None, sequence: bool) -> None:
    """Write a model without training state."""
    if to == "npz":
        checkpoint.save(path, model, dtype=dtype)
        return
    if to in naming.OTHERS:
        model = model.without_embedding()
    if to == "html":
        dtype = "float16"
    write = partial(onnx.to_bytes, sequence=sequence) if to == "onnx" else WRITERS[to]
    data = write(model, checkpoint.host_weights(model, dtype, path), path)
    with writing(path) as file:
        file.write(data)


def check_dtype(dtype: str | None, to: str) -> None:
    """Raise an error if format `to` cannot store weights in `dtype`."""
    choices = ("float16",) if to == "html" else checkpoint.WEIGHT_DTYPES
    if dtype not in (None, *choices):
        raise MinicharError(Option("dtype"), f" is {dtype!r}; in an .{to} file, use {' or '.join(choices)}")


def _read(source: Path, vocab_from: str | os.PathLike[str] | None) -> Content:
    """Return the contents of a file, without the training state."""
    kind = naming.format_of(source) or "npz"
    if kind == "pickle":
        found, notes = arrays.read_pickled(source)
        return Content(arrays=found, notes=notes)
    if kind != "npz":
        return Content(_load(source, vocab_from))
    with open_archive(source, kinds=arrays.KINDS) as archive:
        if not archive.header and not archive.shapes:
            raise Refused("it is an empty archive")
        if not archive.header:
            return Content(arrays={name: archive.read(name) for name in archive.shapes})
        in_training = isinstance(archive.header.get("training"), dict)
    return Content(_load(source, vocab_from), in_training)


def _load(source: Path, vocab_from: str | os.PathLike[str] | None) -> CharRNN:
    """Return the model in a file, with the vocabulary from `vocab_from` if the file contains none."""
    try:
        model = load_model(source)
    except NoVocabulary:
        if vocab_from is None:
            raise
        return load_model(source, vocabulary=_vocabulary(Path(vocab_from)))
    if vocab_from is not None:
        raise MinicharError(f"{source} already contains its vocabulary: omit ", Option("vocab_from"))
    return model


def _vocabulary(path: Path) -> Vocabulary:
    """Return the vocabulary of a training text, a model, or the best checkpoint in a directory."""
    has_checkpoint = path.is_dir() and any(map(is_checkpoint, path.iterdir()))
    if has_checkpoint or naming.format_of(path) is not None:
        return open_checkpoint(path, load_model)[1].vocabulary
    return load_corpus(path).vocabulary


def _lost(model: CharRNN, dropped: bool, to: str, dtype: str) -> Iterator[str]:
    """Yield notes about data that format `to` cannot store and about how to use the new file."""
    if to == "html":
        yield "to generate text, open the page in a browser"
    elif dropped:
        yield "the converted file can generate text, but it cannot be resumed: keep the checkpoint for that"
    if to not in naming.OTHERS:
        return
    for name, p in (("dropout", model.config.dropout), ("weight drop", model.config.weight_drop)):
        if p:
            yield f"{name} {p:g} is used only during training, so it is stored only in the metadata"
    if model.config.embedding:
        yield "the embedding is folded into the input weights of the first layer"
    if model.vocabulary.unknown:
        yield "the last id is the unknown token: exclude it when sampling"
    if to == "onnx" and dtype == "float64":
        yield (
            "on CPUs, onnxruntime supports RNN, LSTM and GRU only in float32, so it may reject this "
            "float64 file"
        )
