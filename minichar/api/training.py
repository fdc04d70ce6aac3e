"""`minichar.train`, the Python equivalent of the ``minichar train`` command."""

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from itertools import chain
from pathlib import Path
from time import monotonic
from typing import Any

from minichar.api.keywords import check_keywords
from minichar.api.loading import load, load_on
from minichar.api.model import Model
from minichar.api.progress import Progress
from minichar.checks import FILE_NAME, checked, taking
from minichar.devices.choose import open_backend, open_devices
from minichar.errors import MinicharError
from minichar.formats.convert import check_resumable
from minichar.model import CharRNN
from minichar.training import start
from minichar.training.events import Event
from minichar.training.final import measure_files
from minichar.training.recipes import settings_from
from minichar.training.settings import Settings

PathLike = str | os.PathLike[str]


@taking(Settings)
def train(
    data: PathLike | Sequence[PathLike] | None = None,
    *,
    device: str = "cpu",
    progress: bool = True,
    init_from: PathLike | CharRNN | None = None,
    resume: PathLike | None = None,
    on_event: Callable[[Event], None] | None = None,
    tf32: bool = False,
    chunk_kernel: bool = False,
    **options: Any,
) -> Model:
    """Train a model on text and return the model with the lowest validation loss.

    Checkpoints are saved in the directory `checkpoint_dir` (``cv`` by default), as with
    ``minichar train``. Use `resume` to continue an interrupted run from its last checkpoint.

    Parameters
    ----------
    data : path-like or sequence of path-like, optional
        A text file, or a directory containing ``input.txt`` or other ``.txt`` files (joined in file-name
        order). Several texts are joined in the given order. The default is Python's bundled help text or,
        with `resume`, the run's training text.
    device : str
        Device to compute on: ``cpu``, ``gpu``, ``gpu:N``, ``opencl``, ``opencl:N``, or ``auto`` (an
        NVIDIA GPU if each step is large enough, otherwise the CPU; with `resume`, the type of device that
        was used before).
    progress : bool
        Whether to print notes about the text, a progress line (losses in nats per character, speed and
        remaining time) and the losses on the files `val` and `test`, if any, to standard error.
    init_from : path-like or CharRNN, optional
        Source of the initial weights: a checkpoint, a directory of checkpoints (the best one is used), or a
        model (its weights are copied, and training runs on its device). Embedding, input and readout weights
        are matched by character, so the new text may contain different characters.
    resume : path-like, optional
        Checkpoint from which to continue a run, or a directory of checkpoints (the newest one is used). The
        run continues exactly from the training state in the checkpoint. Options that you do not pass keep
        the original run's values.
    on_event : callable, optional
        Called with each event of the run; see `minichar.training.events`.
    tf32 : bool
        Whether an NVIDIA GPU may compute float32 matrix products in TF32, which rounds operands to a 10-bit
        mantissa. With TF32, losses differ from CPU losses by more than float32 rounding error. The
        returned model does not use TF32. Like `device`, `tf32` is not stored in checkpoints, so pass it
        again when you resume a run.
    chunk_kernel : bool
        Whether an NVIDIA GPU may run all time steps of a layer in one kernel, which has been executed only
        on the CPU and never timed. ``minichar train --help-all`` lists the conditions. Like `device`,
        `chunk_kernel` is not stored in checkpoints.
    **options
        Options of ``minichar train``, which `Settings` describes, for example ``model="gru"``,
        ``rnn_size=256`` or ``max_epochs=10``. Options that you do not pass take their values from the
        recipe, which is ``quick`` by default. To select another recipe, pass its name, such as
        ``recipe="laptop"``.

    Returns
    -------
    Model
        Model loaded from the checkpoint with the lowest validation loss or, if none was measured (as with
        ``val_frac=0``), from the last checkpoint. The model is on the device that it was trained on.
        `Model.history` covers the entire run.

    Raises
    ------
    TypeError
        If an option does not exist.
    MinicharError
        If the text cannot be read, an option is out of range, or training fails.
    """
    started = monotonic()
    check_keywords(train, options)
    if init_from is not None and resume is not None:
        raise MinicharError(
            "init_from and resume are mutually exclusive: init_from starts a new run, resume continues one"
        )
    if isinstance(data, str) and "\n" in data:
        raise MinicharError("data contains a newline, but must be a path: save the text to a file first")
    if data is not None:
        options["data"] = data

    if isinstance(init_from, CharRNN):
        device = init_from.parameters.backend.name
    devices = open_devices(device, tf32)
    with ExitStack() as stack:
        for one in devices:
            one.uses_chunk_kernel = chunk_kernel
            if progress:
                one.announce = lambda notice: print(f"note: {notice}", file=sys.stderr)
            stack.callback(one.limit_threads, 0)  # the limit is only for this run
        if resume is not None:
            path = checked("resume", resume, Path, FILE_NAME)
            check_resumable(path)
            run = start.resume(path, options, *devices, started=started)
        elif init_from is not None:
            source = init_from if isinstance(init_from, CharRNN) else load(init_from, device)
            settings = settings_from({"model": source.config.model, **options})
            run = start.begin(settings, *devices, model=source, given=options, started=started)
        else:
            run = start.begin(settings_from(options), *devices, started=started)
        run = start.with_mode_notes(run, tf32, chunk_kernel)

        trainer = run.trainer
        with Progress(run) if progress else nullcontext() as shown:
            last = measure_files(run) if progress or on_event else ()
            for event in chain(trainer.run(started), last):
                if shown is not None:
                    shown.show(event)
                if on_event is not None:
                    on_event(event)

        if trainer.best is None:
            raise MinicharError(
                f"this run's checkpoints no longer exist in {trainer.settings.checkpoint_dir}/: "
                "do not change the directory during training"
            )
        has_modes = tf32 or chunk_kernel
        model = load_on(open_backend(trainer.backend.name) if has_modes else trainer.backend, trainer.best)
        model.history = trainer.history
        return model
