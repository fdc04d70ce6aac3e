"""Models that a server or worker loads at startup."""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from hashlib import sha256
from math import log
from pathlib import Path
from typing import Any

from minichar.checkpoints.choosing import all_checkpoints, find_checkpoint, record_of
from minichar.errors import MinicharError
from minichar.formats.convert import load_model
from minichar.history import LARGEST
from minichar.model import CharRNN
from minichar.text.vocabulary import Vocabulary


@dataclass(frozen=True)
class ModelInfo:
    """Description of a model.

    Its name is the file name without its suffix, followed by the first 8 hexadecimal digits of the file's
    SHA-256 hash, so that a shared link identifies a specific file. `loss` is in nats per character, and
    `unknown` is whether the vocabulary has an unknown token.
    """

    name: str
    summary: str
    title: str
    cell: str
    layers: int
    units: int
    parameters: int
    loss: float | None
    characters: str
    unknown: bool
    reset_on: str = ""
    seconds: float | None = None

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The vocabulary."""
        return Vocabulary(self.characters, self.unknown)

    @property
    def entropy(self) -> float:
        """Typical surprisal of a character, in nats, to which the web page scales its colours."""
        return self.loss or log(len(self.characters) + self.unknown) / 2

    def public(self) -> dict[str, Any]:
        """Return the fields of the API's ``Model`` schema."""
        fields = asdict(self) | {"entropy": self.entropy, "vocabulary": self.characters}
        return {name: fields[name] for name in fields.keys() - {"characters", "unknown", "reset_on"}}


def load_models(paths: Sequence[Path]) -> dict[str, CharRNN]:
    """Load models from files and directories, and return them by name, starting with the default model.

    For a directory, the best checkpoint of each run is loaded, best first (`all_checkpoints`).
    Checkpoints that do not record their run count as one run. If `paths` is empty, the
    best checkpoint in ``cv`` is loaded.
    """
    given = [Path(path) for path in paths] or [find_checkpoint(None)]
    models: dict[str, CharRNN] = {}
    for path in given:
        files, runs = all_checkpoints(path) if os.path.isdir(path) else [path], set[str | None]()
        for file in files:
            try:
                model = load_model(file)
            except MinicharError:
                if file == path or file.exists():
                    raise
                continue  # the file has since been deleted, for example by ``minichar train --keep``
            record = record_of(model.details)
            if (run := record.id if record else None) not in runs:
                runs.add(run)
                models[f"{file.stem}-{sha256(file.read_bytes()).hexdigest()[:8]}"] = model
    return models


def describe(name: str, model: CharRNN) -> ModelInfo:
    """Return the description of a model."""
    config, vocabulary, loss = model.config, model.vocabulary, model.details.get("val_loss")
    return ModelInfo(
        name,
        model.summary(),
        model.title,
        config.model,
        config.num_layers,
        config.rnn_size,
        model.parameters.size,
        loss if isinstance(loss, float) and 0 < loss < LARGEST else None,
        vocabulary.characters,
        vocabulary.unknown,
        model.reset_on,
        model.seconds,
    )
