"""`minichar.Model`: generate text with a model, evaluate it and save it."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np

from minichar.api.keywords import suggesting
from minichar.api.surprisal import Surprisal
from minichar.checks import FILE_NAME, checked, taking, wrong
from minichar.devices.choose import open_backend
from minichar.devices.cpu import host_generator
from minichar.engine.config import Config
from minichar.errors import MinicharError
from minichar.formats.convert import save_model
from minichar.model import CharRNN
from minichar.sampling import generate as sampling
from minichar.sampling.choice import Choice
from minichar.sampling.generate import Generation, Unknown, generate, prime_ids
from minichar.sampling.streams import Stream, Streams
from minichar.text.vocabulary import Vocabulary, checked_vocabulary
from minichar.training.evaluation import Evaluation, evaluate_streams
from minichar.training.settings import Settings


@suggesting
def save(path: str | os.PathLike[str], model: CharRNN, dtype: str | None = None) -> None:
    """Save a model without its training state. An existing file is overwritten.

    An ``.npz`` file also contains the model's training history.

    Parameters
    ----------
    path : path-like
        Output file. The suffix determines the format: ``.npz``, ``.safetensors``, ``.pt``, ``.onnx`` or
        ``.html``.
    model : CharRNN
    dtype : {"float16", "float32", "float64"}, optional
        Data type of the weights in the file; by default, the model's dtype. An ``.html`` page always
        stores float16 weights.

    Raises
    ------
    MinicharError
        If an argument is invalid, the suffix is not supported, a package is missing, a weight is too large
        for `dtype`, or the file cannot be written.
    """
    if not isinstance(model, CharRNN):
        raise wrong("model", model, "a model")
    save_model(model, checked("path", path, Path, FILE_NAME), dtype)


@suggesting
@taking(Generation)
def generate_many(model: CharRNN, num_samples: int, **options: Any) -> Iterator[list[str]]:
    """Generate samples in one batch, and yield the new text of each, without the prompt, at every step.

    With the same seed, the first sample equals the output of `Model.generate`: exactly for an exact model
    (`CharRNN.exact`), otherwise up to rounding in the matrix products.

    This example collects the complete texts of four samples (`length` must not be 0)::

        steps = generate_many(model, 4, length=200, temperature=0.5)
        texts = ["".join(pieces) for pieces in zip(*steps)]

    Parameters
    ----------
    model : CharRNN
    num_samples : int
    {options}

    Raises
    ------
    MinicharError
        If `prime` contains unknown characters and `unknown` is ``error``, or a value is out of range.
    """
    return sampling.generate_many(model, num_samples, Generation(**options))


CHUNK = 100  # time steps per forward pass in `surprisal`; does not affect the result


class Model(CharRNN):
    """Character-level language model: architecture, weights and vocabulary.

    Use `load` or `train` to get a trained model, and `create` to get one with random weights.

    Attributes
    ----------
    config : Config
        Architecture, for example ``config.model`` and ``config.rnn_size``.
    vocabulary : Vocabulary
        The V characters and their ids.
    parameters : Parameters
        Weights, accessible by name, as in ``parameters["readout.W"]`` ``(V, H+1)``, and as a flat vector,
        ``parameters.flat``.
    details : dict
        Training information as JSON-compatible values: ``val_loss``, ``epoch``, ``seconds``, ``origin``,
        ``settings``, ``run``, ``yardstick``.
    history : History
        Evaluations made during training, oldest first; empty if the model has no training history. It is a
        sequence with one dict per evaluation: ``history[-1]["val_loss"]`` is the last validation loss, and
        ``history["val_loss"]`` is an array of all validation losses, with NaN instead of None.
        ``iteration`` is the number of training chunks so far, and ``epoch`` is the number of epochs. All
        losses are in nats per character. ``train_loss`` is the mean loss since the previous evaluation, with
        dropout and scheduled sampling. ``val_loss`` is the validation loss, and ``fit_loss`` is the loss on
        training text, measured in the same way. They are None if they were not measured because there is no
        validation data or the time limit was reached.
        ``learning_rate`` and ``teacher_forcing_ratio`` are the values at the last step before the evaluation.
    """

    @classmethod
    @suggesting
    def create(
        cls,
        vocabulary: Vocabulary,
        *,
        model: str = "lstm",
        rnn_size: int = 128,
        num_layers: int = 2,
        dropout: float = 0.0,
        weight_drop: float = 0.0,
        embedding: int = 0,
        layer_norm: bool = False,
        tied: bool = False,
        seed: int = 123,
        dtype: str = "float32",
        device: str = "cpu",
    ) -> Self:
        """Create an untrained model with random weights.

        Parameters
        ----------
        vocabulary : Vocabulary
        model : {"rnn", "lstm", "gru", "gru-reset-before"}
            Cell type, or the name of a cell that you registered.
        rnn_size, num_layers : int
            Number of hidden units per layer, H, and number of stacked layers, L.
        dropout, weight_drop, embedding, layer_norm, tied
            See `minichar.engine.config.Config`.
        seed : int
            Random seed. The same seed gives the same weights on every device.
        dtype : {"float32", "float64"}
            Data type of the weights.
        device : str
            ``cpu``, ``gpu``, ``gpu:N``, ``opencl``, ``opencl:N`` or ``auto``.

        Raises
        ------
        MinicharError
            If a value is out of range, or the device is not available.
        """
        Settings(seed=seed, dtype=dtype)  # raises if either is invalid
        sizes = len(checked_vocabulary(vocabulary)), model, rnn_size, num_layers
        config = Config(*sizes, dropout, weight_drop, embedding, layer_norm, tied)
        return cls.new(config, vocabulary, seed, dtype, open_backend(device))

    @suggesting
    @taking(Generation)
    def stream(self, prime: str = "", length: int = 2000, **options: Any) -> Iterator[str]:
        """Yield text as it is generated, without the prompt.

        Without a prompt, generation starts after a newline or, for a model trained with ``reset_on``, after
        that string. If the vocabulary contains no newline, the first character is drawn uniformly.

        Parameters
        ----------
        {options}

        Yields
        ------
        str
            One or more characters.

        Raises
        ------
        MinicharError
            On the first iteration, if a value is out of range or `prime` contains characters
            that are not in the vocabulary.
        """
        yield from filter(None, generate(self, Generation(prime=prime, length=length, **options)))

    @suggesting
    @taking(Generation)
    def generate(self, prime: str = "", length: int = 2000, **options: Any) -> str:
        """Generate text and return it as one string, without the prompt. For details, see `stream`.

        Parameters
        ----------
        {options}

        Raises
        ------
        MinicharError
            If a value is out of range, `prime` contains characters that are not in the vocabulary, or
            `length` is 0 and there is no stop string.
        """
        wanted = Generation(prime=prime, length=length, **options)
        if wanted.length == 0 and not any(wanted.stop):
            raise MinicharError("length=0 means no limit: set length or stop, or use stream()")
        return "".join(generate(self, wanted))

    @suggesting
    def evaluate(self, text: str, unknown: Unknown = "error") -> Evaluation:
        """Compute the loss on `text`, starting from a zero state.

        Parameters
        ----------
        text : str
            Text of N ≥ 2 characters. The model predicts all characters except the first.
        unknown : {"error", "skip", "unk"}
            How to handle unknown characters: raise an error, skip them, or use the unknown token.

        Returns
        -------
        Evaluation
            The mean ``loss`` in nats per character, also available as ``bits`` and ``perplexity``.

        Raises
        ------
        MinicharError
            If `text` contains characters that are not in the vocabulary, or fewer than two known characters.
        """
        ids = self.vocabulary.encode(checked("text", text, str), unknown)  # (N,)
        if len(ids) < 2:
            raise MinicharError(f"text has too few known characters ({len(ids)}): at least 2 are required")
        return evaluate_streams(self, ids[None], resets=self.resets(ids))

    @suggesting
    def surprisal(self, text: str, unknown: Unknown = "error") -> np.ndarray:
        """Compute the surprisal of each character, -ln p(character | preceding text).

        Parameters
        ----------
        text : str
            Text of N characters. The model starts from a zero state.
        unknown : {"error", "skip", "unk"}
            As in `evaluate`.

        Returns
        -------
        array of float64, (N,)
            Surprisal in nats; NaN for the first character, which has no context, and for skipped characters.
            ``numpy.nanmean`` of this array equals ``evaluate(text).loss`` up to rounding. A notebook displays
            the array as the text, coloured by surprisal.

        Raises
        ------
        MinicharError
            If `text` contains characters that are not in the vocabulary.
        """
        ids = self.vocabulary.encode(checked("text", text, str), unknown).astype(np.intp)  # (n,)
        backend, network, resets = self.parameters.backend, self.network(CHUNK, 1), self.resets(ids)
        surprisal = []
        for start in range(0, len(ids) - 1, CHUNK):
            targets = ids[start + 1 : start + 1 + CHUNK]  # (m,)
            m = len(targets)
            network.set_state_mask(resets.state_mask(start, m) if resets else None)
            inputs = backend.to_device(ids[start : start + m, None])  # (m, 1)
            logits = backend.to_host(network.forward(inputs, m))[:, :, 0]  # (m, V)
            network.carry()
            logits = logits.astype("float64")
            logits -= np.max(logits, axis=1, keepdims=True)  # so that exp cannot overflow
            surprisal.append(np.log(np.sum(np.exp(logits), axis=1)) - logits[np.arange(m), targets])
        read = np.flatnonzero([unknown != "skip" or character in self.vocabulary for character in text])
        result = np.full(len(text), np.nan)  # (N,)
        result[read[1:]] = np.concatenate([*surprisal, []])
        return Surprisal(result, text)

    @suggesting
    def predict(
        self, text: str = "", *, temperature: float = 1.0, unknown: Unknown = "error"
    ) -> dict[str, float]:
        """Return the probability of each possible next character.

        `generate` draws the first character of its output from this distribution if `text` is the prompt. The
        unknown token, which is never generated, is excluded.

        Parameters
        ----------
        text : str
            Text to continue, as `prime` in `generate`.
        temperature : float
            As in `generate`.
        unknown : {"error", "skip", "unk"}
            How to handle characters in `text` that are not in the vocabulary.

        Returns
        -------
        dict of str to float
            The probabilities, which sum to 1, by character, the most likely first.

        Raises
        ------
        MinicharError
            If `temperature` is not positive, or `text` contains characters that are not in the vocabulary.
        """
        choice, streams = Choice(temperature), Streams(self)
        prime = prime_ids(self.vocabulary, checked("text", text, str), unknown, self.reset_on)
        streams.join(Stream(prime, choice, host_generator(0)))
        logits = next(logits for _, ids, logits in iter(streams.step, None) if len(ids))  # (V, 1)
        characters = self.vocabulary.characters  # without the unknown token
        weights = choice.weights(logits)[: len(characters), 0]  # (V,)
        p = (weights / weights.sum()).tolist()  # (V,)
        return {characters[k]: p[k] for k in np.argsort(-weights, kind="stable").tolist()}

    @suggesting
    def save(self, path: str | os.PathLike[str], dtype: str | None = None) -> None:
        """Save the model without its training state. For the parameters and errors, see `minichar.save`."""
        save(path, self, dtype)

    @property
    def device(self) -> str:
        """Name of the device that stores the weights, such as ``cpu`` or ``gpu:0``."""
        return self.parameters.backend.name

    def __repr__(self) -> str:
        return (
            f"minichar.Model: {self.summary()}\n"
            f"  {training_of(self.details)}\n"
            f"  on {self.device}, {self.parameters.dtype}"
        )


def training_of(details: Mapping[str, Any]) -> str:
    """Return a one-line description of how a model was trained.

    Entries of `details` may be missing or of any type, because they are read from a file.
    """
    origin, epoch, loss = details.get("origin"), details.get("epoch"), details.get("val_loss")
    if not isinstance(origin, dict) or not isinstance(epoch, int | float):
        return "no training record"
    result = f"validation loss {loss:.4f} nats per character" if isinstance(loss, float) else "not validated"
    return f"trained on {origin.get('path')} for {epoch:.2f} epochs, {result}"
