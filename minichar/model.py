"""A model with its configuration, weights and vocabulary.

This module is not in a package, because it joins three of them, the engine, the text and the devices, and all
packages above these share it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import PureWindowsPath
from typing import Any, Self

import numpy as np

from minichar.devices.backend import Backend
from minichar.devices.cpu import CPU, host_generator
from minichar.engine.config import Config, initialise
from minichar.engine.embedding import without_embedding
from minichar.engine.exact import exact
from minichar.engine.network import Network
from minichar.engine.parameters import Parameters
from minichar.errors import LONGEST_PATH, brief, counted
from minichar.history import LARGEST, History
from minichar.text.resets import Resets, find_resets, separator_ids
from minichar.text.vocabulary import Vocabulary

MAX_TITLE = 100
"""Maximum length of a title, in characters."""


@dataclass
class CharRNN:
    """A character-level recurrent network with its vocabulary.

    Attributes
    ----------
    config : Config
    vocabulary : Vocabulary
        ``len(vocabulary) == config.vocab_size``.
    parameters : Parameters
        The weights, with the shapes of ``config.shapes()``.
    details : dict
        JSON-compatible information about training, such as ``val_loss``.
    history : History
        Evaluations made during training; empty if they were not loaded with the model.
    """

    config: Config
    vocabulary: Vocabulary
    parameters: Parameters
    details: dict[str, Any] = field(default_factory=dict)
    history: History = field(default_factory=History)

    @classmethod
    def new(
        cls, config: Config, vocabulary: Vocabulary, seed: int, dtype: str = "float32", backend: Backend = CPU
    ) -> Self:
        """Return a model with random initial weights that depend only on `seed`."""
        parameters = Parameters(config.shapes(), dtype, backend)
        initialise(config, parameters, host_generator(seed))
        return cls(config, vocabulary, parameters)

    def on(self, backend: Backend) -> Self:
        """Return a copy of the model on a device, or the model itself if it is already on that device."""
        here = self.parameters
        if here.backend is backend:
            return self
        there = Parameters(here.shapes, here.dtype, backend)
        there.flat[...] = backend.to_device(here.backend.to_host(here.flat))
        return replace(self, parameters=there)

    def exact(self) -> Self:
        """Return a slower, batch-invariant model: its output for a sequence is the same in every batch."""
        plain = self.without_embedding()
        return replace(plain, parameters=exact(plain.parameters))

    def without_embedding(self) -> Self:
        """Return an equivalent model with one-hot inputs, or the model itself if it has no embedding."""
        if not self.config.embedding:
            return self
        config, parameters = without_embedding(self.config, self.parameters)
        return replace(self, config=config, parameters=parameters)

    def summary(self) -> str:
        """Return a one-line summary, such as ``LSTM, 2 layers of 128, 239,297 parameters``."""
        config = self.config
        layers = f"{counted(config.num_layers, 'layer')} of {config.rnn_size}"
        dropout = f", dropout {config.dropout:g}" if config.dropout else ""
        dropout += f", weight drop {config.weight_drop:g}" if config.weight_drop else ""
        return f"{config.cell.title}, {layers}{dropout}, {self.parameters.size:,} parameters"

    def _part(self, name: str) -> dict[str, Any]:
        """Return a dict in `details`, or an empty one if it is missing or corrupted."""
        part = self.details.get(name)
        return part if isinstance(part, dict) else {}

    def origin(self) -> str:
        """Return a phrase that names the training text, or an empty string if the text is unknown."""
        origin = self._part("origin")
        return f", trained on {brief(origin['path'], LONGEST_PATH)}" if "path" in origin else ""

    @property
    def text_digest(self) -> str | None:
        """The digest of the training text (see `Corpus`); None if unknown."""
        return self.text_digests.get("data")

    @property
    def text_digests(self) -> dict[str, Any]:
        """The digests of the texts that the model was trained with, as in `Corpus.digests`, if known."""
        origin = self._part("origin")
        texts = {"data": origin, "val": origin.get("val"), "test": origin.get("test")}
        return {name: text.get("digest") for name, text in texts.items() if isinstance(text, dict)}

    @property
    def title(self) -> str:
        """The title set for the training run or, by default, the name of the training text; empty if unknown.

        The title is never a full path, because it is shown to users who should not see the server's paths.
        """
        given, path = self._part("settings").get("title"), self._part("origin").get("path")
        if isinstance(given, str) and given.isprintable() and given.strip():
            return given[:MAX_TITLE]
        if not isinstance(path, str):
            return ""
        name = PureWindowsPath(path)  # also splits at forward slashes
        shown = name.parent.name if name.stem == "input" and name.parent.name else name.stem
        return shown[:MAX_TITLE] if shown.isprintable() else ""

    @property
    def seconds(self) -> float | None:
        """Seconds spent in training, including resumed runs; None if unknown."""
        return seconds_of(self.details)

    @property
    def reset_on(self) -> str:
        """The string that triggers a state reset; empty if there is none.

        Raises a `MinicharError` if the setting stored in the model is invalid.
        """
        reset_on = self._part("settings").get("reset_on", "")
        separator_ids(reset_on, self.vocabulary)  # raises an error if the separator is invalid
        return str(reset_on)

    def resets(self, ids: np.ndarray) -> Resets | None:
        """Return the state resets, if any, in the encoded text `ids` ``(N,)``, read as one stream."""
        return find_resets(ids, self.vocabulary.encode(self.reset_on))

    def network(self, T: int, B: int) -> Network:
        """Return a network with the model's weights and with buffers for `T` time steps of `B` sequences."""
        return Network(self.config, self.parameters, T, B)


def seconds_of(details: Mapping[str, Any]) -> float | None:
    """Return the training time in seconds from a checkpoint's details, or None if unknown."""
    seconds = details.get("seconds")
    return seconds if isinstance(seconds, float) and 0 < seconds < LARGEST else None
