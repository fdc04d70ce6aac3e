"""The models of a server or worker, loaded at startup."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from minichar.checkpoints.naming import all_checkpoints, find_checkpoint
from minichar.formats.convert import load_model
from minichar.model import CharRNN
from minichar.text.vocabulary import Vocabulary


@dataclass(frozen=True)
class ModelInfo:
    """A description of a model.

    Attributes
    ----------
    name : str
        The file name without its suffix, plus the first 8 digits of the file's SHA-256, so that a
        shared link identifies one particular file.
    summary : str
        Cell, layers, units and number of parameters, for display.
    origin : str
        The path of the training text, or empty if unknown.
    characters : str
        The characters of the vocabulary.
    unknown : bool
        Whether the vocabulary has an id for unknown characters.
    """

    name: str
    summary: str
    origin: str
    characters: str
    unknown: bool

    @property
    def vocabulary(self) -> Vocabulary:
        """The vocabulary."""
        return Vocabulary(self.characters, self.unknown)

    def public(self) -> dict[str, Any]:
        """Return the fields of the schema ``Model``."""
        return {
            "name": self.name,
            "summary": self.summary,
            "origin": self.origin,
            "vocabulary": self.characters,
        }

    def dump(self) -> dict[str, Any]:
        """Return all fields; ``ModelInfo(**info.dump())`` restores the object."""
        return asdict(self)


def load_models(paths: Sequence[str]) -> dict[str, CharRNN]:
    """Load models.

    Parameters
    ----------
    paths : sequence of str
        Files, and folders whose checkpoints are all loaded, the best first. If empty, the best
        checkpoint in ``cv`` is loaded.

    Returns
    -------
    dict of str to CharRNN
        Models by name, the default first.

    Raises
    ------
    MinicharError
        If a file cannot be read, or a folder contains no checkpoint.
    """
    files: list[Path] = []
    for path in map(Path, paths):
        files += all_checkpoints(path) if path.is_dir() else [path]
    models = {}
    for file in files or [find_checkpoint(None)]:
        model = load_model(file)
        models[f"{file.stem}-{sha256(file.read_bytes()).hexdigest()[:8]}"] = model
    return models


def describe(name: str, model: CharRNN) -> ModelInfo:
    """Return the description of a model."""
    origin = model.details.get("origin")
    path = str(origin.get("path", "")) if isinstance(origin, dict) else ""
    vocabulary = model.vocabulary
    return ModelInfo(name, model.summary(), path, vocabulary.characters, vocabulary.unknown)
