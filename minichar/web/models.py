"""The models of a server or a worker, loaded when it starts."""

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
    """What a visitor is told of a model.

    Attributes
    ----------
    name : str
        The file's name without its suffix, and the beginning of its SHA-256: a share link means this
        file and no other.
    summary, origin : str
    characters : str
        Its vocabulary.
    unknown : bool
        Whether it has an id for all others.
    """

    name: str
    summary: str
    origin: str
    characters: str
    unknown: bool

    @property
    def vocabulary(self) -> Vocabulary:
        """Its characters with their ids."""
        return Vocabulary(self.characters, self.unknown)

    def shown(self) -> dict[str, Any]:
        """Return it as the schema ``Model`` has it."""
        return {
            "name": self.name,
            "summary": self.summary,
            "origin": self.origin,
            "vocabulary": self.characters,
        }

    def dump(self) -> dict[str, Any]:
        """Return its fields, from which it can be made again."""
        return asdict(self)


def load_models(given: Sequence[str]) -> dict[str, CharRNN]:
    """Return models by their names, the default first.

    Parameters
    ----------
    given : sequence of str
        Files, and folders of which all checkpoints are taken, the best first. None: the best in ``cv``.

    Raises
    ------
    MinicharError
        If a file cannot be read, or a folder holds no checkpoint.
    """
    paths = [path for one in given for path in (all_checkpoints(one) if Path(one).is_dir() else [Path(one)])]
    models = {}
    for path in paths or [find_checkpoint(None)]:
        model = load_model(path)
        models[f"{path.stem}-{sha256(path.read_bytes()).hexdigest()[:8]}"] = model
    return models


def describe(name: str, model: CharRNN) -> ModelInfo:
    """Return what a visitor is told of a model."""
    origin = model.details.get("origin")
    learned = str(origin.get("path", "")) if isinstance(origin, dict) else ""
    vocabulary = model.vocabulary
    return ModelInfo(name, model.summary(), learned, vocabulary.characters, vocabulary.unknown)
