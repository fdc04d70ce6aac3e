"""What a program uses: the names that `minichar` itself has, imported when the first of them is used."""

import os
from collections.abc import Callable
from typing import Any

from minichar.checkpoints.checkpoint import save
from minichar.errors import MinicharError
from minichar.formats.convert import load_model as load
from minichar.model import CharRNN
from minichar.sampling.choice import Choice
from minichar.sampling.generate import generate, generate_many
from minichar.text.vocabulary import Vocabulary
from minichar.training.events import Event
from minichar.training.settings import Settings
from minichar.training.start import begin

__all__ = [
    "CharRNN",
    "Choice",
    "MinicharError",
    "Settings",
    "Vocabulary",
    "generate",
    "generate_many",
    "load",
    "save",
    "train",
]


def train(
    data: str | os.PathLike[str] | None = None,
    on_event: Callable[[Event], None] | None = None,
    **settings: Any,
) -> CharRNN:
    """Train a model and return it, with checkpoints on the way, as ``minichar train`` does.

    Parameters
    ----------
    data : path-like, optional
        A folder with ``input.txt`` or a text file; the built-in text by default.
    on_event : callable, optional
        Is told of every chunk, evaluation and checkpoint (`minichar.training.events`).
    **settings
        Fields of `Settings`, such as ``model="gru"``.

    Returns
    -------
    CharRNN
        With the weights of the last step; the best are in the checkpoint folder.

    Raises
    ------
    MinicharError
        If the text cannot be read, a setting is out of range, or training fails.
    """
    given = {"data": data} | settings
    paths = {name: os.fspath(value) for name, value in given.items() if isinstance(value, os.PathLike)}
    trainer = begin(Settings(**given | paths)).trainer
    for event in trainer.run():
        if on_event is not None:
            on_event(event)
    return trainer.model
