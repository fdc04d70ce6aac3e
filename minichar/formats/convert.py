"""Models between formats: who reads a file, who writes one, and what is lost on the way.

    npz            read    written    minichar's own, with or without the state of a training
    safetensors    read    written    PyTorch's names
    pt             read    written    PyTorch's names
    onnx                   written    a graph that runs by itself
    pickle         read               arrays without a model, CuPy's or NumPy's, which become a plain .npz

The suffix says the format. No GPU and no CuPy is needed, wherever a file comes from.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from minichar.checkpoints import checkpoint
from minichar.checkpoints.archive import Archive, write_archive
from minichar.devices.backend import Backend
from minichar.devices.cpu import CPU
from minichar.errors import MinicharError
from minichar.files import writing
from minichar.formats import arrays, onnx, pytorch, safetensors
from minichar.model import CharRNN
from minichar.text.corpus import load_corpus
from minichar.text.vocabulary import Vocabulary

Reader = Callable[[Path, Vocabulary | None, Backend], CharRNN]
Writer = Callable[[CharRNN, dict[str, np.ndarray], Path], bytes]

SUFFIXES = {".npz": "npz", ".safetensors": "safetensors", ".pt": "pt", ".onnx": "onnx"} | dict.fromkeys(
    (".pkl", ".pickle"), "pickle"
)
READERS: dict[str, Reader] = {"safetensors": safetensors.read, "pt": pytorch.read}
WRITERS: dict[str, Writer] = {
    "safetensors": safetensors.to_bytes,
    "pt": pytorch.to_bytes,
    "onnx": onnx.to_bytes,
}
TARGETS = ("npz", *WRITERS)


@dataclass(frozen=True)
class Held:
    """What a file holds: a model, with the state of its training if it has one, or arrays alone."""

    model: CharRNN | None = None
    training: checkpoint.TrainingState | None = None
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def format_of(path: str | os.PathLike[str]) -> str | None:
    """Return the format that the suffix of `path` says; None for a suffix that says none."""
    return SUFFIXES.get(Path(path).suffix.lower())


def load_model(
    path: str | os.PathLike[str], backend: Backend = CPU, vocabulary: Vocabulary | None = None
) -> CharRNN:
    """Return the model in a ``.npz``, ``.safetensors`` or ``.pt`` file; any other is read as ``.npz``.

    Parameters
    ----------
    path : path-like
    backend : Backend
        Where the weights are to live.
    vocabulary : Vocabulary, optional
        For a PyTorch state dict, which does not know its characters.

    Raises
    ------
    MinicharError
        If the file is missing, damaged, hostile or of no format that holds a model to read.
    """
    kind = format_of(path)
    if kind in READERS:
        return READERS[kind](Path(path), vocabulary, backend)
    if kind == "onnx":
        raise MinicharError(f"{path} cannot be read: .onnx is only written; use the file it came from")
    if kind == "pickle":
        raise MinicharError(f"{path} is no model: a pickle holds arrays only")
    if vocabulary is not None:
        raise MinicharError(f"{path} knows its characters: leave --vocab-from out")
    return checkpoint.load(path, backend)


def convert(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str] | None = None,
    dtype: str | None = None,
    force: bool = False,
    to: str | None = None,
    inference: bool = True,
    sequence: bool = False,
    vocab_from: str | None = None,
    on_note: Callable[[str], None] | None = None,
) -> Path:
    """Write what `source` holds in another format.

    Parameters
    ----------
    source : path-like
        A file of any format that is read.
    target : path-like, optional
        By default the source's name with the suffix of the format; an ``.npz`` then becomes
        an ``.inference.npz``.
    dtype : {"float16", "float32", "float64"}, optional
        Of the weights in the file: float32 by default, or as they are where a training can go
        on or there is no model. float16 is half the size and good to three digits.
    force : bool
        Write over an existing file.
    to : {"npz", "safetensors", "pt", "onnx"}, optional
        The format; by default the suffix of `target` says it.
    inference : bool
        Leave the state of the training out of an ``.npz``, as is usual; False keeps it, so that the
        copy can be resumed. No other format has room for it.
    sequence : bool
        An ``.onnx`` that reads a whole run at once, not a character.
    vocab_from : str, optional
        For a PyTorch state dict without characters: the text it was trained on, whose
        characters in code-point order are the ids, or a model that knows them.
    on_note : callable, optional
        Is told what the file does not hold, a line at a time.

    Returns
    -------
    Path
        What was written.

    Raises
    ------
    MinicharError
        If `source` cannot be read, `target` exists, or its format cannot hold the model.
    """
    source = Path(source)
    if dtype not in (None, *checkpoint.WEIGHT_DTYPES):
        raise MinicharError(f"dtype is {dtype!r}; it must be one of {', '.join(checkpoint.WEIGHT_DTYPES)}")
    to, path = _target(source, target, to)
    _check_free(source, path, force)
    if sequence and to != "onnx":
        raise MinicharError(f"--sequence is about .onnx, and {path} is to be {to}")

    held = _read(source, inference and to == "npz", vocab_from)
    if held.model is None:
        if to != "npz":
            raise MinicharError(f"{source} holds arrays and no model of minichar: they can only become .npz")
        write_archive(path, {}, arrays.cast(held.arrays, dtype, path))
        notes = held.notes
    elif held.training is not None and to == "npz" and dtype in (None, held.model.parameters.dtype):
        checkpoint.save(path, held.model, held.training)
        notes = ()
    else:
        dtype = dtype or "float32"
        _write(path, held.model, to, dtype, sequence)
        notes = tuple(_lost(held.model, held.training is not None, to, dtype))
    if on_note is not None:
        for note in notes:
            on_note(note)
    return path


def save_model(model: CharRNN, path: str | os.PathLike[str], dtype: str | None = None) -> None:
    """Write a model, without the state of its training, in the format of the suffix of `path`.

    Parameters
    ----------
    model : CharRNN
    path : path-like
        An existing file is replaced.
    dtype : {"float16", "float32", "float64"}, optional
        Of the weights in the file; the model's own by default.

    Raises
    ------
    MinicharError
        If the suffix is not that of a format, a weight is too large for `dtype`, or the file cannot
        be written.
    """
    if dtype not in (None, *checkpoint.WEIGHT_DTYPES):
        raise MinicharError(f"dtype is {dtype!r}; it must be one of {', '.join(checkpoint.WEIGHT_DTYPES)}")
    to = format_of(path)
    if to not in TARGETS:
        raise MinicharError(f"cannot write {path}: its suffix must be one of .{', .'.join(TARGETS)}")
    _write(Path(path), model, to, dtype, sequence=False)


def _write(path: Path, model: CharRNN, to: str, dtype: str | None, sequence: bool) -> None:
    """Write a model and no state of a training."""
    if to == "npz":
        checkpoint.save(path, model, dtype=dtype)
        return
    write = partial(onnx.to_bytes, sequence=sequence) if to == "onnx" else WRITERS[to]
    data = write(model, checkpoint.host_weights(model, dtype, path), path)
    with writing(path) as file:
        file.write(data)


def _target(source: Path, target: str | os.PathLike[str] | None, to: str | None) -> tuple[str, Path]:
    """Return the format to write and the path to write to."""
    if to not in (None, *TARGETS):
        raise MinicharError(f"to is {to!r}; it must be one of {', '.join(TARGETS)}")
    if target is None:
        to = to or "npz"
        kind = format_of(source)
        stem = source.with_suffix("") if kind else source
        return to, Path(f"{stem}{'.inference' if to == (kind or 'npz') else ''}.{to}")
    said = format_of(target)
    if said == "pickle":
        raise MinicharError(f"cannot write {target}: pickles are only read, a plain .npz takes their place")
    chosen = to or said
    if chosen is None:
        raise MinicharError(f"the suffix of {target} is none of .{', .'.join(TARGETS)}: say which with --to")
    if said not in (None, chosen):
        raise MinicharError(f"--to {to} contradicts the suffix of {target}: leave one of them out")
    return chosen, Path(target)


def _check_free(source: Path, path: Path, force: bool) -> None:
    """See that nothing is at `path` that should stay."""
    if not path.exists():
        return
    if source.exists() and path.samefile(source):
        raise MinicharError(f"{path} is both what to read and where to write: give another name")
    if not force:
        raise MinicharError(f"{path} exists already: give another name, or --force to write over it")


def _read(source: Path, inference: bool, vocab_from: str | None) -> Held:
    """Return what is in a file, and with `inference` no state of a training."""
    kind = format_of(source) or "npz"
    if kind == "pickle":
        found, ignored = arrays.read_pickled(source)
        return Held(arrays=found, notes=ignored)
    if kind != "npz":
        return Held(load_model(source, vocabulary=_vocabulary(vocab_from)))
    with Archive(source, kinds=arrays.KINDS) as archive:
        if not archive.header and not archive.shapes:
            raise archive.damaged("it holds nothing")
        if not archive.header:
            return Held(arrays={name: archive.read(name) for name in archive.shapes})
        in_training = isinstance(archive.header.get("training"), dict)
    if in_training and not inference and vocab_from is None:
        return Held(*checkpoint.load_training(source))
    return Held(load_model(source, vocabulary=_vocabulary(vocab_from)))


def _vocabulary(path: str | None) -> Vocabulary | None:
    """Return the vocabulary of a text, or of a model."""
    if path is None:
        return None
    return load_corpus(path).vocabulary if format_of(path) is None else load_model(path).vocabulary


def _lost(model: CharRNN, in_training: bool, to: str, dtype: str) -> Iterator[str]:
    """Say what a file of format `to` does not hold of a model, or does not say by itself."""
    if in_training:
        yield f"left out: the state of training, which only an .npz of {model.parameters.dtype} can hold"
    if to == "npz":
        return
    if model.config.dropout:
        yield f"left out: dropout {model.config.dropout:g}, which acts in training only; the metadata says it"
    if model.vocabulary.unknown:
        yield "the last id stands for all unknown characters: leave it out when you draw"
    if to == "onnx" and dtype == "float64":
        yield "onnxruntime's RNN, LSTM and GRU compute in float32 only on a CPU: it may refuse this file"
