"""Start training from random weights, from a trained model, or from a training checkpoint."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from math import inf
from pathlib import Path
from secrets import token_hex
from time import monotonic
from typing import Any

from minichar.checkpoints.checkpoint import load_training
from minichar.checkpoints.choosing import checkpoints_in, newest_first, newest_in, record_of
from minichar.checkpoints.naming import is_latest, latest_path
from minichar.checkpoints.training_state import TrainingState
from minichar.checks import AUTO
from minichar.devices.backend import Backend
from minichar.devices.chunk_kernel import unused_note
from minichar.devices.cpu import CPU
from minichar.errors import Completed, MinicharError, Option, brief, counted, listed, plain, quoted
from minichar.model import CharRNN
from minichar.text.batches import Split
from minichar.text.corpus import Corpus
from minichar.text.ngram import MOST_COUNTED, yardstick
from minichar.training.choose import ARCHITECTURE, CHOOSERS, config_of, masking
from minichar.training.device import same_kind
from minichar.training.plan import extended, plan, time_left
from minichar.training.recipes import check_effect, with_cell_of_recipe
from minichar.training.settings import HELD_OUT, READING, TEXTS, Settings
from minichar.training.team import ALONE, Team
from minichar.training.text import (
    SPECIFY,
    USED,
    check_text,
    lay_out_to_train,
    read_corpus,
    where_reset,
)
from minichar.training.trainer import Trainer
from minichar.training.transfer import copy_weights, vocabulary_notes

FIXED = (
    "recipe",
    *ARCHITECTURE,
    *READING,
    "max_val_chunks",
    "seq_length",
    "batch_size",
    "seed",
    "dtype",
)
"""Settings that cannot be changed when a run is resumed."""
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
    # Let rank 0 choose: a network file system may list different checkpoints on different machines.
    path, notes, rewound = team.lead(lambda: _choose(path))
    model, training = load_training(path, devices[0])
    backend, chosen = same_kind(devices, training.progress.device)
    if backend is not devices[0]:
        model, training = load_training(path, backend)
    notes += chosen
    backend.limit_threads(training.progress.threads)
    saved = settings_of(model, path)
    settings = replace(saved, **{"checkpoint_dir": path.parent} | changes)
    automatic = [*automatic_in(settings), *(name for name in HELD_OUT if getattr(settings, name) is AUTO)]
    settings = replace(settings, **{name: getattr(saved, name) for name in automatic})
    for name in FIXED:
        if name in changes and (value := getattr(settings, name)) != getattr(saved, name):
            # A model can be fine-tuned with other settings, but not with another architecture.
            fine_tune = ("start a new run with ", Option("init_from"))
            raise MinicharError(
                Option(name, value),
                f" cannot be used to resume {path}, which has ",
                Option(name, has) if isinstance(has := getattr(saved, name), bool) else plain(has),
                ": omit the option, or ",
                *(("train a new model",) if name in ARCHITECTURE else fine_tune),
            )
    check_effect(settings, changes)
    for name in TEXTS:
        if name not in changes:
            check_text(settings, path, ("specify the text with ", Option(name)), name)
    corpus = read_corpus(settings, team)
    check_same_texts(corpus, model, path)
    split = lay_out_to_train(corpus, settings)
    extends = bool(changes.get("max_time")) and changes.get("max_epochs") is AUTO
    if extends:
        iteration, begun = training.progress.iteration, started or monotonic()
        epochs = extended(settings, corpus, split, backend, team, begun, iteration)
        settings, changes = replace(settings, max_epochs=epochs), {**changes, "max_epochs": epochs}
    changed = {name: value for name in changes if (value := getattr(settings, name)) != getattr(saved, name)}
    model.config = replace(model.config, **masking(settings))
    device = training.progress.device
    if device != backend.kind:
        drawn = "; dropout, DropConnect and scheduled sampling will draw different random numbers"
        draws = any(masking(settings).values()) or settings.use_ss
        differ = f"rounding will differ{drawn if draws else ''}"
        notes.append(f"the checkpoint was saved on {plain(device)}: {differ}")
    record = record_of(model.details)
    run_id = record.id if record else new_id()
    latest = path if is_latest(path) else latest_path(settings.checkpoint_dir, settings.run_name)
    is_obsolete = latest == path or _is_earlier(latest, run_id, training.progress.iteration)
    if rewound:  # from here on, it is another run
        run_id = new_id()
    run = _run(model, settings, corpus, split, notes, team, run_id, training)
    run = replace(run, changes=changed, chosen=("max_epochs",) if extends else ())
    if extends:
        run.trainer.timetable.most_epochs = inf
    run.trainer.saver.resumed = run.trainer.saver.last = path
    if latest.parent == settings.checkpoint_dir and is_obsolete:
        run.trainer.saver.latest = latest
    if run.trainer.iteration >= run.trainer.iterations:
        if changes.get("max_epochs") is AUTO:
            end = f"{path} is at the end of its run, epoch {run.trainer.epoch:.2f}"
            raise Completed(f"{end}: to train for 10 more minutes, add ", Option("max_time", 10))
        raise Completed(
            f"{path} is at epoch {run.trainer.epoch:.2f}, and ",
            Option("max_epochs"),
            f" is {settings.max_epochs:g}: set a larger value to continue, or ",
            Option("max_time"),
        )
    if reason := run.trainer.timetable.reason_to_end():
        set_higher = f" is {settings.patience}: set a larger value, or 0, to continue"
        raise Completed(f"{path}: {reason}, and ", Option("patience"), set_higher)
    return run


def check_same_texts(corpus: Corpus, model: CharRNN, path: Path) -> None:
    """Raise a `MinicharError` if the texts are not those that the model in `path` was trained with."""
    originals = model.text_digests
    changed = [name for name, digest in corpus.digests.items() if digest != originals.get(name)]
    if corpus.vocabulary != model.vocabulary:
        changed.append("data")
    if not changed:
        return
    text, original = corpus.texts[name := changed[0]], originals.get(name)
    problem: tuple[str | Option, ...]
    if name in HELD_OUT and original is None:
        fixed = f" cannot be used to resume {path}, which has no {HELD_OUT[name]} file: omit the option"
        problem = Option(name, text.path), fixed
    else:
        other = f"{text.path} is not the text that {path} {USED[name]}: specify the original text with "
        problem = other, Option(name)
    raise MinicharError(*problem, ", or start a new run with ", Option("init_from"))


def automatic_in(settings: Settings) -> tuple[str, ...]:
    """Return the names of the settings that must be chosen before training but have no value yet."""
    return tuple(name for name in CHOOSERS if getattr(settings, name) is AUTO)


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


def _choose(path: Path) -> tuple[Path, list[str], bool]:
    """Choose the checkpoint to resume.

    Returns its path, notes about other checkpoints in its directory, and whether the user specified a
    checkpoint whose run has saved later ones.
    """
    if not path.is_dir():
        return path, [], _has_later(path)
    skipped: list[str] = []
    files = newest_in(path)
    for i, file in enumerate(files):
        try:
            load_training(file.path)
        except MinicharError as error:
            skipped.append(str(error))
            continue
        skipped += [other.error for other in files[i:] if other.error]
        notes = [f"skipped: {error}" for error in skipped]
        this = file.record and file.record.id
        readable = [each for each in reversed(files) if not each.error]
        others = {each.record and each.record.id: each.path.name for each in readable}
        if names := [name for run, name in others.items() if run != this]:
            named = listed([*map(repr, names[:3])], len(names))
            one = quoted(path / names[0])
            notes.append(f"other runs in {path}/: {named}; to resume one: minichar train --resume {one}")
        return file.path, notes, False
    raise MinicharError(f"no checkpoint in {path}/ can be resumed: {skipped[0]}")


def _has_later(path: Path) -> bool:
    """Return whether the directory of a checkpoint contains a later checkpoint of the same run."""
    try:
        (this,), files = newest_first([path]), newest_first(checkpoints_in(path.parent))
    except MinicharError:  # the file has been renamed, so that no name is that of a checkpoint
        return False
    records = [file.record for file in files if file.record]
    run = this.record
    return run is not None and any(each.id == run.id and each.iteration > run.iteration for each in records)


def _is_earlier(path: Path, run_id: str, iteration: int) -> bool:
    """Return whether `path` is a checkpoint that the given run saved after at most `iteration` steps."""
    (file,) = newest_first([path])
    return file.record is not None and file.record.id == run_id and file.record.iteration <= iteration


def settings_of(model: CharRNN, path: Path) -> Settings:
    """Return the training settings of the model in the checkpoint `path`.

    Missing or corrupted settings raise a `MinicharError`.
    """
    try:
        stored = dict(model.details["settings"])
        if wrong := stored.keys() ^ vars(Settings()).keys():
            raise MinicharError(f"{brief(min(wrong))} is missing or unknown")
        settings = Settings(**stored)
        if unchosen := automatic_in(settings):
            raise MinicharError(f"{', '.join(unchosen)} has no value")
        return settings
    except (KeyError, TypeError, ValueError, MinicharError) as error:
        reason = f"its training settings are missing or corrupted ({error})"
        raise MinicharError(f"{path} cannot be used: {reason}") from error


def settings_with_text(model: CharRNN, path: Path, remedy: Sequence[str | Option] = SPECIFY) -> Settings:
    """Like `settings_of`, but also raise a `MinicharError` if the training text is unknown or does not exist.

    `remedy` is the part of the message that says how to fix the error.
    """
    if "settings" not in model.details:
        raise MinicharError(f"{path} has no record of its training text: ", *remedy)
    settings = settings_of(model, path)
    check_text(settings, path, remedy)
    return settings


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
