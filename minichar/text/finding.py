"""Find the text files that a path refers to."""

import os
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from shlex import quote

from minichar.errors import LONGEST_PATH, MinicharError, brief, quoted
from minichar.files import descriptor_of, is_text, similar
from minichar.text.datasets import DATASETS, dataset_path, is_dataset_folder

MODELS = (".npz", ".safetensors", ".pt")
"""Suffixes of models. Only the first format stores what is needed to resume a run."""


def find_files(data: Path) -> tuple[Path, list[Path], list[str]]:
    """Return the file or directory that contains the text at a path, its text files, and notes for the user.

    In a directory, ``input.txt`` is used if it exists; otherwise, all files whose names end in ``.txt`` are
    used, sorted by name in code-point order. Hidden files and subdirectories are ignored. A note says if
    ``input.txt`` is not the only ``.txt`` file. Raises a `MinicharError` if a file does not exist, is not a
    regular file, or is in ``/proc``.
    """
    try:
        path = data / "input.txt" if data.is_dir() else data
        files = [path]
        if path != data and not path.exists() and (found := _text_files(data)):
            path, files = data, found
        for file in files:
            if not file.exists() or (file.suffix in MODELS and not _has_text(file)):
                raise _unusable(data, file)
            special = descriptor_of(file) is not None or Path(os.path.realpath(file)).is_relative_to("/proc")
            if special or not file.is_file():
                raise MinicharError(
                    f"{str(file)!r} is not a regular file: copy its content to a regular file"
                )
        notes = []
        with suppress(OSError):  # no permission to list the directory
            if path != data and len(_text_files(data)) > 1:
                notes = [f"reading only {str(path)!r}: other .txt files in {str(data)!r} are ignored"]
        return path, files, notes
    except OSError as exc:
        raise MinicharError(f"cannot read {brief(str(data), LONGEST_PATH)}: {exc.strerror}") from None


def _text_files(folder: Path) -> list[Path]:
    found = [path for path in folder.iterdir() if path.suffix.lower() == ".txt" and path.name[0] != "."]
    # Path objects sort case-insensitively on Windows, so sort by name instead.
    return sorted((path for path in found if not path.is_dir()), key=lambda path: path.name)


def _other_texts(folder: Path) -> list[Path]:
    """Return the files in `folder` with the suffix that accounts for most of the text.

    Empty files are ignored, and so are suffixes of binary files.
    """
    groups = defaultdict(list)
    for path in folder.iterdir():
        if path.suffix and path.name[0] != "." and path.is_file() and path.stat().st_size:
            groups[path.suffix].append(path)
    texts = [group for group in groups.values() if all(map(is_text, group))]
    return max(texts, key=lambda group: sum(path.stat().st_size for path in group), default=[])


def _has_text(path: Path) -> bool:
    """Return whether `path` is a text file or contains ``input.txt``."""
    with suppress(OSError):
        return is_text(path) if path.is_file() else (path / "input.txt").is_file()
    return False


def _unusable(data: Path, path: Path) -> MinicharError:
    """Return the error for `path`, a file that `data` refers to: it is missing or a model."""
    if path.exists() or any(data.glob("*.npz")):
        way = "my.txt --init-from" if path.suffix in MODELS[1:] else "--resume"
        what = f"{str(data)!r} contains a model, not a text"
        return MinicharError(f"{what}: to train it further, use `minichar train {way} {quoted(data)}`")
    if is_dataset_folder(data) or str(data) in DATASETS:
        get = "" if dataset_path(data.name).exists() else f"get it with `minichar data get {data.name}` and "
        where = str(dataset_path(data.name).parent)
        return MinicharError(f"{str(path)!r} does not exist: {get}use {where!r}")
    if str(data) == "-":
        remedy = "save it to a file, or use `minichar train` or `minichar sweep`"
        return MinicharError(f"cannot read the text from standard input ('-') here: {remedy}")
    problem, datasets = f"{str(path)!r} does not exist", []
    if data.is_dir() and not _text_files(data):
        problem = f"{str(data)!r} contains no .txt files"
        datasets = sorted(repr(str(text.parent)) for text in data.glob("*/input.txt"))
        others = [] if datasets else _other_texts(data)
        if len(others) > 1:
            suffix = others[0].suffix
            join = f"join them with `cat {quoted(data)}/*{quote(suffix)} > {quoted(path)}`"
            return MinicharError(f"{problem}: to use its {len(others):,} {suffix} files, {join}")
        datasets = datasets or [repr(str(other)) for other in others]
    else:
        datasets = [repr(str(other)) for other in similar(path) if _has_text(other)]
    a_text = "a text file, or a directory that contains input.txt or other .txt files"
    return MinicharError(f"{problem}: choose {' or '.join(datasets) or a_text}")
