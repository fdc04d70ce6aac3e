"""A model: a network's configuration and weights, and the characters they are about."""

from dataclasses import dataclass, field, replace
from typing import Any

from minichar.devices.backend import Backend
from minichar.devices.cpu import CPU, host_generator
from minichar.engine.config import Config, initialise
from minichar.engine.exact import exact
from minichar.engine.network import Network
from minichar.engine.parameters import Parameters
from minichar.text.vocabulary import Vocabulary


@dataclass
class CharRNN:
    """What is sampled from, evaluated, converted and trained further.

    Attributes
    ----------
    config : Config
    vocabulary : Vocabulary
        ``len(vocabulary) == config.vocab_size``.
    parameters : Parameters
        With the shapes of ``config.shapes()``.
    details : dict
        What is known of its making, such as ``val_loss``; plain JSON values.
    """

    config: Config
    vocabulary: Vocabulary
    parameters: Parameters
    details: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def new(
        cls, config: Config, vocabulary: Vocabulary, seed: int, dtype: str = "float32", backend: Backend = CPU
    ) -> "CharRNN":
        """Return a model with fresh random weights; the same seed, the same weights."""
        parameters = Parameters(config.shapes(), dtype, backend)
        initialise(config, parameters, host_generator(seed))
        return cls(config, vocabulary, parameters)

    def exact(self) -> "CharRNN":
        """Return a slower model for writing, whose texts do not depend on how many are written at once."""
        return replace(self, parameters=exact(self.parameters))

    def summary(self) -> str:
        """Say what it is: ``LSTM, 2 layers of 128, 65 characters, 239,297 parameters``."""
        config = self.config
        layers = f"{config.num_layers} layer{'s' if config.num_layers > 1 else ''} of {config.rnn_size}"
        dropout = f", dropout {config.dropout:g}" if config.dropout else ""
        return (
            f"{config.cell.title}, {layers}{dropout}, {config.vocab_size:,} characters, "
            f"{self.parameters.size:,} parameters"
        )

    def origin(self) -> str:
        """Say which text it has learned, as a part of a sentence; nothing where that is not known."""
        origin = self.details.get("origin")
        return f", learned {origin['path']!r}" if isinstance(origin, dict) and "path" in origin else ""

    def network(self, T: int, B: int) -> Network:
        """Return workspaces for `T` steps of `B` sequences over these weights."""
        return Network(self.config, self.parameters, T, B)
