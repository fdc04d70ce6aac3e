"""Models that a server or worker loads at startup."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from minichar.checkpoints.naming import all_checkpoints, find_checkpoint
from minichar.errors import MinicharError
from minichar.formats.convert import load_model
from minichar.model import CharRNN
from minichar.text.vocabulary import Vocabulary


@dataclass(frozen=True)
class ModelInfo:
    """Description of a model.

    Attributes
    ----------
    name : str
        The file name without its suffix, followed by the first 8 hexadecimal digits of the file's
        SHA-256 hash, so that a shared link identifies a specific file.
    summary : str
        The cell type and the numbers of layers, units and parameters, for display.
    origin : str
        Path of the training text; empty if unknown.
    characters : str
        The characters in the vocabulary.
    unknown : bool
        Whether the vocabulary has an unknown token.
    reset_on : str
        The string at which the model's state is reset; empty if there is none.
    """

    name: str
    summary: str
    origin: str
    characters: str
    unknown: bool
    reset_on: str = ""

    @property
    def vocabulary(self) -> Vocabulary:
        """The vocabulary."""
        return Vocabulary(self.characters, self.unknown)

    def public(self) -> dict[str, Any]:
        """Return the fields of the ``Model`` schema."""
        return {
            "name": self.name,
            "summary": self.summary,
            "origin": self.origin,
            "vocabulary": self.characters,
        }

    def dump(self) -> dict[str, Any]:
        """Return all fields as a dictionary; ``ModelInfo(**info.dump())`` restores the object."""
        return asdict(self)


def load_models(paths: Sequence[str]) -> dict[str, CharRNN]:
    """Load models from files and directories.

    Parameters
    ----------
    paths : sequence of str
        Files and directories. All checkpoints in a directory are loaded, best first. If `paths` is
        empty, the best checkpoint in ``cv`` is loaded.

    Returns
    -------
    dict of str to CharRNN
        Models by name, default first.

    Raises
    ------
    MinicharError
        If a file cannot be read or a directory contains no checkpoint.
    """
    files: list[Path] = []
    given = [Path(path) for path in paths]
    for path in given:
        files += all_checkpoints(path) if path.is_dir() else [path]
    models = {}
    for file in files or [find_checkpoint(None)]:
        try:
            model = load_model(file)
        except MinicharError:
            if file in given or file.exists():
                raise
            continue  # deleted after it was listed, for example by ``minichar train --keep``
        models[f"{file.stem}-{sha256(file.read_bytes()).hexdigest()[:8]}"] = model
    return models


def describe(name: str, model: CharRNN) -> ModelInfo:
    """Return the description of a model."""
    origin = model.details.get("origin")
    path = str(origin.get("path", "")) if isinstance(origin, dict) else ""
    vocabulary = model.vocabulary
    return ModelInfo(name, model.summary(), path, vocabulary.characters, vocabulary.unknown, model.reset_on)
