"""`minichar.train`: the command ``minichar train`` as a function."""

import os
from collections.abc import Callable
from contextlib import nullcontext
from difflib import get_close_matches
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Any, get_type_hints

from minichar.api.loading import load, load_on, rows
from minichar.api.model import Model
from minichar.api.progress import Progress
from minichar.checkpoints.naming import find_checkpoint
from minichar.devices.choose import open_backend
from minichar.errors import MinicharError
from minichar.model import CharRNN
from minichar.training import start
from minichar.training.events import Event
from minichar.training.settings import Settings

PathLike = str | os.PathLike[str]


def train(
    data: PathLike | None = None,
    *,
    device: str = "cpu",
    progress: bool = True,
    init_from: PathLike | CharRNN | None = None,
    resume: PathLike | None = None,
    on_event: Callable[[Event], None] | None = None,
    **options: Any,
) -> Model:
    """Train a model on a text and return the best one, with the lowest validation loss.

    Checkpoints are saved to the folder `checkpoint_dir` (``cv`` by default), as ``minichar train``
    does. An interrupted run can continue from the last of them with `resume`.

    Parameters
    ----------
    data : path-like, optional
        A text file, or a folder with ``input.txt``; Python's own help text by default. With `resume`,
        the text that the run was trained on, by default.
    device : str
        ``cpu``, ``gpu``, ``gpu:N``, ``opencl``, ``opencl:N``, or ``auto``: an NVIDIA GPU if there is
        one, else the CPU.
    progress : bool
        Show notes about the text and a line of progress on standard error: losses in nats per
        character, speed, time left.
    init_from : path-like or CharRNN, optional
        Start from the weights of this checkpoint, of the best one in this folder, or of a copy of this
        model, on its device. Characters are matched one by one, so the text may be another one.
    resume : path-like, optional
        Continue the run of this checkpoint, or of the newest one in this folder, exactly where it
        stopped. Its options are kept; those given here replace them.
    on_event : callable, optional
        Called with each `minichar.training.events.Step`, `Evaluated` and `Saved`.
    **options
        The fields of `Settings`, which are the options of ``minichar train``: ``model="gru"``,
        ``rnn_size=256``, ``max_epochs=10``, …

    Returns
    -------
    Model
        Read from the run's checkpoint with the lowest validation loss, or from its last one if there
        is no validation text (``val_frac=0``). Its `Model.history` is that of the whole run.

    Raises
    ------
    TypeError
        If there is no option of that name.
    MinicharError
        If the text cannot be read, an option is out of range, or training fails.
    """
    known = signature(train).parameters
    for name in (name for name in options if name not in known):
        nearest = get_close_matches(name, known, n=1)
        suggestion = f"; did you mean {nearest[0]!r}?" if nearest else ""
        raise TypeError(f"train() has no option {name!r}{suggestion}")
    if init_from is not None and resume is not None:
        raise MinicharError("init_from starts a new run and resume continues one: give only one of them")
    if isinstance(data, str) and "\n" in data:
        raise MinicharError("data must be a path, and it holds a line break: save the text to a file first")
    if data is not None:
        options["data"] = data

    backend = open_backend(device)
    if resume is not None:
        run = start.resume(find_checkpoint(Path(resume), newest=True), options, backend)
    elif init_from is not None:
        source = init_from if isinstance(init_from, CharRNN) else load(init_from, device)
        run = start.begin_from(Settings(**options), source, options)
    else:
        run = start.begin(Settings(**options), backend)

    trainer = run.trainer
    with Progress(run) if progress else nullcontext() as shown:
        for event in trainer.run():
            if shown is not None:
                shown.show(event)
            if on_event is not None:
                on_event(event)

    if trainer.best is None:
        raise MinicharError(
            f"the checkpoints of this run are gone from {trainer.settings.checkpoint_dir}/: "
            "was the folder changed while training?"
        )
    model = load_on(trainer.backend, trainer.best)
    model.details["history"] = rows(trainer.history)
    return model


def documented() -> Signature:
    """Return the signature of `train` with each option and its default in place of ``**options``."""
    *own, _ = signature(train).parameters.values()
    types, defaults = get_type_hints(Settings), Settings().to_json()
    options = [
        Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=types[name])
        for name, default in defaults.items()
        if name != "data"
    ]
    return Signature([*own, *options], return_annotation=Model)


train.__signature__ = documented()  # type: ignore[attr-defined]
