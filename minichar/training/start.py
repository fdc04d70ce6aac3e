"""Start training from random weights, from a trained model, or from a training checkpoint.

settings → text → plan → trainer → checkpoint
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
from math import inf
from pathlib import Path
from secrets import token_hex
from time import monotonic
from typing import Any

from minichar.checkpoints.checkpoint import load_training
from minichar.checkpoints.training_state import TrainingState
from minichar.checks import AUTO
from minichar.devices.backend import Backend
from minichar.devices.chunk_kernel import unused_note
from minichar.devices.cpu import CPU
from minichar.errors import Completed, MinicharError, Option, counted
from minichar.model import CharRNN
from minichar.text.batches import Split
from minichar.text.corpus import Corpus
from minichar.text.ngram import MOST_COUNTED, yardstick
from minichar.training.choose import ARCHITECTURE, automatic_in, config_of, masking
from minichar.training.device import same_kind
from minichar.training.plan import extended, plan, time_left
from minichar.training.recipes import with_cell_of_recipe
from minichar.training.saved import (
    changed_settings,
    check_same_texts,
    choose_checkpoint,
    differences,
    id_of,
    obsolete_latest,
    settings_of,
)
from minichar.training.settings import Settings
from minichar.training.team import ALONE, Team
from minichar.training.text import lay_out_to_train, read_corpus, where_reset
from minichar.training.trainer import Trainer
from minichar.training.transfer import copy_weights, vocabulary_notes

COUNTED_PER_SECOND = 400_000
"""Approximate number of characters that `yardstick` counts per second on an idle core."""


@dataclass(frozen=True)
class Run:
    """A training run that is ready to start."""

    trainer: Trainer
    corpus: Corpus
    notes: tuple[str, ...]  # messages for the user about the text, the model and the choice of device
    changes: dict[str, Any] = field(default_factory=dict)  # settings that differ from the checkpoint's
    chosen: tuple[str, ...] = ()  # settings chosen for this run (`minichar.training.choose`)


def begin(
    settings: Settings,
    *devices: Backend,
    model: CharRNN | None = None,
    given: Iterable[str] = (),
    team: Team = ALONE,
    started: float | None = None,
) -> Run:
    """Start from random weights, which are identical on every device, or from those of a trained model.

    Parameters
    ----------
    settings : Settings
        The architecture settings are replaced by those of the model, if given.
    *devices : Backend
        The run uses the one of these devices that suits its size. The default is the model's device or,
        without a model, the CPU.
    model : CharRNN, optional
        The trained model, which is not modified. Its vocabulary is mapped to that of the new text.
    given : iterable of str
        Names of the settings specified by the user. Architecture settings that the user specified must
        match the model.
    team : Team, optional
        All processes in the team must call this function. The same applies to `resume`.
    started : float, optional
        The time from which the time limit counts, as measured by `time.monotonic`. The default is now.

    Raises
    ------
    MinicharError
        If the text cannot be read, or a setting does not match the model.
    """
    if model is not None:
        architecture = {name: getattr(model.config, name) for name in ARCHITECTURE}
        for name, found in architecture.items():
            wanted = getattr(settings, name)
            if name in given and wanted not in (found, AUTO):
                raise MinicharError(
                    Option(name, wanted),
                    " does not match the ",
                    Option("init_from"),
                    f" model, which has {found}: omit the option to keep the model's value",
                )
        settings = replace(settings, **architecture)
    devices = devices or (CPU if model is None else model.parameters.backend.plain,)
    corpus = read_corpus(settings, team)
    planned = plan(settings, corpus, devices, team, started or monotonic(), model is None)
    chosen, notes, config = (
        planned.settings,
        planned.notes,
        config_of(planned.settings, len(corpus.vocabulary)),
    )
    new = CharRNN.new(config, corpus.vocabulary, chosen.seed, chosen.dtype, planned.device)
    if model is not None:
        copy_weights(model, new)
        notes += vocabulary_notes(model.vocabulary, corpus.vocabulary)
    run = _run(new, chosen, corpus, planned.split, notes, team)
    run.trainer.timetable.most_epochs = planned.most_epochs
    return replace(run, chosen=automatic_in(settings))


def resume(
    path: Path,
    changes: dict[str, Any],
    *devices: Backend,
    team: Team = ALONE,
    started: float | None = None,
) -> Run:
    """Resume a run exactly where its checkpoint left off.

    With a new time limit, the run ends after as many steps as fit into the time.

    Parameters
    ----------
    path : Path
        A checkpoint, or a directory. In a directory, the newest readable checkpoint is used
        (`minichar.checkpoints.choosing`).
    changes : dict
        Settings to change. By default, new checkpoints are saved in the directory of the resumed checkpoint.
        Old checkpoints are not deleted, except for an obsolete one that the run saved between evaluations.
    *devices : Backend
        The run uses the first device of the same kind as the one that saved the checkpoint or, if there is
        none, the first device. The default is the CPU.

    Raises
    ------
    Completed
        If the run reached its last step or was stopped early by `patience`.
    MinicharError
        If the checkpoint cannot be resumed, if one of its texts is missing or has changed, or if `changes`
        contains a different value for one of the `FIXED` settings.
    """
    devices, changes = devices or (CPU,), with_cell_of_recipe(changes)
    load = cache(load_training)  # each process reads the training state once
    # Let rank 0 choose: a network file system may list different checkpoints on different machines.
    path, notes, rewound = team.lead(lambda: choose_checkpoint(path, load))
    model, training = load(path)
    progress = training.progress
    backend, chosen = same_kind(devices, progress.device)
    backend.limit_threads(progress.threads)
    saved = settings_of(model, path)
    settings = changed_settings(saved, changes, path)
    corpus = read_corpus(settings, team)
    check_same_texts(corpus, model, path)
    split = lay_out_to_train(corpus, settings)
    extends = bool(changes.get("max_time")) and changes.get("max_epochs") is AUTO
    if extends:
        begun = started or monotonic()
        epochs = extended(settings, corpus, split, backend, team, begun, progress.iteration)
        settings, changes = replace(settings, max_epochs=epochs), {**changes, "max_epochs": epochs}
    model = replace(model.on(backend), config=replace(model.config, **masking(settings)))
    notes += [*chosen, *differences(progress.device, backend.kind, settings)]
    run_id = new_id() if rewound else id_of(model) or new_id()  # a rewound run is another run
    run = _run(model, settings, corpus, split, notes, team, run_id, training)
    saver, timetable = run.trainer.saver, run.trainer.timetable
    saver.resumed = saver.last = path
    saver.latest = obsolete_latest(path, model, settings, progress.iteration)
    if extends:
        timetable.most_epochs = inf
    _check_unfinished(run, changes, path)
    changed = {name: value for name in changes if (value := getattr(settings, name)) != getattr(saved, name)}
    return replace(run, changes=changed, chosen=("max_epochs",) if extends else ())


def _check_unfinished(run: Run, changes: Mapping[str, Any], path: Path) -> None:
    """Raise `Completed` if there is nothing left to train in the run resumed from `path`."""
    trainer, at = run.trainer, f"epoch {run.trainer.epoch:.2f}"
    if trainer.iteration >= trainer.iterations:
        if changes.get("max_epochs") is AUTO:
            end = f"{path} is at the end of its run, {at}: to train for 10 more minutes, add "
            raise Completed(end, Option("max_time", "10m"))
        set_larger = f" is {trainer.settings.max_epochs:g}: set a larger value to continue, or "
        raise Completed(f"{path} is at {at}, and ", Option("max_epochs"), set_larger, Option("max_time"))
    if reason := trainer.timetable.reason_to_end():
        set_higher = f" is {trainer.settings.patience}: set a larger value, or 0, to continue"
        raise Completed(f"{path}: {reason}, and ", Option("patience"), set_higher)


def with_mode_notes(run: Run, tf32: bool, chunk_kernel: bool) -> Run:
    """Return `run`, with a note added for each requested GPU mode that has no effect."""
    trainer, settings = run.trainer, run.trainer.settings
    samples = settings.use_ss and settings.start_ss < 1.0
    uses_kernel = trainer.step.network.uses_kernel and trainer.split.train.resets is None and not samples
    tf32_note = trainer.backend.tf32_note(settings.dtype) if tf32 else ""
    kernel_note = unused_note(trainer.backend) if chunk_kernel and not uses_kernel else ""
    return replace(run, notes=(*run.notes, *filter(None, (tf32_note, kernel_note))))


def new_id() -> str:
    """Return a random identifier for a run. A run of the same command is another run."""
    return token_hex(8)


def with_yardstick(run: Run, team: Team = ALONE, started: float | None = None) -> Run:
    """Measure the yardstick on the validation text, unless the checkpoint has it, and return the run.

    It is stored in the checkpoints of the run. Without validation text or enough memory, there is none. With
    a time limit, fewer characters are counted, so that on an idle core, it takes less than a tenth of the
    time that is left. For `started`, see `begin`.
    """
    trainer, split = run.trainer, run.trainer.split
    val = split.val.part(0, len(trainer.val))
    if trainer.yardstick is None and len(val):
        V, left = len(run.corpus.vocabulary), time_left(trainer.settings, started or monotonic())
        most = min(MOST_COUNTED, COUNTED_PER_SECOND * left.seconds / 10) if left else MOST_COUNTED
        with suppress(MemoryError):
            trainer.yardstick = team.lead(lambda: yardstick(split.train.streams, val.streams, V, int(most)))
    return run


def _run(
    model: CharRNN,
    settings: Settings,
    corpus: Corpus,
    split: Split,
    notes: Iterable[str],
    team: Team,
    run_id: str = "",
    resumed: TrainingState | None = None,
) -> Run:
    texts = {name: {"path": text.path, "digest": text.digest} for name, text in corpus.texts.items()}
    origin = texts.pop("data") | texts
    trainer = Trainer(model, split, settings, origin, run_id or new_id(), resumed, team)
    found = [*corpus.notes, *split.notes]
    if len(trainer.val) < len(split.val):
        found.append(f"each evaluation uses {len(trainer.val):,} of {len(split.val):,} validation chunks")
    if split.train.resets is not None:
        resets = counted(split.train.resets.count(), "reset")
        found.append(f"the state is reset {where_reset(corpus, settings)}: {resets} in the text")
    return Run(trainer, corpus, (*found, *notes))
