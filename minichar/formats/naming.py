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
}
"""Suffixes of formats that minichar cannot write, and what to use instead."""


def format_of(path: str | os.PathLike[str]) -> str | None:
    """Return the format for the suffix of `path`, or None if the suffix is unknown."""
    return SUFFIXES.get(Path(path).suffix.lower())


def may_have_state(path: str | os.PathLike[str]) -> bool:
    """Return whether a file may contain training state. A file with an unknown suffix is read as ``.npz``."""
    return format_of(path) in (None, "npz")


def target_of(source: Path, target: str | os.PathLike[str] | None, to: str | None) -> tuple[str, Path]:
    """Return the format and path of the converted file."""
    if to not in (None, *TARGETS):
        raise MinicharError(Option("to"), f" is {to!r}; it must be one of {', '.join(TARGETS)}")
    if target is None:
        to = to or "npz"
        kind = format_of(source)
        stem = source.with_suffix("") if kind else source
        return to, Path(f"{stem}{'.inference' if to == (kind or 'npz') else ''}.{to}")
    by_suffix = format_of(target)
    if by_suffix == "pickle":
        raise MinicharError(f"cannot write {target}: pickles are read-only; write an .npz instead")
    chosen = to or by_suffix
    if chosen is None:
        suffix = Path(target).suffix.lower()
        if suffix in FOREIGN:
            raise MinicharError(f"cannot write {target}: {suffix} is {FOREIGN[suffix]}")
        raise MinicharError(
            f"the suffix of {target} is not one of .{', .'.join(TARGETS)}: choose the format with ",
            Option("to"),
        )
    if by_suffix not in (None, chosen):
        raise MinicharError(Option("to", to), f" conflicts with the suffix of {target}: change one of them")
    return chosen, Path(target)


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
