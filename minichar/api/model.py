"""`minichar.Model`: a model with the verbs generate, evaluate and save."""

import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

import numpy as np

from minichar.devices.choose import open_backend
from minichar.engine.config import Config
from minichar.engine.network import teacher_forcing
from minichar.errors import MinicharError
from minichar.formats.convert import save_model
from minichar.model import CharRNN
from minichar.sampling.choice import Choice
from minichar.sampling.generate import Unknown, generate
from minichar.text.vocabulary import Vocabulary
from minichar.training.evaluation import Evaluation, evaluate_whole

CHUNK = 100
"""Time steps computed at once by `Model.surprisal`; the result does not depend on it."""


class Model(CharRNN):
    """A character-level language model: a network, its weights, and the characters it knows.

    `load` and `train` return one, and `create` makes one with random weights.

    Attributes
    ----------
    config : Config
        The architecture: ``config.model``, ``config.rnn_size``, ``config.num_layers``, …
    vocabulary : Vocabulary
        The V characters, each with its id.
    parameters : Parameters
        The weights by name, such as ``parameters["readout.W"]`` ``(V, H+1)``, and as one vector,
        ``parameters.flat``.
    details : dict
        How it was trained, as plain JSON values: ``val_loss``, ``epoch``, ``origin``, ``settings``.
    """

    @classmethod
    def create(
        cls,
        vocabulary: Vocabulary,
        *,
        model: str = "lstm",
        rnn_size: int = 128,
        num_layers: int = 2,
        dropout: float = 0.0,
        gru_reset: str = "after",
        seed: int = 123,
        dtype: str = "float32",
        device: str = "cpu",
    ) -> Self:
        """Return an untrained model with random weights.

        Parameters
        ----------
        vocabulary : Vocabulary
        model : {"rnn", "lstm", "gru"}
            The cell, or one that you have registered.
        rnn_size : int
            H, the hidden units of each layer.
        num_layers : int
        dropout : float
            Drop probability while training, in [0, 1).
        gru_reset : {"after", "before"}
            Where a GRU's reset gate acts, after the matrix product or before it.
        seed : int
            The same seed gives the same weights on every device.
        dtype : {"float32", "float64"}
        device : str
            ``cpu``, ``gpu``, ``gpu:N``, ``opencl``, ``opencl:N`` or ``auto``.

        Raises
        ------
        MinicharError
            If a value is out of range, or there is no such device.
        """
        config = Config(len(vocabulary), model, rnn_size, num_layers, dropout, gru_reset)
        return cls.new(config, vocabulary, seed, dtype, open_backend(device))

    @property
    def history(self) -> list[dict[str, Any]]:
        """The measurements of the training run, in order; empty if they are not known.

        Each is a dict: ``iteration`` (chunks trained on), ``epoch``, ``train_loss`` (mean since the
        measurement before, with dropout and scheduled sampling), ``val_loss`` (None without a
        validation text), ``fit_loss`` (on training text, measured as ``val_loss`` is), all in nats per
        character; ``learning_rate`` and ``teacher_forcing_ratio`` of the epoch.
        """
        return list(self.details.get("history", []))

    def stream(
        self,
        prime: str = "",
        length: int = 2000,
        *,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        argmax: bool = False,
        seed: int | None = 123,
        stop: str | Sequence[str] = (),
        unknown: Unknown = "error",
    ) -> Iterator[str]:
        """Yield generated text piece by piece, as soon as each character is drawn.

        Parameters
        ----------
        prime : str
            Text for the model to continue; it is not part of what is generated. By default the model
            starts as after a line break.
        length : int
            How many characters to generate; 0 for no limit.
        temperature : float
            Above 0. Below 1 is safer and more repetitive, above 1 bolder with more mistakes.
        top_k : int
            Draw from the k most likely characters only; 0 for all.
        top_p : float
            Draw from the fewest characters whose probabilities add up to `top_p`; 1 for all.
        argmax : bool
            Always take the most likely character.
        seed : int or None
            The same seed gives the same text; None gives another one each time.
        stop : str or sequence of str
            Strings that end the text; they are not part of it.
        unknown : {"error", "skip", "unk"}
            For characters of `prime` that are not in the vocabulary: raise an error, leave them out, or
            use the vocabulary's unknown id.

        Yields
        ------
        str
            One or more characters.

        Raises
        ------
        MinicharError
            When the first piece is requested, if a value is out of range, or `prime` has characters
            that the model does not know.
        """
        yield from filter(
            None,
            generate(
                self,
                length,
                prime,
                secrets.randbits(32) if seed is None else seed,
                (stop,) if isinstance(stop, str) else stop,
                unknown,
                Choice(temperature, top_k, top_p, argmax),
            ),
        )

    def generate(
        self,
        prime: str = "",
        length: int = 2000,
        *,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        argmax: bool = False,
        seed: int | None = 123,
        stop: str | Sequence[str] = (),
        unknown: Unknown = "error",
    ) -> str:
        """Return generated text: what `stream` yields, joined. The parameters are the same.

        Raises
        ------
        MinicharError
            As `stream`, and if there is neither a length nor a stop string.
        """
        if length == 0 and not any([stop] if isinstance(stop, str) else stop):
            raise MinicharError("length is 0, which means no limit: give a length or stop, or use stream()")
        return "".join(
            self.stream(
                prime,
                length,
                temperature=temperature,
                top_k=top_k,
                top_p=top_p,
                argmax=argmax,
                seed=seed,
                stop=stop,
                unknown=unknown,
            )
        )

    def evaluate(self, text: str, unknown: Unknown = "error") -> Evaluation:
        """Return the loss on a text, read from a zero state.

        Parameters
        ----------
        text : str
            N ≥ 2 characters, of which all but the first are predicted.
        unknown : {"error", "skip", "unk"}
            For characters that are not in the vocabulary: raise an error, leave them out, or use the
            vocabulary's unknown id.

        Returns
        -------
        Evaluation
            Its ``loss`` is the mean in nats per character; ``bits`` and ``perplexity`` are the same in
            other units.

        Raises
        ------
        MinicharError
            If `text` has characters that the model does not know, or fewer than two that it does.
        """
        ids = self.vocabulary.encode(text, unknown)  # (N,)
        if len(ids) < 2:
            raise MinicharError(
                f"the text has {len(ids)} characters that the model knows; to measure a loss takes at least 2"
            )
        return evaluate_whole(self, ids)

    def surprisal(self, text: str, unknown: Unknown = "error") -> np.ndarray:
        """Return how surprising each character of a text is: -ln of its probability given those before.

        Parameters
        ----------
        text : str
            N characters, read from a zero state.
        unknown : {"error", "skip", "unk"}
            As in `evaluate`.

        Returns
        -------
        array of float64, (N,)
            In nats. The first is NaN, since nothing comes before it; so is each character that is
            skipped. ``numpy.nanmean`` of them is ``evaluate(text).loss``, up to rounding.

        Raises
        ------
        MinicharError
            If `text` has characters that the model does not know.
        """
        ids = self.vocabulary.encode(text, unknown).astype(np.intp)  # (n,)
        backend, network = self.parameters.backend, self.network(CHUNK, 1)
        surprisal = []
        for start in range(0, len(ids) - 1, CHUNK):
            targets = ids[start + 1 : start + 1 + CHUNK]  # (m,)
            m = len(targets)
            inputs = backend.to_device(ids[start : start + m, None])  # (m, 1)
            logits = backend.to_host(network.forward(teacher_forcing(inputs), m))[:, :, 0]  # (m, V)
            network.carry()
            logits = logits.astype("float64")
            surprisal.append(np.logaddexp.reduce(logits, axis=1) - logits[np.arange(m), targets])
        read = np.flatnonzero([unknown != "skip" or character in self.vocabulary for character in text])
        result = np.full(len(text), np.nan)  # (N,)
        result[read[1:]] = np.concatenate([*surprisal, []])
        return result

    def save(self, path: str | os.PathLike[str], dtype: str | None = None) -> None:
        """Write the model to a file, replacing any that exists. Training cannot be resumed from it.

        Parameters
        ----------
        path : path-like
            Its suffix decides the format: ``.npz``, ``.safetensors``, ``.pt`` or ``.onnx``.
        dtype : {"float16", "float32", "float64"}, optional
            Of the weights in the file; the model's own by default.

        Raises
        ------
        MinicharError
            If the suffix is another one, a package is missing, a weight is too large for `dtype`, or
            the file cannot be written.
        """
        save_model(self, path, dtype)

    def __repr__(self) -> str:
        return (
            f"minichar.Model: {self.summary()}\n"
            f"  {training_of(self.details)}\n"
            f"  on {self.parameters.backend.name}, {self.parameters.dtype}"
        )


def training_of(details: Mapping[str, Any]) -> str:
    """Return one line on how a model was trained.

    The details come from a file, where they may be missing or of any type.
    """
    origin, epoch, loss = details.get("origin"), details.get("epoch"), details.get("val_loss")
    if not isinstance(origin, dict) or not isinstance(epoch, int | float):
        return "no record of its training"
    measured = (
        f"validation loss {loss:.4f} nats per character" if isinstance(loss, float) else "not validated"
    )
    return f"trained on {origin.get('path')} for {epoch:.2f} epochs, {measured}"
