"""Determine formats from suffixes, and choose the output file of a conversion."""

import os
from pathlib import Path

from minichar.errors import MinicharError, Option

OTHERS = ("safetensors", "pt", "onnx")
"""Formats of other libraries. Models are written to these formats with one-hot inputs."""
TARGETS = ("npz", *OTHERS, "html")
"""Formats that minichar writes."""
SUFFIXES = {f".{name}": name for name in TARGETS} | dict.fromkeys((".pkl", ".pickle"), "pickle")
FOREIGN = {
    ".gguf": "for llama.cpp, which cannot run these networks; use .onnx or .safetensors",
    ".h5": "for Keras; use .onnx or .safetensors",
    ".t7": "for Torch 7; use .pt for PyTorch",
    ".pkl": "read-only; use .npz",
    ".pickle": "read-only; use .npz",
}
"""Suffixes of formats that minichar cannot write, and what to use instead."""


def format_of(path: str | os.PathLike[str]) -> str | None:
    """Return the format for the suffix of `path`, or None if the suffix is unknown."""
    return SUFFIXES.get(Path(path).suffix.lower())


def may_have_state(path: str | os.PathLike[str]) -> bool:
    """Return whether a file may contain training state. A file with an unknown suffix is read as ``.npz``."""
    return format_of(path) in (None, "npz")


def format_to_write(path: str | os.PathLike[str]) -> str:
    """Return the format for the suffix of `path`, or raise a `MinicharError` if minichar cannot write it."""
    to, suffix = format_of(path), Path(path).suffix.lower()
    if to in TARGETS:
        return to
    must = f"its suffix must be one of .{', .'.join(TARGETS)}"
    why = f"{suffix} is {FOREIGN[suffix]}" if suffix in FOREIGN else must
    raise MinicharError(f"cannot write {path}: {why}")


def inference_file(source: Path) -> Path:
    """Return the default path of the converted file."""
    kind = format_of(source)
    stem = source.with_suffix("") if kind else source
    return Path(f"{stem}{'.inference' if may_have_state(source) else ''}.npz")


def check_free(source: Path, path: Path, force: bool) -> None:
    """Raise an error if `path` is the same file as `source`, or if it exists and `force` is False."""
    if not path.exists():
        return
    if source.exists() and path.samefile(source):
        raise MinicharError(f"{path} is both the source and the target: choose another name")
    if not force:
        raise MinicharError(
            f"{path} already exists: choose another name, or use ", Option("force", True), " to overwrite it"
        )
