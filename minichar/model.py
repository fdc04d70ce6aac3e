"""A model with its configuration, weights and vocabulary."""

from dataclasses import dataclass, field, replace
from typing import Any, Self

from minichar.devices.backend import Backend
from minichar.devices.cpu import CPU, host_generator
from minichar.engine.config import Config, initialise
from minichar.engine.exact import exact
from minichar.engine.network import Network
from minichar.engine.parameters import Parameters
from minichar.text.vocabulary import Vocabulary


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
        Information about training, such as ``val_loss``, as JSON-compatible values.
    """

    config: Config
    vocabulary: Vocabulary
    parameters: Parameters
    details: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def new(
        cls, config: Config, vocabulary: Vocabulary, seed: int, dtype: str = "float32", backend: Backend = CPU
    ) -> Self:
        """Return a model with random initial weights that depend only on `seed`."""
        parameters = Parameters(config.shapes(), dtype, backend)
        initialise(config, parameters, host_generator(seed))
        return cls(config, vocabulary, parameters)

    def exact(self) -> Self:
        """Return a slower model whose output for each sequence does not depend on the rest of the batch."""
        return replace(self, parameters=exact(self.parameters))

    def summary(self) -> str:
        """Return a one-line summary: ``LSTM, 2 layers of 128, 65 characters, 239,297 parameters``."""
        config = self.config
        layers = f"{config.num_layers} layer{'s' if config.num_layers > 1 else ''} of {config.rnn_size}"
        dropout = f", dropout {config.dropout:g}" if config.dropout else ""
        return (
            f"{config.cell.title}, {layers}{dropout}, {config.vocab_size:,} characters, "
            f"{self.parameters.size:,} parameters"
        )

    def origin(self) -> str:
        """Return a phrase that names the training text, or an empty string if the text is unknown."""
        origin = self.details.get("origin")
        return f", trained on {origin['path']!r}" if isinstance(origin, dict) and "path" in origin else ""

    def network(self, T: int, B: int) -> Network:
        """Return a network that uses these weights, with buffers for `T` time steps of `B` sequences."""
        return Network(self.config, self.parameters, T, B)
